"""What a job does beyond going on: unique keys, conditions, what is recent, idempotency keys, rounds, slow sinks."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IN_FULL, some
from tests.jobs.place import Enough, Place, Row
from tests.outputs import FILES, rows_in
from tests.waiting import let_pass
from workerpool import Job, Outcome, Request
from workerpool.batch.job import mover
from workerpool.batch.sinks import callback, staged
from workerpool.batch.sinks.base import Cadence
from workerpool.errors import SinkError
from workerpool.testing import Arrival, Origin, Reply


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, capsys)


def paths_of(origin: Origin) -> list[str]:
    return [arrival.path for arrival in origin.arrivals]


# -- unique keys ------------------------------------------------------------------------------------------------------


def test_an_input_whose_key_was_given_before_is_refused_unsent_with_both_places(place: Place, origin: Origin) -> None:
    rows = [("a", "/bytes/1"), ("b", "/bytes/2"), ("a", "/bytes/3"), ("", "/bytes/4"), ("", "/bytes/4")]
    place.write("key,url", *(f"{key},{origin.url(path)}" for key, path in rows), name="urls.csv")
    assert place.run("--unique-keys", source="urls.csv") == 1
    assert sorted(paths_of(origin)) == ["/bytes/1", "/bytes/2", "/bytes/4"]
    url = origin.url("/bytes/4")
    assert {(record["key"], record["error"], record["attempts"]) for record in place.records()} == {
        ("a", None, 1),
        ("b", None, 1),
        (url, None, 1),
        ("a", "urls.csv, line 4: the key 'a' was given before, at urls.csv, line 2: "
         "with --unique-keys each input has a key of its own", 0),
        (url, f"urls.csv, line 6: the key {url!r} was given before, at urls.csv, line 5: "
         "with --unique-keys each input has a key of its own", 0),
    }  # fmt: skip
    assert place.proven(), place.said
    place.write("key,url", *(f"{key},{origin.url(path)}" for key, path in rows[1:3]), name="urls.csv")
    assert place.run("--unique-keys", source="urls.csv") == 0  # keys are those of a run


def test_without_the_option_keys_may_repeat(place: Place, origin: Origin) -> None:
    place.write(*[origin.url("/bytes/1")] * 3)
    assert place.run() == 0
    assert [record["ok"] for record in place.records()] == [True] * 3


def test_unique_keys_need_a_job_and_stay_as_they_were_when_a_run_goes_on(place: Place, origin: Origin) -> None:
    place.write(*(origin.url(f"/delay/0.2?n={n}") for n in range(8)))
    assert place.command("run", "urls.txt", "-o", "out.jsonl", "--unique-keys") == 2
    assert "--unique-keys needs --job DIR" in place.said
    assert place.run("--unique-keys", "--workers", "1", "--deadline", "0.3s") == 4
    assert place.run() == 2
    assert "with --unique-keys" in place.said
    assert place.run("--unique-keys") == 0


def test_an_input_that_is_read_again_is_not_its_own_duplicate(tmp_path: Path, origin: Origin) -> None:
    """Ended at many points, and failed and fetched again, each of 300 keys is fetched once and refused twice."""
    fails = True

    def answer(arrival: Arrival) -> Reply:
        return Reply(status=503 if fails and arrival.path.endswith("7") else 200)

    for n in range(300):
        origin.script(f"/k/{n}", answer)
    requests = [Request(origin.url(f"/k/{n % 300}"), key=f"key {n % 300}") for n in range(900)]

    def run(after: int, **options: Any) -> None:
        seen = 0

        def observe(outcome: Outcome) -> None:
            nonlocal seen
            seen += 1
            if seen > after:
                raise Enough

        job = Job(tmp_path / "a.job", requests=requests, output=tmp_path / "o.jsonl", unique_keys=True, **options)
        job.run(observe=observe, retry=1)

    for after in (1, 30, 100, 300):
        with pytest.raises(Enough):
            run(after)
    run(10_000)
    fails = False
    with pytest.raises(Enough):
        run(200, retry_failed=True)
    run(10_000, retry_failed=True)
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert Counter((record["key"], record["ok"]) for record in records) == Counter(
        {(f"key {n}", ok): times for n in range(300) for ok, times in ((True, 1), (False, 2))}
    )
    assert sum("number 7 of the requests" in str(record["error"]) for record in records) == 2


def test_a_key_is_kept_by_an_input_that_ended_without_an_answer(place: Place, origin: Origin) -> None:
    posted = json.dumps({"url": origin.url("/reset?after=0"), "method": "POST", "key": "k"})
    place.write(posted, "no JSON", "no JSON", json.dumps({"url": origin.url("/bytes/1"), "key": "k"}), name="a.jsonl")
    assert place.run("--unique-keys", source="a.jsonl") == 1
    errors = sorted(record["error"] for record in place.records())
    assert sum("was given before, at a.jsonl, line 1" in error for error in errors) == 1
    assert sum("is no JSON" in error for error in errors) == 2


def test_a_secret_in_a_key_is_not_told(place: Place) -> None:
    place.write(*["http://user:hush@127.0.0.1:1/"] * 2)
    place.run("--unique-keys", "--retries", "0")
    assert not [record for record in place.records() if "hush" in record["error"]]


# -- asking only for what has changed ---------------------------------------------------------------------------------


class Page:
    """A page with validators of its own, which answers 304 where a server would, and keeps what it was asked with."""

    def __init__(self, origin: Origin, path: str, **headers: str) -> None:
        self.url = origin.url(path)
        self.headers = headers
        self.asked: list[tuple[str | None, str | None]] = []
        origin.script(path, self._answer)

    def _answer(self, arrival: Arrival) -> Reply:
        etag, date = arrival.headers.get("If-None-Match"), arrival.headers.get("If-Modified-Since")
        self.asked.append((etag, date))
        headers = {name.replace("_", "-"): value for name, value in self.headers.items()}
        is_same = etag == headers.get("ETag") if etag is not None else date == headers.get("Last-Modified")
        if is_same and (etag or date):
            return Reply(status=304, headers=headers)
        return Reply(body=b"page", headers=headers)


DATE = "Sat, 21 Nov 2020 10:00:00 GMT"
LATER = "Sun, 22 Nov 2020 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        ({"ETag": '"v1"'}, ('"v1"', None)),
        ({"ETag": 'W/"v1"'}, ('W/"v1"', None)),
        ({"ETag": '"v1"', "Last_Modified": DATE}, ('"v1"', DATE)),
        ({"Last_Modified": DATE}, (None, DATE)),
        ({"ETag": '"caf\xe9"'}, ('"caf\xe9"', None)),
        # What a server should not send, and would misread or refuse if it got it back.
        ({"ETag": "*"}, (None, None)),
        ({"ETag": "v1"}, (None, None)),
        ({"ETag": '"a", "b"'}, (None, None)),
        ({"ETag": f'"{"x" * 5000}"'}, (None, None)),
        ({"ETag": "junk", "Last_Modified": DATE}, (None, DATE)),
        ({"Last_Modified": "yesterday"}, (None, None)),
        ({"Last_Modified": "0"}, (None, None)),
    ],
)
def test_the_next_run_asks_with_what_the_server_said_unless_that_is_junk(
    place: Place, origin: Origin, headers: dict[str, str], asked: tuple[str | None, str | None]
) -> None:
    page = Page(origin, "/page", **headers)
    place.write(page.url)
    assert [place.run() for _ in range(3)] == [0, 0, 0]
    assert page.asked == [(None, None), asked, asked]
    (record,) = place.records()
    assert record.get("unchanged", False) == (asked != (None, None))
    assert record["status"] == (304 if asked != (None, None) else 200)


def test_a_page_is_new_when_it_has_changed_and_when_the_server_sends_it_all_the_same(
    place: Place, origin: Origin
) -> None:
    page = Page(origin, "/page", ETag='"v1"')
    origin.script("/stubborn", lambda arrival: Reply(body=b"page", headers={"ETag": '"v1"'}))
    place.write(page.url, origin.url("/stubborn"))
    place.run()
    page.headers = {"ETag": '"v2"'}
    place.run("--only-changed")
    assert {(record["url"], record["status"], "unchanged" in record) for record in place.records()} == {
        (page.url, 200, False), (origin.url("/stubborn"), 200, False),
    }  # fmt: skip
    place.run("--only-changed")
    assert [record["url"] for record in place.records()] == [origin.url("/stubborn")]
    assert page.asked[1:] == [('"v1"', None), ('"v2"', None)]
    assert place.proven(), place.said


def test_bodies_are_fetched_whole_unless_conditions_are_asked_for(place: Place, origin: Origin) -> None:
    page = Page(origin, "/page", ETag='"v1"')
    place.write(page.url)
    for words in ((), ("--include", "body"), ("--include", "body", "--conditional"), ("--no-conditional",)):
        assert place.run(*words) == 0
    assert [etag for etag, _ in page.asked] == [None, None, '"v1"', None]


def test_a_condition_of_the_users_own_goes_as_it_is_and_its_304_is_unchanged(place: Place, origin: Origin) -> None:
    page = Page(origin, "/page", ETag='"v1"')
    given = [json.dumps({"url": page.url, "headers": {"if-none-match": tag}}) for tag in ('"mine"', '"v1"')]
    place.write(given[0], name="a.jsonl")
    place.run(source="a.jsonl")
    place.run(source="a.jsonl")
    place.write(given[1], name="a.jsonl")
    place.run(source="a.jsonl")
    assert [etag for etag, _ in page.asked] == ['"mine"', '"mine"', '"v1"']
    assert place.records()[0]["unchanged"] is True


def test_a_304_that_nobody_asked_for_is_no_sign_that_nothing_has_changed(place: Place, origin: Origin) -> None:
    place.write(origin.url("/status/304"))
    assert [place.run("--only-changed") for _ in range(2)] == [0, 0]
    (record,) = place.records()
    assert (record["ok"], record["status"], "unchanged" in record) == (True, 304, False)


def test_the_validators_of_what_a_redirect_leads_to_are_not_those_of_the_url(place: Place, origin: Origin) -> None:
    """Both pages have the same ETag, so a condition of the one would make the other one look as it was."""
    one, two = Page(origin, "/one", ETag='"1"'), Page(origin, "/two", ETag='"1"')
    target = "/one"
    origin.script("/latest", lambda arrival: Reply(status=302, headers={"Location": target}))
    place.write(origin.url("/latest"), one.url)
    place.run("--only-changed")
    target = "/two"
    place.run("--only-changed")
    assert two.asked == [(None, None)]
    assert [(record["url"], record["status"]) for record in place.records()] == [(origin.url("/latest"), 200)]
    # A page that has become a redirect: the condition goes along, and what it says there is not about this URL.
    origin.script("/one", lambda arrival: Reply(status=302, headers={"Location": "/two"}))
    place.run("--only-changed")
    moved = place.by_url()[one.url]
    assert (moved["status"], moved["ok"], "unchanged" in moved) == (304, True, False)
    place.run("--only-changed")
    assert place.by_url()[one.url]["status"] == 200  # asked for in full, as nothing is known of it any more


def test_of_two_inputs_with_one_url_both_are_new_if_it_has_changed(
    place: Place, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mover, "SYNC_EVERY", 0.0)
    page = Page(origin, "/page", ETag='"v1"')
    place.write(*(json.dumps({"url": page.url, "key": str(n)}) for n in range(150)), name="a.jsonl")
    words = ("--only-changed", "--workers", "1", "--host-rate", "500/s")
    place.run(*words, source="a.jsonl")
    assert len(place.records()) == 150
    assert {etag for etag, _ in page.asked} == {None}
    page.headers = {"ETag": '"v2"'}
    place.run(*words, source="a.jsonl")
    assert len(place.records()) == 150
    place.run(*words, source="a.jsonl")
    assert place.records() == []
    assert [etag for etag, _ in page.asked[300:]] == ['"v2"'] * 150


def test_what_a_run_saw_that_was_given_up_counts_for_nothing(place: Place, origin: Origin) -> None:
    page = Page(origin, "/page", ETag='"v1"')
    place.write(page.url)
    place.run("--only-changed")
    page.headers = {"ETag": '"v2"'}
    place.write(page.url, *(origin.url(f"/delay/0.4?n={n}") for n in range(9)))
    assert place.run("--only-changed", "--workers", "1", "--deadline", "0.4s") == 4
    place.write(page.url)
    place.run("--only-changed", "--restart")
    assert [record["url"] for record in place.records()] == [page.url]  # or the change would be in no output at all


def test_two_users_do_not_share_what_is_known_of_a_url(tmp_path: Path, origin: Origin) -> None:
    page = Page(origin, "/page", ETag='"v1"')
    users: list[Any] = [("ann", "1"), ("ben", "2"), object]

    def login(request: Any) -> Any:
        return request

    for number, auth in enumerate([*users[:2], login]):
        Job(tmp_path / "a.job", requests=[Request(page.url, auth=auth)], output=tmp_path / "o.jsonl").run()
        assert page.asked[number] == (None, None)
    Job(tmp_path / "a.job", requests=[Request(page.url, auth=("ann", "1"))], output=tmp_path / "o.jsonl").run()
    assert page.asked[-1] == ('"v1"', None)


# -- what is recent ---------------------------------------------------------------------------------------------------


def test_what_was_ok_a_short_while_ago_is_skipped_and_failures_are_fetched(place: Place, origin: Origin) -> None:
    page = Page(origin, "/page", ETag='"v1"')
    place.write(page.url, origin.url("/bytes/1"), origin.url("/status/404"), origin.url("/bytes/1"))
    place.run()
    place.run()  # the page is unchanged now, which is as good as ok
    before = origin.requests
    assert place.run("--skip-recent", "1h") == 1
    assert paths_of(origin)[before:] == ["/status/404"]
    skipped = place.by_url()[page.url]
    assert {name: skipped[name] for name in ("ok", "status", "attempts", "skipped", "error", "started_at")} == {
        "ok": True, "status": None, "attempts": 0, "skipped": True, "error": None, "started_at": None,
    }  # fmt: skip
    assert sum(record.get("skipped", False) for record in place.records()) == 3
    assert place.proven(), place.said
    place.edit("UPDATE seen SET ok_at = ok_at - 3700")
    place.run("--skip-recent", "1h")
    assert origin.requests == before + 1 + 4
    place.edit("UPDATE seen SET ok_at = ok_at + 5000")  # the clock has been set back since
    place.run("--skip-recent", "1h")
    assert origin.requests == before + 1 + 4 + 4


def test_a_url_that_comes_twice_is_not_skipped_for_what_the_same_run_has_fetched(place: Place, origin: Origin) -> None:
    place.write(*[origin.url("/bytes/1")] * 200)
    assert place.run("--skip-recent", "1h", "--workers", "1", "--host-rate", "400/s") == 0
    assert origin.requests == 200


# -- idempotency keys -------------------------------------------------------------------------------------------------


def keys_of(origin: Origin) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for arrival in origin.arrivals:
        found.setdefault(arrival.path, []).append(arrival.headers.get("Idempotency-Key", ""))
    return found


def test_an_idempotency_key_is_the_same_for_an_input_in_a_run_also_from_another_directory(
    place: Place, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [origin.url(f"/flaky/1?n={n}") for n in range(6)]
    rows = [{"url": url, "method": "POST" if n % 2 else "PATCH"} for n, url in enumerate(urls)]
    rows += [{"url": origin.url("/echo?own"), "method": "POST", "headers": {"idempotency-key": "own"}}]
    rows += [{"url": origin.url("/bytes/1")}]
    place.write(*map(json.dumps, rows), name="posts.jsonl")
    slowly = ("--idempotency-keys", "--workers", "2", "--host-rate", "10/s")
    assert place.run(*slowly, "--deadline", "0.3s", source="posts.jsonl") == 4
    first = keys_of(origin)
    assert 0 < len(first) < 8
    elsewhere = place.directory / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    argv = ["run", "../posts.jsonl", "-o", "../out.jsonl", "--job", "../a.job", "--quiet", *slowly]
    assert place.command(*argv) == 0
    keys = keys_of(origin)
    assert keys.pop("/echo?own") == ["own"]
    assert keys.pop("/bytes/1") == [""]
    assert all(len(of_one) == 2 and len(set(of_one)) == 1 and of_one[0] for of_one in keys.values()), keys
    assert len({of_one[0] for of_one in keys.values()}) == 6
    assert place.command(*argv) == 0  # another run
    again = keys_of(origin)
    assert all(again[path][-1] not in of_one for path, of_one in keys.items())


def test_without_keys_a_post_whose_answer_was_lost_is_not_sent_again_in_any_way(place: Place, origin: Origin) -> None:
    place.write(json.dumps({"url": origin.url("/reset?after=0"), "method": "POST"}), name="posts.jsonl")
    assert place.run("--retry-rounds", "2", source="posts.jsonl") == 1
    assert place.run("--retry-failed", source="posts.jsonl") == 1
    assert origin.requests == 1
    assert "unknown" in place.records()[0]["error"]
    assert place.proven(), place.said


# -- rounds, and failures fetched again -------------------------------------------------------------------------------


def test_only_failures_that_may_end_better_get_further_rounds_and_order_is_kept(place: Place, origin: Origin) -> None:
    paths = ["/flaky/2", "/bytes/1", "/status/404", "/status/500", "/bytes/2", "/flaky/1?status=429", "/status/400"]
    place.write(*map(origin.url, paths), "no URL")
    words = ("--retries", "0", "--retry-rounds", "2")
    assert place.run(*words, "--ordered") == 1
    expected = [200, 200, 404, 500, 200, 200, 400, None]
    assert [record["status"] for record in place.records()] == expected
    assert Counter(paths_of(origin)) == {
        "/flaky/2": 3, "/bytes/1": 1, "/status/404": 1, "/status/500": 3, "/bytes/2": 1, "/flaky/1?status=429": 2,
        "/status/400": 1,
    }  # fmt: skip
    assert place.proven(), place.said


def test_order_is_kept_when_a_run_goes_on_without_the_rounds_that_it_began_with(place: Place, origin: Origin) -> None:
    paths = ["/status/500", "/bytes/1", "/status/503", "/delay/30", "/bytes/2"]
    place.write(*map(origin.url, paths))
    words = ("--retries", "0", "--ordered", "--workers", "1", "--timeout", "1")
    assert place.run(*words, "--retry-rounds", "1", "--deadline", "500ms") == 4
    assert place.run(*words) == 1
    assert [record["url"] for record in place.records()] == [*map(origin.url, paths)]


def statuses_of(output: str) -> Counter[tuple[str, int]]:
    """Path and status of each record, read by other means than ours."""
    rows = [(str(row["url"]).rpartition("/")[2], int(row["status"])) for row in rows_in(output) or []]
    return Counter(rows)


@pytest.mark.parametrize("output", [*some(FILES, 2), "postgres"])
def test_failures_of_a_finished_run_are_fetched_again_and_good_records_stay(
    place: Place, origin: Origin, request: pytest.FixtureRequest, output: str
) -> None:
    """Twice in a row, then with nothing failed, then after the output is gone."""
    is_table = output == "postgres"
    if is_table:
        output = request.getfixturevalue("postgres").url("retried")
    fails = {"a", "b"}

    def answer(arrival: Arrival) -> Reply:
        return Reply(status=500 if arrival.path[1:] in fails else 200, body=b"x" * 100)

    names = [*"abcde"] * 20
    for name in "abcde":
        origin.script(f"/{name}", answer)
    place.write(*(origin.url(f"/{name}") for name in names))
    words = ("--retries", "0", "--workers", "4")
    assert place.run(*words, output=output) == 1, place.said
    assert origin.requests == 100
    fails.clear()
    fails.add("b")
    assert place.run(*words, "--retry-failed", output=output) == 1, place.said
    assert origin.requests == 140
    assert statuses_of(output) == {("a", 200): 20, ("b", 500): 20, ("c", 200): 20, ("d", 200): 20, ("e", 200): 20}
    assert place.run(*words, "--retry-failed", output=output) == 1, place.said
    assert statuses_of(output)["b", 500] == 20
    fails.clear()
    assert place.run(*words, "--retry-failed", output=output) == 0, place.said
    assert statuses_of(output) == {(name, 200): 20 for name in "abcde"}
    assert origin.requests == 180
    assert place.run(*words, "--retry-failed", output=output) == 0, place.said
    assert statuses_of(output) == {(name, 200): 20 for name in "abcde"}
    assert origin.requests == 180
    if is_table:
        with request.getfixturevalue("postgres").connect() as connection:
            connection.execute("DROP TABLE retried")
    else:
        (place.directory / output).unlink()
    assert place.run(*words, "--retry-failed", output=output) in (2, 5)
    assert "has been removed or changed since it was finished" in place.said
    assert origin.requests == 180
    assert place.run(*words, output=output) == 0, place.said  # the next run needs nothing of it
    assert statuses_of(output) == {(name, 200): 20 for name in "abcde"}


def test_retry_failed_on_an_unfinished_run_simply_goes_on(place: Place, origin: Origin) -> None:
    place.write(*(origin.url(f"/delay/0.1?n={n}") for n in range(9)), origin.url("/status/404"))
    assert place.run("--workers", "1", "--deadline", "0.2s") == 4
    assert place.run("--retry-failed") == 1
    assert origin.requests == 10
    assert place.proven(), place.said


def test_an_output_that_was_edited_since_is_not_made_worse_by_fetching_failures_again(
    place: Place, origin: Origin
) -> None:
    place.write(origin.url("/bytes/1"), origin.url("/flaky/1"))
    place.run("--retries", "0")
    edited = place.output.read_text() + "a line of somebody's own\n"
    place.output.write_text(edited)
    code = place.run("--retry-failed", "--retries", "0")
    assert code == 0
    assert sorted(record["status"] for record in place.records()) == [200, 200]


# -- sources ----------------------------------------------------------------------------------------------------------


def urls_of(place: Place) -> Counter[tuple[str, str]]:
    return Counter((record["key"], record["url"]) for record in place.records())


@pytest.mark.parametrize("kind", some(["csv", "csv.gz", "parquet", "jsonl.gz"], 2))
def test_a_source_of_any_kind_is_gone_on_with_where_it_was_left(place: Place, origin: Origin, kind: str) -> None:
    """Rows span lines, and keys repeat: what tells inputs apart is their place alone."""
    count = 1200 if IN_FULL else 600
    urls = [origin.url(f"/bytes/{n % 50}?n={n}") for n in range(count)]
    keys = [f"two\nlines, {n % 7}" for n in range(count)]
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.table({"url": urls, "key": keys})
        pyarrow.parquet.write_table(table, place.directory / "in.parquet", row_group_size=250)
    else:
        if kind.startswith("csv"):
            text = "url,key\n" + "".join(f'{url},"{key}"\n' for url, key in zip(urls, keys, strict=True))
        else:
            text = "".join(json.dumps({"url": url, "key": key}) + "\n" for url, key in zip(urls, keys, strict=True))
        opened = gzip.open if kind.endswith("gz") else open
        with opened(place.directory / f"in.{kind}", "wt") as file:
            file.write(text)
    codes = []
    while not codes or codes[-1] == 4:
        codes.append(place.run("--deadline", "0.3s", "--host-rate", "1000/s", "--burst", "50", source=f"in.{kind}"))
        assert codes[-1] in (0, 4), place.said
    assert len(codes) > 1
    assert urls_of(place) == Counter(zip(keys, urls, strict=True))
    assert origin.requests == count
    assert place.proven(), place.said


def test_a_new_file_that_matches_a_pattern_is_told_while_a_run_is_unfinished(place: Place, origin: Origin) -> None:
    slow = [origin.url(f"/delay/0.1?n={n}") for n in range(10)]
    place.write(*slow[:5], name="a1.txt")
    place.write(*slow[5:], name="a3.txt")
    assert place.run("--workers", "1", "--deadline", "0.2s", source="a*.txt") == 4
    place.write(origin.url("/bytes/1"), name="a2.txt")
    assert place.run(source="a*.txt") == 2
    assert f"with no {place.directory / 'a2.txt'}" in place.said
    (place.directory / "a2.txt").rename(place.directory / "later.txt")
    assert place.run(source="a*.txt") == 0
    assert origin.requests == 10
    (place.directory / "later.txt").rename(place.directory / "a2.txt")
    assert place.run(source="a*.txt") == 0  # the next run takes it
    assert len(place.records()) == 11


# -- a slow output, and one that fails --------------------------------------------------------------------------------


def test_a_slow_function_slows_the_batch_and_what_waits_for_it_is_bounded(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most 64 MiB of records wait, here 500 kB, whatever the bodies come to."""
    monkeypatch.setattr(mover, "AHEAD", 500_000)
    monkeypatch.setattr(mover, "MOVED_AT_ONCE", 20_000)
    monkeypatch.setattr(callback.CallbackSink, "cadence", Cadence(seconds=0.0, bytes=1))
    got: list[str] = []
    ahead: list[int] = []

    def receive(records: list[Row]) -> None:
        ahead.append(origin.requests - len(got))
        let_pass(0.02)
        got.extend(record["url"] for record in records)

    urls = [origin.url(f"/bytes/5000?n={n}") for n in range(400)]
    job = Job(
        tmp_path / "a.job", requests=urls, output=receive, include=["body"], at_least_once=True, window=16
    )  # fmt: skip
    assert job.run(max_workers=4).is_whole
    assert Counter(got) == Counter(urls)
    assert max(ahead) < 200  # of 400: what waits, a window of requests, and what was being moved


@pytest.mark.parametrize("ordered", [(), ("--ordered",)])
def test_a_disk_that_fails_ends_the_run_with_5_and_nothing_is_lost(
    place: Place, origin: Origin, monkeypatch: pytest.MonkeyPatch, ordered: tuple[str, ...]
) -> None:
    urls = [origin.url(f"/bytes/{n % 30}?n={n}") for n in range(500)]
    place.write(*urls)
    write = staged.StagedSink.write
    calls = 0

    def fail(sink: staged.StagedSink, rows: Any) -> str:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise SinkError("no space left on device")
        return write(sink, rows)

    monkeypatch.setattr(staged.StagedSink, "cadence", Cadence(seconds=0.0, bytes=1))
    monkeypatch.setattr(staged.StagedSink, "write", fail)
    assert place.run("--host-rate", "1000/s", *ordered) == 5
    assert "no space left" in place.said
    assert not place.output.exists()
    assert place.run(*ordered) == 0
    assert Counter(record["url"] for record in place.records()) == Counter(urls)
    assert origin.requests <= 500 + 16
    assert place.proven(), place.said
