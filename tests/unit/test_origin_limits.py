"""The limits that an origin keeps to, told the time; what its answers say of them; and what it counts."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.unit.plain_client import LIMIT, Client
from workerpool.errors import OptionError
from workerpool.testing import Origin, OriginProcess, Reply
from workerpool.testing.origin import Answers, Records, Sockets
from workerpool.testing.origin.limits import (
    DIALECTS,
    Allowance,
    FixedWindow,
    Limit,
    Places,
    Queue,
    SlidingWindow,
    TokenBucket,
    announce,
)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(("127.0.0.1", "127.0.0.2")) as origin:
        yield origin


@pytest.fixture
def client(origin: Origin) -> Iterator[Client]:
    with Client(origin) as client:
        yield client


def waits(limit: Limit, *moments: float, seconds: float = 0.0) -> list[float | None]:
    return [limit.take(moment, seconds).wait for moment in moments]


# Arithmetic


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    assert waits(TokenBucket(4, 2), 10, 10, 10, 10.125, 10.25, 10.25) == [None, None, 0.25, 0.125, None, 0.25]


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    assert waits(TokenBucket(4, 2), 0, 1000, 1000, 1000) == [None, None, None, 0.25]


def test_a_bucket_tells_when_it_is_full_again() -> None:
    bucket = TokenBucket(4, 20)
    assert bucket.take(0, 0).allowance == Allowance(20, 5, 19, 0.25)
    assert bucket.take(0, 0).allowance == Allowance(20, 5, 18, 0.5)


def test_a_fixed_window_starts_with_the_first_request_and_forgets_at_its_end() -> None:
    assert waits(FixedWindow(2, 10), 5, 14, 14.5, 15, 15, 16) == [None, None, 0.5, None, None, 9]


def test_a_fixed_window_keeps_its_beat_when_nobody_comes_for_a_while() -> None:
    assert waits(FixedWindow(1, 10), 5, 47, 48, 55) == [None, None, 7, None]


def test_a_sliding_window_frees_each_place_by_itself() -> None:
    assert waits(SlidingWindow(2, 10), 0, 6, 9, 10, 15, 16) == [None, None, 1, None, 1, None]


@pytest.mark.parametrize("kind", [FixedWindow, SlidingWindow])
def test_a_window_tells_what_is_left_of_it(kind: type[FixedWindow] | type[SlidingWindow]) -> None:
    window = kind(2, 10)
    left = [window.take(moment, 0).allowance for moment in (0, 4, 5)]
    assert left == [Allowance(2, 10, 1, 10), Allowance(2, 10, 0, 6), Allowance(2, 10, 0, 5)]


def test_places_are_free_again_when_their_answers_are_out() -> None:
    assert waits(Places(2), 0, 1, 2, 3, 3.5, seconds=3) == [None, None, 1, None, 0.5]


def test_a_queue_refuses_nobody_and_takes_longer_the_more_wait() -> None:
    queue = Queue(2)
    verdicts = [queue.take(0, 1) for _ in range(5)] + [queue.take(10, 1)]
    assert {verdict.wait for verdict in verdicts} == {None}
    assert [verdict.delay for verdict in verdicts] == [1, 1, 2, 2, 3, 1]


# What answers say


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("ietf", {"RateLimit-Policy": '"default";q=600;w=60', "RateLimit": '"default";r=599;t=60'}),
        ("github", {"X-RateLimit-Limit": "600", "X-RateLimit-Remaining": "599", "X-RateLimit-Reset": "1060"}),
        ("twitter", {"x-rate-limit-limit": "600", "x-rate-limit-remaining": "599", "x-rate-limit-reset": "1060"}),
        ("discord", {"X-RateLimit-Remaining": "599", "X-RateLimit-Reset": "1059.500"}),
        ("discord", {"X-RateLimit-Reset-After": "59.500"}),
        ("delta", {"X-RateLimit-Remaining": "599", "X-RateLimit-Reset": "60"}),
        ("no", {}),
    ],
)
def test_each_dialect_tells_in_its_own_words(dialect: str, expected: dict[str, str]) -> None:
    told = dict(announce(dialect, Allowance(600, 60, 599, 59.5), time=1000))
    assert told.items() >= expected.items()
    assert bool(told) == bool(expected)


def test_a_dialect_that_is_unknown_is_refused_by_name(client: Client) -> None:
    status, _, body = client.get("/window?headers=klingon")
    assert status == 400
    assert all(dialect in body.decode() for dialect in DIALECTS)


def test_what_a_window_leaves_is_told_with_answers_and_with_refusals(client: Client) -> None:
    path = "/window?count=1&seconds=60&headers=ietf"
    told = [client.get(f"{path}&n={number}") for number in range(2)]
    assert [status for status, _, _ in told] == [200, 429]
    assert [headers["ratelimit"][:13] for _, headers, _ in told] == ['"default";r=0'] * 2
    assert 58 <= int(told[1][1]["retry-after"]) <= 60


def test_a_refusal_has_the_status_and_the_retry_after_that_were_asked_for(client: Client) -> None:
    for query, status, hint in (("", 429, "1"), ("&hint=no", 429, None), ("&status=503&hint=5", 503, "5")):
        path = f"/limit?rate=1&burst=1&by=x-case{query}"
        client.get(path, f"X-Case: {query}\n")
        got, headers, _ = client.get(path, f"X-Case: {query}\n")
        assert (got, headers.get("retry-after")) == (status, hint)


def test_each_value_of_a_header_may_have_a_limit_of_its_own(client: Client) -> None:
    path = "/window?count=1&by=x-api-key"
    assert [client.get(path, f"X-Api-Key: {key}\n")[0] for key in ("a", "b", "a", "b")] == [200, 200, 429, 429]


def test_each_address_has_a_limit_of_its_own(origin: Origin, client: Client) -> None:
    with Client(origin, "127.0.0.2") as other:
        assert [of.get("/window?count=1")[0] for of in (client, other, client)] == [200, 200, 429]


def test_kinds_of_windows_are_limits_of_their_own(client: Client) -> None:
    paths = ("/window?count=1&kind=sliding", "/window?count=1&kind=fixed", "/window?count=1")
    assert [client.get(path)[0] for path in paths] == [200, 200, 429]


@pytest.mark.parametrize(
    "path",
    ["/window?count=0", "/window?seconds=0", "/window?kind=odd", "/places?most=0", "/queue?slots=0", "/limit?burst=0"],
)
def test_a_limit_that_cannot_work_is_a_bad_request(client: Client, path: str) -> None:
    assert client.get(path)[0] == 400


def at_once(origin: Origin, path: str, number: int) -> list[tuple[int, float]]:
    """Return status and seconds of so many requests that are sent at the same time."""
    clients = [Client(origin) for _ in range(number)]
    try:
        began = time.monotonic()
        for client in clients:
            client.send(f"GET {path} HTTP/1.1\nHost: here\n\n")

        def take(client: Client) -> tuple[int, float]:
            return client.response()[0], time.monotonic() - began

        with ThreadPoolExecutor(number) as threads:
            return [*threads.map(take, clients)]
    finally:
        for client in clients:
            client.__exit__()


def test_a_path_of_places_refuses_at_once_whoever_finds_none(origin: Origin) -> None:
    answers = at_once(origin, "/places?most=3&delay=1", 5)
    assert sorted(status for status, _ in answers) == [200, 200, 200, 503, 503]
    assert all((seconds >= 1) == (status == 200) for status, seconds in answers)
    assert origin.records().answers.at_once == 4, "three at work, and one that is being refused"


def test_a_path_of_slots_answers_everybody_in_turn(origin: Origin) -> None:
    answers = at_once(origin, "/queue?slots=2&delay=0.2", 4)
    assert [status for status, _ in answers] == [200] * 4
    assert [seconds >= 0.4 for seconds in sorted(seconds for _, seconds in answers)] == [False, False, True, True]


# Counts


def test_an_origin_counts_what_it_accepts_and_refuses_at_each_address(origin: Origin, client: Client) -> None:
    with Client(origin, "127.0.0.2") as other:
        for path in ("/", "/status/404", "/status/429", "/status/503", "/status/500"):
            client.get(path)
        other.get("/status/429")
    records = origin.records()
    counted = {
        address: (answers.accepted, answers.refused, answers.at_once)
        for address, answers in [("all", records.answers), *records.answers_at.items()]
    }
    assert counted == {"all": (3, 3, 1), "127.0.0.1": (3, 2, 1), "127.0.0.2": (0, 1, 1)}
    assert [*records.refusals] == [origin.arrivals[n].time for n in (2, 3, 5)]
    assert [*records.refusals_at["127.0.0.2"]] == [origin.arrivals[5].time]


def test_a_request_whose_client_goes_away_is_not_answered_any_more(origin: Origin, client: Client) -> None:
    with Client(origin) as leaving, Client(origin) as idle:
        idle.get("/")
        leaving.send("GET /delay/60 HTTP/1.1\nHost: here\n\n")
        origin.wait_for(2)
    origin.wait_until(lambda: origin.connections_open == 1)
    origin.reset_records()
    assert origin.records().answers == Answers()
    client.get("/delay/0.1")
    origin.wait_until(lambda: origin.records().answers.seconds > 0)
    answers = origin.records().answers
    assert (answers.accepted, answers.at_once) == (1, 1)
    assert 0.1 <= answers.seconds < LIMIT


def test_what_is_being_answered_outlives_a_reset_of_the_counts(origin: Origin, client: Client) -> None:
    client.send("GET /delay/60 HTTP/1.1\nHost: here\n\n")
    origin.wait_for(1)
    origin.reset_records()
    assert origin.records().answers == Answers(at_once=1)


def test_requests_that_are_answered_one_after_the_other_are_one_at_a_time(origin: Origin, client: Client) -> None:
    client.send("GET /delay/0.05 HTTP/1.1\nHost: here\n\nGET / HTTP/1.1\nHost: here\n\n")
    client.response()
    client.response()
    assert origin.records().answers.at_once == 1


def test_an_early_answer_is_counted_once(origin: Origin, client: Client) -> None:
    origin.script("/up", Reply(status=429, early=True))
    client.send("POST /up HTTP/1.1\nHost: here\nContent-Length: 1000000\n\nbegun")
    client.response()
    origin.wait_until(lambda: origin.connections_open == 0)
    answers = origin.records().answers
    assert (answers.accepted, answers.refused, answers.at_once) == (0, 1, 1)


def test_a_process_counts_the_same() -> None:
    with OriginProcess() as process, Client(process) as client:
        statuses = [client.get("/window?count=2&seconds=60")[0] for _ in range(3)]
        records = process.records()
    assert statuses == [200, 200, 429]
    assert (records.answers.accepted, records.answers.refused, len(records.refusals)) == (2, 1, 1)
    assert records.answers_at == {"127.0.0.1": records.answers}
    assert records.per_second() == [(2, 1)]


RECORDS = Records(
    7,
    Sockets(),
    times_at={"a": [0.0, 0.5, 2.5, 2.75], "b": [3.0, 3.5, 9.0]},
    refusals_at={"a": [0.5, 2.75], "b": [3.0, 9.0]},
)


def test_accepted_and_refused_are_told_for_each_second() -> None:
    assert RECORDS.per_second("a") == [(1, 1), (0, 0), (1, 1)]
    assert RECORDS.per_second("b") == [(1, 1)] + 5 * [(0, 0)] + [(0, 1)]
    assert [sum(column) for column in zip(*RECORDS.per_second(), strict=True)] == [3, 4]
    assert RECORDS.per_second("c") == []


def test_refusals_that_follow_each_other_are_one_incident() -> None:
    gaps = (0.2, 0.25, 2.5, 7.0)
    assert [RECORDS.incidents(gap) for gap in gaps] == [4, 3, 2, 1]
    assert [RECORDS.incidents(gap, "a") for gap in gaps] == [2, 2, 1, 1]
    assert RECORDS.incidents(1.0, "c") == 0
    with pytest.raises(OptionError, match="gap_seconds"):
        RECORDS.incidents(0)


def test_a_limited_path_keeps_its_rate_by_the_origins_own_count() -> None:
    with OriginProcess() as process, Client(process) as client:
        client.get("/limit?rate=50&burst=5")
        began = time.monotonic()
        for number in itertools.count():
            client.get(f"/limit?rate=50&burst=5&n={number}")
            if (took := time.monotonic() - began) > 1:
                break
        answers = process.records().answers
    assert answers.refused > 0
    assert 50 <= answers.accepted <= 5 + 50 * (took + 0.1) + 1
