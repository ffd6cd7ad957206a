"""`ShardedPool`: several processes send, and what this process sees is what one pool would have shown it."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests

from tests import elsewhere
from tests.sharded import WORKERS, origin_of_four, urls
from tests.sharded import forked_processes as forked_processes  # a fixture
from tests.waiting import LONG, eventually
from workerpool import (
    Cancelled,
    ConnectionLost,
    HostPaused,
    InvalidRequest,
    OptionError,
    Outcome,
    ProcessesLost,
    Request,
    RetryPolicy,
    ShardedPool,
    StatusError,
    UnexpectedError,
    WorkerPool,
    WrongThread,
    fetch,
)
from workerpool.batch.record import record_of
from workerpool.model import IDLE
from workerpool.testing import Origin

pytestmark = pytest.mark.usefixtures("forked_processes")


@pytest.fixture
def origin() -> Iterator[Origin]:
    with origin_of_four() as made:
        yield made


@pytest.fixture(scope="module")
def pool() -> Iterator[ShardedPool]:
    """One for all tests that need no other: processes take a second to start."""
    with ShardedPool(2, WORKERS) as made:
        yield made


@pytest.fixture(scope="module")
def sharded() -> Iterator[ShardedPool]:
    """Another one, that tries once."""
    with ShardedPool(2, 2, retry=1) as made:
        yield made


# -- the same as one pool ----------------------------------------------------------------------------------------------


def test_every_request_has_one_outcome(origin: Origin, pool: ShardedPool) -> None:
    given = urls(origin, 200)
    outcomes = [*pool.stream(given)]
    assert sorted(outcome.url for outcome in outcomes) == sorted(given)
    assert all(outcome.ok for outcome in outcomes)
    assert origin.requests == 200


def test_each_host_has_one_process_and_each_process_its_share_of_hosts() -> None:
    given = [f"http://h{n % 9}.test/{n}" for n in range(400)]
    with ShardedPool(2, WORKERS, transport=elsewhere.answering_pids) as pool:
        pids = pool.pids
        by_host: dict[str, set[str]] = {}
        for outcome in pool.stream(given):
            assert outcome.response is not None
            by_host.setdefault(outcome.url.rsplit("/", 1)[0], set()).add(outcome.response.text)
    assert all(len(those) == 1 for those in by_host.values())
    shares = Counter(pid for those in by_host.values() for pid in those)
    assert sorted(shares.values()) == [4, 5]
    assert {*shares} == {*map(str, pids)}
    assert os.getpid() not in pids


def test_what_hosts_are_counted_by_may_be_a_function_of_a_module() -> None:
    given = [f"http://h{n}.test/" for n in range(40)]
    with ShardedPool(2, 2, host_key=elsewhere.one_host, transport=elsewhere.answering_pids) as pool:
        assert len({outcome.response.text for outcome in pool.stream(given) if outcome.response}) == 1


def test_workers_and_sockets_are_for_all_processes_together() -> None:
    hosts = [f"http://h{n}.test/" for n in range(9)]
    with ShardedPool(3, 7, max_connections=8, transport=elsewhere.answering_workers) as pool:
        told = {outcome.response.text for outcome in pool.stream(hosts) if outcome.response is not None}
        assert pool.statistics().workers == 7
    assert told == {"3 8", "2 8"}  # who may have how many sockets is for the budget to say, which they share


def test_outcomes_may_come_in_the_order_of_the_source(origin: Origin, pool: ShardedPool) -> None:
    given = [*itertools.chain.from_iterable(zip(urls(origin, 60), urls(origin, 60, "/delay/0.01"), strict=True))]
    assert [outcome.url for outcome in pool.stream(given, ordered=True, window=20)] == given


def test_a_source_may_have_nothing_for_now(origin: Origin, pool: ShardedPool) -> None:
    def source() -> Iterator[Any]:
        for url in urls(origin, 20):
            yield IDLE
            yield url

    assert sum(outcome.ok for outcome in pool.stream(source())) == 20


def test_fetch_takes_a_number_of_processes(origin: Origin) -> None:
    assert sum(outcome.ok for outcome in fetch(urls(origin, 20), processes=2, max_workers=2)) == 20


def test_futures_of_responses_come_from_the_processes_too(origin: Origin, pool: ShardedPool) -> None:
    assert pool.get(origin.url("/echo"), params={"a": "b"}).result(LONG).json()["path"] == "/echo?a=b"
    assert pool.post(origin.url("/echo"), json={"a": 1}).result(LONG).json()["body"] == '{"a": 1}'
    with pytest.raises(requests.ConnectionError):
        pool.get("http://127.0.0.1:9/").result(LONG)


def test_statistics_are_those_of_all_processes(origin: Origin) -> None:
    with ShardedPool(2, WORKERS) as pool:
        assert all(outcome.ok for outcome in pool.stream(urls(origin, 100, "/redirect/1")))
        now = pool.statistics()
        assert (now.requests, now.ok, now.sent, now.redirects, now.workers) == (100, 100, 200, 100, WORKERS)
        assert (now.sockets_opened, now.sockets_open) == (origin.connections_opened, now.sockets_idle)
        killed = pool.pids[0]
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda: killed not in pool.pids and pool.statistics().workers == WORKERS)
        assert pool.statistics().requests == 100  # with what the one that was killed had done
    after = pool.statistics()
    assert (after.requests, after.in_flight) == (100, 0)


def test_a_request_of_a_junk_item_is_an_outcome(origin: Origin, pool: ShardedPool) -> None:
    odd, *rest = pool.stream([5, *urls(origin, 5)], ordered=True)  # type: ignore[list-item]
    assert isinstance(odd.error, InvalidRequest)
    assert all(outcome.ok for outcome in rest)


# -- responses, requests and errors on their way -----------------------------------------------------------------------

KINDS: list[Callable[[Origin], Request]] = [
    lambda origin: Request(origin.url("/bytes/3000")),
    lambda origin: Request(origin.url("/bytes/0"), "HEAD", headers={"X-One": "1"}),
    lambda origin: Request(origin.url("/gzip?bytes=5000"), key="a key", idempotent=False),
    lambda origin: Request(origin.url("/chunked?bytes=100")),
    lambda origin: Request(origin.url("/status/404")),
    lambda origin: Request(origin.url("/redirect/3")),
    lambda origin: Request(origin.url("/redirect/3"), allow_redirects=False),
    lambda origin: Request(origin.url("/cookies/set?one=1&two=2")),
    lambda origin: Request(origin.url("/cookies"), cookies={"a": "b"}),
    lambda origin: Request(origin.url("/echo"), "POST", json={"n": [1, 2]}),
    lambda origin: Request(origin.url("/echo"), "PUT", data=b"\x00\xff", timeout=(3, 4)),
    lambda origin: Request(origin.url("/bytes/3"), "POST", data={"a": "b"}, files={"f": ("name", b"text")}),
    lambda origin: Request(origin.url("/echo"), params={"q": "x y"}, auth=("user", "password")),
    lambda origin: Request(origin.url("/echo"), auth=requests.auth.HTTPDigestAuth("user", "password")),
    lambda origin: Request(origin.url("/etag/v1"), headers={"If-None-Match": '"v1"'}),
    lambda origin: Request(origin.url("/truncate?bytes=100&after=50")),
    lambda origin: Request(origin.url("/reset?after=0"), "POST"),
    lambda origin: Request("http://127.0.0.1:9/", "POST"),
    lambda origin: Request("ftp://h.test/"),
    lambda origin: Request(origin.url("/a"), headers={"X": "a\nb"}),
    lambda origin: Request(origin.url("/retry-after/9999?times=2")),
    lambda origin: Request(origin.url("/delay/5"), timeout=0.2),
]


def seen_of(response: requests.Response | None) -> dict[str, Any]:
    """All that a user may read of a response."""
    if response is None:
        return {}
    request = response.request
    return {
        "reads": (response.status_code, response.ok, response.reason, response.url, response.content, response.text),
        "headers": (dict(response.headers), response.links, response.encoding, response.apparent_encoding),
        "repr": repr(response),
        "history": [seen_of(hop) for hop in response.history],
        "redirect": (response.is_redirect, response.is_permanent_redirect, response.next and response.next.url),
        "cookies": sorted((cookie.name, cookie.value, cookie.domain, cookie.path) for cookie in response.cookies),
        "request": (request.method, request.url, request.body if "boundary" not in str(request.headers) else None),
        "sent": {name: value for name, value in request.headers.items() if "boundary" not in value},
        "elapsed": isinstance(response.elapsed, timedelta) and response.elapsed.total_seconds() > 0,
        "chunks": b"".join(response.iter_content(7)),
    }


def causes(error: BaseException | None) -> list[type]:
    return [] if error is None else [type(error), *causes(error.__cause__)]


def worded(error: Exception | str | None) -> str:
    """Its text without the second until which a host wants to be left alone: the two are sent one after the other."""
    return re.sub(r"until [^;]*;", "until then;", str(error))


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_an_outcome_reads_as_if_it_had_never_left_its_process(origin: Origin, sharded: ShardedPool, kind: int) -> None:
    request = KINDS[kind](origin)
    with WorkerPool(1, retry=1) as pool:
        (here,) = pool.stream([request])
    (there,) = sharded.stream([request])
    assert there.request is request
    assert seen_of(there.response) == seen_of(here.response)
    assert (there.ok, worded(there.error), causes(there.error)) == (here.ok, worded(here.error), causes(here.error))
    assert [(one.status, worded(one.error), one.hops, one.fast_path) for one in there.attempts] == [
        (one.status, worded(one.error), one.hops, one.fast_path) for one in here.attempts
    ]
    if here.error is not None and there.error is not None:
        assert (there.error.key, there.error.attempts) == (here.error.key, here.error.attempts)
        assert str(there.error.__cause__) == str(here.error.__cause__)
        assert vars(there.error).keys() == vars(here.error).keys()
    one, other = record_of(there, ("body", "headers")), record_of(here, ("body", "headers"))
    for record in (one, other):
        assert (record.pop("elapsed") > 0) == bool(record["attempts"])
        assert (record.pop("started_at") is not None) == bool(record["attempts"])
        record["error"] = worded(record["error"])
    assert one == other
    assert (
        there.timings == sum((attempt.timings for attempt in there.attempts[1:]), there.attempts[0].timings)
        if (there.attempts)
        else there.timings.first_byte == 0
    )


def test_a_response_of_the_fast_path_keeps_what_came(origin: Origin, pool: ShardedPool) -> None:
    (outcome,) = pool.stream([origin.url("/gzip?bytes=5000")])
    response = outcome.response
    assert response is not None
    assert "headers" not in vars(response)
    assert response.raw.status == 200
    assert response.raw.headers["Content-Encoding"] == "gzip"
    again = pickle.loads(pickle.dumps(response))
    assert seen_of(again) == seen_of(response)
    response.close()


def test_an_error_keeps_until_when_its_host_wants_no_request(origin: Origin, pool: ShardedPool) -> None:
    (outcome,) = pool.stream([origin.url("/retry-after/9999")])
    assert isinstance(outcome.error, HostPaused)
    assert outcome.error.until > 1e9
    assert outcome.status == 429


def test_an_error_that_cannot_be_pickled_is_told_by_one_that_can() -> None:
    with ShardedPool(2, 2, retry=1, transport=elsewhere.raising_odd) as pool:
        (outcome,) = pool.stream(["http://h.test/"])
    assert outcome.error is not None
    assert isinstance(outcome.error, ConnectionLost)
    assert "OddError: odd error" in str(outcome.error.__cause__)
    assert outcome.error.attempts == 1


@pytest.mark.parametrize(
    ("odd", "part"),
    [
        ({"data": (piece for piece in [b"a"])}, "has a data that cannot be pickled"),
        ({"hooks": {"response": lambda response, **more: response}}, "has a hooks that cannot be pickled"),
        ({"stream": True}, "stream=True"),
        ({"auth": elsewhere.PickyAuth()}, "no way back"),
    ],
    ids=["generator", "lambda", "stream", "unreadable"],
)
def test_a_request_that_cannot_be_sent_to_another_process_is_an_outcome_that_says_why(
    origin: Origin, pool: ShardedPool, odd: dict[str, Any], part: str
) -> None:
    given = [origin.url("/bytes/1"), Request(origin.url("/echo"), "PUT", key="the odd one", **odd)]
    good, bad = pool.stream(given, ordered=True)
    assert good.ok
    assert isinstance(bad.error, InvalidRequest)
    assert part in str(bad.error)
    assert bad.attempts == ()
    assert origin.requests == 1


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"processes": 0}, "processes=0 must be a whole number"),
        ({"processes": 5}, "processes=5 is more than max_workers=4"),
        ({"key_rate": 5, "limit_by": "X-Key"}, "key_rate=5 with processes=2"),
        ({"budget": "no/name"}, "budget='no/name' is no name"),
        ({"cookies": "shared"}, 'write "worker" or "none"'),
        ({"clock": object()}, "clock="),
        ({"host_key": lambda url: url}, "host_key= is a function that"),
        ({"session_factory": lambda: requests.Session()}, "session_factory= is a function that"),
        ({"initializer": threading.Lock().acquire}, "initializer= is a builtin_function_or_method that"),
        ({"retry": RetryPolicy(retry=lambda state: False)}, "retry= is a RetryPolicy that"),
        ({"host_rate": "often"}, "host_rate='often'"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], part: str) -> None:
    with pytest.raises((OptionError, TypeError)) as raised:
        ShardedPool(**{"processes": 2, "max_workers": 4, **options})
    assert part in str(raised.value)


def test_callables_are_refused(pool: ShardedPool) -> None:
    with pytest.raises(WrongThread, match="runs no callables"):
        pool.submit(print)
    with pytest.raises(WrongThread, match="other processes"):
        _ = pool.session
    assert pool.warm(["http://h.test/"]) == 0


def test_a_worker_that_cannot_begin_is_told_of(origin: Origin) -> None:
    outcomes: list[Outcome] = []
    with ShardedPool(2, 2, initializer=elsewhere.break_down) as pool:
        with contextlib.suppress(ProcessesLost):  # what is given to a pool that is known to be broken
            outcomes.extend(pool.stream(urls(origin, 8)))
        assert eventually(lambda: pool.statistics().active == 0)
        with pytest.raises(ProcessesLost, match="a process cannot work"):
            [*pool.stream(urls(origin, 8))]
    assert all(isinstance(outcome.error, (UnexpectedError, Cancelled)) for outcome in outcomes)
    assert origin.requests == 0


def test_a_drained_stream_ends_soon(origin: Origin, pool: ShardedPool) -> None:
    outcomes: list[Outcome] = []
    for outcome in pool.stream(urls(origin, 2000, "/delay/0.01")):
        outcomes.append(outcome)
        if len(outcomes) == 50:
            pool.drain()
    assert sum(outcome.ok for outcome in outcomes) >= 50
    assert all(outcome.ok or isinstance(outcome.error, Cancelled) for outcome in outcomes)
    assert origin.requests < 500


# -- logs --------------------------------------------------------------------------------------------------------------


def test_what_the_processes_log_reaches_this_ones_handlers_without_secrets(
    origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "workerpool")
    secret = origin.url("/status/404?token=hush").replace("http://", "http://user:hush@")
    with ShardedPool(2, 2, initializer=elsewhere.log_something) as pool:
        (outcome,) = pool.stream([secret])
        assert isinstance(outcome.error, StatusError)
    failed = [record for record in caplog.records if getattr(record, "event", "") == "request.failed"]
    assert len(failed) == 1
    assert failed[0].fields["reason"] == "status"  # type: ignore[attr-defined]
    assert "HTTP 404" in failed[0].getMessage()
    assert "hush" not in caplog.text
    assert "from afar" in caplog.text
    assert not [record for record in caplog.records if getattr(record, "event", "") == "request.ended"]
