"""The process that forks runs, one for all tests of killed jobs: it has imported what they need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jobs.trial import Doomed, doomed_in


@pytest.fixture(scope="session")
def doomed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doomed]:
    with doomed_in(tmp_path_factory.mktemp("doomed")) as made:
        yield made
