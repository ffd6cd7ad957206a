"""`--dedupe`: what several inputs ask for is fetched once, each has its record, whatever ends the run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import PATIENCE, environment
from tests.conftest import IN_FULL
from tests.jobs.place import Enough, Place
from tests.jobs.trial import Doomed
from tests.waiting import eventually
from workerpool import Job, Outcome, Request
from workerpool.testing import Origin, Reply

KILLS = 4 if IN_FULL else 2


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, capsys)


def sent(origin: Origin) -> Counter[str]:
    return Counter(arrival.path for arrival in origin.arrivals)


def command(place: Place, *words: str, job: bool, source: str = "urls.txt") -> int:
    kept = ("--job", "a.job") if job else ("--overwrite",)
    return place.command("run", source, "-o", "out.jsonl", "--dedupe", "--quiet", "--no-progress", *kept, *words)


@pytest.mark.parametrize("job", [True, False])
def test_what_is_asked_for_several_times_is_fetched_once_and_each_has_its_own_record(
    place: Place, origin: Origin, job: bool
) -> None:
    url = origin.url("/delay/0.1")
    other = url.replace("http://", "HTTP://")
    rows = [{"url": url}, {"url": url, "key": "mine"}, {"url": other}, {"url": origin.url("/bytes/7")}]
    place.write(*map(json.dumps, rows), name="a.jsonl")
    assert command(place, "--include", "body", job=job, source="a.jsonl") == 0
    assert sent(origin) == {"/delay/0.1": 1, "/bytes/7": 1}
    records = {(record["key"], record["url"]): record for record in place.records()}
    assert set(records) == {(url, url), ("mine", url), (other, other), (rows[3]["url"], rows[3]["url"])}
    first = records[url, url]
    assert (first["attempts"], first["status"], first["body"]) == (1, 200, "ok\n")
    for duplicate in (records["mine", url], records[other, other]):
        assert (duplicate["attempts"], duplicate["elapsed"], duplicate["started_at"]) == (0, 0.0, None)
        same = ("method", "status", "ok", "error", "bytes", "final_url", "body")
        assert [duplicate[name] for name in same] == [first[name] for name in same]


@pytest.mark.parametrize("job", [True, False])
def test_a_key_that_is_no_unicode_waits_for_an_answer_like_any(place: Place, origin: Origin, job: bool) -> None:
    rows = [{"url": origin.url("/delay/0.1")}, {"url": origin.url("/delay/0.1"), "key": "\ud800"}]
    place.write(*map(json.dumps, rows), name="a.jsonl")
    assert command(place, job=job, source="a.jsonl") == 0
    assert {record["key"]: record["attempts"] for record in place.records()} == {rows[0]["url"]: 1, "\ud800": 0}


def test_without_room_for_the_answers_nothing_is_made_or_sent(
    place: Place, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(place.directory / "none"))
    place.write(origin.url("/bytes/7"))
    assert command(place, job=False) == 5
    assert "no temporary directory can be made" in " ".join(place.said.split())
    assert not place.output.exists()
    assert not origin.arrivals


@pytest.mark.parametrize("job", [True, False])
def test_what_would_be_sent_otherwise_or_does_something_is_never_shared(
    place: Place, origin: Origin, job: bool
) -> None:
    url = origin.url("/echo")
    different: list[dict[str, Any]] = [
        {},
        {"method": "HEAD"},
        {"headers": {"Accept": "text/html"}},
        {"headers": {"Accept": "text/plain"}},
        {"params": {"page": 1}},
        {"params": {"page": 2}},
        {"json": {}},
        {"json": {}},
        {"body": "x"},
        {"body": "x"},
        *[{"method": method, "body": "x"} for method in ("POST", "PUT", "PATCH", "DELETE") * 2],
    ]
    place.write(*(json.dumps({"url": url, **one}) for one in different), name="a.jsonl")
    command(place, job=job, source="a.jsonl")
    assert len(place.records()) == origin.requests == len(different)


def test_requests_of_different_users_are_never_shared(tmp_path: Path, origin: Origin) -> None:
    def login(request: Any) -> Any:
        return request

    url = origin.url("/echo")
    same = [Request(url, auth=("ann", "1")), Request(url, auth=("ann", "1"), headers={}, timeout=9)]
    others = [
        Request(url),
        Request(url, auth=("ben", "1")),
        Request(url, auth=login),
        Request(url, auth=login),
        Request(url, cookies={"user": "ann"}),
        Request(url, cookies={"user": "ben"}),
        Request(url, allow_redirects=False),
        Request(url, hooks={"response": lambda response, **_: None}),
        Request(url, params={"a": {1, 2}}),
    ]
    result = Job(tmp_path / "a.job", requests=[*same, *others], output=tmp_path / "out.jsonl", dedupe=True).run()
    assert (result.ok, origin.requests) == (11, 10)


@pytest.mark.parametrize("job", [True, False])
def test_junk_is_answered_by_itself(place: Place, job: bool) -> None:
    place.write("no URL", "no URL")
    assert command(place, job=job) == 1
    assert sorted(record["error"][:16] for record in place.records()) == ["urls.txt, line 1", "urls.txt, line 2"]


def test_an_ordered_job_writes_duplicates_in_their_places(place: Place, origin: Origin) -> None:
    urls = [origin.url(f"/delay/0.0{n % 7}?n={n % 7}") for n in range(300)]
    place.write(*urls)
    assert command(place, "--ordered", job=True) == 0
    assert [record["url"] for record in place.records()] == urls
    assert origin.requests == 7


def test_a_failure_answers_the_others_too_and_is_tried_again_once_for_all(place: Place, origin: Origin) -> None:
    place.write(*[origin.url("/flaky/3")] * 30, *[origin.url("/status/404")] * 30)
    words = ("--retries", "0", "--retry-rounds", "1")
    assert command(place, *words, job=True) == 1
    assert sent(origin) == {"/flaky/3": 2, "/status/404": 1}
    assert Counter(record["status"] for record in place.records()) == {503: 30, 404: 30}
    assert command(place, *words, "--retry-failed", job=True) == 1
    assert sent(origin) == {"/flaky/3": 4, "/status/404": 2}
    assert Counter(record["status"] for record in place.records()) == {200: 30, 404: 30}
    assert place.proven(), place.said


def test_without_a_job_what_waits_for_a_request_that_is_given_up_is_given_up_with_it(
    place: Place, origin: Origin
) -> None:
    place.write(*(origin.url(f"/delay/0.6?n={n % 4}") for n in range(40)))
    command(place, "--workers", "1", "--deadline", "0.3s", job=False)
    errors = Counter((record["url"][-1], record["ok"]) for record in place.records())
    assert errors == {("0", True): 10, ("1", False): 10, ("2", False): 10, ("3", False): 10}


def test_with_a_job_they_are_fetched_when_it_goes_on(place: Place, origin: Origin) -> None:
    place.write(*(origin.url(f"/delay/0.6?n={n % 4}") for n in range(40)))
    assert command(place, "--workers", "1", "--deadline", "0.3s", job=True) == 4
    assert command(place, job=True) == 0
    assert origin.requests == 4
    assert Counter(record["url"][-1] for record in place.records()) == {str(n): 10 for n in range(4)}
    assert place.proven(), place.said


def test_a_run_that_is_ended_at_many_points_fetches_each_once(tmp_path: Path, origin: Origin) -> None:
    urls = [origin.url(f"/bytes/{n * n % 97}") for n in range(1200)]

    def run(after: int) -> None:
        seen = 0

        def observe(outcome: Outcome) -> None:
            nonlocal seen
            seen += 1
            if seen > after:
                raise Enough

        Job(tmp_path / "a.job", requests=urls, output=tmp_path / "out.jsonl", dedupe=True).run(observe=observe)

    for after in (0, 1, 20, 100, 300):
        with pytest.raises(Enough):
            run(after)
    run(100_000)
    found = [json.loads(line)["url"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert Counter(found) == Counter(urls)
    assert origin.requests <= len(set(urls)) + 5 * 16  # what was being sent when it ended


@pytest.mark.parametrize("option", ["--dedupe", "--unique-keys"])
def test_a_job_that_is_killed_again_and_again_gives_each_its_record(
    place: Place, origin: Origin, doomed: Doomed, option: str
) -> None:
    urls = [origin.url(f"/delay/0.02?n={n}") for n in range(150) for _ in range(20)]
    place.write(*urls)
    words = ["run", "urls.txt", "-o", "out.jsonl", "--job", "a.job", option, "--quiet", "--workers", "4"]
    for kill in range(KILLS):
        before = origin.requests
        doomed.start([*words, "--host-connections", "4"], cwd=str(place.directory))
        try:
            assert eventually(lambda: origin.requests - before >= 20 + kill, PATIENCE)  # noqa: B023  awaited here
        finally:
            os.kill(doomed.pid, signal.SIGKILL)
            doomed.wait()
    refused = 0 if option == "--dedupe" else 19
    assert place.command(*words) == (1 if refused else 0)
    ended = Counter((record["url"], record["ok"]) for record in place.records())
    assert ended == Counter({(url, ok): n for url in urls for ok, n in ((True, 20 - refused), (False, refused)) if n})
    assert origin.requests <= 150 + KILLS * 4
    assert place.proven(), place.said


def test_an_answer_that_nothing_has_changed_is_shared_and_left_out_like_any(place: Place, origin: Origin) -> None:
    place.write(*[origin.url("/etag/v1")] * 3)
    command(place, job=True)
    command(place, job=True)
    assert [(record["unchanged"], record["status"]) for record in place.records()] == [(True, 304)] * 3
    command(place, "--skip-recent", "1h", job=True)
    assert [(record["skipped"], record["status"]) for record in place.records()] == [(True, None)] * 3
    command(place, "--only-changed", job=True)
    assert place.records() == []
    assert place.proven(), place.said
    assert origin.requests == 3


def test_unique_keys_come_before_what_is_shared(place: Place, origin: Origin) -> None:
    url = origin.url("/bytes/1")
    place.write(*(json.dumps({"url": url, "key": key}) for key in "aabb"), name="a.jsonl")
    command(place, "--unique-keys", job=True, source="a.jsonl")
    assert Counter((record["key"], record["ok"]) for record in place.records()) == Counter(
        [("a", True), ("a", False), ("b", True), ("b", False)]
    )
    assert origin.requests == 1


@pytest.mark.parametrize("job", [True, False])
def test_failures_that_are_shared_are_counted_by_what_they_are(place: Place, origin: Origin, job: bool) -> None:
    place.write(*[origin.url("/delay/5")] * 5, *[origin.url("/status/404")] * 4, *[origin.url("/bytes/1")] * 3)
    kept = ("--job", "a.job") if job else ()
    words = ("--dedupe", "--no-progress", "--timeout", "0.3s", "--retries", "0")
    assert place.command("run", "urls.txt", "-o", "out.jsonl", *words, *kept) == 1
    for line in (r"5\s+41.7%\s+timed out", r"4\s+33.3%\s+404 Not Found", r"3\s+25.0%\s+ok"):
        assert re.search(line, place.said), place.said


# -- memory -----------------------------------------------------------------------------------------------------------


MEASURED = """
import sys
from workerpool.cli import main
code = main(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""
"""The command, which prints the most memory that it had, in kB: in what the system tells of a child is its parent's."""


def peak_of(place: Place, urls: list[str], *words: str) -> int:
    """Run the command in a process of its own; the most memory that it had, in bytes."""
    place.write(*urls)
    argv = [sys.executable, "-c", MEASURED, "run", "urls.txt", "-o", "out.jsonl", "--dedupe", "--quiet", *words]
    done = subprocess.run(
        argv, cwd=place.directory, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert len(place.records()) == len(urls)
    place.output.unlink()
    return int(done.stdout) * 1024


@pytest.mark.skipif(not IN_FULL, reason="make long")
@pytest.mark.parametrize("words", [("--job", "a.job"), ()])
def test_thousands_of_inputs_of_few_urls_more_take_no_more_memory(
    place: Place, origin: Origin, words: tuple[str, ...]
) -> None:
    """Ten of the URLs are answered at once, and one only after all inputs were read."""
    origin.script("/slow", lambda arrival: Reply(body=b"x" * 1000, delay=1.5))
    few = [origin.url(f"/bytes/{n}") for n in range(10)] + [origin.url("/slow")] * 10
    small = peak_of(place, few * 400, *words)
    large = peak_of(place, few * 700, *words)
    assert large - small < 4_000_000  # 600 bytes an input
    assert origin.requests == 22
