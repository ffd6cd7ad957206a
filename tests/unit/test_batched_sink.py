"""A run's outputs that are written in batches: packed files, databases and Parquet."""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from tests.unit.test_sinks import outcome
from workerpool.batch.record import FIELDS, record_of
from workerpool.batch.sinks import sink_for
from workerpool.batch.sinks.base import Cadence
from workerpool.batch.sinks.batched import BatchedSink
from workerpool.errors import OptionError, SinkError

NAMES = ["out.jsonl.gz", "out.csv.gz", "out.sqlite", "out.parquet"]


class Notes:
    """A durable sink that keeps a list of what it was told."""

    name = "notes"
    is_exactly_once = True
    cadence = Cadence(seconds=0.05, bytes=2_000)

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.fails = False
        self.failure: Exception = SinkError("full", records=0)

    def leftover(self) -> str | None:
        return None

    def begin(self, *, overwrite: bool = False) -> str:
        self.said.append("begin")
        return ""

    def write(self, rows: Sequence[bytes]) -> str:
        if self.fails:
            raise self.failure
        self.said.append(len(rows))
        return ""

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.said.append(name)


def test_records_go_in_batches_of_the_sink_s_own_size() -> None:
    notes = Notes()
    sink = BatchedSink(notes)
    sink.open()
    for _ in range(12):
        sink.write({"key": "x" * 400})
    assert (notes.said, sink.written) == (["begin", 5, 5], 10)
    sink.write({"key": "x" * 3_000})
    sink.close()
    sink.close()
    assert notes.said == ["begin", 5, 5, 3, "finish", "settle", "close"]
    assert sink.written == 13


def test_a_flush_writes_only_what_is_old_enough() -> None:
    notes = Notes()
    sink = BatchedSink(notes)
    sink.open()
    sink.write(record_of(outcome()))
    sink._since = time.monotonic() - 0.01
    sink.flush()
    assert notes.said == ["begin"]
    sink._since -= 0.05
    sink.flush()
    sink.flush()
    assert notes.said == ["begin", 1]


@pytest.mark.parametrize("failure", [SinkError("full", records=0), LookupError("full, says the library")])
def test_a_failure_is_final_and_finishes_nothing(failure: Exception) -> None:
    notes = Notes()
    notes.failure = failure
    sink = BatchedSink(notes)
    sink.open()
    for _ in range(6):
        sink.write({"key": "x" * 400})
    notes.fails = True
    sink.abort()
    notes.fails = False
    with pytest.raises(type(failure), match="full"):
        sink.write(record_of(outcome()))
    with pytest.raises(type(failure), match="full"):
        sink.flush()
    with pytest.raises(type(failure), match="full"):
        sink.close()
    assert (notes.said, sink.written) == (["begin", 5, "close"], 5)


def test_an_abort_does_not_wait_for_a_write_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workerpool.batch.sinks.batched.ABORT_WAIT", 0.05)
    notes = Notes()
    sink = BatchedSink(notes)
    sink.open()
    sink.write(record_of(outcome()))
    with sink._writing:
        aborting = threading.Thread(target=sink.abort)
        aborting.start()
        aborting.join(10)
        assert not aborting.is_alive()
    assert notes.said == ["begin"]


class Slow(Notes):
    """One whose write takes until it is let go; it keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[bytes] = []
        self.writing, self.go_on = threading.Event(), threading.Event()
        self.at_once = 0

    def write(self, rows: Sequence[bytes]) -> str:
        self.at_once += 1
        assert self.at_once == 1, "two threads write at once"
        self.writing.set()
        assert self.go_on.wait(10)
        self.rows += rows
        self.at_once -= 1
        return ""


def test_records_are_taken_while_a_batch_is_written() -> None:
    slow = Slow()
    sink = BatchedSink(slow)
    sink.open()
    sink.write({"key": "first"})
    sink._since -= 1.0
    writing = threading.Thread(target=sink.flush)
    writing.start()
    assert slow.writing.wait(10)
    sink.write({"key": "second"})  # or else this would wait for ever
    assert not slow.rows
    slow.go_on.set()
    writing.join(10)
    sink.close()
    assert [json.loads(row)["key"] for row in slow.rows] == ["first", "second"]


def test_a_sink_that_is_behind_by_a_batch_holds_up_who_writes() -> None:
    slow = Slow()
    sink = BatchedSink(slow)
    sink.open()
    sink.write({"key": "first"})
    sink._since -= 1.0
    flushing = threading.Thread(target=sink.flush)
    flushing.start()
    assert slow.writing.wait(10)
    full = threading.Thread(target=sink.write, args=({"key": "x" * 3_000},))
    full.start()
    full.join(0.1)
    assert full.is_alive()
    slow.go_on.set()
    full.join(10)
    flushing.join(10)
    assert not full.is_alive()
    assert (len(slow.rows), sink.written) == (2, 2)


def test_every_record_is_written_once_and_in_order_whoever_writes_it() -> None:
    slow = Slow()
    slow.go_on.set()
    sink = BatchedSink(slow)
    sink._seconds = 0.0
    sink.open()
    ended = threading.Event()

    def flush() -> None:
        while not ended.is_set():
            sink.flush()

    flushing = [threading.Thread(target=flush) for _ in range(2)]
    for thread in flushing:
        thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(0, 6_000, 3):
            sink.write(*({"key": "x" * 100, "number": number + more} for more in range(3)))
    finally:
        sys.setswitchinterval(interval)
        ended.set()
    for thread in flushing:
        thread.join(10)
    sink.close()
    assert [json.loads(row)["number"] for row in slow.rows] == [*range(6_000)]
    assert sink.written == 6_000


def keys_in(path: Path) -> list[str]:
    if path.name.startswith("out.sqlite"):
        database = sqlite3.connect(path)
        try:
            return [key for (key,) in database.execute("SELECT key FROM results ORDER BY id")]
        finally:
            database.close()
    if path.name.startswith("out.parquet"):
        return list(parquet.read_table(path)["key"].to_pylist())
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    if path.name.startswith("out.csv"):
        assert lines[0] == ",".join(FIELDS)
        return [line.partition(",")[0] for line in lines[1:]]
    return [json.loads(line)["key"] for line in lines]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_s_output_is_there_when_the_run_has_ended(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    sink = sink_for(str(path))
    sink.open()
    for number in range(3):
        sink.write(record_of(outcome(number)))
    assert not path.exists()
    sink.close()
    assert keys_in(path) == ["k0", "k1", "k2"]
    assert (sink.written, [found.name for found in tmp_path.iterdir()]) == (3, [name])


def test_what_came_in_can_be_read_beside_the_output_of_a_run_that_was_broken_off(tmp_path: Path) -> None:
    script = (
        "import json, os, sys; from workerpool.batch.sinks import sink_for\n"
        "for name in sys.argv[2:]:\n"
        "    sink = sink_for(name); sink.open(); sink.write(json.loads(sys.argv[1])); sink.abort()\n"
        "os._exit(0)"
    )
    names = [str(tmp_path / name) for name in NAMES]
    subprocess.run([sys.executable, "-c", script, json.dumps(record_of(outcome(1))), *names], timeout=30, check=True)
    for name in names:
        partial = Path(f"{name}.partial")
        assert keys_in(partial) == ["k1"]
        with pytest.raises(OptionError, match=r"partial holds the results .* give overwrite=True to lose it"):
            sink_for(name).open()
        assert keys_in(partial) == ["k1"]


@pytest.mark.parametrize("name", NAMES)
def test_an_output_that_is_there_is_kept_unless_overwrite_is_said(tmp_path: Path, name: str) -> None:
    for number in (1, 2):
        sink = sink_for(str(tmp_path / name), overwrite=number == 2)
        sink.open()
        sink.write(record_of(outcome(number)))
        sink.close()
        with pytest.raises(OptionError, match="overwrite=True"):
            sink_for(str(tmp_path / name)).open()
        assert keys_in(tmp_path / name) == [f"k{number}"]
