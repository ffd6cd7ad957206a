"""The leaky bucket keeps its bound for any arrivals and bursts. Its homes are in `tests/contract/test_rates.py`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.contract.test_rates import assert_bounded, rates
from workerpool.limits import LeakyBucket
from workerpool.rate import Rate

gaps = st.lists(st.floats(0, 2), min_size=1, max_size=120)


@given(rates, st.integers(1, 10), gaps)
def test_no_window_holds_more_than_burst_plus_rate_times_its_length(rate: Rate, burst: int, gaps: list[float]) -> None:
    bucket, now, grants = LeakyBucket(rate.interval, burst), 0.0, []
    for gap in gaps:
        now += gap * rate.interval
        grants.append((bucket.take(now), 1))
    assert_bounded(grants, rate, burst)
