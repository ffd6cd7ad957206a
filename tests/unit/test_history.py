"""A run's history: exact where it counts, right within what it promises where it does not, and bounded."""

from __future__ import annotations

import itertools
import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reported import BEGAN, LIMITS, figures, history, outcome
from workerpool.errors import ConnectionLost, InvalidRequest, StatusError
from workerpool.history import COLUMNS, Execution, Fold, Histogram, History, Limits, Series
from workerpool.history import fold as folding
from workerpool.history.execution import together
from workerpool.history.history import EXECUTIONS, PAUSES
from workerpool.history.series import PLACE
from workerpool.model import Outcome, Request, Timings
from workerpool.statistics import HostWait, Waits

ERROR = Histogram.ERROR + 1e-9


def histogram(values: list[float]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


@given(st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=300), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_every_percentile_is_within_a_percent_of_the_exact_one(values: list[float], share: float) -> None:
    made = histogram(values)
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert made.quantile(share) == pytest.approx(exact, rel=ERROR)
    assert made.count == len(values)
    assert made.total == pytest.approx(sum(values))
    assert made.quantile(1.0) <= made.largest == max(values)


def test_a_histogram_is_the_same_after_it_was_written_down_and_two_together_are_as_one() -> None:
    values = [random.Random(n).expovariate(10) for n in range(500)]
    whole = histogram(values)
    again = Histogram.from_json(json.loads(json.dumps(histogram(values[:200]).as_json())))
    again.take(histogram(values[200:]))
    assert [again.quantile(n / 20) for n in range(21)] == [whole.quantile(n / 20) for n in range(21)]
    assert (again.count, again.largest) == (whole.count, whole.largest)
    assert again.total == pytest.approx(whole.total)


def test_bars_hold_all_numbers_and_have_no_holes_between_them() -> None:
    bars = histogram([0.001, 0.002, 1.5, 1.5]).bars(10)
    assert sum(count for _, count in bars) == 4
    ratios = {round(later / end, 6) for (end, _), (later, _) in itertools.pairwise(bars)}
    assert len(ratios) == 1
    assert bars[0][0] >= 0.001
    assert bars[-1][0] >= 1.5 > bars[-2][0]


# -- over time --------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e6), max_size=200), st.integers(2, 20))
def test_buckets_widen_so_that_there_are_never_too_many_and_nothing_is_lost(times: list[float], most: int) -> None:
    series = Series(most=most)
    for at in times:
        series.at(at)[PLACE["sent"]] += 1
        row = series.at(at)
        row[PLACE["open"]] = max(row[PLACE["open"]], at)
        assert len(series.rows) <= most
    assert sum(row[PLACE["sent"]] for row in series.rows.values()) == len(times)
    assert max((row[PLACE["open"]] for row in series.rows.values()), default=0) == max(times, default=0)
    again = Series.from_json(json.loads(json.dumps(series.as_json())))
    assert again.rows.keys() == series.rows.keys()
    assert again.width == series.width
    assert all(len(row) == len(COLUMNS) for row in again.rows.values())


# -- outcomes ---------------------------------------------------------------------------------------------------------


def folded(*outcomes: Outcome) -> Fold:
    made = Fold()
    for each in outcomes:
        made.add(each)
    return made


def test_outcomes_are_counted_by_reason_answer_host_and_time() -> None:
    lost = ConnectionLost("it broke off")
    made = folded(
        outcome("http://a.test/1", at=0.0),
        outcome("http://a.test/2", at=0.0, tries=3),
        outcome("http://b.test/1", at=5.0, error=lost, statuses=(429, None)),
        outcome("http://b.test/2", at=5.0, error=StatusError("HTTP 404", status=404)),
    )
    assert (made.requests, made.attempts, made.bytes) == (4, 7, 15)
    assert made.reasons == {"ok": 2, "connection": 1, "404 Not Found": 1}
    assert made.answers == {200: 2, 503: 2, 429: 1, 404: 1, None: 1}
    a, b = made.hosts["a.test"], made.hosts["b.test"]
    assert (a.requests, a.failed, a.attempts) == (2, 0, 4)
    assert (b.requests, b.failed, b.reasons) == (2, 2, {"connection": 1, "404 Not Found": 1})
    second = {int(index * made.series.width - BEGAN): row for index, row in made.series.rows.items()}
    told = ("sent", "retried", "refused", "ok", "failed")
    assert [second[0][PLACE[name]] for name in told] == [2, 0, 1, 1, 0]
    assert [second[2][PLACE[name]] for name in told] == [1, 1, 0, 1, 0]
    assert [second[5][PLACE[name]] for name in told] == [2, 0, 1, 0, 1]


def test_phases_are_of_attempts_and_backoff_is_of_requests() -> None:
    made = folded(outcome(tries=2, timings=Timings(slot=0.5, connect=0.1, first_byte=0.08)))
    phases = made.times.phases
    assert phases.keys() == {"slot", "connect", "first_byte", "parked"}
    assert [phases["slot"].count, phases["parked"].count] == [2, 1]
    assert phases["slot"].total == pytest.approx(1.0)
    assert phases["parked"].total == pytest.approx(1.0)
    assert made.times.latency.count == 2


def test_what_was_never_sent_has_no_time_and_what_is_no_url_no_host() -> None:
    problem = Outcome(Request("no URL", problem="bad"), error=InvalidRequest("bad"))
    made = folded(problem)
    assert (made.requests, made.attempts, [*made.hosts]) == (1, 0, [folding.NO_HOST])
    assert not made.series.rows
    assert made.samples["invalid"][0].at is None


def test_samples_have_no_secret_and_nothing_that_moves_a_terminal() -> None:
    error = ConnectionLost("no answer of http://u:pw@a.test/?token=abc\x1b[2J")
    (sample,) = folded(outcome("http://u:pw@a.test/x?token=abc", error=error)).samples["connection"]
    assert sample.url == "http://***@a.test/x?token=***"
    assert "pw" not in sample.error
    assert sample.error.isprintable()
    assert (sample.host, sample.input, sample.attempts) == ("a.test", "urls.txt:7", 1)


def test_memory_is_bounded_and_counts_are_exact_whatever_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("HOSTS", 30), ("DETAILED", 10), ("REASONS", 5), ("SAMPLES", 4)):
        monkeypatch.setattr(folding, name, most)
    made = Fold()
    for number in range(2_000):
        error = StatusError("bad", status=400 + number % 20) if number % 2 else None
        made.add(outcome(f"http://h{number % 60}.test/{number}", at=number * 10.0, error=error))
    assert len(made.hosts) == 31, "the last one is that of the others"
    assert sum(host.times is not None for host in made.hosts.values()) == 10
    assert sum(host.requests for host in made.hosts.values()) == made.requests == 2_000
    assert len(made.reasons) <= 6
    assert made.reasons.total() == 2_000
    assert all(len(kept) == 4 for kept in made.samples.values())
    assert len(made.series.rows) <= 512
    assert made.times.latency.count == 2_000


def test_a_sample_is_drawn_from_all_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "SAMPLES", 40)
    made = folded(*(outcome(f"http://a.test/{n}", at=float(n), error=ConnectionLost("x")) for n in range(400)))
    assert 10 <= sum((sample.at or 0.0) >= BEGAN + 200 for sample in made.samples["connection"]) <= 30


# -- the pool, and executions -----------------------------------------------------------------------------------------


def test_what_the_pool_did_between_two_looks_is_entered_once() -> None:
    made = history(seconds=2.0)
    rows = made.fold.series.rows.values()
    assert sum(row[PLACE["opened"]] for row in rows) == 2
    assert sum(row[PLACE["reused"]] for row in rows) == 7
    assert sum(row[PLACE["rate"]] for row in rows) == pytest.approx(1.4)
    assert {row[PLACE["open"]] for row in rows} == {2}


def test_the_pool_is_looked_at_again_where_the_clock_was_set_back() -> None:
    made = history(seconds=2.0)
    looked_at = BEGAN + 2.0
    assert not made.is_due(looked_at)
    assert made.is_due(looked_at + 60)
    assert made.is_due(looked_at - 3600)


def test_a_pause_is_one_from_its_beginning_to_its_end() -> None:
    made = History()
    made.begin(BEGAN)
    for past, left in ((0.25, 2.0), (0.5, 1.75), (0.75, 3.0)):
        made.look(figures(paused=(("http://a.test:80", left),)), BEGAN + past, past, 0.0)
    made.look(figures(), BEGAN + 4.0, 4.0, 0.0)
    made.look(figures(paused=(("http://a.test:80", 1.0),)), BEGAN + 9.0, 9.0, 0.0)
    assert [(one.host, one.began - BEGAN, one.ended - BEGAN) for one in made.pauses] == [
        ("a.test", 0.25, 3.75),
        ("a.test", 9.0, 10.0),
    ]
    assert made.paused == {"a.test": [2, 4.5]}


def test_of_many_pauses_the_longest_are_kept_and_all_are_counted() -> None:
    made = History()
    made.begin(BEGAN)
    for number in range(3 * PAUSES):
        at = 10.0 * number
        made.look(figures(paused=(("http://a.test:80", 1.0 + number % 5),)), BEGAN + at, at, 0.0)
    assert len(made.pauses) <= 2 * PAUSES
    assert made.paused["a.test"][0] == 3 * PAUSES


def test_pauses_that_go_on_are_counted_once_however_many_there_are() -> None:
    made = History()
    made.begin(BEGAN)
    hosts = [f"http://h{number}.test:80" for number in range(2 * PAUSES + 100)]
    for past in range(5):
        paused = tuple((host, 100.0 - past) for host in hosts)
        made.look(figures(paused=paused), BEGAN + past, float(past), 0.0)
    assert {*map(tuple, made.paused.values())} == {(1, 100.0)}
    assert [one.began for one in made.pauses] == sorted(one.began for one in made.pauses)


def test_a_history_is_the_same_after_it_was_written_down() -> None:
    made = history(outcome(), outcome("http://b.test/", error=ConnectionLost("x"), tries=2))
    made.look(figures(paused=(("http://b.test:80", 3.0),)), BEGAN + 11.0, 11.0, 1.0)
    text = json.dumps(made.as_json())
    assert json.dumps(History.from_json(json.loads(text)).as_json()) == text


@pytest.mark.parametrize("said", [{}, {"version": 0}, {"version": 1, "fold": {}}])
def test_what_is_no_history_is_refused(said: object) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        History.from_json(said)  # type: ignore[arg-type]


def test_executions_together_are_as_long_as_all_with_the_limits_of_the_last() -> None:
    waits = Waits(rate=2.0, hosts=(HostWait("host_rate", "a", 1.0),))
    one = Execution(began=BEGAN, seconds=3.0, cpu=1.0, waits=waits, figures={"sent": 5})
    other = Execution(began=BEGAN + 9, limits=LIMITS, seconds=4.0, cpu=0.5, waits=waits, figures={"sent": 7})
    both = together([one, other])
    assert both is not None
    assert (both.began, both.seconds, both.cpu, both.limits) == (BEGAN, 7.0, 1.5, LIMITS)
    assert (both.waits.rate, both.waits.hosts[0].seconds, both.figures["sent"]) == (4.0, 2.0, 12)
    assert together([]) is None


def test_a_run_that_goes_on_again_and_again_keeps_a_bounded_number_of_executions() -> None:
    made = History()
    for number in range(2 * EXECUTIONS):
        made.begin(BEGAN + number)
        made.look(figures(sent=1), BEGAN + number, 1.0, 0.0)
    assert len(made.executions) == EXECUTIONS
    course = made.course
    assert course is not None
    assert (course.seconds, course.figures["sent"]) == (2 * EXECUTIONS, 2 * EXECUTIONS)


def test_limits_are_the_same_after_they_were_written_down() -> None:
    assert Limits.from_json(json.loads(json.dumps(LIMITS.as_json()))) == LIMITS
