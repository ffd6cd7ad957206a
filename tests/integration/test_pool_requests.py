"""Requests through the pool are requests' own: arguments, responses, errors, sessions, cookies; and pools end well."""

from __future__ import annotations

import gc
import io
import itertools
import logging
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPDigestAuth

from tests.leftovers import Since
from tests.waiting import LONG, eventually, let_pass
from workerpool import Cancelled, OptionError, Request, RetryPolicy, WorkerPool, WrongThread, fetch
from workerpool.testing import Answer, Origin, Reply, ScriptedTransport

NO_WAIT = RetryPolicy(attempts=3, backoff=0)
CHALLENGE = {"WWW-Authenticate": 'Digest realm="here", nonce="abc", qop="auth", algorithm=MD5'}


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(("127.0.0.1", "127.0.0.2")) as origin:
        yield origin


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(4, retry=NO_WAIT, timeout=10) as pool:
        yield pool


def join(thread: threading.Thread) -> None:
    thread.join(LONG)
    assert not thread.is_alive()


def shut_down(pool: WorkerPool, **options: Any) -> threading.Thread:
    thread = threading.Thread(target=lambda: pool.shutdown(**options), daemon=True)
    thread.start()
    return thread


# -- responses and errors ----------------------------------------------------------------------------------------------


def test_a_future_holds_a_real_response(pool: WorkerPool, origin: Origin) -> None:
    response = pool.get(origin.url("/redirect/2")).result(LONG)
    assert isinstance(response, requests.Response)
    assert [hop.status_code for hop in response.history] == [302, 302]
    assert (response.url, response.text) == (origin.url("/redirect/0"), "arrived\n")
    assert response.elapsed.total_seconds() > 0
    assert response.encoding == "utf-8"
    assert response.raise_for_status() is None
    copy = pickle.loads(pickle.dumps(response))
    assert (type(copy), copy.status_code, copy.content) == (requests.Response, 200, b"arrived\n")
    assert (copy.url, copy.headers) == (response.url, response.headers)


@pytest.mark.parametrize("verb", ["get", "post", "put", "patch", "delete", "options"])
def test_every_verb_sends_its_method(pool: WorkerPool, origin: Origin, verb: str) -> None:
    assert getattr(pool, verb)(origin.url("/echo")).result(LONG).json()["method"] == verb.upper()


def test_head_sends_head_and_follows_no_redirect(pool: WorkerPool, origin: Origin) -> None:
    assert pool.head(origin.url("/redirect/1")).result(LONG).status_code == 302
    assert origin.arrivals[-1].method == "HEAD"


def test_a_failing_status_is_a_response_after_its_retries_and_raises_when_asked(
    pool: WorkerPool, origin: Origin
) -> None:
    response = pool.get(origin.url("/status/503")).result(LONG)
    assert origin.requests == 3
    with pytest.raises(requests.HTTPError, match="503"):
        response.raise_for_status()


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/reset", requests.ConnectionError),
        ("/truncate", requests.exceptions.ChunkedEncodingError),
        ("/delay/30", requests.ReadTimeout),
        ("/redirect/40", requests.TooManyRedirects),
    ],
)
def test_a_future_raises_what_requests_raises(origin: Origin, path: str, error: type[Exception]) -> None:
    timeout = 0.3 if error is requests.ReadTimeout else LONG
    with WorkerPool(1, retry=1, timeout=timeout) as pool, pytest.raises(error):
        pool.get(origin.url(path)).result(LONG)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("host.test/x", requests.exceptions.MissingSchema),
        ("ftp://host.test/", requests.exceptions.InvalidSchema),
        ("http://", requests.exceptions.InvalidURL),
        ("http://127.0.0.1:1/", requests.ConnectionError),
    ],
)
def test_a_url_that_cannot_be_fetched_raises_requests_own_error(url: str, error: type[Exception]) -> None:
    with WorkerPool(1, retry=1) as pool, pytest.raises(error):
        pool.get(url).result(LONG)


# -- requests' arguments -----------------------------------------------------------------------------------------------


def test_params_headers_and_cookies_reach_the_server(pool: WorkerPool, origin: Origin) -> None:
    seen = pool.get(
        origin.url("/echo?a=1"), params={"b": ["2", "3"]}, headers={"X-Mine": "yes"}, cookies={"id": "7"}
    ).result(LONG)
    assert seen.json()["path"] == "/echo?a=1&b=2&b=3"
    assert (seen.json()["headers"]["X-Mine"], seen.json()["headers"]["Cookie"]) == ("yes", "id=7")


def test_bodies_reach_the_server_as_requests_encodes_them(pool: WorkerPool, origin: Origin) -> None:
    url = origin.url("/echo")
    assert pool.post(url, data={"a": "1"}).result(LONG).json()["body"] == "a=1"
    assert pool.post(url, json={"a": 1}).result(LONG).json()["body"] == '{"a": 1}'
    assert pool.post(url, data=b"bytes").result(LONG).json()["body"] == "bytes"
    assert pool.post(url, data=iter([b"x", b"yz"])).result(LONG).json()["body"] == "xyz"
    files = pool.post(url, files={"f": ("name.txt", io.BytesIO(b"inside"))}).result(LONG).json()
    assert "name.txt" in files["body"]
    assert "inside" in files["body"]


def test_an_empty_json_body_is_sent_as_requests_sends_it(pool: WorkerPool, origin: Origin) -> None:
    assert pool.post(origin.url("/echo"), json=[]).result(LONG).json()["body"] == "[]"


def test_basic_auth_and_digest_auth_work(pool: WorkerPool, origin: Origin) -> None:
    basic = pool.get(origin.url("/echo"), auth=("me", "pw")).result(LONG)
    assert basic.json()["headers"]["Authorization"].startswith("Basic ")
    origin.script("/digest", Reply(status=401, headers=CHALLENGE), Reply(body=b"in"))
    digest = pool.get(origin.url("/digest"), auth=HTTPDigestAuth("me", "pw")).result(LONG)
    assert (digest.status_code, digest.content) == (200, b"in")
    assert [hop.status_code for hop in digest.history] == [401]
    assert 'username="me"' in origin.arrivals[-1].headers["Authorization"]


def test_the_answer_to_a_challenge_spends_a_slot(origin: Origin) -> None:
    origin.script("/digest", Reply(status=401, headers=CHALLENGE), Reply(body=b"in"))
    with WorkerPool(2, rate="10/s") as pool:
        began = time.monotonic()
        assert pool.get(origin.url("/digest"), auth=HTTPDigestAuth("me", "pw")).result(LONG).ok
        assert pool.statistics().sent == 2
    assert origin.arrivals[1].time - began > 0.08


def test_a_timeout_of_one_request_holds_for_that_request(pool: WorkerPool, origin: Origin) -> None:
    with pytest.raises(requests.ReadTimeout):
        pool.post(origin.url("/delay/30"), timeout=(5, 0.2)).result(LONG)


def test_redirects_may_be_refused(pool: WorkerPool, origin: Origin) -> None:
    response = pool.get(origin.url("/redirect/1"), allow_redirects=False).result(LONG)
    assert (response.status_code, response.history) == (302, [])


def test_hooks_run_and_may_replace_the_response(pool: WorkerPool, origin: Origin) -> None:
    def hook(response: requests.Response, **_: Any) -> requests.Response:
        response.reason = "hooked"
        return response

    assert pool.get(origin.url("/"), hooks={"response": hook}).result(LONG).reason == "hooked"


def test_a_hook_that_raises_raises_from_the_future(pool: WorkerPool, origin: Origin) -> None:
    def hook(response: requests.Response, **_: Any) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        pool.get(origin.url("/"), hooks={"response": hook}).result(LONG)


def test_a_streamed_response_is_read_by_its_owner(pool: WorkerPool, origin: Origin) -> None:
    response = pool.get(origin.url("/bytes/100000"), stream=True).result(LONG)
    assert sum(len(piece) for piece in response.iter_content(4096)) == 100_000
    assert pool.statistics().sockets_idle == 1


def test_streamed_responses_that_nobody_reads_give_their_places_back(origin: Origin) -> None:
    """A retried or forgotten stream holds no socket for ever: more of them than sockets end in no time."""
    with WorkerPool(2, host_connections=2, retry=RetryPolicy(attempts=6, backoff=0)) as pool:
        response = pool.get(origin.url("/flaky/5"), stream=True).result(LONG)
        assert response.content == b"ok\n"
        for _ in range(6):
            pool.get(origin.url("/bytes/500000"), stream=True).result(LONG)
    assert origin.connections_peak <= 2


def test_a_post_through_307_keeps_its_body_and_through_303_becomes_a_get(pool: WorkerPool, origin: Origin) -> None:
    body = io.BytesIO(b"whole")
    kept = pool.post(origin.url("/redirect-to?url=/echo&status=307"), data=body).result(LONG).json()
    assert (kept["method"], kept["body"]) == ("POST", "whole")
    turned = pool.post(origin.url("/redirect-to?url=/echo&status=303"), data=b"gone").result(LONG).json()
    assert (turned["method"], turned["body"]) == ("GET", "")


def test_credentials_do_not_follow_a_redirect_to_another_host(pool: WorkerPool, origin: Origin) -> None:
    there = origin.url("/echo", address="127.0.0.2")
    response = pool.get(origin.url(f"/redirect-to?url={there}"), headers={"Authorization": "Bearer x"}).result(LONG)
    assert "Authorization" not in response.json()["headers"]


# -- cookies -----------------------------------------------------------------------------------------------------------


def cookies_after_setting(pool: WorkerPool, origin: Origin) -> dict[str, str]:
    pool.get(origin.url("/cookies/set?id=7")).result(LONG)
    return pool.get(origin.url("/cookies")).result(LONG).json()


def test_cookies_none_keeps_none_between_requests(origin: Origin) -> None:
    with WorkerPool(1) as pool:
        assert cookies_after_setting(pool, origin) == {}


def test_cookies_worker_keeps_them_in_the_workers_session(origin: Origin) -> None:
    with WorkerPool(1, cookies="worker") as pool:
        assert cookies_after_setting(pool, origin) == {"id": "7"}


def test_cookies_shared_are_seen_by_every_worker(origin: Origin) -> None:
    with WorkerPool(4, cookies="shared") as pool:
        assert cookies_after_setting(pool, origin) == {"id": "7"}
        outcomes = [*pool.stream([origin.url(f"/cookies?{n}") for n in range(40)])]
        assert all(outcome.response.json() == {"id": "7"} for outcome in outcomes if outcome.response is not None)


@pytest.mark.parametrize("mode", ["none", "shared"])
def test_cookies_of_pool_session_are_not_sent_with_the_pools_requests(origin: Origin, mode: Any) -> None:
    with WorkerPool(1, cookies=mode) as pool:
        pool.submit(lambda: pool.session.get(origin.url("/cookies/set?id=7"))).result(LONG)
        assert pool.get(origin.url("/cookies")).result(LONG).json() == {}
        pool.submit(lambda: pool.session.cookies.clear()).result(LONG)
        assert pool.get(origin.url("/cookies")).result(LONG).json() == {}


def test_a_redirect_chain_keeps_its_own_cookies_in_every_mode(origin: Origin) -> None:
    origin.script("/login", Reply(status=302, headers={"Location": "/cookies", "Set-Cookie": "id=7; Path=/"}))
    for mode in ("none", "worker", "shared"):
        with WorkerPool(2, cookies=mode) as pool:  # type: ignore[arg-type]
            response = pool.get(origin.url("/login")).result(LONG)
            assert response.json() == {"id": "7"}
            assert response.history[0].cookies["id"] == "7"


def test_pool_session_keeps_its_own_jar_and_shows_it_to_no_request(origin: Origin) -> None:
    with WorkerPool(1) as pool:
        pool.submit(lambda: pool.session.get(origin.url("/cookies/set?id=7"))).result(LONG)
        assert pool.submit(lambda: pool.session.get(origin.url("/cookies")).json()).result(LONG) == {"id": "7"}
        assert pool.get(origin.url("/cookies")).result(LONG).json() == {}
        pool.submit(lambda: pool.session.get(origin.url("/cookies/set?more=8"))).result(LONG)
        kept = pool.submit(lambda: pool.session.get(origin.url("/cookies")).json()).result(LONG)
        assert kept == {"id": "7", "more": "8"}


# -- sessions ----------------------------------------------------------------------------------------------------------


class MySession(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        self.headers["X-Session"] = "mine"
        self.cookies.set("preset", "1")


class StubAdapter(requests.adapters.BaseAdapter):
    """Answers by itself; counts how often it was asked."""

    sends = 0

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        type(self).sends += 1
        response = requests.Response()
        response.status_code, response.url, response.request = 200, request.url or "", request
        response.raw = io.BytesIO(b"stub")
        return response

    def close(self) -> None:
        pass


def test_a_session_factory_brings_headers_and_cookies(origin: Origin) -> None:
    with WorkerPool(2, session_factory=MySession) as pool:
        headers = pool.get(origin.url("/echo")).result(LONG).json()["headers"]
        assert (headers["X-Session"], headers["Cookie"]) == ("mine", "preset=1")
        assert type(pool.submit(lambda: pool.session).result(LONG)) is MySession


@pytest.mark.parametrize(
    "own", [{"proxies": {"http": "http://proxy.test:3128"}}, {"verify": False}, {"cert": "c.pem"}], ids=str
)
def test_what_the_sessions_of_a_factory_would_not_heed_is_refused(own: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="session_factory"):
        WorkerPool(1, session_factory=requests.Session, **own)


def test_each_worker_has_its_own_session_and_all_share_one_adapter_sized_to_them() -> None:
    barrier = threading.Barrier(4)

    def look() -> tuple[int, int, int]:
        barrier.wait(LONG)
        adapter = pool.session.get_adapter("https://a.test/")
        assert adapter is pool.session.get_adapter("http://a.test/")
        return id(pool.session), id(adapter), adapter._pool_maxsize

    with WorkerPool(4) as pool:
        seen = [future.result(LONG) for future in [pool.submit(look) for _ in range(4)]]
    assert len({session for session, _, _ in seen}) == 4
    assert len({adapter for _, adapter, _ in seen}) == 1
    assert {size for _, _, size in seen} == {4}


def test_the_initializer_sees_the_session_and_runs_before_the_first_work(origin: Origin) -> None:
    def set_up(value: str) -> None:
        pool.session.headers["X-Init"] = value

    pool = WorkerPool(2, initializer=set_up, initargs=("done",))
    with pool:
        outcomes = [*pool.stream([origin.url(f"/echo?{n}") for n in range(10)])]
    assert {outcome.response.json()["headers"]["X-Init"] for outcome in outcomes if outcome.response} == {"done"}


def mounting(prefix: str, adapter: type[requests.adapters.BaseAdapter]) -> Any:
    def make() -> requests.Session:
        session = requests.Session()
        session.mount(prefix, adapter())
        return session

    return make


@pytest.mark.parametrize("prefix", ["http://", "http://127.0.0.1"])
def test_a_mounted_http_adapter_is_replaced_by_the_shared_one(origin: Origin, prefix: str) -> None:
    with WorkerPool(4, host_connections=2, session_factory=mounting(prefix, HTTPAdapter)) as pool:
        assert all(outcome.ok for outcome in pool.stream([origin.url("/delay/0.01")] * 20))
        assert 1 <= pool.statistics().sockets_opened <= 2
        assert pool.statistics().sockets_open == origin.connections_open


def test_a_custom_adapter_stays_and_a_warning_says_so_once(origin: Origin, caplog: pytest.LogCaptureFixture) -> None:
    StubAdapter.sends = 0
    with (
        caplog.at_level(logging.WARNING, "workerpool"),
        WorkerPool(4, rate=200, session_factory=mounting("http://stub.test", StubAdapter)) as pool,
    ):
        barrier = threading.Barrier(4)
        for future in [pool.submit(barrier.wait, LONG) for _ in range(4)]:
            future.result(LONG)  # so every worker has its session
        assert pool.get("http://stub.test/").result(LONG).content == b"stub"
        assert pool.submit(lambda: pool.session.get("http://stub.test/").content).result(LONG) == b"stub"
        assert pool.get(origin.url("/")).result(LONG).ok
        assert pool.statistics().sent == 3
    assert StubAdapter.sends == 2
    assert [record.event for record in caplog.records] == ["adapter.foreign"]  # type: ignore[attr-defined]


def test_an_adapter_mounted_by_the_initializer_is_under_the_budgets_too(origin: Origin) -> None:
    def set_up() -> None:
        pool.session.mount("http://", HTTPAdapter(max_retries=3))

    pool = WorkerPool(2, initializer=set_up)
    with pool:
        assert pool.submit(lambda: pool.session.get(origin.url("/")).status_code).result(LONG) == 200
        assert pool.get(origin.url("/")).result(LONG).ok
        assert (pool.statistics().sent, pool.statistics().sockets_opened) == (2, 1)


# -- pool.session inside a callable ------------------------------------------------------------------------------------


def test_pool_session_spends_slots_and_retries(origin: Origin) -> None:
    with WorkerPool(2, rate="5/s", retry=NO_WAIT) as pool:
        assert pool.submit(lambda: pool.session.get(origin.url("/flaky/2")).status_code).result(LONG) == 200
        assert pool.statistics().sent == 3
    times = [arrival.time for arrival in origin.arrivals]
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) > 0.1  # of 0.2: one may arrive late


def test_pool_session_stays_within_the_hosts_sockets(origin: Origin) -> None:
    with WorkerPool(6, host_connections=2) as pool:
        futures = [pool.submit(lambda: pool.session.get(origin.url("/delay/0.02")).status_code) for _ in range(12)]
        assert [future.result(LONG) for future in futures] == [200] * 12
    assert origin.connections_peak <= 2


def test_pool_session_waits_out_a_pause_of_its_host(origin: Origin) -> None:
    with WorkerPool(2, retry=RetryPolicy(attempts=1)) as pool:
        assert pool.get(origin.url("/retry-after/1")).result(LONG).status_code == 429
        assert pool.submit(lambda: pool.session.get(origin.url("/")).status_code).result(LONG) == 200
    first, second = origin.arrivals
    assert second.time - first.time > 0.95


def test_a_paused_or_limited_host_of_pool_session_delays_no_other_host(origin: Origin) -> None:
    """Waiting for one host's slot or pause takes neither a place nor the pool's own slots from the others."""
    other = origin.url("/", address="127.0.0.2")
    with WorkerPool(8, rate="100/s", max_connections=2, retry=RetryPolicy(attempts=1)) as pool:
        pool.get(origin.url("/retry-after/2")).result(LONG)
        waiting = [pool.submit(lambda: pool.session.get(origin.url("/")).status_code) for _ in range(3)]
        began = time.monotonic()
        assert all(outcome.ok for outcome in pool.stream([other] * 20))
        assert time.monotonic() - began < 1.5
        assert [future.result(LONG) for future in waiting] == [200] * 3


@pytest.mark.parametrize("workers", [1, 2])
def test_callables_and_requests_share_one_socket_of_a_host_without_deadlock(origin: Origin, workers: int) -> None:
    with WorkerPool(workers, host_connections=1, max_connections=1) as pool:
        url = origin.url("/")
        futures: list[Any] = []
        for _ in range(15):
            futures.append(pool.submit(lambda: pool.session.get(url)))
            futures.append(pool.get(url))
        assert all(future.result(LONG).ok for future in futures)


@pytest.mark.parametrize("workers", [1, 4])
def test_neither_callables_nor_requests_starve_the_other(workers: int) -> None:
    """With hundreds of either kind waiting, one of the other kind is served after a few."""
    order: list[str] = []

    def answer(request: Request, url: str) -> Answer:
        work("request")
        return Answer()

    def work(kind: str) -> None:
        order.append(kind)
        let_pass(0.001)

    go = threading.Event()
    with WorkerPool(workers, host_connections=8, transport=ScriptedTransport(answer)) as pool:
        blocks = [pool.submit(go.wait, LONG) for _ in range(workers)]
        futures: list[Any] = [pool.get("http://a.test/") for _ in range(200)]
        futures += [pool.submit(work, "callable") for _ in range(200)]
        go.set()
        for future in blocks + futures:
            future.result(LONG)
    half = order[:200]
    assert half.count("callable") >= 50
    assert half.count("request") >= 50


@pytest.mark.parametrize("what", ["get", "post", "request", "stream", "warm"])
def test_a_request_helper_inside_a_worker_raises_and_names_pool_session(pool: WorkerPool, what: str) -> None:
    arguments = {"request": ("GET", "http://a.test/")}.get(what, ("http://a.test/",))
    future = pool.submit(lambda: getattr(pool, what)(*arguments))
    with pytest.raises(WrongThread, match=r"pool\.session"):
        future.result(LONG)


def test_pool_session_outside_a_worker_raises(pool: WorkerPool) -> None:
    with pytest.raises(WrongThread):
        _ = pool.session


# -- cancelling and ending ---------------------------------------------------------------------------------------------


class Gate:
    """A script whose answers wait for `open`; `entered` says that one is being sent."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.answer = answer or Answer()
        self.urls: list[str] = []

    def __call__(self, request: Request, url: str) -> Answer:
        self.urls.append(url)
        self.entered.set()
        assert self.open.wait(LONG)
        return self.answer


def test_a_queued_future_can_be_cancelled_and_is_never_sent() -> None:
    gate = Gate()
    with WorkerPool(1, transport=ScriptedTransport(gate)) as pool:
        first, second = pool.get("http://a.test/1"), pool.get("http://a.test/2")
        assert gate.entered.wait(LONG)
        assert not first.cancel()
        assert second.cancel()
        gate.open.set()
        assert first.result(LONG).ok
    assert second.cancelled()
    assert gate.urls == ["http://a.test/1"]


def test_a_future_that_waits_for_its_slot_can_still_be_cancelled() -> None:
    transport = ScriptedTransport(record=True)
    with WorkerPool(2, rate="1/s", transport=transport) as pool:
        futures = [pool.get(f"http://a.test/{n}") for n in range(5)]
        assert futures[0].result(LONG).ok
        assert all(future.cancel() for future in futures[2:])
    assert [future.cancelled() for future in futures] == [False, False, True, True, True]
    assert transport.sends == 2


def test_many_limited_futures_all_get_their_result() -> None:
    with WorkerPool(4, rate="200/s", transport=ScriptedTransport()) as pool:
        assert all(future.result(LONG).ok for future in [pool.get("http://a.test/") for _ in range(20)])


def test_a_cancelled_future_of_a_paused_host_keeps_no_shutdown_waiting() -> None:
    transport = ScriptedTransport(lambda request, url: Answer(429, headers={"Retry-After": "60"}))
    pool = WorkerPool(1, retry=1, transport=transport)
    pool.get("http://a.test/").result(LONG)
    future = pool.get("http://a.test/")
    assert future.cancel()
    join(shut_down(pool))


def test_shutdown_waits_for_queued_and_parked_requests() -> None:
    answers = iter([Answer(503), Answer(200), Answer(200), Answer(200)])
    pool = WorkerPool(1, retry=NO_WAIT, transport=ScriptedTransport(lambda request, url: next(answers)))
    futures = [pool.get("http://a.test/") for _ in range(3)]
    pool.shutdown()
    assert [future.done() and future.result().status_code for future in futures] == [200] * 3
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.get("http://a.test/")
    with pytest.raises(RuntimeError, match="after shutdown"):
        next(pool.stream(["http://a.test/"]))


def test_shutdown_that_waits_returns_when_what_was_open_is_closed_whoever_closes_it() -> None:
    closes, goes = threading.Event(), threading.Event()

    class Slow(ScriptedTransport):
        def close(self) -> None:
            closes.set()
            assert goes.wait(LONG)

    pool = WorkerPool(2, transport=Slow())
    closing = threading.Thread(target=lambda: pool.shutdown(wait=False), daemon=True)
    closing.start()
    assert closes.wait(LONG)
    waiting = threading.Thread(target=pool.shutdown, daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    goes.set()
    waiting.join(LONG)
    assert not waiting.is_alive()


def test_shutdown_with_cancel_futures_ends_all_but_what_is_being_sent() -> None:
    gate, parked = Gate(), Answer(429, headers={"Retry-After": "100"})
    transport = ScriptedTransport(lambda request, url: parked if "parked" in url else gate(request, url))
    pool = WorkerPool(1, transport=transport)
    waiting = pool.get("http://b.test/parked")
    assert eventually(lambda: pool.statistics().parked == 1)
    flying, queued = pool.get("http://a.test/1"), pool.get("http://a.test/2")
    assert gate.entered.wait(LONG)
    ending = shut_down(pool, cancel_futures=True)
    with pytest.raises((CancelledError, Cancelled)):
        waiting.result(LONG)
    assert not flying.done()
    gate.open.set()
    join(ending)
    assert flying.result(0).ok
    assert queued.cancelled()
    assert gate.urls == ["http://a.test/1"]


def test_shutdown_with_cancel_futures_does_not_wait_for_retries_of_what_is_being_sent() -> None:
    gate = Gate(Answer(503, headers={"Retry-After": "100"}))
    pool = WorkerPool(1, transport=ScriptedTransport(gate))
    future = pool.get("http://a.test/")
    assert gate.entered.wait(LONG)
    ending = shut_down(pool, cancel_futures=True)
    assert eventually(lambda: pool._crew.is_closing)
    gate.open.set()
    join(ending)
    assert future.done()
    assert gate.urls == ["http://a.test/"]


@pytest.mark.parametrize("how", ["shutdown", "leave"])
def test_no_thread_stays_behind_for_parked_requests_that_were_given_up(how: str) -> None:
    begun = Since()
    transport = ScriptedTransport(lambda request, url: Answer(429, headers={"Retry-After": "100"}))
    pool = WorkerPool(2, transport=transport)
    if how == "shutdown":
        future = pool.get("http://a.test/")
        assert eventually(lambda: pool.statistics().parked)
        pool.shutdown(cancel_futures=True)
        assert future.done()
    else:
        answers = iter([Answer(200)])
        transport._script = lambda request, url: next(answers, Answer(429, headers={"Retry-After": "100"}))
        outcomes = pool.stream(["http://a.test/1", "http://b.test/2"])
        next(outcomes)
        assert eventually(lambda: pool.statistics().parked)
        outcomes.close()
        pool.shutdown()
    for thread in begun.threads("workerpool-alarm"):
        join(thread)


def test_the_interpreters_exit_sees_parked_requests_through() -> None:
    code = """
import threading
from workerpool import RetryPolicy, WorkerPool
from workerpool.testing import Answer, ScriptedTransport
answers = iter([Answer(503)] * 3)
parked = threading.Event()
pool = WorkerPool(2, retry=RetryPolicy(attempts=2, wait=lambda state: parked.set() or 0.3),
                  transport=ScriptedTransport(lambda request, url: next(answers, Answer())))
for n in range(3):
    pool.get(f"http://{n}.test/").add_done_callback(lambda future: print(future.result().status_code))
parked.wait(10)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "200\n200\n200\n", "")


def test_a_pool_dropped_without_shutdown_ends_its_threads_and_closes_its_sockets(origin: Origin) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        pool = WorkerPool(4, thread_name_prefix="dropped")
        assert pool.get(origin.url("/")).result(LONG).ok
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("dropped")]
        del pool
        gc.collect()
        for thread in threads:
            join(thread)
        gc.collect()
        origin.wait_until(lambda: origin.connections_open == 0)
    assert [str(warning.message) for warning in warned] == []


def test_a_worker_that_cannot_start_breaks_the_pool_and_hangs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the failing thread is done before the executor's `submit` has returned."""
    submit = ThreadPoolExecutor.submit

    def submit_and_wait(self: Any, *args: Any) -> Any:
        future = submit(self, *args)
        assert eventually(lambda: future.done() or not threads_of(self))
        return future

    def threads_of(executor: Any) -> bool:
        return executor._broken is False or not executor._work_queue.empty()

    monkeypatch.setattr(ThreadPoolExecutor, "submit", submit_and_wait)

    def fail() -> None:
        raise OSError("no session today")

    def use() -> None:
        pool = WorkerPool(1, initializer=fail)
        with pytest.raises((OSError, BrokenThreadPool)):
            pool.get("http://a.test/").result(LONG)
        pool.shutdown()

    logging.getLogger("concurrent.futures").disabled = True
    try:
        thread = threading.Thread(target=use, daemon=True)
        thread.start()
        join(thread)
    finally:
        logging.getLogger("concurrent.futures").disabled = False


def test_fetch_is_the_pool_in_one_line(origin: Origin) -> None:
    urls = [origin.url(f"/bytes/{n}") for n in range(20)]
    outcomes = [*fetch(urls, max_workers=4, ordered=True, window=5)]
    assert [outcome.url for outcome in outcomes] == urls
    assert all(outcome.ok for outcome in outcomes)
    origin.wait_until(lambda: origin.connections_open == 0)


def test_leaving_fetch_early_ends_its_pool(origin: Origin) -> None:
    outcomes = fetch((origin.url("/") for _ in iter(int, 1)), max_workers=2)
    assert next(outcomes).ok
    outcomes.close()  # type: ignore[attr-defined]
    origin.wait_until(lambda: origin.connections_open == 0)


def test_the_repr_and_statistics_show_what_the_pool_does() -> None:
    gate = Gate()
    with WorkerPool(1, transport=ScriptedTransport(gate)) as pool:
        futures = [pool.get("http://a.test/") for _ in range(3)]
        assert gate.entered.wait(LONG)
        assert repr(pool) == "<WorkerPool workers=1 active=1 queued=2 parked=0 sockets=0>"
        gate.open.set()
        for future in futures:
            future.result(LONG)
        assert eventually(lambda: pool.statistics().active == 0)
        now = pool.statistics()
        assert (now.requests, now.ok, now.sent, now.retries, now.hosts) == (3, 3, 3, 0, 0)
