"""Jobs from outside: runs that end, are killed and go on, and what `status`, `jobs` and `reconcile` say of them.

A run that gets a signal is a process of its own; the rest is carried out in this one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import COMMAND, PATIENCE, environment, run_here
from tests.conftest import require, some
from tests.forked import ForkedCommand
from tests.outputs import FILES, rows_in
from tests.postgres import PASSWORD, Server
from tests.waiting import eventually
from workerpool.testing import Origin, Reply

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


class Place:
    """The working directory, with a source, a job and an output, and the commands that are run there."""

    def __init__(self, directory: Path, said: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.source = directory / "urls.txt"
        self.job = directory / "crawl.job"
        self.output = directory / "out.jsonl"
        self.pace = 0.1
        self._said = said

    def write(self, *lines: str, name: str = "urls.txt") -> Path:
        path = self.directory / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def words(self, *more: str) -> list[str]:
        return ["run", str(self.source), "-o", str(self.output), "--job", "crawl.job", "--no-progress", *more]

    def run(self, *more: str) -> Done:
        return self.command(*self.words(*more))

    def command(self, *words: str, stdin: bytes | None = None) -> Done:
        return run_here(words, self._said, stdin)

    def apart(self, *words: str, prefix: Sequence[str] = (), **options: Any) -> Done:
        """The command in a process of its own."""
        return subprocess.run(
            [*prefix, *COMMAND, *words], cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE, check=False, env=environment(), **options,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.command("status", "crawl.job", "--json").stdout))

    def reconcile(self, *more: str) -> dict[str, Any]:
        """What it says, and its exit code as `code`."""
        done = self.command("reconcile", "crawl.job", "--json", *more)
        assert done.stdout, done.stderr
        return {**json.loads(done.stdout), "code": done.returncode}

    @contextmanager
    def running(self, *more: str) -> Iterator[ForkedCommand]:
        """A run that has ended at least two inputs, killed by its id in the end."""
        with ForkedCommand(*self.words(*more), cwd=self.directory, text=True, env=environment()) as process:
            assert eventually(lambda: self._is_under_way(process.pid), PATIENCE)
            yield process

    def _is_under_way(self, pid: int) -> bool:
        """Whether the process fetches, and takes signals: before that it has no heartbeat."""
        beat = self.job / "heartbeat"
        return beat.exists() and json.loads(beat.read_text())["pid"] == pid and self.status()["ok"] > 1


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return Place(tmp_path, capfd)


@pytest.fixture
def slow(place: Place, origin: Origin) -> Place:
    """A source of 100 answers that each take its `pace`: 0 lets a run end that has been looked at."""
    origin.script("/slow", lambda arrival: Reply(delay=place.pace))
    place.write(*(origin.url(f"/slow?n={n}") for n in range(100)))
    return place


def last_line(done: Done) -> str:
    return done.stderr.splitlines()[-1] if done.stderr else ""


def edit(job: Path, statement: str, *values: Any) -> None:
    """Change the ledger behind everybody's back."""
    with closing(sqlite3.connect(job / "ledger.sqlite")) as database, database:
        database.execute(statement, values)


# -- reconcile --------------------------------------------------------------------------------------------------------


def test_a_finished_job_is_proven(place: Place, origin: Origin) -> None:
    place.write(*(origin.url(f"/bytes/{n}") for n in range(1, 1500)), "", "no url", origin.url("/status/404"))
    assert place.run().returncode == 1
    done = place.command("reconcile", "crawl.job")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "crawl.job, run 1: proven"
    assert "1,501 (1,499 ok, 2 failed)" in done.stdout
    assert place.reconcile().items() >= {"code": 0, "proven": True, "inputs": 1501, "records": 1501, "held": 0}.items()


@pytest.mark.parametrize("output", FILES)
def test_odd_keys_and_rows_of_many_lines_are_the_same_in_every_output(
    place: Place, origin: Origin, output: str
) -> None:
    require(output != "out.parquet" or importlib.util.find_spec("pyarrow"), "pyarrow is not installed")
    place.source = place.directory / "rows.csv"
    url = origin.url("/bytes/1")
    place.source.write_text(
        f'url,key\n{url},"two\nlines"\n\n{url},"a ""quote"", a comma"\n{url},ключ\n{url},=1+1\n{url},\nno url,\n'
    )
    place.write(
        json.dumps({"url": url, "key": "\ud800 alone"}), json.dumps({"url": url, "key": 7}), "no JSON", name="b.jsonl"
    )
    place.output = place.directory / output
    done = place.command("run", "rows.csv", "b.jsonl", "-o", output, "--job", "crawl.job", "--quiet")
    assert done.returncode == 1, done.stderr
    assert place.reconcile().items() >= {"code": 0, "inputs": 9, "records": 9}.items()


@pytest.mark.parametrize("output", FILES)
def test_files_with_names_that_are_no_utf_8_are_like_any(place: Place, origin: Origin, output: str) -> None:
    place.source, place.output = place.directory / "urls \udcff.txt", place.directory / f"\udcff {output}"
    place.write(origin.url("/bytes/7"), "no url", name=place.source.name)
    for more in ((), (), ("--retry-failed",)):
        done = place.run(*more)
        assert done.returncode == 1, done.stderr
    assert place.status().items() >= {"state": "finished", "run": 2, "output": str(place.output)}.items()
    assert place.reconcile().items() >= {"code": 0, "inputs": 2, "records": 2}.items()
    for command in ("status", "reconcile", "report"):
        done = place.command(command, "crawl.job")
        assert done.returncode == 0, done.stderr
    assert len(rows_in(str(place.output.rename(output))) or []) == 2


def test_a_record_that_is_missing_twice_or_foreign_is_named(place: Place, origin: Origin) -> None:
    urls = [origin.url(f"/bytes/{n}") for n in range(1, 21)]
    place.write(*urls)
    place.run()
    lines = place.output.read_text().splitlines(keepends=True)
    gone = json.loads(lines[3])["url"]
    foreign = lines[5].replace("/bytes/", "/elsewhere?token=hush&n=")
    place.output.write_text("".join([*lines[:3], *lines[4:], lines[7], foreign]))
    found = place.reconcile()
    assert (found["code"], found["proven"]) == (1, False)
    said = "\n".join(found["wrong"])
    assert "20 records should be there, and 21 are" in said
    assert f"{gone} has 1 record too few: 0 of 1" in said
    assert f"{json.loads(lines[7])['url']} has 1 record too many: 2 in place of 1" in said
    assert "is no input" in said
    assert "hush" not in said


def test_a_packed_output_that_is_damaged_leaves_its_records_unproven(place: Place, origin: Origin) -> None:
    place.write(*(origin.url(f"/bytes/{n}") for n in range(1, 21)))
    place.output = place.directory / "out.jsonl.gz"
    place.run()
    packed = bytearray(place.output.read_bytes())
    packed[10] = 0xFF  # where the data begins, which is of no type then
    place.output.write_bytes(packed)
    found = place.reconcile()
    assert (found["code"], found["wrong"]) == (1, [])
    (said,) = found["unproven"]
    assert said == "the records cannot be read back: Error -3 while decompressing data: invalid block type"


def test_records_that_were_swapped_for_others_are_found_though_their_number_is_right(
    place: Place, origin: Origin
) -> None:
    place.write(*(origin.url(f"/bytes/{n}") for n in range(1, 21)))
    place.run()
    lines = place.output.read_text().splitlines(keepends=True)
    place.output.write_text("".join([*lines[:-1], lines[0]]))
    said = "\n".join(place.reconcile()["wrong"])
    assert f"{json.loads(lines[-1])['url']} has 1 record too few" in said
    assert f"{json.loads(lines[0])['url']} has 1 record too many" in said


def test_an_unfinished_run_proves_nothing_and_says_what_is_left(slow: Place, origin: Origin) -> None:
    """The failure's record is still in the ledger."""
    slow.source.write_text(origin.url("/status/404\n") + slow.source.read_text())
    assert slow.run("--workers", "4", "--deadline", "500ms").returncode == 4
    found = slow.reconcile()
    assert (found["code"], found["wrong"], found["held"]) == (1, [], 1)
    assert found["inputs"] == 101
    assert found["ended"] == found["records"] + 1 < 101
    assert found["ended"] + found["queued"] + found["deferred"] == 101
    (said,) = found["unproven"]
    assert f"{found['queued']} inputs are still queued and {found['deferred']} deferred: run the same command" in said
    slow.pace = 0
    assert slow.run().returncode == 1
    assert slow.reconcile()["code"] == 0


def test_nothing_is_proven_while_a_run_holds_the_job(slow: Place) -> None:
    with slow.running("--workers", "2") as process:
        done = slow.command("reconcile", "crawl.job")
        assert (done.returncode, done.stdout) == (3, "")
        assert f"process {process.pid} on" in done.stderr
        assert process.poll() is None


def test_a_killed_run_that_went_on_is_proven(slow: Place) -> None:
    with slow.running("--workers", "4") as process:
        process.kill()
        process.wait(PATIENCE)
    before = slow.reconcile()
    assert (before["code"], before["wrong"]) == (1, [])
    slow.pace = 0
    done = slow.run()
    assert done.returncode == 0
    assert f"After {before['ended']} inputs that had ended before, this time:" in done.stderr
    assert f"{100 - before['ended']} requests in" in done.stderr
    assert last_line(done) == "workerpool: crawl.job: run 1 finished: 100 inputs, 100 ok (exit 0)"
    assert slow.reconcile().items() >= {"code": 0, "records": 100}.items()


def test_a_ledger_that_says_too_little_or_too_much_is_found_out(place: Place, origin: Origin) -> None:
    url = origin.url("/bytes/1")
    place.write(url, url, "", url)
    place.run()
    for byte, said in (
        ("00080108", "urls.txt, line 1 is an input that has no outcome"),
        ("08010108", "urls.txt, line 2 is an input, but the ledger knows of none"),
        ("08080808", "urls.txt, line 3 is no input, but the ledger says what has become of one"),
    ):
        states = bytes.fromhex(byte) + bytes([1]) * 1020
        edit(place.job, "UPDATE blocks SET states = ?", states)
        found = place.reconcile()
        assert found["code"] == 1
        assert any(sentence.endswith(said) for sentence in found["wrong"]), found["wrong"]


def test_a_source_that_has_changed_or_gone_is_said(place: Place, origin: Origin) -> None:
    place.write(*(origin.url(f"/bytes/{n}") for n in range(1, 21)))
    place.run()
    text = place.source.read_text()
    place.source.write_text(text.replace("/bytes/7\n", "/bytes/8\n"))
    found = place.reconcile()
    assert found["code"] == 1
    assert "line 1 to 20 the source is not what it was" in found["wrong"][0]
    place.source.write_text(text + origin.url("/bytes/21\n"))
    assert place.reconcile()["code"] == 1
    place.source.unlink()
    found = place.reconcile()
    assert (found["code"], found["wrong"]) == (1, [])
    assert "does not exist" in found["unproven"][0]
    place.source.write_text(text)
    assert place.reconcile()["code"] == 0


def test_what_came_by_standard_input_is_counted_only(place: Place, origin: Origin) -> None:
    lines = "".join(f"{origin.url('/bytes/1')}?n={n}\n" for n in range(20))
    done = place.command("run", "-", "-o", "out.jsonl", "--job", "crawl.job", "--quiet", stdin=lines.encode())
    assert done.returncode == 0, done.stderr
    found = place.reconcile()
    assert found.items() >= {"code": 0, "inputs": 20, "records": 20}.items()
    assert "standard input cannot be read a second time" in found["notes"][0]
    kept = place.output.read_text().splitlines(keepends=True)
    place.output.write_text("".join(kept[1:]))
    assert place.reconcile()["code"] == 1


def test_unchanged_inputs_without_a_record_are_proven_too(place: Place, origin: Origin) -> None:
    place.write(*(origin.url(f"/etag/v{n}") for n in range(20)), origin.url("/bytes/1"))
    assert place.run("--only-changed").returncode == 0
    done = place.run("--only-changed")
    assert last_line(done) == "workerpool: crawl.job: run 2 finished: 21 inputs, 1 ok, 20 unchanged (exit 0)"
    assert place.reconcile().items() >= {"code": 0, "inputs": 21, "records": 1}.items()


def test_a_damaged_ledger_and_a_directory_without_one_are_refused(place: Place) -> None:
    for command in ("status", "reconcile"):
        done = place.command(command, "crawl.job")
        assert done.returncode == 2
        assert "crawl.job holds no job" in done.stderr
    assert not place.job.exists()
    place.job.mkdir()
    (place.job / "ledger.sqlite").write_bytes(b"this is no database, and long enough to be told from one" * 100)
    for command in ("status", "reconcile"):
        done = place.command(command, "crawl.job")
        assert done.returncode == 2
        assert "damaged" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_lies_beside_a_finished_output_is_not_taken_for_it(place: Place, origin: Origin) -> None:
    """So it is after a run with --retry-failed that was killed at its very beginning."""
    place.write(origin.url("/bytes/1"), origin.url("/status/404"))
    place.run()
    lines = place.output.read_text().splitlines(keepends=True)
    Path(f"{place.output}.partial").write_text(lines[0])
    assert place.reconcile().items() >= {"code": 0, "records": 2}.items()


# -- status and jobs --------------------------------------------------------------------------------------------------


def test_status_looks_at_a_run_without_disturbing_it(slow: Place) -> None:
    with slow.running("--workers", "4") as process:
        text = slow.command("status", "crawl.job").stdout
        assert text.startswith(f"crawl.job: run 1, running (process {process.pid}")
        status = slow.status()
        assert status["state"] == "running"
        assert f"process {process.pid} on" in status["holder"]
        assert status["ok"] + status["queued"] == 100
        slow.pace = 0
        assert eventually(lambda: slow.status()["state"] == "finished", PATIENCE)
        assert process.wait(PATIENCE) == 0
    assert slow.status().items() >= {"state": "finished", "ok": 100, "queued": 0, "last": "finished"}.items()


def test_status_of_a_killed_run_says_that_it_ended_without_a_word_and_how_to_go_on(slow: Place) -> None:
    with slow.running("--workers", "2") as process:
        process.kill()
        process.wait(PATIENCE)
    status = slow.status()
    assert status.items() >= {"state": "interrupted", "holder": None, "last": None, "run": 1, "continued": 0}.items()
    text = slow.command("status", "crawl.job").stdout
    assert "it was killed, or the machine went down" in text
    assert "Run the same command again, and it goes on." in text
    assert max(len(line) for line in text.splitlines() if str(slow.output) not in line) <= 80


def test_status_says_how_the_last_execution_ended(slow: Place) -> None:
    slow.run("--workers", "2", "--deadline", "500ms")
    status = slow.status()
    assert status["last"] == "deadline"
    assert status["waiting"] == 0
    assert status["deferred"] > 0
    assert status["ok"] + status["deferred"] + status["queued"] == 100
    with slow.running("--workers", "2") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
    assert slow.status().items() >= {"last": "SIGTERM", "state": "interrupted", "continued": 1}.items()
    assert "SIGTERM" in slow.command("status", "crawl.job").stdout


def test_looking_at_a_finished_job_leaves_no_trace(place: Place, origin: Origin) -> None:
    place.write(origin.url("/bytes/1"))
    place.run()
    before = {path.name: path.stat().st_mtime_ns for path in place.job.iterdir()}
    assert place.status()["state"] == "finished"
    assert "crawl.job" in place.command("jobs").stdout
    assert {path.name: path.stat().st_mtime_ns for path in place.job.iterdir()} == before


@pytest.mark.parametrize("is_killed", some([True, False], 2))
def test_a_job_in_a_directory_that_is_only_to_be_read_can_be_looked_at(slow: Place, is_killed: bool) -> None:
    prefix: list[str] = []
    if os.geteuid() == 0:
        require(shutil.which("setpriv"), "setpriv, without which root may write everywhere")
        prefix = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]
    if is_killed:
        with slow.running("--workers", "2") as process:
            process.kill()
            process.wait(PATIENCE)
        assert (slow.job / "ledger.sqlite-wal").exists()
    else:
        slow.pace = 0
        slow.run()
    for path in (*slow.job.iterdir(), slow.job):
        path.chmod(0o555 if path == slow.job else 0o444)
    try:
        for command in ("status", "reconcile"):
            done = slow.apart(command, "crawl.job", "--json", prefix=prefix)
            assert done.returncode == (1 if is_killed and command == "reconcile" else 0), done.stderr
            assert json.loads(done.stdout)["directory"] == "crawl.job"
        if is_killed:  # the log cannot be read without its index, and that cannot be made here
            slow.job.chmod(0o755)
            (slow.job / "ledger.sqlite-shm").unlink()
            slow.job.chmod(0o555)
            done = slow.apart("status", "crawl.job", prefix=prefix)
            assert done.returncode == 2
            assert "or its log beside it, cannot be read" in done.stderr
    finally:
        slow.job.chmod(0o755)


def test_jobs_lists_what_is_one_or_two_levels_below(place: Place, origin: Origin) -> None:
    place.write(origin.url("/bytes/1"))
    place.run()
    for name in ("deep/b.job", "deep/deeper/c.job"):
        shutil.copytree(place.job, place.directory / name)
    (place.directory / "broken").mkdir()
    (place.directory / "broken" / "ledger.sqlite").write_bytes(b"no database at all" * 100)
    done = place.command("jobs")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["broken", "unreadable"],
        ["crawl.job", "finished"],
        ["deep/b.job", "finished"],
    ]
    assert lines[1].endswith("1 ok")
    listed = json.loads(place.command("jobs", "deep", "crawl.job", "--json").stdout)
    assert [job["directory"] for job in listed] == ["deep/b.job", "deep/deeper/c.job", "crawl.job"]
    assert place.command("jobs", "deep/deeper/c.job").stdout.startswith("deep/deeper/c.job  finished")
    (place.directory / "empty").mkdir()
    assert place.command("jobs", "empty").stdout == "No job in empty.\n"


# -- the heartbeat ----------------------------------------------------------------------------------------------------


def test_the_heartbeat_tells_of_a_run_while_it_goes_on_and_of_its_end(slow: Place) -> None:
    with slow.running("--workers", "2") as process:
        beat = json.loads((slow.job / "heartbeat").read_text())
        slow.pace = 0
        assert beat.items() >= {"pid": process.pid, "run": 1, "phase": "fetching"}.items()
        assert process.wait(PATIENCE) == 0
    end = json.loads((slow.job / "heartbeat").read_text())
    assert end.items() >= {"phase": "ended", "done": 100, "ok": 100, "failed": 0, "pending": 0}.items()
    assert end["at"] >= beat["at"]
    assert not (slow.job / "heartbeat.new").exists()


def test_a_heartbeat_that_cannot_be_written_ends_no_run(place: Place, origin: Origin) -> None:
    place.write(origin.url("/bytes/1"))
    (place.job / "heartbeat").mkdir(parents=True)
    done = place.run()
    assert done.returncode == 0, done.stderr
    assert place.status()["heartbeat"] is None


# -- the last word and the exit code ----------------------------------------------------------------------------------


def test_the_last_word_and_the_exit_code_are_about_the_whole_run(slow: Place, origin: Origin) -> None:
    """The failure is in the first execution, and the second one has none."""
    lines = slow.source.read_text()
    slow.source.write_text(origin.url("/status/404\n") + lines)
    first = slow.run("--workers", "4", "--deadline", "500ms", "--quiet")
    assert first.returncode == 4
    (line,) = first.stderr.splitlines()
    assert line.startswith("workerpool: crawl.job: run 1 stopped at the deadline: ")
    assert ", 1 failed, " in line
    assert line.endswith(" queued; run it again, and it goes on (exit 4)") or " deferred; run it again" in line
    slow.pace = 0
    second = slow.run()
    assert second.returncode == 1
    assert ", 0 failed" not in second.stderr
    assert last_line(second) == "workerpool: crawl.job: run 1 finished: 101 inputs, 100 ok, 1 failed (exit 1)"


def test_quiet_says_nothing_of_a_run_that_was_well(place: Place, origin: Origin) -> None:
    place.write(origin.url("/bytes/1"))
    done = place.run("--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_failure_that_is_retried_well_makes_the_whole_run_well(place: Place, origin: Origin) -> None:
    place.write(origin.url("/bytes/1"), origin.url("/flaky/1"))
    assert place.run("--retries", "0").returncode == 1
    done = place.run("--retries", "0", "--retry-failed")
    assert last_line(done) == "workerpool: crawl.job: run 1 finished: 2 inputs, 2 ok (exit 0)"
    assert done.returncode == 0
    assert place.reconcile()["code"] == 0


def test_an_interrupted_run_says_how_to_go_on_also_if_quiet(slow: Place) -> None:
    with slow.running("--workers", "2", "--quiet") as process:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    (line,) = said.splitlines()
    assert line.startswith("workerpool: crawl.job: run 1 interrupted by SIGINT: ")
    assert line.endswith("; run it again, and it goes on (exit 130)")


def test_a_second_signal_ends_a_job_at_once_with_its_last_word(place: Place, origin: Origin) -> None:
    place.write(origin.url("/bytes/1"), origin.url("/bytes/2"), origin.url("/delay/50"))
    with place.running() as process:
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert "SIGTERM: finishing 1 request in flight" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert "crawl.job: run 1 stopped by a second SIGTERM" in said
    assert place.status()["last"] == "SIGTERM"


def test_a_disk_without_room_is_told_of_in_the_last_line_and_gone_on_with(place: Place, origin: Origin) -> None:
    place.write(*(origin.url(f"/bytes/1?n={n}") for n in range(1500)))
    done = place.apart(
        *place.words("--quiet"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000)),
    )
    assert done.returncode == 5, done.stderr
    assert "file too large" in done.stderr.lower() or "disk i/o error" in done.stderr.lower()
    # What was done is said too if the ledger can still be read: which of its files met the limit first is chance.
    assert re.fullmatch(
        "workerpool: crawl.job: run 1 stopped, as its results could not be written(: [0-9,]+ inputs? done, .*)?; "
        r"run it again, and it goes on \(exit 5\)",
        last_line(done),
    )
    assert place.reconcile()["wrong"] == []
    assert place.run("--quiet").returncode == 0
    assert place.reconcile().items() >= {"code": 0, "records": 1500}.items()


def test_a_held_job_is_said_in_the_last_line_and_waited_for_if_asked(slow: Place) -> None:
    with slow.running("--workers", "4") as process:
        done = slow.run("--quiet")
        assert done.returncode == 3
        assert f"(process {process.pid} on" in last_line(done)
        assert last_line(done).endswith("(exit 3)")
        slow.pace = 0.02  # for half a second more
        waited = slow.run("--wait-lock", "50s")
        assert process.wait(PATIENCE) == 0
    assert waited.returncode == 0, waited.stderr
    assert last_line(waited) == "workerpool: crawl.job: run 2 finished: 100 inputs, 100 ok (exit 0)"


# -- outputs with a password ------------------------------------------------------------------------------------------


def test_another_output_than_the_jobs_is_refused_without_its_password(place: Place, origin: Origin) -> None:
    place.write(origin.url("/bytes/1"))
    place.run()
    done = place.command("reconcile", "crawl.job", "-o", "postgresql://me:hush@db/t")
    assert done.returncode == 2
    assert "the job's output is" in done.stderr
    assert "hush" not in done.stderr
    assert place.reconcile("-o", str(place.output))["code"] == 0


def test_a_table_whose_password_no_job_keeps_is_compared_once_that_is_given(
    place: Place, origin: Origin, postgres: Server
) -> None:
    place.write(*(origin.url(f"/bytes/1?n={n}") for n in range(20)))
    url = postgres.url("compared")
    done = place.command("run", str(place.source), "-o", url, "--job", "crawl.job", "--quiet")
    assert done.returncode == 0, done.stderr
    without = place.command("reconcile", "crawl.job")
    assert without.returncode == 1
    assert "the records cannot be read back" in without.stdout
    assert "with its password, by -o" in " ".join(without.stdout.split())
    with_it = place.command("reconcile", "crawl.job", "-o", url)
    assert with_it.returncode == 0, with_it.stdout
    for done in (without, with_it, place.command("status", "crawl.job"), place.command("jobs", "--json")):
        assert PASSWORD not in done.stdout + done.stderr


def test_inputs_that_share_one_answer_are_proven_too(place: Place, origin: Origin) -> None:
    place.write(*[origin.url("/bytes/1"), origin.url("/bytes/2")] * 20)
    assert place.run("--dedupe").returncode == 0
    assert len(origin.arrivals) == 2
    assert place.reconcile().items() >= {"code": 0, "inputs": 40, "records": 40}.items()
