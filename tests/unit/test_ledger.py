"""The ledger of a job and the mover that empties it, by themselves: what is entered comes out once, whatever fails."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from workerpool.batch.job.ledger import Entries, Ledger
from workerpool.batch.job.lock import JobLock
from workerpool.batch.job.mover import Mover
from workerpool.batch.job.schema import TOGETHER, Held, Seen, SourceRow, together
from workerpool.batch.job.states import BLOCK, State, new_block
from workerpool.batch.job.status import look_at
from workerpool.batch.sinks import durable_sink_for
from workerpool.batch.sinks.base import Cadence
from workerpool.batch.sinks.place import Place
from workerpool.batch.sources.marks import BEGINNING
from workerpool.errors import JobError, SinkError

SOURCE = SourceRow(number=0, path="urls.txt", size=1, mtime=1, lines=None)


class ListSink:
    """A `DurableSink` as far as a mover uses it: a list of what it was given."""

    cadence = Cadence(seconds=0.0, bytes=1)

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def write(self, rows: Sequence[bytes]) -> str:
        self.records += rows
        return str(len(self.records))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(str(tmp_path))
    made.begin_run({"--output": "out.jsonl"}, "0", [SOURCE])
    yield made
    made.close()


def held(*ordinals: int, later: bool = False) -> Entries:
    return Entries(held=[Held(0, ordinal, later, b"%d" % ordinal) for ordinal in ordinals])


def test_rows_of_an_input_are_held_together_and_each_is_counted_and_moved(ledger: Ledger) -> None:
    lines = [b'{"a": "%d\\n"}\n' % number for number in range(20)]
    ledger.enter(Entries(held=[Held(0, 1, False, one) for one in together(lines)]))
    assert len(ledger.waiting(0, 10**6)) == 1
    assert ledger.held() == (20, 0)
    assert [*ledger.held_records()] == lines
    sink = ListSink()
    mover = Mover(ledger, sink, ordered=False)  # type: ignore[arg-type]
    mover.flush()
    assert (sink.records, mover.written, ledger.held()) == (lines, 20, (0, 0))


def test_what_is_held_together_has_a_bound() -> None:
    lines = [b"x" * 1_000 + b"\n"] * 200
    parts = [*together(lines)]
    assert b"".join(parts) == b"".join(lines)
    assert all(len(part) <= TOGETHER + 1_001 for part in parts)
    assert len(parts) == 4


def test_what_is_entered_after_everything_was_moved_is_moved_by_the_next_flush(ledger: Ledger) -> None:
    sink = ListSink()
    mover = Mover(ledger, sink, ordered=False)  # type: ignore[arg-type]
    for ordinal in range(1, 6):
        ledger.enter(held(ordinal))
        mover.wait_for_room(1)
        mover.flush()
        assert sink.records == [b"%d" % number for number in range(1, ordinal + 1)]
    assert ledger.held() == (0, 0)


def test_what_an_earlier_execution_left_is_moved_though_nothing_is_entered(ledger: Ledger) -> None:
    ledger.enter(held(1, 2))
    sink = ListSink()
    Mover(ledger, sink, ordered=False).flush()  # type: ignore[arg-type]
    assert sink.records == [b"1", b"2"]


def test_what_was_seen_is_noted_now_and_then_also_where_there_is_no_record_of_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workerpool.batch.job.mover.SYNC_EVERY", 0.0)
    mover = Mover(ledger, ListSink(), ordered=False)  # type: ignore[arg-type]
    mover.note_seen(Seen(7, 1, '"v1"', None))
    mover.flush()
    ledger.end_run("out.jsonl")
    assert ledger.seen(7) == Seen(7, 1, '"v1"', None)


def test_records_that_the_sink_has_and_the_ledger_could_not_confirm_are_not_written_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = ListSink()
    mover = Mover(ledger, sink, ordered=False)  # type: ignore[arg-type]
    ledger.enter(held(1, 2))

    def fail(*args: Any) -> None:
        raise SinkError("no space left on device")

    monkeypatch.setattr(ledger, "confirm", fail)
    with pytest.raises(SinkError):
        mover.move_all()
    assert sink.records == [b"1", b"2"]
    assert mover.is_broken


def test_a_lock_is_taken_where_nobody_can_write_who_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    JobLock(str(tmp_path)).release()


def test_a_ledger_whose_files_are_gone_says_so(ledger: Ledger, tmp_path: Path) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(SinkError, match="cannot be written: no such file or directory"):
        ledger.tidy()


def damage_states(database: sqlite3.Connection) -> None:
    database.execute("UPDATE blocks SET states = zeroblob(1023) || x'63'")


def damage_block(database: sqlite3.Connection) -> None:
    database.execute("UPDATE blocks SET states = x'00'")


def damage_settings(database: sqlite3.Connection) -> None:
    database.execute("UPDATE runs SET settings = '{'")


def damage_source(database: sqlite3.Connection) -> None:
    database.execute("UPDATE sources SET path = 'urls.txt'")


def damage_id(database: sqlite3.Connection) -> None:
    database.execute("UPDATE job SET value = '{' WHERE name = 'id'")


def make_header(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")


@pytest.mark.parametrize("begin", [Path.touch, make_header])
def test_a_ledger_that_is_only_just_being_made_is_told_to_have_nothing_in_it(
    tmp_path: Path, begin: Callable[[Path], None]
) -> None:
    begin(tmp_path / "ledger.sqlite")
    with pytest.raises(JobError, match="has nothing in it yet: the command that makes it has only just begun"):
        look_at(str(tmp_path))
    Ledger(str(tmp_path)).close()
    assert look_at(str(tmp_path)).state == "new"


@pytest.mark.parametrize("damage", [damage_states, damage_block, damage_settings, damage_source, damage_id])
def test_a_ledger_with_values_that_mean_nothing_is_told_to_be_damaged(
    tmp_path: Path, ledger: Ledger, damage: Callable[[sqlite3.Connection], None]
) -> None:
    ledger.enter(Entries(blocks=[new_block(0, 0, BEGINNING)]))
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        damage(database)
    database.close()
    again = Ledger(str(tmp_path))
    try:
        with pytest.raises(JobError, match="damaged"):
            _ = again.run(), again.id, again.sources(), [*again.blocks(0)]
    finally:
        again.close()


def test_announcements_of_many_threads_are_all_noted(ledger: Ledger) -> None:
    threads = [
        threading.Thread(target=lambda first=first: [ledger.announce(0, first * 25 + n) for n in range(25)])  # type: ignore[misc]
        for first in range(16)
    ]
    for thread in threads:
        thread.start()
    for number in range(50):
        ledger.enter(held(number + 1))
    for thread in threads:
        thread.join()
    assert set(ledger.underway()) == {(0, number) for number in range(400)}
    assert all(row.announced for row in ledger.underway().values())
    assert ledger.held() == (50, 0)


def test_a_state_is_one_byte_of_a_block_of_its_own_size(ledger: Ledger) -> None:
    block = new_block(0, 3, BEGINNING)
    block.states[5] = State.OK
    ledger.enter(Entries(blocks=[block]))
    (found,) = ledger.blocks(0)
    assert (found.number, len(found.states), found.states[5]) == (3, BLOCK, State.OK)


def test_records_that_came_in_another_order_than_they_are_moved_in_are_not_forgotten(ledger: Ledger) -> None:
    sink = ListSink()
    mover = Mover(ledger, sink, ordered=True)  # type: ignore[arg-type]
    for ordinal in (1, 9, 3, 2):  # the second one is not to be moved yet
        ledger.enter(held(ordinal))
    mover.front = (0, 5)
    mover.move_all()
    mover.front = (1, 0)
    mover.move_all()
    assert sink.records == [b"1", b"2", b"3", b"9"]


def test_the_first_sync_is_one_of_the_directory_too(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(file: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{file}"))
        fsync(file)

    monkeypatch.setattr("os.fsync", noted)
    ledger.announce(0, 1)
    ledger.announce(0, 2)
    log = str(tmp_path / "ledger.sqlite-wal")
    assert synced == [str(tmp_path), log, log]


def test_an_output_that_was_finished_while_its_lock_was_waited_for_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    partial.write_text("of another job\n")
    lock = Place.lock

    def finished_first(place: Place, file: int) -> None:
        partial.rename(output)
        lock(place, file)

    monkeypatch.setattr(Place, "lock", finished_first)
    sink = durable_sink_for(str(output))
    with pytest.raises(SinkError):
        sink.begin()
    sink.close()
    assert output.read_text() == "of another job\n"


def test_a_ledger_is_closed_when_a_sync_that_is_under_way_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may sync what it has announced while a run that was broken off closes."""
    ledger = Ledger(str(tmp_path))
    ledger.begin_run({"--output": "out.jsonl"}, "0", [SOURCE])
    may_go_on, began, failures = threading.Event(), threading.Event(), list[BaseException]()
    fsync = os.fsync

    def slow(file: int) -> None:
        began.set()
        assert may_go_on.wait(20)
        fsync(file)

    def sync() -> None:
        try:
            ledger.sync()
        except BaseException as error:
            failures.append(error)

    monkeypatch.setattr(os, "fsync", slow)
    ledger.enter(held(1))
    syncing, closing = threading.Thread(target=sync), threading.Thread(target=ledger.close)
    syncing.start()
    assert began.wait(20)
    closing.start()
    closing.join(0.1)
    may_go_on.set()
    syncing.join(20)
    closing.join(20)
    assert failures == []
