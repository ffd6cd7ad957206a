"""What the learners make of hosts whose limits nobody told them: by the host's own count, on simulated time."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from tests.conftest import IN_FULL, combined, some
from tests.simulation import (
    Client,
    Host,
    Reply,
    Result,
    fixed_window,
    leaky,
    limit_conn,
    no_limit,
    sliding_window,
    slots,
    token_bucket,
)
from workerpool.limits import AdaptiveConnections, AdaptiveRate, Allowance, Answer, tell
from workerpool.rate import Rate

SEEDS = (1, 2, 3) if IN_FULL else (1,)
NOISY: dict[str, Any] = {"jitter": 1.0, "wake_up": 0.006}


def run(host: Host, seconds: float, *, connections: bool = False, rate: bool = True, **options: Any) -> Result:
    learned = AdaptiveConnections(options.get("workers", 16)) if connections else None
    return Client(host, AdaptiveRate() if rate else None, learned, **options).run(seconds)


# -- limits that nobody tells -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("hidden", "connections"),
    combined(
        [
            ("leaky", {}),
            ("leaky", NOISY),
            ("token bucket", {}),
            ("token bucket", NOISY),
            ("leaky with Retry-After", {}),
            ("limit_conn", {"latency": 0.1}),
        ],
        [False, True],
    ),
    ids=str,
)
def test_a_hidden_limit_is_used_to_nine_tenths_with_one_refusal_in_a_hundred(
    hidden: tuple[str, dict[str, Any]], connections: bool, seed: int
) -> None:
    limit, options = hidden
    host, known = {
        "leaky": (leaky(50, 5), 3000),
        "leaky with Retry-After": (leaky(50, 5, pause=1.0), 3000),
        "token bucket": (token_bucket(50, 100), 3100),
        "limit_conn": (limit_conn(8), 4800),
    }[limit]
    result = run(host, 60, connections=connections, seed=seed, **options)
    assert len(result.accepted) >= 0.9 * known
    assert result.refused_share <= 0.01
    assert result.failed == 0


def test_a_thousand_a_second_are_found_too() -> None:
    seconds = 60 if IN_FULL else 30
    result = run(leaky(1000, 50), seconds, workers=64, latency=0.02)
    assert len(result.accepted) >= (0.88 if IN_FULL else 0.8) * 1000 * seconds
    assert len(result.refused) <= 20


@pytest.mark.parametrize("host", [fixed_window(600, 60), sliding_window(600, 60)])
def test_a_hidden_window_is_used_up_and_its_refusals_stay_few(host: Host) -> None:
    result = run(host, 180)
    assert len(result.accepted) >= 0.95 * 1800
    assert result.refused_share <= 0.02
    assert result.failed == 0


@pytest.mark.parametrize("burst", [0, 5])
def test_a_host_that_bears_one_a_second_refuses_two_of_the_first(burst: int) -> None:
    result = run(leaky(1, burst), 60)
    assert sum(at < 10 for at in result.refused) <= 2
    assert len(result.refused) <= 5
    assert len(result.accepted) >= 0.6 * 60


def test_ten_a_minute_are_all_used_and_ask_a_few_times_only() -> None:
    result = run(fixed_window(10, 60), 180)
    assert len(result.accepted) >= 27
    assert len(result.refused) <= 7


def test_a_limit_that_changes_is_followed_down_and_up() -> None:
    result = run(leaky(lambda at: 50 if at < 30 else 20 if at < 75 else 80, 5), 120)
    assert len(result.accepted) >= 0.75 * (50 * 30 + 20 * 45 + 80 * 45)
    assert result.refused_share <= 0.01
    lately = [rate for at, rate in result.rates if at > 110]
    assert 60 < sum(lately) / len(lately) < 90


# -- no limit ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connections", [False, True])
def test_a_fast_host_without_a_limit_is_not_slowed(connections: bool) -> None:
    seconds, latency = (30, 0.0073) if IN_FULL else (24, 0.0146)
    quick = run(no_limit, seconds, connections=connections, latency=latency)
    assert len(quick.accepted) >= 0.8 * seconds * 16 / latency


def test_what_is_not_used_does_not_grow() -> None:
    client = Client(no_limit, AdaptiveRate(), demand=20.0)
    client.run(60)
    assert client.rate is not None
    assert client.rate.rate <= 60


def test_a_host_that_is_lost_for_a_while_says_nothing_about_its_limit() -> None:
    client = Client(lambda at, n: Reply(status=None if 20 < at < 25 else 200), AdaptiveRate())
    result = client.run(40)
    before = max(rate for at, rate in result.rates if at < 20)
    assert min(rate for at, rate in result.rates if at > 20) >= before


def test_an_outage_of_refusals_is_forgotten_within_two_minutes() -> None:
    limit = leaky(50, 5)
    result = run(lambda at, n: Reply(accepted=False) if 60 <= at < 360 else limit(at, n), 600)
    assert sum(60 <= at < 360 for at in result.refused) <= 25
    assert sum(480 <= at < 600 for at in result.accepted) >= 0.9 * 50 * 120


def test_after_hours_of_refusals_it_begins_anew() -> None:
    result = run(lambda at, n: Reply(accepted=not 30 <= at < 7230), 7330)
    assert sum(at > 7320 for at in result.accepted) >= 1000


# -- limits that headers tell -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("announced", "says", "options"),
    some(
        itertools.product(
            [(600, 60, 0), (600, 60, 41.3), (100, 10, 4.3), (5, 5, 0)],
            ["floor", "ceil", "exact"],
            [{}, NOISY, {"latency": 0.5, "jitter": 0.5}],
        ),
        4,
    ),
    ids=str,
)
def test_an_announced_window_is_used_up_without_a_refusal(
    announced: tuple[int, float, float], says: str, options: dict[str, Any]
) -> None:
    limit, window, begins = announced
    result = run(fixed_window(limit, window, says=says, begins=begins), 125, **options)
    assert len(result.refused) <= (window == 5 and says != "exact")
    if window > 5 or says == "exact":  # a second that is rounded away is a fifth of the others
        assert len(result.accepted) >= 0.9 * limit * 120 / window


def test_an_announced_window_that_slides_is_used_evenly() -> None:
    result = run(sliding_window(600, 60, says=True), 180)
    assert result.refused == []
    assert len(result.accepted) >= 0.9 * 1800


def test_others_that_use_up_the_same_window_are_reckoned_with() -> None:
    result = run(fixed_window(600, 60, says="floor", others=4.0), 180)
    assert len(result.refused) <= 5
    assert len(result.accepted) >= 0.95 * 6 * 180


def said(remaining: float, reset: float, at: float, **more: Any) -> Answer:
    return Answer(at, at, 200, False, allowance=Allowance(remaining=remaining, reset=reset), **more)


def test_a_used_up_window_is_waited_for_and_then_begun() -> None:
    rate = AdaptiveRate()
    assert rate.try_take(0.0) == 0.0
    rate.hear(said(0, 30.5, 0.0), 0.0)
    assert rate.next_at() == pytest.approx(30.5)
    assert rate.try_take(30.4) is None
    assert rate.try_take(30.6) == 30.6


def test_an_announced_reset_is_believed_for_an_hour() -> None:
    rate = AdaptiveRate()
    rate.try_take(0.0)
    rate.hear(said(0, 86400.5, 0.0), 0.0)
    assert 3600 <= rate.next_at() <= 3602


def test_a_policy_of_a_few_a_day_is_asked_again_after_an_hour() -> None:
    rate = AdaptiveRate()
    rate.try_take(0.0)
    rate.hear(Answer(0.0, 0.0, 200, False, allowance=Allowance(limit=10, window=86400)), 0.0)
    assert rate.next_at() == pytest.approx(3600)


def test_older_news_of_a_window_do_not_undo_newer() -> None:
    rate = AdaptiveRate()
    for at in (0.0, 1.0):
        rate.try_take(at)
    rate.hear(said(0, 30.5, 1.0), 1.1)
    rate.hear(said(50, 31.5, 0.0), 1.2)
    assert rate.next_at() == pytest.approx(31.5)


def test_requests_that_the_host_had_not_counted_yet_are_reckoned_with() -> None:
    rate = AdaptiveRate()
    rate.try_take(0.0)
    rate.hear(said(9, 60.5, 0.0), 1.0)  # 8 more went in that second
    assert rate.next_at() >= 1.0 + 20


# -- the rules --------------------------------------------------------------------------------------------------------


def grown(rate: AdaptiveRate, seconds: float, at: float = 0.0, latency: float = 0.02) -> float:
    """Use a rate fully, everything accepted, until `at` + `seconds`; returns the time of the last send."""
    end, now = at + seconds, at
    while (now := max(now, rate.next_at())) < end:
        assert rate.try_take(now) == now
        rate.hear(Answer(now, now + latency, 200, False), now + latency)
        last = now
    return last


def refusal(sent_at: float, pause: float | None = None) -> Answer:
    return Answer(sent_at, sent_at + 0.02, 429, True, pause)


def test_a_burst_of_refusals_is_one_incident() -> None:
    once, often = AdaptiveRate(), AdaptiveRate()
    for rate, count in ((once, 1), (often, 50)):
        last = grown(rate, 3)
        for _ in range(count):
            rate.hear(refusal(last), last + 0.02)
    assert often.rate == once.rate


def test_refusals_during_the_pause_that_one_asked_for_belong_to_it() -> None:
    rate = AdaptiveRate()
    last = grown(rate, 3)
    rate.hear(refusal(last, pause=2.0), last + 0.02)
    fallen = rate.rate
    rate.hear(refusal(last + 1.5), last + 1.6)
    assert rate.rate == fallen
    rate.hear(refusal(last + 2.5), last + 2.6)
    assert rate.rate < fallen


def test_a_pause_of_years_is_no_reason_to_learn_nothing_for_years() -> None:
    rate = AdaptiveRate()
    last = grown(rate, 3)
    rate.hear(refusal(last, pause=1e8), last)
    fallen = rate.rate
    rate.hear(refusal(last + 3700), last + 3700)
    assert rate.rate < fallen


def test_the_rate_falls_to_what_was_accepted_not_by_half() -> None:
    """40/s are accepted and 60/s refused while 100/s are sent: the limit is 40, not 50."""
    rate = AdaptiveRate()
    now = grown(rate, 4)
    rate.hear(refusal(now), now + 0.01)
    now += 0.02
    for n in range(100):
        accepted = n % 5 < 2
        now += 0.01
        rate.hear(Answer(now, now, 200 if accepted else 503, False), now)
    rate.hear(refusal(now), now)
    assert 0.7 * 40 < rate.rate < 1.1 * 40


def test_the_curve_is_steep_then_flat_at_the_known_limit_then_steep_again() -> None:
    result = run(leaky(50, 5), 60)
    fall = next(at for at in result.refused if at > 15)

    def after(seconds: float) -> float:
        return next(rate for at, rate in result.rates if at > fall + seconds)

    steep, flat, probe = after(4) - after(0.2), after(11) - after(7), after(16) - after(12)
    assert steep > 5 * flat
    assert probe > 3 * flat
    assert after(9) == pytest.approx(50, rel=0.04)


def test_a_pause_makes_the_next_probe_rarer() -> None:
    def incidents(result: Result) -> int:
        return sum(later - earlier > 1 for earlier, later in itertools.pairwise(result.refused))

    plain, paused = (run(leaky(50, 5, pause=pause), 200) for pause in (None, 2.0))
    assert incidents(paused) * 2 < incidents(plain)
    assert len(paused.accepted) >= 0.9 * 200 * 50


def test_a_ceiling_is_never_exceeded() -> None:
    client = Client(no_limit, AdaptiveRate(Rate(30)))
    result = client.run(30)
    assert max(rate for _, rate in result.rates) <= 30
    assert len(result.sent) <= 1 + 30 * 30
    assert len(result.sent) >= 0.85 * 30 * 30


def test_a_fruitless_fall_is_waited_out_longer_each_time_and_a_window_is_tried_at_its_end() -> None:
    """After the first refusals, at about 4.7 s."""
    result = run(fixed_window(600, 120), 110)
    asked = [at for at in result.refused if at > 5.5]
    assert asked == pytest.approx([5.7, 9.7, 25.7, 60.6], abs=0.7)


def test_a_request_of_a_weight_leaves_a_gap_for_as_many() -> None:
    rate = AdaptiveRate()
    rate.try_take(0.0, 4)
    assert rate.next_at() == pytest.approx(4 / 8)


def test_what_was_learned_outlives_the_queue_and_what_was_not_does_not() -> None:
    fresh, learned = AdaptiveRate(), AdaptiveRate()
    fresh.try_take(0.0)
    assert fresh.rests_at <= 1.0
    last = grown(learned, 3)
    learned.hear(refusal(last), last)
    assert learned.rests_at >= last + 300


# -- connections ------------------------------------------------------------------------------------------------------


def settled(
    host: Host, *, workers: int = 64, seconds: float = 60, **options: Any
) -> tuple[Result, AdaptiveConnections]:
    connections = AdaptiveConnections(workers)
    result = Client(host, None, connections, workers=workers, latency=0.005, **options).run(seconds)
    return result, connections


@pytest.mark.parametrize(("most", "low", "high"), [(8, 8, 16), (2, 2, 6), (1, 1, 4)])
def test_a_loaded_host_gets_as_many_as_it_works_on_and_a_small_queue(most: int, low: int, high: int) -> None:
    result, connections = settled(slots(most, 0.05))
    assert low <= connections.limit <= high
    assert len(result.accepted) >= 0.95 * 60 * most / 0.05


def test_a_host_without_load_gets_all() -> None:
    _, connections = settled(no_limit, seconds=1.5)
    assert connections.limit == 64


def test_a_limit_on_connections_is_found_and_rarely_tried_again() -> None:
    result = run(limit_conn(8), 60, connections=True, rate=False, latency=0.1)
    assert len(result.accepted) >= 0.9 * 4800
    assert result.refused_share <= 0.01
    assert sum(at > 50 for at in result.refused) <= 3


def test_a_host_that_becomes_slow_by_itself_gets_its_requests_back() -> None:
    _, connections = settled(lambda at, n: Reply(latency=0.05 if at < 15 else 0.15), workers=16)
    assert connections.limit >= 12


def test_a_slow_beginning_is_not_taken_for_little_load() -> None:
    work = slots(8, 0.05)
    _, connections = settled(lambda at, n: Reply(latency=1.0) if at < 3 else work(at, n))
    assert connections.limit <= 16


def test_quick_and_slow_pages_do_not_make_an_overloaded_host() -> None:
    chance = random.Random(5)
    result, _ = settled(lambda at, n: Reply(latency=chance.choice([0.01, 0.02, 0.05, 0.5])), workers=16, seconds=120)
    assert len(result.accepted) >= 0.6 * 16 * 120 / 0.145


def test_there_is_always_one() -> None:
    connections = AdaptiveConnections(16)
    for at in range(100):
        connections.hear(Answer(at, at, 503, True, in_flight=1), at)
    assert connections.limit == 1


def test_a_pause_of_years_does_not_end_the_learning_of_connections() -> None:
    connections = AdaptiveConnections(16)
    connections.hear(Answer(0.0, 0.0, 503, True, 1e8, in_flight=4), 0.0)
    connections.hear(Answer(700.0, 700.0, 503, True, in_flight=3), 700.0)
    assert connections.limit == 2


def test_of_two_learners_the_one_falls_whose_limit_was_met() -> None:
    rate, connections = AdaptiveRate(), AdaptiveConnections(16)
    for n in range(100):
        tell(Answer(n / 8, n / 8, 200, False, latency=0.1, in_flight=3), n / 8, rate, connections)
    before, most = rate.rate, connections.limit
    tell(Answer(13.0, 13.0, 503, True, in_flight=3), 13.0, rate, connections)
    assert rate.rate < before
    assert connections.limit == most
    before = rate.rate
    tell(Answer(14.0, 14.0, 503, True, in_flight=9), 14.0, rate, connections)
    assert rate.rate == before
    assert connections.limit == min(most, 8)
