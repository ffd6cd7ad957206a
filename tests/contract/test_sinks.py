"""What every durable sink owes a job: batches that are whole or not at all, a way back, and an output all at once."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.conftest import IN_FULL
from tests.outputs import FILES, keys_in
from workerpool.batch.sinks import DurableSink, check_apart, durable_sink_for, sql_locks
from workerpool.batch.sinks import postgres as postgres_sink
from workerpool.batch.sinks import sqlite as sqlite_sink
from workerpool.batch.sinks.formats import OF_FILES, format_of
from workerpool.errors import OptionError, SinkError

TABLE = "table"
KINDS = FILES if IN_FULL else ("out.jsonl", "out.csv.gz", "out.sqlite", "out.parquet")
"""In a sample, each format once, and one of them compressed."""
TABLES = (TABLE, "mariadb", "duckdb", "sqlite", "psycopg")
"""A PostgreSQL table, and those that are written by SQLAlchemy."""
_numbers = count(1)


def row(key: object, **changes: object) -> bytes:
    record = {
        "key": key, "url": f"http://a.test/{key}", "method": "GET", "status": 200, "ok": True, "error": None,
        "attempts": 1, "elapsed": 0.5, "bytes": 3, "final_url": None, "started_at": "2026-01-02T03:04:05.678Z",
    }  # fmt: skip
    return json.dumps(record | changes).encode() + b"\n"


def rows(*numbers: int) -> list[bytes]:
    return [row(f'k{number},"\n') for number in numbers]


def keys(*numbers: int) -> list[str]:
    return [f'k{number},"\n' for number in numbers]


@dataclass(frozen=True)
class Output:
    """A place for an output, and sinks for it."""

    name: str

    def sink(self) -> DurableSink:
        return durable_sink_for(self.name, include={"body", "headers"})

    def read(self) -> list[str] | None:
        """Return the keys in the finished output, by other means than ours; None if there is none."""
        return keys_in(self.name)

    def finished(self, *batches: Sequence[bytes]) -> list[str]:
        """Make the output, and return the position after each batch."""
        sink = self.sink()
        positions = [sink.begin(overwrite=True), *(sink.write(batch) for batch in batches)]
        sink.finish()
        sink.close()
        return positions


def output_of(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Output:
    if kind not in TABLES:
        return Output(str(tmp_path / kind))
    table = f"results_{next(_numbers)}"
    if kind in ("duckdb", "sqlite"):
        return Output(f"{kind}:///{tmp_path}/out.{kind}?table={table}")
    server = request.getfixturevalue("mariadb" if kind == "mariadb" else "postgres")
    url: str = server.url(table)
    return Output(url.replace("://", "+psycopg://", 1) if kind == "psycopg" else url)


@pytest.fixture(params=[*KINDS, *TABLES])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Output:
    return output_of(request.param, tmp_path, request)


@pytest.fixture(params=KINDS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Output:
    return output_of(request.param, tmp_path, request)


def test_every_format_is_held_to_this() -> None:
    assert {format_of(name).name for name in FILES} == set(OF_FILES)


def test_the_output_is_there_all_at_once_and_nothing_beside_it(output: Output) -> None:
    sink = output.sink()
    assert sink.is_exactly_once
    sink.begin()
    sink.write(rows(1, 2))
    sink.write(rows(3))
    assert output.read() is None
    sink.finish()
    sink.finish()
    sink.close()
    sink.close()
    assert output.read() == keys(1, 2, 3)
    assert output.sink().leftover() is None
    if "://" not in output.name:
        assert os.listdir(os.path.dirname(output.name)) == [os.path.basename(output.name)]


def test_a_job_without_records_has_an_output_that_can_be_read(output: Output) -> None:
    output.finished()
    assert output.read() == []
    assert list(output.sink().entries(None)) == []


def test_what_was_written_after_the_position_is_undone(output: Output) -> None:
    sink = output.sink()
    sink.begin()
    position = sink.write(rows(1, 2))
    sink.write(rows(3))
    sink.write(rows(4, 5))
    sink.close()
    sink = output.sink()
    sink.resume(position)
    sink.write(rows(3, 4, 5, 6))
    sink.close()
    sink = output.sink()
    sink.resume(position)
    sink.write(rows(3, 4))
    sink.write(rows(5, 6))
    sink.finish()
    sink.close()
    assert output.read() == keys(1, 2, 3, 4, 5, 6)


def test_going_back_to_the_position_of_nothing_leaves_nothing(output: Output) -> None:
    sink = output.sink()
    position = sink.begin()
    sink.write(rows(1, 2))
    sink.close()
    sink = output.sink()
    sink.resume(position)
    sink.write(rows(7))
    sink.finish()
    sink.close()
    assert output.read() == keys(7)


def test_an_empty_batch_leads_nowhere(output: Output) -> None:
    sink = output.sink()
    sink.begin()
    position = sink.write(rows(1))
    assert sink.write([]) == position
    sink.finish()
    sink.close()
    assert output.read() == keys(1)


def test_a_finished_output_whose_end_nobody_wrote_down_is_found_finished(output: Output) -> None:
    position = output.finished(rows(1, 2))[-1]
    sink = output.sink()
    sink.resume(position)
    with pytest.raises(SinkError, match="takes no more records"):
        sink.write(rows(3))
    sink.finish()
    sink.close()
    assert output.read() == keys(1, 2)


def test_an_output_that_is_there_is_refused_unless_overwrite_is_said(output: Output) -> None:
    output.finished(rows(1))
    sink = output.sink()
    with pytest.raises(OptionError, match="is there already: give overwrite=True"):
        sink.begin()
    sink.close()
    assert output.read() == keys(1)


def test_an_older_output_stays_until_the_new_one_takes_its_place(output: Output) -> None:
    output.finished(rows(1))
    sink = output.sink()
    sink.begin(overwrite=True)
    sink.write(rows(2, 3))
    assert output.read() == keys(1)
    sink.finish()
    sink.close()
    assert output.read() == keys(2, 3)


def test_a_new_run_removes_what_an_unfinished_one_left(output: Output) -> None:
    sink = output.sink()
    sink.begin()
    sink.write(rows(1, 2))
    sink.close()
    left = output.sink().leftover()
    assert left is not None
    assert "partial" in left
    assert "hunter2" not in left
    output.finished(rows(3))
    assert output.read() == keys(3)


@pytest.mark.parametrize("before", ["jsonl", "parquet", "sqlite"])
@pytest.mark.parametrize("format", ["jsonl", "parquet", "sqlite"])
def test_a_new_run_removes_what_one_of_another_format_left(tmp_path: Path, before: str, format: str) -> None:
    name = str(tmp_path / "out")
    left = durable_sink_for(name, format=before)
    left.begin()
    left.write(rows(1, 2))
    left.close()
    (tmp_path / "out.partial-journal").touch()
    sink = durable_sink_for(name, format=format)
    sink.begin()
    sink.write(rows(3))
    sink.finish()
    sink.close()
    found = durable_sink_for(name, format=format)
    assert [key for key, _ in found.entries(None)] == keys(3)
    assert os.listdir(tmp_path) == ["out"]


def test_a_finished_output_is_opened_again_and_keeps_what_it_should(output: Output) -> None:
    _, first, last = output.finished(rows(1, 2), rows(3, 4))
    sink = output.sink()
    position = sink.reopen(first)
    sink.write(rows(5))
    sink.close()
    assert output.read() == keys(1, 2, 3, 4)
    assert list(output.sink().entries(last)) != []
    sink = output.sink()
    sink.resume(position)
    sink.write(rows(6, 7))
    sink.finish()
    sink.close()
    assert output.read() == keys(1, 2, 6, 7)


def test_opening_again_is_repeated_after_a_crash_in_its_middle(output: Output) -> None:
    _, first, _ = output.finished(rows(1, 2), rows(3, 4))
    for _ in range(2):
        sink = output.sink()
        position = sink.reopen(first)
        sink.close()
    sink = output.sink()
    sink.resume(position)
    sink.finish()
    sink.close()
    assert output.read() == keys(1, 2)


def test_an_output_that_was_removed_cannot_be_opened_again(output: Output) -> None:
    sink = output.sink()
    sink.begin()
    position = sink.write(rows(1))
    sink.close()
    sink = output.sink()
    with pytest.raises(SinkError, match="has been removed or changed"):
        sink.reopen(position)
    sink.close()


def test_a_place_that_is_gone_is_said_with_what_would_do(output: Output) -> None:
    position = Output(output.name).finished(rows(1, 2))[-1]
    output.finished(rows(1))  # another output, whose length is another one
    sink = output.sink()
    with pytest.raises(SinkError, match=r"is gone: put it back as it was, or give restart=True") as caught:
        sink.resume(position)
    sink.close()
    assert "hunter2" not in str(caught.value)


def test_a_place_that_holds_less_than_was_confirmed_is_refused(output: Output) -> None:
    sink = output.sink()
    sink.begin()
    sink.write(rows(1))
    position = sink.write(rows(2))
    sink.close()
    sink = output.sink()
    sink.begin()
    sink.write(rows(3))
    sink.close()
    sink = output.sink()
    with pytest.raises(SinkError, match="put it back as it was, or give restart=True"):
        sink.resume(position)
    sink.close()


def test_a_position_of_another_make_is_refused(output: Output) -> None:
    for position in ("", "17", '{"rows": -1}', '{"rows": 1, "colour": 2}'):
        sink = output.sink()
        with pytest.raises(SinkError, match="none of this version's"):
            sink.resume(position)
        sink.close()


def test_a_place_has_one_writer_at_a_time(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_sink, "BUSY", 0.05)
    monkeypatch.setattr(postgres_sink, "LOCK_WAIT", 0.05)
    monkeypatch.setattr(sql_locks, "LOCK_WAIT", 0.05)
    sink = output.sink()
    sink.begin()
    position = sink.write(rows(1))
    for use in (lambda other: other.begin(overwrite=True), lambda other: other.resume(position)):
        other = output.sink()
        with pytest.raises(SinkError, match="another process"):
            use(other)
        other.close()
    sink.write(rows(2))
    sink.finish()
    sink.close()
    assert output.read() == keys(1, 2)


def test_records_are_read_back_up_to_a_position_and_from_the_output(output: Output) -> None:
    sink = output.sink()
    sink.begin()
    position = sink.write(rows(1, 2))
    sink.write(rows(3))
    sink.close()
    expected = [(key, f"http://a.test/{key}") for key in keys(1, 2, 3)]
    assert list(output.sink().entries(position)) == expected[:2]
    with pytest.raises(SinkError):
        list(output.sink().entries(None))
    sink = output.sink()
    sink.resume(position)
    position = sink.write(rows(3))
    sink.finish()
    sink.close()
    assert list(output.sink().entries(position)) == expected
    assert list(output.sink().entries(None)) == expected


def test_any_field_of_the_records_can_be_read_back(output: Output) -> None:
    failed = row(
        2, ok=False, status=None, error="it, timed\nout", attempts=4, elapsed=12.25, final_url="http://b.test/"
    )
    position = output.finished([row(1, body="x" * 200_000), failed])[-1]
    fields = ("elapsed", "url", "ok", "status", "attempts", "final_url")
    for found in (output.sink().entries(position, fields), output.sink().entries(None, fields)):
        first, second = found
        assert first[:5] == (0.5, "http://a.test/1", True, 200, 1)
        assert not first[5]
        assert second == (12.25, "http://a.test/2", False, None, 4, "http://b.test/")


def test_text_that_a_format_cannot_hold_does_not_end_the_job(output: Output) -> None:
    odd = row("\ud800", url="http://a.test/\0ü", body='\0,"\r\n\ud800' * 3, headers={"X": "\0ü\ud800", "Y": '"'})
    output.finished([odd, row(7), row("last", body="x" * 200_000)])
    found = list(output.sink().entries(None))
    assert [key for key, _ in found][1:] == ["7", "last"]
    assert len(found[0][1]) == len("http://a.test/\0ü")


# -- files -------------------------------------------------------------------------------------------------------------


@contextmanager
def full_at(size: int) -> Iterator[None]:
    """Let no file of this process grow past `size` bytes: as a full disk, but of one's own."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def incompressible(number: int) -> bytes:
    return row(f'k{number},"\n', body=os.urandom(3000).hex())


def write_until_full(sink: DurableSink, batches: Sequence[Sequence[bytes]]) -> tuple[str, SinkError]:
    position = ""
    for batch in batches:
        try:
            position = sink.write(batch)
        except SinkError as error:
            return position, error
    pytest.fail("there was room for everything")


def test_a_full_disk_loses_nothing_that_was_confirmed(file: Output) -> None:
    sink = file.sink()
    sink.begin()
    batches = [[incompressible(number) for number in range(first, 2 * first)] for first in (1, 2, 4, 8, 16)]
    with full_at(40_000):
        position, error = write_until_full(sink, batches)
    sink.close()
    done = error.records
    if bytes_written := json.loads(position)["bytes"]:  # of text: what holds tables counts only records
        assert os.path.getsize(f"{file.name}.partial") == bytes_written
    assert done in (1, 3, 7, 15)
    assert "records before are whole, in" in str(error)
    sink = file.sink()
    sink.resume(position)
    sink.write([incompressible(done + 1)])
    sink.finish()
    sink.close()
    assert file.read() == keys(*range(1, done + 2))


def test_a_disk_that_is_full_at_the_end_can_be_tried_again(tmp_path: Path) -> None:
    file = Output(str(tmp_path / "out.parquet"))
    sink = file.sink()
    sink.begin()
    for number in range(5):
        position = sink.write([incompressible(2 * number), incompressible(2 * number + 1)])
    with full_at(10_000), pytest.raises(SinkError, match="10 records before are whole"):
        sink.finish()
    sink.close()
    assert file.read() is None
    sink = file.sink()
    sink.resume(position)
    sink.finish()
    sink.close()
    assert file.read() == keys(*range(10))
    assert os.listdir(tmp_path) == ["out.parquet"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.jsonl.gz", "out.csv.gz"])
@pytest.mark.parametrize("garbage", [b"\n", b'{"key": "tor', b"\x1f\x8b\x08\0\0\0", os.urandom(10_000)])
def test_what_a_power_cut_left_after_the_position_is_cut_off(tmp_path: Path, name: str, garbage: bytes) -> None:
    file = Output(str(tmp_path / name))
    sink = file.sink()
    sink.begin()
    position = sink.write(rows(1, 2))
    sink.close()
    with open(f"{file.name}.partial", "ab") as partial:
        partial.write(garbage)
    assert len(list(file.sink().entries(position))) == 2
    sink = file.sink()
    sink.resume(position)
    sink.write(rows(3))
    sink.finish()
    sink.close()
    assert file.read() == keys(1, 2, 3)


def test_a_torn_part_after_the_position_is_removed(tmp_path: Path) -> None:
    file = Output(str(tmp_path / "out.parquet"))
    sink = file.sink()
    sink.begin()
    position = sink.write(rows(1, 2))
    sink.close()
    (tmp_path / "out.parquet.partial" / "000000000005.parquet").write_bytes(b"PAR1torn")
    (tmp_path / "out.parquet.partial" / "merged").write_bytes(b"PAR1torn")
    sink = file.sink()
    sink.resume(position)
    sink.write(rows(3))
    sink.finish()
    sink.close()
    assert file.read() == keys(1, 2, 3)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv.gz"])
def test_a_file_of_the_same_length_with_other_content_is_not_taken_for_ours(tmp_path: Path, name: str) -> None:
    file = Output(str(tmp_path / name))
    sink = file.sink()
    sink.begin()
    position = sink.write(rows(1, 2))
    sink.close()
    partial = tmp_path / f"{name}.partial"
    partial.write_bytes(b"x" * partial.stat().st_size)
    sink = file.sink()
    with pytest.raises(SinkError, match="does not hold the 2 records that it did"):
        sink.resume(position)
    sink.close()
    partial.rename(file.name)
    sink = file.sink()
    with pytest.raises(SinkError, match="is gone"):
        sink.resume(position)
    with pytest.raises(SinkError, match="changed"):
        sink.reopen(position)
    sink.close()


@pytest.mark.parametrize("name", FILES)
def test_a_place_that_is_taken_away_under_its_writer_is_noticed(tmp_path: Path, name: str) -> None:
    sink = Output(str(tmp_path / name)).sink()
    sink.begin()
    sink.write(rows(1))
    partial = tmp_path / f"{name}.partial"
    partial.rename(tmp_path / "away")
    with pytest.raises(SinkError):
        sink.write(rows(2))
    with pytest.raises(SinkError):
        sink.finish()
    sink.close()
    assert not (tmp_path / name).exists()
    (tmp_path / "away").rename(partial)


def test_a_missing_directory_is_said_at_once(file: Output, tmp_path: Path) -> None:
    lost = Output(str(tmp_path / "no" / os.path.basename(file.name)))
    sink = lost.sink()
    with pytest.raises(SinkError, match=r"the directory .*/no does not exist: make it first"):
        sink.begin()
    sink.close()


def test_a_directory_or_a_pipe_is_no_output_of_a_job(file: Output) -> None:
    os.mkdir(file.name)
    with pytest.raises(OptionError, match="is a directory: name a file"):
        file.sink().begin(overwrite=True)
    os.rmdir(file.name)
    os.mkfifo(file.name)
    with pytest.raises(OptionError, match="no regular file"):
        file.sink().begin(overwrite=True)


def test_a_link_stays_and_what_it_leads_to_is_replaced(file: Output, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = Output(str(tmp_path / "elsewhere" / os.path.basename(file.name)))
    target.finished(rows(1))
    os.symlink(target.name, file.name)
    file.finished(rows(2))
    assert os.path.islink(file.name)
    assert target.read() == keys(2)


def test_the_permissions_of_an_older_output_stay(file: Output) -> None:
    file.finished(rows(1))
    os.chmod(file.name, 0o600)
    file.finished(rows(2))
    assert stat.S_IMODE(os.stat(file.name).st_mode) == 0o600


def test_a_source_is_not_written_over_neither_now_nor_in_the_end(file: Output) -> None:
    for name in (file.name, f"{file.name}.partial"):
        Path(name).write_text("")
        with pytest.raises(OptionError, match="one of the sources"):
            check_apart(file.name, ["-", name])
        os.unlink(name)


def test_errors_of_the_system_become_sentences(file: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    sink = file.sink()
    sink.begin()
    position = sink.write(rows(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(SinkError, match="cannot be written: permission denied; the 1 record before is whole, in"):
            sink.finish()
    sink.close()
    sink = file.sink()
    sink.resume(position)
    sink.finish()
    sink.close()
    assert file.read() == keys(1)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Gives the paths of what was synced since the last call."""
    paths: list[str] = []
    fsync = os.fsync

    def note(file: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{file}"))
        fsync(file)

    def take() -> list[str]:
        taken, paths[:] = paths[:], []
        return taken

    monkeypatch.setattr(os, "fsync", note)
    return take


@pytest.mark.parametrize("name", [name for name in FILES if name != "out.sqlite"])  # SQLite's own are not seen here
def test_files_are_synced_with_their_directories_before_a_call_returns(
    tmp_path: Path, name: str, synced: Callable[[], list[str]]
) -> None:
    file = Output(str(tmp_path / name))
    sink = file.sink()
    directory, partial = os.path.dirname(file.name), f"{file.name}.partial"
    sink.begin()
    assert directory in synced()
    sink.write(rows(1))
    assert any(path.startswith(partial) for path in synced())
    sink.finish()
    before = synced()
    assert before[0].startswith(partial)
    assert directory in before[1:]
    sink.close()
