"""The leaky bucket keeps its bound for any arrivals and bursts. Its homes are in `tests/contract/test_rates.py`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.test_rates import assert_bounded, rates
from workerpool.limits import LeakyBucket
from workerpool.rate import Rate

arrivals = st.lists(st.tuples(st.floats(0, 2), st.floats(0, 3), st.integers(1, 12)), min_size=1, max_size=120)


@given(rates, st.integers(1, 10), arrivals)
def test_no_window_holds_more_than_burst_plus_rate_times_its_length(
    rate: Rate, burst: int, arrivals: list[tuple[float, float, int]]
) -> None:
    """Nor where one is granted as of a time before the last one's, as who has waited may ask for."""
    bucket, now, grants = LeakyBucket(rate.interval, burst), 0.0, list[tuple[float, int]]()
    for gap, ago, weight in arrivals:
        now += gap * rate.interval
        weight = min(weight, burst)
        grants.append((bucket.take(now - ago * rate.interval, weight), weight))
    assert grants == sorted(grants, key=lambda grant: grant[0])
    assert_bounded(grants, rate, burst)
