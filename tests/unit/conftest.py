"""What tests of budgets in files begin with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.budgets import Trial
from workerpool.limits.file import mapped as mapped_module


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    with closing(Trial(tmp_path)) as made:
        yield made


@pytest.fixture
def one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with a single slot for all hosts, beside the one that they share."""
    for name in ("_FIRST_SEGMENT", "_MOST_SEGMENTS", "PROBES"):
        monkeypatch.setattr(mapped_module, name, 1)
