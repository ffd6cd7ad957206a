"""`workerpool.Job` as a program uses it: what it may be given, how it ends, and how it goes on."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from workerpool import Job, OptionError, Outcome, Request, RunResult, WorkerPool
from workerpool.batch.job.status import look_at
from workerpool.batch.record import Record
from workerpool.cli import main
from workerpool.errors import JobError, JobHeld, SinkError, SourceError
from workerpool.testing import Arrival, Origin, Reply

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 30.0
"""Seconds after which a process that should have ended counts as hung."""


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


def records_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_text().splitlines()]


def interrupted(job: Job, after: int, **options: Any) -> None:
    """Run `job`, and end it by an error of its observer after so many outcomes."""

    class Enough(Exception):
        pass

    seen = 0

    def observe(outcome: Outcome) -> None:
        nonlocal seen
        seen += 1
        if seen >= after:
            raise Enough

    with pytest.raises(Enough):
        job.run(observe=observe, **options)


# -- what it is given -------------------------------------------------------------------------------------------------


def test_requests_go_as_they_are_and_paths_may_be_paths(tmp_path: Path, origin: Origin) -> None:
    requests = [
        origin.url("/bytes/3"),
        Request(origin.url("/echo"), "POST", json={"n": 1}, headers={"X-Mine": "yes"}, key="posted"),
        Request(origin.url("/echo?put"), "PUT", data=b"body", key="put"),
        Request("not a URL", key="junk"),
    ]
    result = Job(tmp_path / "a.job", requests=requests, output=tmp_path / "out.jsonl").run()
    assert (result.read, result.ok, result.failed, result.is_whole, result.has_failed) == (4, 3, 1, True, True)
    assert {record["key"]: record["status"] for record in records_of(tmp_path / "out.jsonl")} == {
        origin.url("/bytes/3"): 200, "posted": 200, "put": 200, "junk": None,
    }  # fmt: skip
    posted = next(arrival for arrival in origin.arrivals if arrival.method == "POST")
    assert (json.loads(posted.body), posted.headers["X-Mine"]) == ({"n": 1}, "yes")


def test_files_are_sources_as_for_the_command(tmp_path: Path, origin: Origin) -> None:
    (tmp_path / "urls.txt").write_text(f"{origin.url('/bytes/1')}\n{origin.url('/bytes/2')}\n")
    assert Job(tmp_path / "a.job", [tmp_path / "urls.txt"], tmp_path / "out.jsonl").run().written == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give one of the two"),
        ({"sources": ["a.txt"], "requests": ["http://a/"]}, "give one of the two"),
        ({"sources": "a.txt"}, r"write \['a.txt'\]"),
        ({"requests": "http://user:hush@a/"}, "requests is a str: give a list"),
        ({"requests": Request("http://a/")}, "requests is a Request"),
        ({"requests": {"http://a/", "http://b/"}}, "requests is a set"),
        ({"requests": 7}, "requests is a int"),
        ({"requests": [], "include": "body"}, r"write \['body'\]"),
        ({"requests": [], "include": ["cookies"]}, "'cookies' is unknown"),
        ({"requests": [], "retry_rounds": -1}, "retry_rounds=-1"),
        ({"requests": [], "wait_lock": -1}, "wait_lock=-1"),
        ({"requests": [], "skip_recent": "12h"}, "skip_recent='12h'"),
        ({"requests": [], "window": 0}, "window=0"),
        ({"requests": [], "output": print}, "at_least_once=True"),
        ({"requests": iter([]), "retry_rounds": 1}, "read once"),
        ({"requests": [], "retry_failed": True, "restart": True}, "restart=True"),
    ],
)
def test_options_that_cannot_work_are_refused_before_there_is_a_directory(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionError, match=said) as refused:
        Job(**{"directory": tmp_path / "a.job", "output": tmp_path / "out.jsonl", **options}).run()
    assert "hush" not in str(refused.value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("options", [{"max_workers": 0}, {"rates": "5/s"}, {"deadline": -1}])
def test_options_of_the_pool_that_are_refused_leave_the_job_as_it_is(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Job(tmp_path / "a.job", requests=[], output=tmp_path / "out.jsonl").run(**options)
    assert not [*tmp_path.iterdir()]


def test_what_is_neither_a_url_nor_a_request_ends_the_run_which_says_its_number(tmp_path: Path, origin: Origin) -> None:
    good = [origin.url(f"/bytes/{n}") for n in range(1, 6)]
    output = tmp_path / "out.jsonl"
    with pytest.raises(OptionError, match="int is neither a URL nor a Request \\(number 6 of the requests\\)"):
        Job(tmp_path / "a.job", requests=[*good, 7], output=output).run()  # type: ignore[list-item]
    assert Job(tmp_path / "a.job", requests=[*good, origin.url("/bytes/6")], output=output).run().is_whole
    assert Counter(record["url"] for record in records_of(output)) == Counter([*good, origin.url("/bytes/6")])


def test_a_body_that_is_used_up_by_being_sent_is_refused_in_a_list_and_made_anew_by_a_function(
    tmp_path: Path, origin: Origin
) -> None:
    def body() -> Iterator[bytes]:
        yield b"all of it"

    def requests() -> Iterator[Request]:
        yield Request(origin.url("/flaky/1"), "PUT", data=body())
        yield Request(origin.url("/flaky/1?file"), "PUT", data=io.BytesIO(b"all of it"))
        yield Request(origin.url("/echo"), "PUT", data="text", key="plain")

    output = tmp_path / "out.jsonl"
    for bad in ({"data": body()}, {"data": io.BytesIO(b"x")}, {"files": {"a": ("name", io.BytesIO(b"x"))}}):
        given: Any = [origin.url("/bytes/1"), Request(origin.url("/echo"), "PUT", **bad)]
        with pytest.raises(OptionError, match="number 2 of the requests has a body that can be read once"):
            Job(tmp_path / "bad.job", requests=given, output=tmp_path / "bad.jsonl", overwrite=True).run()
    assert Job(tmp_path / "a.job", requests=requests, output=output, retry_rounds=1).run(retry=1).is_whole
    assert all(record["ok"] for record in records_of(output))
    bodies = [arrival.body for arrival in origin.arrivals if arrival.method == "PUT"]
    assert Counter(bodies) == {b"all of it": 4, b"text": 1}


def test_a_job_of_a_program_can_be_looked_at_and_is_not_taken_for_one_of_the_command(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    urls = [origin.url(f"/delay/0.1?n={n}") for n in range(12)]
    job = Job("a.job", requests=urls, output=lambda records: None, at_least_once=True)
    job.run(deadline=0.2, max_workers=1)
    Path("urls.txt").write_text("\n".join(urls))
    assert main(["run", "urls.txt", "-o", "out.jsonl", "--job", "a.job", "--quiet"]) == 2
    assert "with requests of a program among its sources and no" in capsys.readouterr().err
    assert main(["status", "a.job"]) == 0
    assert job.run().is_whole
    capsys.readouterr()
    assert main(["reconcile", "a.job"]) == 0
    assert "the records went to a function, and cannot be read back" in " ".join(capsys.readouterr().out.split())


# -- going on ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["list", "function", "iterators"])
def test_a_run_goes_on_with_what_it_has_not_fetched(tmp_path: Path, origin: Origin, kind: str) -> None:
    urls = [origin.url(f"/bytes/{n}") for n in range(1, 601)]
    output = tmp_path / "out.jsonl"

    def job() -> Job:
        given: Any = {"list": urls, "function": lambda: iter(urls), "iterators": iter(urls)}[kind]
        return Job(tmp_path / "a.job", requests=given, output=output)

    interrupted(job(), 100)
    assert not output.exists()
    before = origin.requests
    assert 100 <= before < 600
    assert job().run().is_whole
    assert Counter(record["url"] for record in records_of(output)) == Counter(urls)
    assert origin.requests <= 600 + 16


def test_an_iterator_that_was_used_up_is_not_taken_for_an_empty_batch(tmp_path: Path, origin: Origin) -> None:
    output = tmp_path / "out.jsonl"
    job = Job(tmp_path / "a.job", requests=iter([origin.url("/bytes/1")]), output=output)
    assert job.run().is_whole
    with pytest.raises(SourceError, match="read once: give a list"):
        job.run()
    assert len(records_of(output)) == 1


def test_a_job_that_is_run_again_begins_the_next_run_also_after_a_deadline_in_the_same_process(
    tmp_path: Path, origin: Origin
) -> None:
    job = Job(
        tmp_path / "a.job", requests=[origin.url(f"/delay/0.05?n={n}") for n in range(60)], output=tmp_path / "o.jsonl"
    )
    first = job.run(deadline=0.5, max_workers=4)
    assert (first.stopped, first.is_whole) == ("deadline", False)
    assert job.run().is_whole
    assert origin.requests == 60
    assert job.run().ok == 60
    assert origin.requests == 120


@pytest.mark.parametrize(
    "change", [lambda urls: [urls[1], urls[0], *urls[2:]], lambda urls: urls[1:], lambda urls: urls[:5]]
)
def test_other_requests_than_before_are_refused_and_nothing_is_lost(
    tmp_path: Path, origin: Origin, change: Callable[[list[str]], list[str]]
) -> None:
    urls = [origin.url(f"/bytes/{n}") for n in range(1, 1501)]
    output = tmp_path / "out.jsonl"
    interrupted(Job(tmp_path / "a.job", requests=urls, output=output), 1200)
    before = origin.requests
    result = Job(tmp_path / "a.job", requests=change(urls), output=output).run()
    assert isinstance(result.error, JobError)
    assert "give what it was given then" in str(result.error)
    assert origin.requests == before
    assert Job(tmp_path / "a.job", requests=urls, output=output).run().is_whole
    assert Counter(record["url"] for record in records_of(output)) == Counter(urls)


def test_rows_that_have_changed_are_told_as_rows(tmp_path: Path, origin: Origin) -> None:
    def write(path: str) -> None:
        parquet.write_table(pa.table({"url": [origin.url(f"{path}?i={number}") for number in range(40)]}), source)

    source = tmp_path / "urls.parquet"
    job = Job(tmp_path / "a.job", [source], tmp_path / "out.jsonl")
    write("/bytes/1")
    interrupted(job, 20, max_workers=1)
    write("/bytes/22")
    with pytest.raises(JobError, match=r"from .*urls\.parquet, row 1 to \d+ the source has changed since"):
        job.run()


def test_an_error_of_the_programs_own_iterator_is_raised_and_the_run_goes_on_the_next_time(
    tmp_path: Path, origin: Origin
) -> None:
    urls = [origin.url(f"/bytes/{n}") for n in range(1, 51)]
    is_broken = True

    def requests() -> Iterator[str]:
        yield from urls[:30]
        if is_broken:
            raise RuntimeError("the database went away")
        yield from urls[30:]

    job = Job(tmp_path / "a.job", requests=requests, output=tmp_path / "out.jsonl")
    with pytest.raises(RuntimeError, match="went away"):
        job.run()
    is_broken = False
    assert job.run().is_whole
    assert Counter(record["url"] for record in records_of(tmp_path / "out.jsonl")) == Counter(urls)


def test_a_job_leaves_what_another_one_has_not_finished_in_its_output_s_place(tmp_path: Path, origin: Origin) -> None:
    output, requests = tmp_path / "out.jsonl", [origin.url(f"/bytes/{number}") for number in range(1, 9)]
    first = Job(tmp_path / "a.job", requests=requests, output=output)
    second = Job(tmp_path / "b.job", requests=requests, output=output, overwrite=True)
    assert first.run().is_whole
    interrupted(second, 2, max_workers=1)
    for job in (first, replace(first, retry_failed=True)):
        with pytest.raises(OptionError, match="is not this job's"):
            job.run()
    assert second.run().is_whole
    assert sorted(record["url"] for record in records_of(output)) == sorted(requests)


def test_failures_are_fetched_again_also_after_an_end_while_the_output_was_opened_for_that(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [origin.url("/bytes/1"), origin.url("/status/404")]
    job = Job(tmp_path / "a.job", requests=requests, output=tmp_path / "out.jsonl", retry_failed=True)
    assert job.run().is_whole

    def broken(*args: object) -> None:
        raise JobError("no more")

    with monkeypatch.context() as patch:
        patch.setattr("workerpool.batch.job.ledger.Ledger.reopen_run", broken)
        with pytest.raises(JobError, match="no more"):
            job.run()
    assert job.run().read == 1
    assert sorted(record["url"] for record in records_of(tmp_path / "out.jsonl")) == sorted(requests)


def test_an_observer_is_told_each_outcome_once_and_a_job_is_as_whole_as_its_own_error_leaves_it(
    tmp_path: Path, origin: Origin
) -> None:
    urls = [origin.url(f"/bytes/{n}") for n in range(1, 101)]
    told: list[str] = []
    job = Job(tmp_path / "a.job", requests=urls, output=tmp_path / "out.jsonl")
    interrupted(job, 10)
    job.run(observe=lambda outcome: told.append(outcome.request.url))
    assert set(told) < set(urls)
    assert len(told) == len(set(told))
    assert Counter(record["url"] for record in records_of(tmp_path / "out.jsonl")) == Counter(urls)


# -- a function that receives the records -----------------------------------------------------------------------------


def test_a_function_gets_every_record_and_after_an_error_of_its_own_the_same_again(
    tmp_path: Path, origin: Origin
) -> None:
    urls = [origin.url(f"/bytes/{n}") for n in range(1, 501)]
    got: list[Record] = []
    trouble = RuntimeError("no room")
    fails = True

    def receive(records: list[Record]) -> None:
        got.extend(records)
        if fails:
            raise trouble

    job = Job(tmp_path / "a.job", requests=urls, output=receive, at_least_once=True)
    broken = job.run()
    assert isinstance(broken.error, SinkError)
    assert broken.error.__cause__ is trouble
    first = [record["url"] for record in got]
    assert first
    got.clear()
    fails = False
    assert job.run().is_whole
    assert Counter(record["url"] for record in got) == Counter(urls)
    assert [record["url"] for record in got][: len(first)] == first


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_function_that_wants_to_exit_ends_the_run_and_gets_the_records_the_next_time(
    tmp_path: Path, origin: Origin
) -> None:
    requests = [origin.url("/bytes/1"), origin.url("/bytes/2"), origin.url("/delay/2")]
    job = Job(tmp_path / "a.job", requests=requests, output=lambda records: sys.exit(1), at_least_once=True)
    with pytest.raises(SystemExit):
        job.run()
    told: list[Record] = []
    result = Job(tmp_path / "a.job", requests=requests, output=told.extend, at_least_once=True).run()
    assert (result.is_whole, {record["url"] for record in told}) == (True, set(requests))


class TaskTimedOut(Exception):
    """What a host's handler of an alarm raises."""


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGALRM, TaskTimedOut)], ids=["SIGINT", "alarm"]
)
def test_an_interrupt_lets_what_is_being_sent_end_and_is_raised_then(
    tmp_path: Path, origin: Origin, number: int, error: type[BaseException]
) -> None:
    def handle(number: int, frame: FrameType | None) -> None:
        raise error

    before = signal.signal(number, handle)
    try:
        fetch_posts_with_one_interrupt(tmp_path, origin, number, error)
    finally:
        signal.signal(number, before)


def fetch_posts_with_one_interrupt(tmp_path: Path, origin: Origin, interrupt: int, error: type[BaseException]) -> None:
    number = 40

    def answer(arrival: Arrival) -> Reply:
        if arrival.path == "/p/5":
            os.kill(os.getpid(), interrupt)
        return Reply(delay=0.2)

    for n in range(number):
        origin.script(f"/p/{n}", answer)
    requests = [Request(origin.url(f"/p/{n}"), "POST", key=str(n)) for n in range(number)]
    job = Job(tmp_path / "a.job", requests=requests, output=tmp_path / "out.jsonl")
    with pytest.raises(error):
        job.run(max_workers=4)
    assert look_at(str(tmp_path / "a.job")).last == {KeyboardInterrupt: "SIGINT"}.get(error, error.__name__)
    assert 0 < origin.requests < number
    assert job.run().is_whole
    assert origin.requests == number  # none of them was sent twice
    assert all(record["ok"] for record in records_of(tmp_path / "out.jsonl"))


def test_no_signal_s_handler_is_another_one_while_a_job_runs(tmp_path: Path, origin: Origin) -> None:
    def handlers() -> dict[int, Any]:
        return {number: signal.getsignal(number) for number in signal.valid_signals()}

    before, within = handlers(), list[dict[int, Any]]()
    job = Job(tmp_path / "a.job", requests=[origin.url("/bytes/1")], output=tmp_path / "out.jsonl")
    job.run(observe=lambda outcome: within.append(handlers()))
    assert [before] == within
    assert handlers() == before


# -- what it tells ----------------------------------------------------------------------------------------------------


def test_the_result_is_about_this_execution_and_about_the_whole_run(tmp_path: Path, origin: Origin) -> None:
    requests = [
        *[origin.url(f"/delay/0.05?n={n}") for n in range(30)], origin.url("/status/404"), origin.url("/flaky/1"),
    ]  # fmt: skip
    job = Job(tmp_path / "a.job", requests=requests, output=tmp_path / "out.jsonl")
    first = job.run(deadline=0.4, max_workers=2)
    assert (first.run, first.stopped, first.exit_code, first.is_whole) == (1, "deadline", 4, False)
    assert first.inputs is not None
    assert first.inputs["ok"] == first.ok
    assert sum(first.inputs.values()) == 32
    assert first.inputs["deferred"] + first.inputs["queued"] > 0
    second = job.run(max_workers=2)
    assert (second.run, second.directory, second.output) == (1, str(tmp_path / "a.job"), str(tmp_path / "out.jsonl"))
    assert second.inputs == {
        "ok": 31, "unchanged": 0, "skipped": 0, "failed": 1, "unknown": 0, "deferred": 0, "queued": 0,
    }  # fmt: skip
    assert (first.ok + second.ok, second.exit_code, second.is_whole) == (31, 1, True)
    assert second.sent == second.ok + second.failed + 1  # the flaky one was sent twice
    assert first.sent + second.sent == origin.requests
    assert second.bytes == sum(record["bytes"] for record in records_of(tmp_path / "out.jsonl")) - first.bytes
    assert json.loads(json.dumps(second.to_dict()))["inputs"]["ok"] == 31
    assert job.run().run == 2


def test_a_program_s_own_logging_hears_of_its_job(
    tmp_path: Path, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "workerpool")
    source = tmp_path / "urls.txt"
    source.write_text("".join(f"{origin.url(f'/delay/0.05?n={n}')}\n" for n in range(30)))
    job = Job(tmp_path / "a.job", [source], tmp_path / "out.jsonl")
    job.run(deadline=0.4, max_workers=2, progress_every=0.1)
    job.run()
    told = [(record.event, record.fields) for record in caplog.records if record.event.startswith("run.")]  # type: ignore[attr-defined]
    names = [name for name, _ in told]
    assert [name for name in names if name != "run.progress"] == [
        "run.started", "run.draining", "run.cancelled", "run.finished",
        "run.continued", "run.started", "run.finished",
    ]  # fmt: skip
    given_up = next(fields["requests"] for name, fields in told if name == "run.cancelled")
    ends = [fields for name, fields in told if name == "run.finished"]
    assert [(end["failed"], end["cancelled"]) for end in ends] == [(0, given_up), (0, 0)]
    assert given_up > 1
    assert "request.failed" not in [record.event for record in caplog.records]  # type: ignore[attr-defined]
    assert dict(told)["run.started"] == {"sources": str(source), "output": str(tmp_path / "out.jsonl")}
    assert dict(told)["run.continued"].items() >= {"job": str(tmp_path / "a.job"), "run": 1}.items()
    assert dict(told)["run.progress"]["total"] == 30
    source.write_text("gone")
    result = replace(job, restart=True, output=lambda records: 1 / 0, at_least_once=True).run()
    (failed,) = [record.fields for record in caplog.records if record.event == "run.failed"]  # type: ignore[attr-defined]
    assert failed == {"error": str(result.error)}


# -- one at a time ----------------------------------------------------------------------------------------------------


def test_a_job_is_held_by_one_run_at_a_time_also_in_one_process(tmp_path: Path, origin: Origin) -> None:
    job = Job(tmp_path / "a.job", requests=[origin.url("/bytes/1")], output=tmp_path / "out.jsonl")
    refused: list[JobHeld] = []

    def observe(outcome: Outcome) -> None:
        with pytest.raises(JobHeld, match=f"process {os.getpid()} on") as held:
            job.run()
        refused.append(held.value)

    assert job.run(observe=observe).is_whole
    assert len(refused) == 1


def test_a_job_that_cannot_be_opened_leaves_no_processes(tmp_path: Path, origin: Origin) -> None:
    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    output, before = tmp_path / "out.jsonl", children()
    output.touch()
    with pytest.raises(OptionError, match="is there already") as refused:
        Job(tmp_path / "a.job", requests=[origin.url("/bytes/1")], output=output).run(processes=2)
    assert children() <= before
    assert refused.tb is not None  # which would keep a pool that was not ended


def test_a_job_can_be_run_inside_a_worker_and_in_any_thread(tmp_path: Path, origin: Origin) -> None:
    def work() -> RunResult:
        return Job(tmp_path / "a.job", requests=[origin.url("/bytes/1")], output=tmp_path / "out.jsonl").run()

    with WorkerPool(2) as pool:
        assert pool.submit(work).result(PATIENCE).is_whole


def test_a_child_that_was_forked_while_a_job_runs_does_not_hold_it(tmp_path: Path) -> None:
    program = """
import os, sys
from workerpool import Job
from workerpool.testing import Origin

with Origin() as origin:
    children = []
    gate, opened = os.pipe()

    def observe(outcome):
        child = os.fork()
        if child == 0:
            os.close(opened)
            os.read(gate, 1)
            os._exit(0)
        children.append(child)

    job = Job("a.job", requests=[origin.url("/bytes/1")], output="out.jsonl")
    first = job.run(observe=observe)
    second = job.run()
    os.write(opened, b"x")
    print(first.ok, second.ok, os.waitpid(children[0], 0)[1])
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program], cwd=tmp_path, capture_output=True,
        text=True, timeout=PATIENCE, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "1 1 0\n", done.stdout + done.stderr
