"""Whatever a learner hears: its bound holds, its rate stays sane, and it is never stuck."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workerpool.limits import LATENESS, AdaptiveConnections, AdaptiveRate, Allowance, Answer, tell
from workerpool.rate import Rate

maybe = st.none() | st.sampled_from([0.0, 0.5, 1.0, 5.0, 60.0, 600.0, 1e6, 1e18])
allowances = st.none() | st.builds(Allowance, limit=maybe, window=maybe, remaining=maybe, reset=maybe)
steps = st.lists(
    st.tuples(
        st.floats(0, 3),  # how much later than its slot one is sent, in intervals
        st.floats(0, 2),  # how long its answer takes
        st.sampled_from([200, 200, 200, 404, 429, 503, 500, None]),
        st.none() | st.sampled_from([0.5, 1.0, 30.0, 3600.0]),
        allowances,
        st.integers(1, 40),
    ),
    max_size=80,
)


@given(steps, st.none() | st.builds(Rate, st.integers(1, 500)))
def test_the_bound_holds_the_rate_is_sane_and_the_next_slot_comes(
    steps: list[tuple[float, float, int | None, float | None, Allowance | None, int]], ceiling: Rate | None
) -> None:
    rate, connections, now = AdaptiveRate(ceiling), AdaptiveConnections(40), 0.0
    most = ceiling.per_second if ceiling else 1e6
    grants: list[float] = []
    fastest = 0.0
    for late, took, status, pause, said, in_flight in steps:
        at = rate.next_at()
        assert at <= now + 2 * 3600
        fastest = max(fastest, rate.rate)
        assert rate.try_take(at - 1e-3) is None or at - 1e-3 < now
        now = max(now, at) + late / rate.rate
        stamp = rate.try_take(now, since=grants[-1] if grants else None)
        assert stamp is not None
        assert now - LATENESS <= stamp <= now or late
        grants.append(stamp)
        refused = status in (429, 503)
        answer = Answer(stamp, now + took, status, refused, pause if refused else None, said, took, in_flight)
        tell(answer, now + took, rate, connections)
        assert min(1 / 60, most) <= rate.rate <= most
        assert 1 <= connections.limit <= 40
        assert rate.rests_at < float("inf")
        fastest = max(fastest, rate.rate)
        for earlier, first in enumerate(grants):
            assert len(grants) - earlier <= 1 + fastest * (stamp - first) * (1 + 1e-9) + 1e-6


@given(st.lists(st.floats(0, 10), min_size=1, max_size=50), st.none() | st.floats(1, 20))
def test_refusals_of_what_was_sent_before_the_fall_change_nothing(ages: list[float], pause: float | None) -> None:
    rate = AdaptiveRate()
    now = 0.0
    for _ in range(40):
        now = max(now, rate.next_at())
        rate.try_take(now)
        rate.hear(Answer(now, now + 0.01, 200, False), now + 0.01)
    rate.hear(Answer(now, now + 0.01, 429, True, pause), now + 0.01)
    fallen = rate.rate
    for age in ages:
        rate.hear(Answer(now - age, now + 0.02, 429, True), now + 0.02)
    assert rate.rate == fallen
