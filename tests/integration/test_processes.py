"""`ShardedPool`: several processes send, and what this process sees is what one pool would have shown it."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import elsewhere
from tests.commands import environment
from tests.integration.test_receipts import Journal
from tests.waiting import eventually
from workerpool import (
    Cancelled,
    ConnectionLost,
    HostPaused,
    InvalidRequest,
    Job,
    OptionError,
    Outcome,
    OutcomeUnknown,
    ProcessesLost,
    Request,
    RetryPolicy,
    ShardedPool,
    StatusError,
    Underway,
    UnexpectedError,
    WorkerPool,
    WrongThread,
    fetch,
)
from workerpool import stream as stream_module
from workerpool.batch.record import record_of
from workerpool.model import IDLE
from workerpool.processes import fleet as fleet_module
from workerpool.processes import supervisor as supervisor_module
from workerpool.testing import Arrival, Origin, Reply

LONG = 20.0
"""Seconds that something may take which should be there soon."""
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
WORKERS = 4


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(addresses=ADDRESSES, record_limit=100_000) as made:
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


def urls(origin: Origin, count: int, path: str = "/bytes/10") -> list[str]:
    """So many URLs, of all the origin's hosts in turn."""
    return [origin.url(f"{path}?i={n}", address=ADDRESSES[n % 4]) for n in range(count)]


def is_there(pid: int) -> bool:
    """Whether a process is there and not just waiting to be waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def none_is_left(pids: list[int], seconds: float = LONG) -> bool:
    return eventually(lambda: not any(map(is_there, pids)), seconds)


# -- the same as one pool ----------------------------------------------------------------------------------------------


def test_every_request_has_one_outcome(origin: Origin, pool: ShardedPool) -> None:
    given = urls(origin, 500)
    outcomes = [*pool.stream(given)]
    assert sorted(outcome.url for outcome in outcomes) == sorted(given)
    assert all(outcome.ok for outcome in outcomes)
    assert origin.requests == 500


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
    after = pool.statistics()
    assert (after.requests, after.sent, after.in_flight) == (100, 200, 0)


def test_statistics_keep_what_a_process_that_was_killed_had_done(origin: Origin) -> None:
    with ShardedPool(2, WORKERS) as pool:
        assert all(outcome.ok for outcome in pool.stream(urls(origin, 20)))
        assert pool.statistics().requests == 20
        killed = pool.pids[0]
        os.kill(killed, signal.SIGKILL)
        assert eventually(lambda: killed not in pool.pids and pool.statistics().workers == WORKERS)
        assert pool.statistics().requests == 20


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


def worded(error: Exception | None) -> str:
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
    assert [(one.status, one.error, one.hops, one.fast_path) for one in there.attempts] == [
        (one.status, one.error, one.hops, one.fast_path) for one in here.attempts
    ]
    if here.error is not None and there.error is not None:
        assert (there.error.key, there.error.attempts) == (here.error.key, here.error.attempts)
        assert str(there.error.__cause__) == str(here.error.__cause__)
        assert vars(there.error).keys() == vars(here.error).keys()
    one, other = record_of(there, ("body", "headers")), record_of(here, ("body", "headers"))
    for record in (one, other):
        assert (record.pop("elapsed") > 0) == bool(record["attempts"])
        assert (record.pop("started_at") is not None) == bool(record["attempts"])
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


def test_an_error_keeps_until_when_its_host_wants_no_request(origin: Origin) -> None:
    with ShardedPool(2, 2, retry=RetryPolicy(attempts=2)) as pool:
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
        ({"host_key": lambda url: url}, "host_key=<function"),
        ({"session_factory": lambda: requests.Session()}, "session_factory=<function"),
        ({"initializer": threading.Lock().acquire}, "initializer=<built-in"),
        ({"retry": RetryPolicy(retry=lambda state: False)}, "retry=RetryPolicy"),
        ({"host_rate": "often"}, "host_rate='often'"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], part: str) -> None:
    with pytest.raises((OptionError, TypeError)) as raised:
        ShardedPool(**{"processes": 2, "max_workers": 4, **options})
    assert part in str(raised.value)


def test_a_function_of_the_main_module_is_refused_with_what_would_do(tmp_path: Path) -> None:
    script = (
        "from workerpool import OptionError, ShardedPool\n"
        "def key(url): return url\n"
        "try: ShardedPool(2, 2, host_key=key)\n"
        "except OptionError as error: print(error)\n"
    )
    done = run_script(tmp_path, script)
    assert "host_key=<function key" in done.stdout
    assert "only the program's main module has" in done.stdout
    assert "name a function or a class of a module" in done.stdout


def test_a_script_needs_no_guard_and_its_processes_leave_its_main_module_alone(tmp_path: Path, origin: Origin) -> None:
    script = (
        "import workerpool\n"
        "print('begun')\n"
        f"print(sum(one.ok for one in workerpool.fetch({urls(origin, 8)!r}, processes=2, max_workers=2)))\n"
    )
    assert run_script(tmp_path, script).stdout.split() == ["begun", "8"]


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


# -- what it costs others ----------------------------------------------------------------------------------------------


def test_a_host_that_hangs_delays_no_other(origin: Origin) -> None:
    """It comes first, and a quarter of the window is its, whichever process has it."""
    hanging = urls(origin, 400, "/delay/60")[::4]
    given = [*hanging, *(url for n, url in enumerate(urls(origin, 400)) if n % 4)]
    with ShardedPool(2, 16) as pool:
        outcomes = list(itertools.islice(pool.stream(given, window=40), 300))
        assert sum(outcome.ok for outcome in outcomes) == 300
        assert not any("delay" in outcome.url for outcome in outcomes)
        os.kill(pool.pids[0], 0)
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)  # nobody waits for a minute


def test_a_consumer_that_stalls_stops_what_is_fetched(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    size, most = 100_000, 2_000_000
    monkeypatch.setattr(stream_module, "HELD_BYTES", most)
    monkeypatch.setattr(supervisor_module, "HELD_BYTES", most)
    with ShardedPool(2, WORKERS) as pool:
        outcomes = pool.stream(urls(origin, 600, f"/bytes/{size}"))
        taken = [next(outcomes)]
        assert eventually(lambda: is_still(lambda: origin.requests))
        assert most < origin.requests * size < 4 * most  # here and there, twice, and what was in flight
        taken += outcomes
    assert len(taken) == 600


def test_processes_whose_outcomes_are_not_taken_in_stop_fetching(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, most, go_on, unpack = 100_000, 2_000_000, threading.Event(), fleet_module.unpack_outcome
    monkeypatch.setattr(supervisor_module, "HELD_BYTES", most)
    monkeypatch.setattr(fleet_module, "unpack_outcome", lambda *args: go_on.wait(LONG) and unpack(*args))
    with ShardedPool(2, WORKERS) as pool:
        outcomes: list[Outcome] = []
        consumer = threading.Thread(target=lambda: outcomes.extend(pool.stream(urls(origin, 300, f"/bytes/{size}"))))
        consumer.start()
        assert eventually(lambda: origin.requests * size > most)
        assert eventually(lambda: is_still(lambda: origin.requests))
        assert origin.requests * size < 3 * most
        go_on.set()
        consumer.join(LONG)
    assert len(outcomes) == 300


def test_an_outcome_whose_turn_it_is_comes_even_if_the_others_hold_all_the_room(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "HELD_BYTES", 300_000)
    monkeypatch.setattr(supervisor_module, "HELD_BYTES", 300_000)
    given = [origin.url("/delay/0.5"), *urls(origin, 200, "/bytes/50000")]
    with ShardedPool(2, 2) as pool:
        assert [outcome.url for outcome in pool.stream(given, ordered=True)] == given


def test_no_more_sockets_are_open_than_all_processes_may_have(origin: Origin) -> None:
    with ShardedPool(2, 8, max_connections=3) as pool:
        assert all(outcome.ok for outcome in pool.stream(urls(origin, 200, "/delay/0.005")))
    assert origin.connections_peak <= 3


def test_a_rate_is_that_of_all_processes_together_by_the_servers_count(origin: Origin) -> None:
    with ShardedPool(2, 8, rate="100/s", host_rate="60/s") as pool:
        began = time.monotonic()
        assert all(outcome.ok for outcome in pool.stream(urls(origin, 200)))
        took = time.monotonic() - began
    assert origin.busiest(1.0) <= 1 + 100 + 2  # and what comes `LATENESS` too late
    assert took > 1.95


def test_a_hosts_sockets_are_counted_over_processes_where_redirects_lead_to_it(origin: Origin) -> None:
    """Half of its requests come by redirects of another host, which is the other process's."""
    there = origin.url("/delay/0.02", address="127.0.0.2")
    origin.script("/here", Reply(status=302, headers={"Location": there}))
    given = [url for n in range(60) for url in (origin.url(f"/here?{n}"), f"{there}?{n}")]
    with ShardedPool(2, 16, host_connections=3) as pool:
        assert all(outcome.ok for outcome in pool.stream(given))
    assert origin.sockets("127.0.0.2").peak <= 3


def test_a_pause_of_a_host_is_kept_by_all_processes(origin: Origin) -> None:
    """The one that has its requests is told of the pause, and redirects of another host lead there."""
    paused = threading.Event()
    early: list[float] = []
    until = [0.0]

    def answer(arrival: Arrival) -> Reply:
        if arrival.address == "127.0.0.1":
            return Reply(status=302, headers={"Location": origin.url("/there", address="127.0.0.2")}, delay=0.3)
        if not paused.is_set():
            paused.set()
            until[0] = arrival.time + 2.0
            return Reply(status=429, headers={"Retry-After": "2"})
        if arrival.time < until[0]:
            early.append(arrival.time)
        return Reply()

    origin.default = answer
    with ShardedPool(2, 4, host_connections=1) as pool:
        first = pool.get(origin.url("/first", address="127.0.0.2"))
        assert paused.wait(LONG)
        assert all(outcome.ok for outcome in pool.stream([origin.url(f"/hop/{n}") for n in range(3)]))
        assert first.result(LONG).ok
    assert not early


def test_pools_of_processes_share_a_named_budget_with_others(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
    with (
        ShardedPool(2, 4, host_rate="40/s", budget="ours") as several,
        WorkerPool(4, host_rate="40/s", budget="ours") as one,
    ):
        given = urls(origin, 160)[::4]
        assert several.get(given[0]).result(LONG).ok  # its processes are there
        origin.reset_records()
        outcomes: list[Outcome] = []
        consumer = threading.Thread(target=lambda: outcomes.extend(several.stream(given)))
        consumer.start()
        outcomes.extend(one.stream(given))
        consumer.join(LONG)
    assert sum(outcome.ok for outcome in outcomes) == 80
    assert origin.busiest(1.0, "127.0.0.1") <= 1 + 40 + 2


def test_what_processes_share_is_removed_with_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ShardedPool(2, 2, transport=elsewhere.answering_pids) as pool:
        assert all(outcome.ok for outcome in pool.stream(["http://h.test/"]))
        assert len([*tmp_path.iterdir()]) == 1
    assert not [*tmp_path.iterdir()]


# -- receipts ----------------------------------------------------------------------------------------------------------


def test_no_more_than_the_workers_of_all_is_sent_beyond_the_receipts(origin: Origin) -> None:
    journal = Journal()
    journal.listen(origin)
    with ShardedPool(2, WORKERS, host_connections=8) as pool:
        for batch in pool.batches(urls(origin, 80, "/x"), receipts=True):
            # Until all that may be sent is, or one process has nothing left to send, which only the time tells.
            eventually(lambda: journal.pending >= WORKERS or journal.sent.total() == 80 or half_is_done(journal), 0.3)
            journal.note(batch)
    assert journal.most <= WORKERS
    assert journal.sent.total() == 80


def half_is_done(journal: Journal) -> bool:
    """Whether only one process is left with something to send."""
    return journal.pending == WORKERS // 2 and journal.noted.total() > 40


def test_a_request_that_waits_for_a_retry_is_told_of_with_its_attempts(origin: Origin) -> None:
    with ShardedPool(2, 2, retry=RetryPolicy(attempts=3, backoff=0.01)) as pool:
        items = [*itertools.chain.from_iterable(pool.batches([origin.url("/flaky/2")], receipts=True))]
    first, second, last = items
    assert isinstance(first, Underway)
    assert isinstance(second, Underway)
    assert isinstance(last, Outcome)
    assert [attempt.status for attempt in second.attempts] == [503, 503]
    assert last.attempts[:2] == second.attempts
    assert last.ok


def test_what_may_not_be_repeated_is_told_of_before_it_is_sent(origin: Origin, pool: ShardedPool) -> None:
    noted: list[str] = []
    late: list[str] = []

    def answer(arrival: Arrival) -> Reply:
        if arrival.method == "POST" and arrival.path not in noted:
            late.append(arrival.path)
        return Reply()

    origin.default = answer
    given = [Request(url, "POST" if n % 2 else "GET") for n, url in enumerate(urls(origin, 60))]
    note = lambda request: noted.append(request.url[request.url.index("/", 8) :])  # noqa: E731
    items = [*itertools.chain.from_iterable(pool.batches(given, receipts=True, before_send=note))]
    assert all(isinstance(item, Outcome) and item.ok for item in items)
    assert not late
    assert len(noted) == 30


def test_what_could_not_be_journalled_is_not_sent(origin: Origin, pool: ShardedPool) -> None:
    def refuse(request: Request) -> None:
        raise OSError("no space left")

    batches = pool.batches([Request(origin.url("/a"), "POST"), *urls(origin, 5)], receipts=True, before_send=refuse)
    outcomes = {item.request.method: item for batch in batches for item in batch}
    failed = outcomes["POST"]
    assert isinstance(failed, Outcome)
    assert isinstance(failed.error, Cancelled)
    assert isinstance(failed.error.__cause__, OSError)
    assert origin.requests == 5


# -- the end of a process ----------------------------------------------------------------------------------------------


def test_the_requests_of_a_process_that_is_killed_are_done_by_another(origin: Origin) -> None:
    given = urls(origin, 1000, "/delay/0.002")
    with ShardedPool(2, 8) as pool:
        outcomes = []
        for number, outcome in enumerate(pool.stream(given)):
            outcomes.append(outcome)
            if number in (100, 400):
                os.kill(pool.pids[number == 400], signal.SIGKILL)
        assert pool.statistics().workers == 8
    assert sorted(outcome.url for outcome in outcomes) == sorted(given)
    assert all(outcome.ok for outcome in outcomes), [outcome for outcome in outcomes if not outcome.ok][:3]
    assert origin.requests < 1100  # what was being sent, and what had ended and was not told yet


def test_what_may_have_been_sent_by_a_process_that_is_killed_and_may_not_be_repeated_is_unknown(origin: Origin) -> None:
    hold = threading.Event()
    seen: Counter[str] = Counter()

    def answer(arrival: Arrival) -> Reply:
        seen[arrival.path] += 1
        return Reply(delay=0.0 if hold.is_set() else 30.0)

    origin.default = answer
    given = [Request(url, "POST") for url in urls(origin, 40)]
    with ShardedPool(2, WORKERS) as pool:
        outcomes: list[Outcome] = []
        consumer = threading.Thread(target=lambda: outcomes.extend(pool.stream(given)))
        consumer.start()
        assert eventually(lambda: len(seen) == WORKERS)
        hold.set()
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
        consumer.join(LONG)
    unknown = [outcome for outcome in outcomes if not outcome.ok]
    assert len(outcomes) == 40
    assert len(unknown) == WORKERS
    assert all(isinstance(outcome.error, OutcomeUnknown) for outcome in unknown)
    assert "POST is not repeated blindly" in str(unknown[0].error)
    assert max(seen.values()) == 1


def test_attempts_that_a_killed_process_has_made_count(origin: Origin) -> None:
    answers = itertools.count()
    origin.default = lambda arrival: Reply(status=503 if next(answers) < 2 else 200)
    policy = RetryPolicy(attempts=4, wait=None, backoff=1.0, backoff_max=1.0)
    with ShardedPool(2, 2, retry=policy) as pool:
        outcomes: list[Outcome] = []
        consumer = threading.Thread(target=lambda: outcomes.extend(pool.stream([origin.url("/a")])))
        consumer.start()
        assert eventually(lambda: pool.statistics().parked == 1 or origin.requests > 1)
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
        consumer.join(LONG)
    (outcome,) = outcomes
    assert outcome.ok
    assert [attempt.status for attempt in outcome.attempts] == [503, 503, 200]


def test_receipts_hold_where_a_process_is_killed(origin: Origin) -> None:
    journal = Journal()
    journal.listen(origin)
    with ShardedPool(2, WORKERS, host_connections=8) as pool:
        outcomes: Counter[str] = Counter()
        kills = 0
        for batch in pool.batches(urls(origin, 400, "/x"), receipts=True):
            outcomes.update(item.request.url for item in batch if isinstance(item, Outcome))
            if len(outcomes) > 100 and kills == 0:
                os.kill(pool.pids[0], signal.SIGKILL)
                kills = 1
                assert eventually(lambda: is_still(lambda: origin.requests))
            with journal._lock:
                journal.pending -= len(batch)
    assert len(outcomes) == 400
    assert set(outcomes.values()) == {1}
    assert journal.most <= WORKERS + WORKERS // 2  # what the killed one had sent, and what its successor sends
    assert origin.requests <= 400 + WORKERS // 2


def test_the_successor_of_a_process_sends_nothing_while_all_its_places_wait_for_receipts(origin: Origin) -> None:
    with ShardedPool(2, WORKERS, host_connections=8) as pool:
        batches = pool.batches(urls(origin, 100), receipts=True)
        first = next(batches)
        (stream,) = pool._streams
        assert eventually(lambda: len(first) + stream._ended.qsize() == WORKERS)
        killed = pool.pids
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: not {*killed} & {*pool.pids} and pool.statistics().workers == WORKERS)
        assert is_still(lambda: origin.requests)
        assert origin.requests == WORKERS
        rest = [*itertools.chain.from_iterable(batches)]
    assert len(first) + len(rest) == origin.requests == 100


def test_a_process_ignores_the_signals_that_are_its_parents_to_act_on_from_the_first_moment(origin: Origin) -> None:
    with ShardedPool(2, 2) as pool:
        pids = pool.pids
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for pid in pids:
                os.kill(pid, number)
        assert sum(outcome.ok for outcome in pool.stream(urls(origin, 20))) == 20
        assert pool.pids == pids


def test_processes_that_end_again_and_again_are_told_of() -> None:
    given = ["http://a.test/kill", *(f"http://b.test/{n}" for n in range(50))]
    outcomes: list[Outcome] = []

    def take() -> None:
        for outcome in pool.stream(given):
            outcomes.append(outcome)  # noqa: PERF402  what comes before it raises counts

    with ShardedPool(2, 2, transport=elsewhere.ending) as pool:
        assert not pool._broken
        with pytest.raises(ProcessesLost, match="ended unasked within 60 s, the last one by signal 9"):
            take()
        assert len(outcomes) == 51
        (lost,) = [outcome for outcome in outcomes if outcome.url.endswith("kill")]
        assert isinstance(lost.error, Cancelled)
        with pytest.raises(ProcessesLost):
            take()
        assert pool._broken
        assert eventually(lambda: pool.pids == [])


def test_a_drained_stream_ends_soon(origin: Origin, pool: ShardedPool) -> None:
    outcomes: list[Outcome] = []
    for outcome in pool.stream(urls(origin, 2000, "/delay/0.01")):
        outcomes.append(outcome)
        if len(outcomes) == 50:
            pool.drain()
    assert sum(outcome.ok for outcome in outcomes) >= 50
    assert all(outcome.ok or isinstance(outcome.error, Cancelled) for outcome in outcomes)
    assert origin.requests < 500


def test_leaving_a_stream_forgets_its_requests_and_the_pool_goes_on(origin: Origin) -> None:
    with ShardedPool(2, WORKERS) as pool:
        for _ in range(3):
            next(pool.stream(urls(origin, 500, "/delay/0.01")))
            gc.collect()
        assert sum(outcome.ok for outcome in pool.stream(urls(origin, 20))) == 20
        assert len(pool._fleet._consumers._consumers) == 1
        assert eventually(lambda: pool.statistics().queued == 0)


def test_shutdown_ends_all_processes_and_takes_no_more(origin: Origin) -> None:
    pool = ShardedPool(2, 2)
    pids = pool.pids
    future = pool.get(origin.url("/delay/0.2"))
    pool.shutdown()
    assert future.result(0).ok
    assert not any(map(is_there, pids))
    assert pool.pids == []
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.get(origin.url("/"))
    pool.shutdown()


def test_shutdown_can_cancel_what_is_not_being_sent(origin: Origin) -> None:
    pool = ShardedPool(2, 2, host_connections=1)
    futures = [pool.get(origin.url(f"/delay/0.3?i={n}")) for n in range(20)]
    origin.wait_for(1)
    pool.shutdown(cancel_futures=True)
    results = [future.exception(0) for future in futures]
    assert sum(result is None for result in results) == origin.requests <= 2
    assert all(result is None or isinstance(result, Cancelled) for result in results)


def test_a_pool_that_is_dropped_takes_its_processes_along(origin: Origin) -> None:
    pool = ShardedPool(2, 2)
    pids = pool.pids
    assert pool.get(origin.url("/")).result(LONG).ok
    del pool
    gc.collect()
    assert none_is_left(pids)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking with threads, which is what this is about
def test_a_forked_child_begins_with_processes_of_its_own(origin: Origin) -> None:
    with ShardedPool(2, 2) as pool:
        assert pool.get(origin.url("/bytes/1")).result(LONG).ok
        ours = pool.pids
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                is_other = pool.pids == []  # before they are needed
                is_ok = pool.get(origin.url("/bytes/2")).result(LONG).ok
                is_other = is_other and not set(pool.pids) & set(ours)
                pool.shutdown()
                os.write(writes, b"ok" if is_ok and is_other else b"no")
                code = 0
            finally:
                os._exit(code)
        os.close(writes)
        with open(reads, "rb") as told:
            assert told.read() == b"ok"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert pool.pids == ours
        assert pool.get(origin.url("/bytes/3")).result(LONG).ok


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


# -- the command line and jobs -----------------------------------------------------------------------------------------


def is_still(count: Callable[[], int]) -> bool:
    """Whether a count stays what it is for a moment."""
    before = count()
    return not eventually(lambda: count() != before, 0.3)


def run_script(directory: Path, script: str) -> subprocess.CompletedProcess[str]:
    path = directory / "script.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done


@contextlib.contextmanager
def running(directory: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], list[int]]]]:
    """Run the command in a process group of its own; the process, and a function that lists its children."""
    command = [sys.executable, "-m", "workerpool", "run", "urls.txt", "-o", "out.jsonl", "--no-progress", *words]
    process = subprocess.Popen(
        [*command, "--processes", "2", "--workers", "4"],
        cwd=directory,
        env=environment(),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )

    def children() -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]

    try:
        yield process, children
    finally:
        process.kill()
        process.communicate(timeout=LONG)


def test_a_signal_to_the_whole_group_finishes_what_is_being_sent(tmp_path: Path, origin: Origin) -> None:
    (tmp_path / "urls.txt").write_text("\n".join(urls(origin, 2000, "/delay/0.05")))
    with running(tmp_path) as (process, children):
        origin.wait_for(20)
        pids = children()
        assert len(pids) == 2
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=LONG)
    assert process.returncode == 130, said
    assert b"finishing" in said
    assert b"Traceback" not in said
    records = (tmp_path / "out.jsonl").read_text().splitlines()
    assert len(records) >= 20
    assert none_is_left(pids)


def test_a_second_signal_ends_it_at_once_and_its_processes_too(tmp_path: Path, origin: Origin) -> None:
    (tmp_path / "urls.txt").write_text("\n".join(urls(origin, 40, "/delay/30")))
    with running(tmp_path, "--timeout", "60") as (process, children):
        origin.wait_for(4)
        pids = children()
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        assert b"finishing 4 requests in flight" in process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)
        process.wait(LONG)
        assert process.returncode == 130
        assert none_is_left(pids, 2.0)


def test_a_run_that_is_killed_leaves_nothing_behind(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "urls.txt").write_text("\n".join(urls(origin, 40, "/delay/30")))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with running(tmp_path, "--timeout", "60") as (process, children):
        origin.wait_for(4)
        pids = children()
        assert [*scratch.iterdir()]
        process.kill()
        assert none_is_left(pids, 1.5)
    assert not [*scratch.iterdir()]


def test_a_job_that_is_killed_with_its_processes_goes_on(tmp_path: Path, origin: Origin) -> None:
    given = urls(origin, 600, "/delay/0.01")
    (tmp_path / "urls.txt").write_text("\n".join(given))
    for arrivals in (100, 300):
        with running(tmp_path, "--job", "a.job") as (process, children):
            origin.wait_for(arrivals, LONG)
            pids = children()
            process.kill()
            assert none_is_left(pids)
    with running(tmp_path, "--job", "a.job") as (process, _):
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    records = (tmp_path / "out.jsonl").read_text().splitlines()
    assert len(records) == 600
    assert origin.requests <= 600 + 2 * 4


def test_a_job_of_a_program_may_have_several_processes(tmp_path: Path, origin: Origin) -> None:
    job = Job(tmp_path / "a.job", requests=urls(origin, 50), output=str(tmp_path / "out.jsonl"))
    result = job.run(processes=2, max_workers=4)
    assert result.ok == 50
    assert origin.requests == 50


def test_more_processes_than_workers_are_refused_by_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workerpool", "run", "-", "-o", "-", "--processes", "3", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment(), input="")
    assert done.returncode == 2
    assert "--processes=3 is more than --workers=2" in done.stderr
