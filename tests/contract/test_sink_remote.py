"""What outputs at URLs owe a job, on an S3 server and in memory: parts that become one object, all at once."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from tests.contract.test_sinks import keys, row, rows
from workerpool.batch.sinks import DurableSink, durable_sink_for, sink_for
from workerpool.batch.sinks.remote import RemoteStore
from workerpool.errors import OptionError, SinkError

fsspec = pytest.importorskip("fsspec")
_numbers = count(1)
NAMES = ("out.jsonl", "out.csv", "out.jsonl.gz", "out.csv.gz", "out.parquet")


class Objects:
    """An output, and what lies in its directory."""

    def __init__(self, base: str, name: str) -> None:
        self.directory = f"{base}/{next(_numbers)}"
        self.name = f"{self.directory}/{name}"
        self.files, _ = fsspec.core.url_to_fs(self.name, skip_instance_cache=True, use_listings_cache=False)

    def sink(self) -> DurableSink:
        return durable_sink_for(self.name, include={"body", "headers"})

    def read(self) -> list[str] | None:
        if not self.files.exists(self.name):
            return None
        data = self.files.cat_file(self.name)
        if self.name.endswith(".parquet"):
            import pyarrow.parquet

            return list(pyarrow.parquet.read_table(io.BytesIO(data)).column("key").to_pylist())
        text = (gzip.decompress(data) if self.name.endswith(".gz") else data).decode()
        if ".csv" in self.name:
            import csv

            return [one["key"] for one in csv.DictReader(io.StringIO(text, newline=""))]
        return [json.loads(line)["key"] for line in text.splitlines()]

    def left(self) -> list[str]:
        return [path.rpartition("/")[2] for path in self.files.find(self.directory)]

    def finished(self, *batches: list[bytes]) -> list[str]:
        sink = self.sink()
        positions = [sink.begin(overwrite=True), *(sink.write(batch) for batch in batches)]
        sink.finish()
        sink.close()
        return positions


@pytest.fixture(params=[("out.csv.gz", "s3"), *((name, "memory") for name in NAMES)], ids=str)
def output(request: pytest.FixtureRequest) -> Objects:
    name, kind = request.param
    return Objects(request.getfixturevalue("bucket") if kind == "s3" else "memory://jobs", name)


def test_an_object_is_there_all_at_once_and_nothing_beside_it(output: Objects) -> None:
    sink = output.sink()
    sink.begin()
    sink.write(rows(1, 2))
    sink.write(rows(3))
    assert output.read() is None
    sink.finish()
    sink.close()
    assert output.read() == keys(1, 2, 3)
    assert output.left() == [output.name.rpartition("/")[2]]


def test_what_was_written_after_the_position_is_undone(output: Objects) -> None:
    sink = output.sink()
    sink.begin()
    position = sink.write(rows(1, 2))
    sink.write(rows(3))
    sink.write(rows(8, 9))
    sink.close()
    assert "partial" in str(output.sink().leftover())
    sink = output.sink()
    sink.resume(position)
    sink.write(rows(4))
    sink.finish()
    assert output.read() == keys(1, 2, 4)


def test_an_older_object_stays_until_the_new_one_takes_its_place_or_is_refused(output: Objects) -> None:
    output.finished(rows(1))
    with pytest.raises(OptionError, match="is there already"):
        output.sink().begin()
    sink = output.sink()
    sink.begin(overwrite=True)
    sink.write(rows(2))
    assert output.read() == keys(1)
    sink.finish()
    assert output.read() == keys(2)


def test_an_end_that_nobody_wrote_down_is_found(output: Objects) -> None:
    position = output.finished(rows(1, 2))[-1]
    sink = output.sink()
    sink.resume(position)
    sink.finish()
    assert output.read() == keys(1, 2)


def test_an_object_without_records_can_be_read_and_is_found_and_opened_again(output: Objects) -> None:
    (position,) = output.finished()
    if output.name.endswith(".gz"):
        assert output.files.cat_file(output.name)[:2] == b"\x1f\x8b"
    assert output.read() == []
    assert list(output.sink().entries(None)) == []
    sink = output.sink()
    sink.resume(position)
    sink.finish()
    sink = output.sink()
    sink.reopen(position)
    sink.write(rows(1))
    sink.finish()
    assert output.read() == keys(1)


def test_a_finished_object_is_opened_again_and_keeps_what_it_should(output: Objects) -> None:
    _, first, last = output.finished(rows(1, 2), rows(3, 4))
    assert [key for key, _ in output.sink().entries(last)] == keys(1, 2, 3, 4)
    sink = output.sink()
    position = sink.reopen(first)
    sink.write(rows(5))
    sink.close()
    assert output.read() == keys(1, 2, 3, 4)
    sink = output.sink()
    sink.resume(position)
    sink.write(rows(6))
    assert [key for key, _ in output.sink().entries(position)] == keys(1, 2)
    sink.finish()
    assert output.read() == keys(1, 2, 6)


def test_a_part_that_is_missing_is_noticed(output: Objects) -> None:
    sink = output.sink()
    sink.begin()
    sink.write(rows(1))
    position = sink.write(rows(2))
    first = next(path for path in sorted(output.files.find(output.directory)) if "-000000000001" in path)
    output.files.rm_file(first)
    with pytest.raises(SinkError, match="does not hold the 2 records"):
        output.sink().resume(position)


def test_a_writer_notices_that_another_one_has_begun(output: Objects) -> None:
    sink = output.sink()
    sink.begin()
    sink.write(rows(1))
    output.sink().begin()
    with pytest.raises(SinkError, match="another process has begun to write it"):
        sink.write(rows(2))


def test_a_run_without_a_job_writes_alike(output: Objects) -> None:
    sink = sink_for(output.name, include={"body", "headers"})
    sink.open()
    sink.write(json.loads(row("one")))
    sink.close()
    assert output.read() == ["one"]


class Ended(BaseException):
    """The process was killed."""


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv.gz", "out.parquet"])
@pytest.mark.parametrize("mode", ["before", "after"])
def test_every_record_is_there_once_whatever_call_was_the_last_one(
    name: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in count(1):
        output = Objects("memory://jobs", name)
        sink = output.sink()
        ledger: dict[str, Any] = {}
        with monkeypatch.context() as patch:
            _end_at(sink, at, mode, patch)
            try:
                _move(sink, ledger)
            except Ended:
                assert output.read() in (None, keys(1, 2, 3)), at
            else:
                break
        _move(output.sink(), ledger)
        assert output.read() == keys(1, 2, 3), at
        assert output.left() == [name], at
    assert at > 10


def _move(sink: DurableSink, ledger: dict[str, Any]) -> None:
    """Do what a job does, from wherever it was."""
    if "position" not in ledger:
        ledger |= {"position": sink.begin(), "done": 0}
    else:
        sink.resume(ledger["position"])
    while ledger["done"] < 3:
        position = sink.write(rows(ledger["done"] + 1))
        ledger |= {"position": position, "done": ledger["done"] + 1}
    sink.finish()


def _end_at(sink: DurableSink, at: int, mode: str, patch: pytest.MonkeyPatch) -> None:
    """Have the process end at one call to the object store."""
    store = sink._store  # type: ignore[attr-defined]
    assert isinstance(store, RemoteStore)
    calls = count(1)

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            is_last = next(calls) == at
            if is_last and mode == "before":
                raise Ended
            result = function(*args, **kwargs)
            if is_last:
                raise Ended
            return result

        return called

    for name in ("exists", "pipe_file", "cat_file", "rm_file", "find", "open"):
        patch.setattr(store._files, name, wrap(getattr(store._files, name)))


def test_an_upload_that_fails_leaves_no_object_and_is_repeated(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Objects(bucket, "out.jsonl")
    sink = output.sink()
    sink.begin()
    position = sink.write(rows(1, 2))

    def refuse(*args: object) -> None:
        raise PermissionError("Access Denied")

    with monkeypatch.context() as patch:
        patch.setattr(sink._store._content, "merge", refuse)  # type: ignore[attr-defined]
        with pytest.raises(SinkError, match="Access Denied; the 2 records before are whole, in s3://"):
            sink.finish()
    assert output.read() is None
    sink = output.sink()
    sink.resume(position)
    sink.finish()
    assert output.read() == keys(1, 2)


@pytest.mark.parametrize("url", ["nothing://bucket/out.jsonl", "s3://bucket/out.sqlite", "https://a.test/out.jsonl"])
def test_a_url_that_cannot_be_written_is_refused(url: str) -> None:
    with pytest.raises(OptionError):
        durable_sink_for(url)


def test_a_bucket_that_is_not_there_is_said(bucket: str) -> None:
    sink = durable_sink_for("s3://no-such-bucket/out.jsonl")
    with pytest.raises(SinkError, match="cannot be used"):
        sink.begin()
