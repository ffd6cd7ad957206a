"""A job that goes on with sources that have changed, or with a standard input that is given again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest

from tests.jobs.trial import Batch, Doomed, Trial, batch_of, doomed_in
from tests.outputs import rows_in
from workerpool.testing import Origin, Reply

USAGE = 2

FIRST = "/held?first"
"""Not answered to the first run that asks: its first block is not done when it is killed."""

pytestmark = pytest.mark.slow


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        made.script(FIRST, Reply(delay=100), Reply())
        yield made


class Piped(Trial):
    """A trial whose URLs come from standard input."""

    def __init__(self, directory: Path, origin: Origin, doomed: Doomed, paths: list[str]) -> None:
        urls = [origin.url(path) for path in paths]
        batch = Batch(urls=urls, of_urls=[(url, url) for url in urls], sends=len(urls))
        super().__init__(directory, origin, doomed, batch, "out.jsonl")
        self.source = str(directory / "urls.txt")
        self.argv[1] = "-"


def killed(trial: Trial, arrivals: int, **how: object) -> None:
    assert trial.kill_after(arrivals=arrivals, **how) < 0  # type: ignore[arg-type]
    trial.origin.wait_until(lambda: trial.origin.connections_open == 0)  # what was sent before has arrived


def plain(count: int, first: str = "/bytes/1?first") -> list[str]:
    return [first, *(f"/bytes/1?i={number}" for number in range(1, count))]


def test_a_standard_input_given_again_is_passed_by_where_it_was_done(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    trial = Piped(tmp_path, origin, doomed, plain(1500, FIRST))
    killed(trial, 1300, stdin=trial.source)
    assert trial.run(stdin=trial.source) == 0, doomed.said
    trial.check()


@pytest.mark.parametrize("count", [40, 1300])
def test_another_standard_input_is_refused(tmp_path: Path, origin: Origin, doomed: Doomed, count: int) -> None:
    trial = Piped(tmp_path, origin, doomed, plain(count, FIRST))
    killed(trial, count - 10, stdin=trial.source)
    other = tmp_path / "other.txt"
    other.write_text((tmp_path / "urls.txt").read_text().replace("first", "other"))
    assert trial.run(stdin=str(other)) == USAGE
    assert "is not what it was" in doomed.said
    assert "--restart" in doomed.said
    assert not any("other" in arrival.path for arrival in origin.arrivals)
    assert trial.run(stdin=trial.source) == 0, doomed.said
    other.unlink()
    trial.check()


@pytest.mark.parametrize("count", [0, 20, 1100])
def test_a_standard_input_that_ends_sooner_than_before_is_refused(
    tmp_path: Path, origin: Origin, doomed: Doomed, count: int
) -> None:
    trial = Piped(tmp_path, origin, doomed, plain(1300, FIRST))
    killed(trial, 1200, stdin=trial.source)
    other = tmp_path / "other.txt"
    other.write_text("".join((tmp_path / "urls.txt").read_text().splitlines(keepends=True)[:count]))
    assert trial.run(stdin=str(other)) == USAGE
    assert f"ends after standard input, line {count:,}" in doomed.said
    assert trial.run(stdin=trial.source) == 0, doomed.said
    other.unlink()
    trial.check()


def test_retry_rounds_are_refused_for_a_source_that_can_be_read_once(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    trial = Trial(tmp_path, origin, doomed, batch_of(origin, 5, random.Random(1)), "out.jsonl", "--retry-rounds", "1")
    trial.argv[1] = "/dev/stdin"
    (tmp_path / "pipe").symlink_to("/dev/null")
    trial.argv[1] = str(tmp_path / "pipe")
    assert trial.run("--input-format", "txt") == USAGE
    assert "--retry-rounds reads the sources again" in doomed.said


# -- files that have changed ------------------------------------------------------------------------------------------


def edit_what_was_read(lines: list[str]) -> list[str]:
    return [lines[0].replace("/bytes", "/status"), *lines[1:]]


def cut_what_was_read(lines: list[str]) -> list[str]:
    return lines[:3]


def edit_the_last_line_read(lines: list[str]) -> list[str]:
    return [*lines[:250], lines[250].replace("i=", "j="), *lines[251:]]


@pytest.mark.parametrize("change", [edit_what_was_read, cut_what_was_read, edit_the_last_line_read])
def test_a_file_that_was_changed_where_it_was_read_is_refused_and_goes_on_once_it_is_put_back(
    tmp_path: Path, origin: Origin, doomed: Doomed, change: Callable[[list[str]], list[str]]
) -> None:
    trial = file_of(tmp_path, origin, doomed, 500)
    killed(trial, 300)
    text = (tmp_path / "urls.txt").read_text()
    (tmp_path / "urls.txt").write_text("".join(change(text.splitlines(keepends=True))))
    sent = origin.requests
    assert trial.run() == USAGE
    assert "has changed since the run began" in doomed.said
    assert "put the file back as it was" in doomed.said
    assert origin.requests == sent
    (tmp_path / "urls.txt").write_text(text)
    assert trial.run() == 0, doomed.said
    trial.check()


def test_a_file_that_was_only_touched_or_added_to_goes_on(tmp_path: Path, doomed: Doomed) -> None:
    """Few requests are answered before a kill, however late it comes, so that of so many hosts none is read past."""
    with Origin([f"127.0.0.{number}" for number in range(1, 41)]) as origin:
        answered = 0
        origin.default = lambda arrival: Reply(delay=100 if origin.requests > answered else 0)
        trial = file_of(tmp_path, origin, doomed, 2500)
        for change in ((tmp_path / "urls.txt").touch, lambda: None):
            answered = origin.requests + 100
            killed(trial, 100)
            change()
        with open(tmp_path / "urls.txt", "a") as file:
            file.write(origin.url("/bytes/1?more\n"))
        trial.batch.of_urls.append((origin.url("/bytes/1?more"),) * 2)
        trial.batch.sends += 1
        answered = 1_000_000
        ended = trial.run()
        if ended == USAGE and "read it to its end" in doomed.said:
            pytest.skip("the kill came late, when all of the file had been read: then nothing may be added to it")
        assert ended == 0, doomed.said
        assert "has changed since the run began" in doomed.said
        trial.check()


def test_a_file_that_is_gone_or_is_something_else_is_refused(tmp_path: Path, origin: Origin, doomed: Doomed) -> None:
    trial = file_of(tmp_path, origin, doomed, 200)
    killed(trial, 100)
    source = tmp_path / "urls.txt"
    source.rename(tmp_path / "away")
    assert trial.run() == USAGE
    assert "does not exist" in doomed.said
    source.mkdir()
    assert trial.run() == USAGE
    assert "is a directory" in doomed.said
    source.rmdir()
    source.symlink_to("/dev/null")
    assert trial.run() == USAGE
    assert "it is no file on a disk" in doomed.said
    source.unlink()
    (tmp_path / "away").rename(source)
    assert trial.run() == 0, doomed.said
    trial.check()


def file_of(directory: Path, origin: Origin, doomed: Doomed, count: int) -> Trial:
    urls = [origin.url(path, address) for path, address in zip(plain(count), cycle(origin.addresses), strict=False)]
    batch = Batch(urls=urls, of_urls=[(url, url) for url in urls], sends=count)
    return Trial(directory, origin, doomed, batch, "out.jsonl")


# -- options, outputs and finished runs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [("--ordered",), ("--include", "body"), ("--format", "csv"), ("--only-changed",), ("--dedupe",)]
)
def test_a_run_is_not_continued_with_other_options(
    tmp_path: Path, origin: Origin, doomed: Doomed, options: tuple[str, ...]
) -> None:
    trial = file_of(tmp_path, origin, doomed, 100)
    killed(trial, 50)
    assert trial.run(*options) == USAGE
    assert options[0] in doomed.said
    assert "--restart" in doomed.said
    assert trial.run() == 0, doomed.said
    trial.check()


def test_a_finished_run_begins_anew_and_its_output_stays_until_the_new_one_is_whole(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    trial = file_of(tmp_path, origin, doomed, 150)
    assert trial.run() == 0, doomed.said
    before = (tmp_path / "out.jsonl").read_bytes()
    killed(trial, 50)
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert trial.run() == 0, doomed.said
    assert (tmp_path / "out.jsonl").read_bytes() != before
    trial.check(extra=150 + 8)


def test_restart_gives_an_unfinished_run_up(tmp_path: Path, origin: Origin, doomed: Doomed) -> None:
    trial = file_of(tmp_path, origin, doomed, 150)
    killed(trial, 100)
    sent = origin.requests
    assert trial.run("--restart") == 0, doomed.said
    assert origin.requests == sent + 150
    trial.check(extra=150)


def test_two_jobs_do_not_write_to_one_output(tmp_path: Path, origin: Origin, doomed: Doomed) -> None:
    trial = file_of(tmp_path, origin, doomed, 150)
    killed(trial, 100)
    other = [str(tmp_path / "other") if word == str(tmp_path / "job") else word for word in trial.argv]
    assert doomed.run(other) == USAGE
    assert "another job that writes to" in doomed.said
    assert trial.run() == 0, doomed.said
    trial.check()


def test_two_processes_do_not_run_one_job(tmp_path: Path, origin: Origin, doomed: Doomed) -> None:
    trial = file_of(tmp_path, origin, doomed, 150)
    with doomed_in(tmp_path / "job-of-another") as other:
        (tmp_path / "job-of-another").mkdir()
        (tmp_path / "urls.txt").write_text(origin.url("/delay/1\n"))
        other.start(trial.argv)
        origin.wait_for(1)
        assert trial.run() == 3
        assert f"process {other.pid} on " in doomed.said
        assert other.wait() == 0
    assert [row["status"] for row in rows_in(trial.output) or []] == [200]


def test_failures_of_a_finished_run_are_fetched_again_after_a_kill_too(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    batch = batch_of(origin, 200, random.Random(3), posts=False)
    trial = Trial(tmp_path, origin, doomed, batch, "out.jsonl")
    assert trial.run() == 1
    failed = sum(not row["ok"] for row in rows_in(trial.output) or [])
    assert failed > 3
    before = (tmp_path / "out.jsonl").read_bytes()
    for kind, at in (("fsync", 5), ("replace", 1)):
        assert trial.run("--retry-failed", kind=kind, at=at) < 0
        assert (tmp_path / "out.jsonl").read_bytes() == before
    assert trial.run("--retry-failed") == 1, doomed.said
    trial.check(extra=3 * 2 * failed)


@pytest.mark.parametrize(
    ("options", "restart"),
    [(("--only-changed",), ()), (("--skip-recent", "1h"), ("--restart",)), ((), ("--restart",))],
    ids=["changed", "recent, restart", "restart"],
)
def test_what_was_seen_by_no_finished_run_is_no_reason_to_ask_less(
    tmp_path: Path, origin: Origin, doomed: Doomed, options: tuple[str, ...], restart: tuple[str, ...]
) -> None:
    urls = [origin.url(f"/etag/{number % 50}") for number in range(200)]
    batch = Batch(urls=urls, of_urls=[(url, url) for url in urls], sends=200)
    trial = Trial(tmp_path, origin, doomed, batch, "out.jsonl", *options, "--rate", "200/s")
    killed(trial, 150)  # records have been moved, and what was seen was noted with them
    assert trial.run(*restart) == 0, doomed.said
    rows = trial.check(extra=200)
    assert [row["status"] for row in rows] == [200] * 200
    assert not any("unchanged" in row or "skipped" in row for row in rows)
