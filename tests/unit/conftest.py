"""What tests of budgets in files begin with."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import closing
from fcntl import LOCK_EX
from pathlib import Path

import pytest

from tests.budgets import Trial
from workerpool.limits.file import mapped as mapped_module
from workerpool.limits.file.mapped import BudgetFile
from workerpool.limits.file.records import Record


@pytest.fixture
def trial(tmp_path: Path, disciplined: None) -> Iterator[Trial]:
    with closing(Trial(tmp_path)) as made:
        yield made


@pytest.fixture
def disciplined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where something is written without its file's lock, or before the others could see that it will be.

    The header is free to change first: it is followed by what it tells of.
    """
    flock, write, map_ = mapped_module.flock, Record.write, BudgetFile._map
    numbers: dict[int, int] = {}  # of files, by what maps them
    counted: dict[int, int] = {}  # touches of each file that is locked, as it was locked

    def locks(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        number = os.fstat(descriptor).st_ino
        counted.pop(number, None)
        if operation == LOCK_EX:
            counted[number] = int.from_bytes(os.pread(descriptor, 8, mapped_module._TOUCHED_AT), "little")

    def maps(file: BudgetFile) -> None:
        map_(file)
        numbers[id(file.map)] = os.fstat(file.descriptor).st_ino

    def writes(record: Record, file: mmap.mmap, payload: bytes) -> None:
        number = numbers[id(file)]
        assert number in counted, "it is not locked"
        touches = int.from_bytes(file[mapped_module._TOUCHED_AT : mapped_module._TOUCHED_END], "little")
        assert touches > counted[number] or record.offset == mapped_module._HEADER_AT, "nobody was told"
        write(record, file, payload)

    monkeypatch.setattr(mapped_module, "flock", locks)
    monkeypatch.setattr(Record, "write", writes)
    monkeypatch.setattr(BudgetFile, "_map", maps)


@pytest.fixture
def one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with a single slot for all hosts, beside the one that they share."""
    for name in ("_FIRST_SEGMENT", "_MOST_SEGMENTS", "PROBES"):
        monkeypatch.setattr(mapped_module, name, 1)


@pytest.fixture
def three_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with a slot for hosts in the first segment, two in the second one, and no third."""
    for name, number in (("_FIRST_SEGMENT", 1), ("_MOST_SEGMENTS", 2), ("PROBES", 1)):
        monkeypatch.setattr(mapped_module, name, number)
