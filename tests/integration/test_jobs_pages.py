"""Jobs over pages: they go on where a chain stands, and say what was done; what cannot work together is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import workerpool
from tests.jobs.place import Enough, Place
from workerpool import Job, Outcome, Request
from workerpool.batch.job.status import look_at
from workerpool.errors import JobError, OptionError
from workerpool.paging import LinkHeader
from workerpool.testing import Origin, Reply


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, capsys)


def pages_in(place: Place) -> list[tuple[str, int]]:
    return [(record["key"], record["page"]) for record in place.records()]


def stop_after(count: int) -> object:
    left = [count]

    def observe(outcome: Outcome) -> None:
        left[0] -= 1
        if not left[0]:
            raise Enough

    return observe


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "sqlite", "parquet"])
def test_a_run_that_broke_off_goes_on_in_the_middle_and_is_proven(place: Place, origin: Origin, suffix: str) -> None:
    starts = [origin.url(f"/pages/{count}?i={number}") for number, count in enumerate([9, 1, 4])]
    place.write(*starts, "no URL")
    job = Job("a.job", ["urls.txt"], f"out.{suffix}", pages=LinkHeader())
    with pytest.raises(Enough):
        job.run(max_workers=2, observe=stop_after(7))  # type: ignore[arg-type]
    before = origin.requests
    result = job.run(max_workers=2)
    assert (result.ok + result.failed) < 15
    assert origin.requests - before <= 14 - before + 4  # what was in flight came twice
    assert place.proven(), place.said
    assert look_at("a.job").pages == 15


def test_without_a_job_the_command_follows_pages_too(place: Place, origin: Origin) -> None:
    starts = [origin.url(f"/pages/3?i={number}") for number in range(3)]
    place.write(*starts)
    words = ["urls.txt", "-o", "out.jsonl", "--pages", "cursor:cursor=next_cursor", "--ordered", "--quiet"]
    assert place.command("run", *words) == 0
    assert pages_in(place) == [(start, page) for start in starts for page in (1, 2, 3)]
    assert place.command("run", *words, "--overwrite", "--max-pages", "2") == 0
    assert pages_in(place) == [(start, page) for start in starts for page in (1, 2)]


def test_what_has_failed_is_fetched_again_from_its_page_on(place: Place, origin: Origin) -> None:
    page = Reply(headers={"Link": "</two>; rel=next"})
    origin.script("/one", page)
    origin.script("/two", Reply(status=404), Reply(headers={"Link": "</three>; rel=next"}))
    origin.script("/three", Reply())
    place.write(origin.url("/one"), origin.url("/pages/2"))
    assert place.run("--pages", "link") == 1
    one, other = origin.url("/one"), origin.url("/pages/2")
    assert sorted(pages_in(place)) == sorted([(one, 1), (one, 2), (other, 1), (other, 2)])
    assert place.run("--pages", "link", "--retry-failed") == 0
    assert [arrival.path for arrival in origin.arrivals].count("/one") == 1
    assert sorted(pages_in(place)) == sorted([(one, 1), (one, 2), (one, 3), (other, 1), (other, 2)])
    assert all(record["ok"] for record in place.records())
    assert place.proven(), place.said


def test_a_circle_is_found_also_by_an_execution_that_goes_on(place: Place, origin: Origin) -> None:
    place.write(origin.url("/pages/30?loop=20"))
    job = Job("a.job", ["urls.txt"], "out.jsonl", pages=LinkHeader())
    with pytest.raises(Enough):
        job.run(observe=stop_after(12))  # type: ignore[arg-type]
    assert job.run().failed == 1
    assert [page for _, page in sorted(pages_in(place))] == [*range(1, len(place.records()) + 1)]
    assert "circle" in max(place.records(), key=lambda record: record["page"])["error"]
    assert len(place.records()) <= 21


def test_an_input_that_must_not_be_repeated_is_announced_for_each_page(place: Place, origin: Origin) -> None:
    body = {"url": origin.url("/pages/3"), "method": "POST", "json": {"query": "x"}}
    place.write(json.dumps(body), name="posts.jsonl")
    words = ["--pages", "cursor:cursor=next_cursor", "--idempotency-keys"]
    assert place.run(*words, source="posts.jsonl") == 0
    assert [page for _, page in pages_in(place)] == [1, 2, 3]
    keys = [arrival.headers["idempotency-key"] for arrival in origin.arrivals]
    assert len(set(keys)) == 3, "a server would give the first page again"


def test_the_ledger_keeps_no_login_of_a_page(place: Place, origin: Origin) -> None:
    start = Request(origin.url("/pages/9"), headers={"Authorization": "Bearer deepest secret"}, auth=("me", "hidden"))
    job = Job("a.job", output="out.jsonl", requests=[start], pages=LinkHeader())
    with pytest.raises(Enough):
        job.run(observe=stop_after(4))  # type: ignore[arg-type]
    kept = b"".join(path.read_bytes() for path in (place.directory / "a.job").iterdir())
    assert b"/pages/9?page=" in kept
    assert b"deepest" not in kept
    assert b"hidden" not in kept
    job.run()
    assert all("authorization" in arrival.headers for arrival in origin.arrivals)


def test_a_run_is_gone_on_with_as_it_was_begun(place: Place, origin: Origin) -> None:
    place.write(origin.url("/pages/9"))
    with pytest.raises(Enough):
        Job("a.job", ["urls.txt"], "out.jsonl", pages=LinkHeader()).run(observe=stop_after(4))  # type: ignore[arg-type]
    with pytest.raises(JobError, match="with --pages link: run the command"):
        Job("a.job", ["urls.txt"], "out.jsonl").run()
    assert place.run("--pages", "next:next") == 2
    assert "with --pages link, not next:next" in place.said
    assert place.run("--pages", "link", "--max-pages", "50") == 0


def test_status_counts_pages(place: Place, origin: Origin) -> None:
    place.write(origin.url("/pages/9"))
    with pytest.raises(Enough):
        Job("a.job", ["urls.txt"], "out.jsonl", pages=LinkHeader()).run(observe=stop_after(4))  # type: ignore[arg-type]
    assert look_at("a.job").pages == 4
    assert look_at("a.job").queued == 1
    assert workerpool.cli.main(["status", "a.job"]) == 0
    assert place.run("--pages", "link") == 0
    assert look_at("a.job").pages == 9


def test_the_items_of_each_page_become_rows_of_a_schema(place: Place, origin: Origin) -> None:
    place.write(origin.url("/pages/5?items=4"), origin.url("/pages/6?items=3&failing=3"))
    (place.directory / "items.toml").write_text('explode = "items"\n[columns]\nnumber = { type = "int", path = "@" }\n')
    assert place.run("--pages", "link", "--schema", "items.toml", "--ordered", "--retries", "0") == 1
    assert [row["number"] for row in place.records()] == [*range(20), *range(6)]
    assert place.proven(), place.said


@pytest.mark.parametrize(
    "option", [{"dedupe": True}, {"conditional": True}, {"only_changed": True}, {"skip_recent": 60.0}], ids=str
)
def test_what_goes_by_one_answer_is_refused_with_pages(place: Place, option: dict[str, object]) -> None:
    with pytest.raises(OptionError, match="with pages="):
        Job("a.job", ["urls.txt"], "out.jsonl", pages=LinkHeader(), **option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-pages", "3"], "give --pages HOW with it"),
        (["--pages", "links"], "write link, next:PATH"),
        (["--pages", "next:a..b"], "character 3"),
        (["--pages", "link", "--dedupe"], "--dedupe with --pages"),
        (["--pages", "link", "--bodies", "there"], "--bodies with --pages"),
        (["--pages", "link", "--job", "a.job", "--skip-recent", "1h"], "--skip-recent"),
    ],
)
def test_the_command_says_what_cannot_work(place: Place, words: list[str], said: str) -> None:
    place.write("http://a.test/")
    assert place.command("run", "urls.txt", "-o", "out.jsonl", *words) == 2
    assert said in place.said
