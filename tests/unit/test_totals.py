"""Totals and their summary: right to within what they promise, bounded, and readable at 80 columns."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests import Response

from workerpool.config import Budgets
from workerpool.endings import in_short
from workerpool.errors import Cancelled, ConnectionLost, InvalidRequest, RequestError, StatusError
from workerpool.model import Attempt, Outcome, Request, Timings
from workerpool.rate import Rate
from workerpool.report.summary import Took, summarize
from workerpool.report.totals import OTHERS, Histogram, Tally, Totals
from workerpool.report.why import Allowed
from workerpool.statistics import Waits
from workerpool.wording import WIDTH, duration, number, size

ALLOWED = Allowed(workers=16, budgets=Budgets())


def outcome(
    url: str = "http://a/1", *, elapsed: float = 0.1, at: float = 0.0, error: RequestError | None = None, tries: int = 1
) -> Outcome:
    response = None
    if error is None or isinstance(error, StatusError):
        response = Response()
        response.status_code, response._content = getattr(error, "status", 200), b"12345"
    attempts = tuple(Attempt(started_at=at + n, elapsed=elapsed) for n in range(tries))
    return Outcome(Request(url), response=response, error=error, attempts=attempts, elapsed=elapsed)


def tally(*outcomes: Outcome, hosts: int = 100) -> Totals:
    made = Tally(hosts)
    for each in outcomes:
        made.add(each)
    return made.totals()


def figures(waits: Waits | None = None, **changes: int) -> Any:
    return SimpleNamespace(
        **{
            "sent": 0,
            "retries": 0,
            "redirects": 0,
            "sockets_opened": 0,
            "sockets_reused": 0,
            "budget_away": 0.0,
            **changes,
        },
        waits=waits or Waits(),
    )


@given(st.lists(st.floats(1e-5, 1e5), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_within_one_percent_of_the_number_that_it_stands_for(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[max(0, -(-int(share * 100) * len(values) // 100) - 1)]
    assert histogram.quantile(share) == pytest.approx(exact, rel=0.0101)


def test_a_histogram_takes_zero_and_nothing() -> None:
    histogram = Histogram()
    assert histogram.quantile(0.5) == 0.0
    histogram.add(0.0)
    assert histogram.quantile(0.5) == pytest.approx(1e-6, rel=0.02)


def test_outcomes_are_counted_by_reason_and_statuses_by_their_number() -> None:
    totals = tally(
        outcome(), outcome(),
        outcome(error=StatusError("no", status=404)), outcome(error=StatusError("no", status=799)),
        outcome(error=ConnectionLost("gone")), outcome(error=Cancelled("x"), tries=0),
    )  # fmt: skip
    assert totals.reasons == {"ok": 2, "404 Not Found": 1, "799 status": 1, "connection": 1, "cancelled": 1}
    assert (totals.requests, totals.ok, totals.bytes, totals.attempts) == (6, 2, 20, 5)


def test_every_attempt_counts_for_the_response_time_and_the_sending_time() -> None:
    totals = tally(outcome(tries=3, elapsed=0.2), outcome(at=10.0, elapsed=0.4))
    assert totals.attempts == 4
    assert totals.sending_for == pytest.approx(10.0)
    assert totals.p50 == pytest.approx(0.2, rel=0.01)
    assert totals.p99 == pytest.approx(0.4, rel=0.01)


def test_the_busiest_second_is_found_however_long_the_run() -> None:
    busy = [outcome(at=100.5) for _ in range(7)]
    assert tally(*busy, *(outcome(at=float(second)) for second in range(20_000))).busiest == 8


def test_hosts_past_the_bound_are_counted_together() -> None:
    totals = tally(*(outcome(f"http://h{n}/", elapsed=0.001 * (n + 1)) for n in range(20)), hosts=5)
    assert totals.hosts == 6
    others = next(host for host in totals.slowest if host.host == OTHERS)
    assert others.requests == 15


def test_the_slowest_hosts_come_first_with_their_ports_and_without_secrets() -> None:
    totals = tally(
        outcome("http://fast/", elapsed=0.01),
        outcome("http://u:hunter2@slow:8080/x", elapsed=2.0),
        outcome("https://mid:443/x", elapsed=0.5),
        outcome("https://mid?q=1", elapsed=0.5),
    )
    assert [(host.host, host.requests) for host in totals.slowest] == [("slow:8080", 1), ("mid", 2), ("fast", 1)]


def test_the_reason_of_an_outcome_is_a_stable_word() -> None:
    assert tally(outcome()).reasons == {"ok": 1}
    assert in_short(InvalidRequest("x")) == "invalid"
    assert in_short(StatusError("no", status=404)) == "404 Not Found"
    assert in_short(StatusError("no", status=799)) == "799 status"


def test_the_summary_says_everything_and_fits_a_terminal() -> None:
    rng = random.Random(1)
    outcomes = [outcome(f"http://host{n % 9}.example.org/", elapsed=rng.random(), at=n / 200) for n in range(1_200)]
    outcomes += [outcome("http://h/?token=hunter2&" + "x" * 300, error=ConnectionLost("gone " * 40), at=1.0)]
    outcomes += [outcome(error=StatusError("HTTP 404 Not Found", status=404), at=1.0) for _ in range(12)]
    text = summarize(
        tally(*outcomes),
        figures(
            Waits(rate=5.0, host_sockets=1.0),
            sent=1_230,
            retries=14,
            redirects=3,
            sockets_opened=16,
            sockets_reused=1_198,
        ),
        Allowed(workers=16, budgets=Budgets(rate=Rate.of("200/s"), host_rate=Rate.of("100/min"))),
        Took(elapsed=6.04),
    )
    assert max(len(line) for line in text.splitlines() if "xxx" not in line) <= WIDTH
    assert len(text.splitlines()) <= 25
    assert text.startswith("1,213 requests in 6.0 s: 1,200 ok, 13 failed\n")
    for words in (
        "1.0%  404 Not Found", "connection lost", "202.2/s on average", "200/s in all, 100/min per host",
        "1,230 sends, 14 retries and 3 redirects among them", "p50 ", "p95 ", "p99 ",
        "16 opened, reused for 1,198 sends", "waited for     the rate 83%, sockets to a host 16%, the output 1%",
        "what binds     the rate of 200/s in all held it up 83% of the time",
        "slowest of 11 hosts", "for example", "token=***",
    ):  # fmt: skip
        assert words in text
    assert "hunter2" not in text


def test_what_sends_took_is_added_up() -> None:
    spent = Timings(dns=0.01, connect=0.02, tls=0.04, first_byte=1.0, body=0.5)
    totals = tally(*[replace(outcome(), timings=spent + Timings(queued=5.0, slot=3.0, parked=1.0))] * 2, outcome())
    assert totals.spent == spent + spent


def test_a_run_of_no_time_is_not_told_what_binds() -> None:
    lines = summarize(tally(outcome()), figures(Waits(answers=0.1), sent=1), ALLOWED, Took(elapsed=0.1)).splitlines()
    assert "  waited for     the last answers 100%" in lines
    assert not [line for line in lines if "what binds" in line]


def test_the_summary_of_nothing_and_of_what_was_never_sent_is_a_sentence() -> None:
    assert summarize(tally(), figures(), ALLOWED, Took(elapsed=0.01)) == "0 requests in 10 ms: 0 ok"
    cancelled = summarize(tally(outcome(error=Cancelled("x"), tries=0)), figures(), ALLOWED, Took(elapsed=1.0))
    assert cancelled.startswith("1 request in 1.0 s: 0 ok, 1 cancelled")
    assert "for example" not in cancelled


def test_numbers_are_written_for_people() -> None:
    assert [duration(seconds) for seconds in (0.000_999_7, 0.999_7, 59.97, 3_599.7)] == [
        *("1 ms", "1.0 s", "1 min 00 s", "1 h 00 min"),
    ]
    assert [size(count) for count in (999, 1_000, 999_949, 999_950)] == ["999 bytes", "1.0 kB", "999.9 kB", "1.0 MB"]
    assert [duration(seconds) for seconds in (0.000_4, 0.012, 3.21, 245, 7_800)] == [
        "400 µs", "12 ms", "3.2 s", "4 min 05 s", "2 h 10 min",
    ]  # fmt: skip
    assert [number(value) for value in (0.25, 4.2, 198.61, 4_300.2)] == ["0.25", "4.2", "198.6", "4,300"]
    assert [size(count) for count in (12, 12_300, 5_000_000_000)] == ["12 bytes", "12.3 kB", "5.0 GB"]
