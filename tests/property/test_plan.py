"""A simulated batch keeps every budget, takes no less than each of them leaves, and more workers make it no slower."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from workerpool.config import Budgets, RetryPolicy
from workerpool.plan.bounds import Load, bounds_of
from workerpool.plan.profile import Profile
from workerpool.plan.records import Sent
from workerpool.plan.setting import Setting
from workerpool.plan.simulation import Course, Simulation
from workerpool.pool import options_of
from workerpool.rate import Rate

NAMES = ["a", "b", "c"]
rates = st.sampled_from([None, Rate(1), Rate(10), Rate(3_000), Rate(30, 60), Rate(20, 1, (Rate(25, 60),))])
orders = st.lists(st.sampled_from(NAMES), min_size=1, max_size=150)
seconds = st.floats(0.001, 10.0)


def a_setting(most_workers: int = 20) -> st.SearchStrategy[Setting]:
    budgets = st.builds(
        Budgets,
        rate=rates,
        host_rate=rates,
        key_rate=rates,
        burst=st.integers(1, 5),
        max_connections=st.integers(1, 30),
        host_connections=st.integers(1, 10),
        slow_start=st.booleans(),
    )
    policies = st.builds(RetryPolicy, attempts=st.integers(1, 4))
    options = st.builds(
        partial(replace, options_of()), workers=st.integers(1, most_workers), budgets=budgets, retry=policies
    )
    return st.builds(Setting, options=options)


def records(sent: list[tuple[str, float, int, bool, str | None]]) -> list[Sent]:
    return [
        Sent(
            f"http://{host}/",
            ok=ok,
            status=200 if ok else 429 if attempts == 3 else None,
            attempts=attempts,
            elapsed=elapsed,
            final_url=None if hop is None else f"http://{hop}/there",
        )
        for host, elapsed, attempts, ok, hop in sent
    ]


histories = st.lists(
    st.tuples(st.sampled_from(NAMES), seconds, st.integers(1, 4), st.booleans(), st.sampled_from([None, None, "c"])),
    min_size=1,
    max_size=20,
)


def run(setting: Setting, order: list[str], sent: list[Sent]) -> Course:
    places = [(f"http://{host}:80", host if host < "c" else None) for host in order]
    return Simulation(setting, places, Profile(sent).draws(), seed=1).run()


@settings(max_examples=150, deadline=None)
@given(setting=a_setting(), order=orders, sent=histories)
def test_a_simulated_batch_ends_and_takes_no_less_than_each_budget_leaves(
    setting: Setting, order: list[str], sent: list[tuple[str, float, int, bool, str | None]]
) -> None:
    course = run(setting, order, records(sent))
    assert sum(load.sends for load in course.hosts.values()) >= len(order)
    assert course.most_at_once <= min(setting.options.workers, setting.options.budgets.max_connections)
    for bound in bounds_of(course.hosts, Load(), setting, max(course.keys.values(), default=0)):
        assert course.seconds >= bound.seconds * (1 - 1e-9) - 1e-9, bound


@settings(max_examples=100, deadline=None)
@given(setting=a_setting(10), order=orders, times=st.lists(seconds, min_size=1, max_size=10))
def test_more_workers_are_slower_by_no_more_than_a_few_requests(
    setting: Setting, order: list[str], times: list[float]
) -> None:
    """A schedule with more machines may be longer, by less than its longest task for each host that tasks wait for."""
    sent = [Sent("http://a/", True, 200, 1, time, None) for time in times]
    few = run(setting, order, sent)
    wider = replace(setting.options, workers=2 * setting.options.workers)
    many = run(replace(setting, options=wider), order, sent)
    assert many.seconds <= few.seconds + len(NAMES) * max(times)
