"""Pools that show tokens: by the servers' counts, one is fetched when one has ended, and nobody else waits."""

from __future__ import annotations

import itertools
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.servers import serving, until_closed
from tests.tokens import SECRET, TokenServer, token_server
from tests.waiting import LONG, eventually
from workerpool import Outcome, Request, RetryPolicy, ShardedPool, TokenFailed, WorkerPool
from workerpool.credentials import BearerToken, ClientCredentials, Token, TokenSource
from workerpool.testing import Answer, ManualClock, Origin, Reply, ScriptedTransport

ONCE = RetryPolicy(attempts=1)
QUICK = RetryPolicy(attempts=3, backoff=0.01, backoff_max=0.01)


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with token_server() as server:
        yield server


@pytest.fixture
def hectic() -> Iterator[None]:
    """Threads that take turns after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def open_pool(auth: Any, max_workers: int = 4, **options: Any) -> WorkerPool:
    return WorkerPool(max_workers, auth=auth, **{"retry": QUICK, "timeout": LONG, **options})


def logins(origin: Origin) -> list[str | None]:
    return [arrival.headers.get("Authorization") for arrival in origin.arrivals]


def fetch(pool: WorkerPool, *requests: str | Request) -> list[Outcome]:
    return [*pool.stream(requests, ordered=True)]


# -- as often as one has ended --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hectic")
@pytest.mark.parametrize("fast_path", [True, False])
def test_a_token_is_fetched_once_however_many_requests_are_refused_together(fast_path: bool) -> None:
    with token_server(good_for=60) as server:
        with open_pool(server.source, 32, host_connections=32, fast_path=fast_path) as pool:
            outcomes = [*pool.stream(server.urls(180))]
        assert {outcome.status for outcome in outcomes} == {200}
        assert server.fetched == 3
        assert {len(outcome.attempts) for outcome in outcomes} == {1}, "a renewal costs no attempt"


@pytest.mark.usefixtures("hectic")
def test_code_in_the_pool_that_sends_by_itself_shares_the_tokens() -> None:
    with token_server(good_for=50) as server, open_pool(server.source, 16, host_connections=16) as pool:
        sent = [pool.submit(lambda: pool.session.get(server.url()).status_code) for _ in range(150)]
        assert {future.result(LONG) for future in sent} == {200}
        assert server.fetched == 3


def test_callables_that_hold_every_worker_still_get_a_token(server: TokenServer) -> None:
    barrier = threading.Barrier(4)

    def ask(pool: WorkerPool) -> int:
        barrier.wait(LONG)
        return int(pool.session.get(server.url()).status_code)

    with open_pool(server.source, 4) as pool:
        assert {future.result(LONG) for future in [pool.submit(ask, pool) for _ in range(4)]} == {200}
    assert server.fetched == 1


def test_a_token_is_renewed_before_it_ends() -> None:
    clock, fetched = ManualClock(), list[float]()

    def give() -> Token:
        fetched.append(clock.now())
        return Token(f"t{len(fetched)}", 100)

    transport = ScriptedTransport()
    with open_pool(BearerToken(give), clock=clock, transport=transport) as pool:
        for at in (0, 50, 89, 91, 95, 180, 500):
            clock.advance(at - clock.now())
            assert [outcome.ok for outcome in fetch(pool, "http://a.test/")] == [True]
            assert eventually(lambda: pool.statistics().active == 0)
        assert fetched == [0, 91, 500]


def test_no_token_is_fetched_before_a_request_needs_it(server: TokenServer) -> None:
    with open_pool(server.source) as pool:
        assert fetch(pool, Request(server.url(), headers={"Authorization": "Basic x"}))[0].status == 401
        assert fetch(pool, Request(server.url(), auth=("user", "password")))[0].status == 401
        assert server.fetched == 0


def test_what_is_refused_with_a_new_token_too_ends_with_that(server: TokenServer) -> None:
    server.forbidden = {"/secret"}
    with open_pool(server.source) as pool:
        (outcome,) = fetch(pool, server.url("secret"))
        assert (outcome.status, len(outcome.attempts)) == (401, 1)
    assert server.origin.requests == 2
    assert server.fetched == 2


@pytest.mark.parametrize("by_itself", [False, True])
def test_a_token_that_ends_while_a_request_waits_for_its_retry_is_renewed_again(by_itself: bool) -> None:
    said = [401, 429, 401, 200]
    fetched = list[str]()

    def give() -> Token:
        fetched.append(f"t{len(fetched)}")
        return Token(fetched[-1])

    with Origin() as origin, open_pool(BearerToken(give)) as pool:
        origin.script("/", *(Reply(status=status) for status in said))
        if by_itself:
            status = pool.submit(lambda: pool.session.get(origin.url("/")).status_code).result(LONG)
        else:
            (outcome,) = fetch(pool, origin.url("/"))
            status = outcome.status or 0
            assert len(outcome.attempts) == 2
    assert (status, fetched) == (200, ["t0", "t1", "t2"])


def test_a_page_that_refuses_every_token_does_not_have_one_fetched_for_each_request(server: TokenServer) -> None:
    server.forbidden = {f"/{n}" for n in range(1, 200)}
    clock = ManualClock(auto=True)  # what rests between renewals passes at once
    with open_pool(server.source, 1, clock=clock) as pool:
        statuses = [outcome.status for url in server.urls(10) for outcome in fetch(pool, url)]
        assert statuses == [200, *[401] * 9]
        assert clock.now() > 30, "renewals that change nothing come more and more seldom"
        assert {outcome.status for outcome in fetch(pool, *server.urls(200)[10:])} == {401}
        assert server.fetched == 1 + 9 + 1, "those that wait together share one"


def test_a_body_that_can_be_read_once_is_not_sent_again(server: TokenServer) -> None:
    with open_pool(server.source) as pool:
        assert fetch(pool, server.url())[0].ok
        server.revoke()
        (outcome,) = fetch(pool, Request(server.url(), "POST", data=iter([b"once"])))
        assert outcome.status == 401
        assert fetch(pool, Request(server.url(), "POST", data=b"again"))[0].status == 200


def test_the_requests_of_a_token_source_are_as_the_standard_has_them(server: TokenServer) -> None:
    with open_pool(server.source) as pool:
        fetch(pool, server.url())
    (arrival,) = server.tokens.arrivals
    assert server.form() == {"grant_type": "client_credentials", "scope": "read"}
    assert arrival.headers["Authorization"] == requests.auth._basic_auth_str("me", "s3cret%26more")
    source = ClientCredentials(server.tokens.url("/token"), "me", SECRET, in_body=True, audience="a", more={"b": "c"})
    with open_pool(source) as pool:
        fetch(pool, server.url())
    assert "Authorization" not in server.tokens.arrivals[-1].headers
    assert server.form() == {
        "grant_type": "client_credentials", "audience": "a", "b": "c", "client_id": "me", "client_secret": SECRET,
    }  # fmt: skip


def test_several_processes_fetch_one_token_each() -> None:
    with token_server(life=3600) as server:
        server._good = "token1"
        server._give = lambda arrival: Reply(body=b'{"access_token": "token1"}')  # type: ignore[method-assign]
        server.tokens.script("/token", server._give)
        with ShardedPool(2, 4, auth=server.source) as pool:
            urls = [server.origin.url(f"/{n}", f"127.0.0.{1 + n % 2}") for n in range(40)]
            assert {outcome.status for outcome in pool.stream(urls)} == {200}
        assert server.tokens.requests == 2


# -- nobody waits for a token server --------------------------------------------------------------------------------


def test_a_token_server_that_hangs_delays_no_other_host() -> None:
    with serving(until_closed) as silent, Origin() as origin:
        source = ClientCredentials(f"{silent.url}/token", "me", SECRET)
        with open_pool(None, 2, host_connections=2) as pool:
            held = [pool.get(origin.url(f"/{n}"), auth=source) for n in range(50)]
            assert eventually(lambda: pool.statistics().parked == 50)
            assert {outcome.ok for outcome in pool.stream([origin.url("/bytes/1")] * 100)} == {True}
            assert origin.requests == 100
            seen = pool.statistics()
            assert (seen.parked, seen.active) == (50, 1), "all wait, and only the request for a token is being sent"
            pool.shutdown(wait=False, cancel_futures=True)
            assert all(future.cancelled() for future in held)


def test_a_function_that_hangs_keeps_one_worker(server: TokenServer) -> None:
    goes_on = threading.Event()

    def give() -> str:
        assert goes_on.wait(LONG)
        return "text"

    with Origin() as origin, open_pool(None, 3) as pool:
        waiting = [pool.get(server.url(), auth=BearerToken(give)) for _ in range(20)]
        assert {outcome.ok for outcome in pool.stream([origin.url("/bytes/1")] * 50)} == {True}
        assert not any(future.done() for future in waiting)
        goes_on.set()
        assert {future.result(LONG).status_code for future in waiting} == {401}
    assert set(logins(server.origin)) == {"Bearer text"}


def test_what_waits_for_a_token_is_told_by_the_statistics() -> None:
    goes_on = threading.Event()

    def give() -> str:
        assert goes_on.wait(LONG)
        return "text"

    with open_pool(BearerToken(give), transport=ScriptedTransport()) as pool:
        future = pool.get("http://a.test/")
        assert eventually(lambda: pool.statistics().waits.token > 0)
        goes_on.set()
        assert future.result(LONG).ok


def test_the_request_for_a_token_spends_a_slot_and_keeps_to_the_rate(server: TokenServer) -> None:
    began = time.monotonic()  # the first arrival may be late
    with open_pool(server.source, rate="20/s") as pool:
        assert all(outcome.ok for outcome in fetch(pool, *server.urls(5)))
        assert pool.statistics().sent == 6
    arrivals = (*server.origin.arrivals, *server.tokens.arrivals)
    assert max(arrival.time for arrival in arrivals) - began > 4.5 / 20


# -- token servers that fail ----------------------------------------------------------------------------------------


def test_a_request_without_a_token_says_why_and_is_not_sent(server: TokenServer) -> None:
    server.failure = Reply(status=401, body=b'{"error": "invalid_client", "error_description": "who\\u001b are you"}')
    with open_pool(server.source) as pool:
        outcomes = fetch(pool, *server.urls(30))
    assert {type(outcome.error) for outcome in outcomes} == {TokenFailed}
    assert {str(outcome.error) for outcome in outcomes} == {
        f"no token from {server.tokens.url('/token')}: HTTP 401, invalid_client: who? are you"
    }
    assert not any(outcome.error and outcome.error.retry_helps for outcome in outcomes)
    assert (server.origin.requests, server.tokens.requests) == (0, 1), "nobody asks again who was told no"


def test_a_token_server_in_trouble_is_tried_as_any_server_is(server: TokenServer) -> None:
    server.tokens.script("/token", Reply(status=503), Reply(status=503), server._give)
    with open_pool(server.source) as pool:
        assert {outcome.status for outcome in fetch(pool, *server.urls(10))} == {200}
    assert server.tokens.requests == 3


def test_a_token_server_that_stays_down_is_asked_more_and_more_seldom(server: TokenServer) -> None:
    server.failure = Reply(status=503)
    clock = ManualClock(auto=True)
    with open_pool(server.source, 1, clock=clock, retry=ONCE) as pool:
        for _ in range(5):
            (outcome,) = fetch(pool, server.url())
            assert isinstance(outcome.error, TokenFailed)
            assert outcome.error.retry_helps
            assert not outcome.attempts
    assert server.tokens.requests == 5
    assert clock.now() >= 1 + 2 + 4 + 8


def test_a_function_that_fails_is_called_as_often_as_the_policy_says() -> None:
    clock, calls = ManualClock(auto=True), list[float]()

    def give() -> str:
        calls.append(clock.now())
        raise OSError("no way to Bearer sekrit_token_77")

    with open_pool(BearerToken(give), clock=clock, transport=ScriptedTransport()) as pool:
        (outcome,) = fetch(pool, "http://a.test/")
    assert len(calls) == QUICK.attempts
    assert str(outcome.error) == "no token: give has failed: OSError: no way to Bearer ***"
    assert isinstance(outcome.error.__cause__, OSError)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"<html>", "Token.value must be a text"),
        (b"[]", "Token.value must be a text"),
        (b'{"access_token": "a\\nb"}', "Token.value must be a text"),
        (b'{"access_token": "abc", "token_type": "mac"}', "its token_type is not Bearer"),
        (b'{"access_token": "abc", "expires_in": [1]}', "must be seconds"),
    ],
)
def test_an_answer_that_is_no_token_is_told(server: TokenServer, answer: bytes, says: str) -> None:
    server.failure = Reply(body=answer)
    with open_pool(server.source) as pool:
        (outcome,) = fetch(pool, server.url())
    assert says in str(outcome.error)
    assert "abc" not in str(outcome.error)


def test_a_pool_that_is_closed_gives_up_what_waits_for_a_token() -> None:
    with serving(until_closed) as silent:
        pool = open_pool(ClientCredentials(f"{silent.url}/token", "me", SECRET))
        future = pool.get("http://127.0.0.1:9/")
        assert eventually(lambda: bool(silent.clients))
        pool.shutdown(wait=False, cancel_futures=True)
        assert future.cancelled()


# -- who sees a token -----------------------------------------------------------------------------------------------


def test_a_token_that_is_refused_after_a_redirect_is_renewed_for_code_in_the_pool_too() -> None:
    tokens = (f"token-{number}" for number in itertools.count(1))
    with Origin() as origin, WorkerPool(1, auth=BearerToken(lambda: next(tokens))) as pool:
        origin.script("/moved", Reply(status=302, headers={"Location": "/there"}))
        origin.script(
            "/there", lambda arrival: Reply(status=200 if arrival.headers["authorization"].endswith("2") else 401)
        )
        assert pool.submit(lambda: pool.session.get(origin.url("/moved")).status_code).result(LONG) == 200
        assert [arrival.path for arrival in origin.arrivals] == ["/moved", "/there", "/there"]


@pytest.mark.parametrize("fast_path", [True, False])
def test_a_token_goes_to_no_other_origin(server: TokenServer, fast_path: bool) -> None:
    elsewhere = server.origin.url("/there", "127.0.0.2")
    server.origin.script("/away", Reply(status=302, headers={"Location": elsewhere}), address="127.0.0.1")
    back = Reply(status=302, headers={"Location": server.url("end")})
    server.origin.script("/there", back, address="127.0.0.2")
    server.origin.script("/near", Reply(status=302, headers={"Location": "/end"}))
    server.origin.script("/end", Reply())
    with open_pool(server.source, fast_path=fast_path) as pool:
        assert {outcome.status for outcome in fetch(pool, server.url("away"), server.url("near"))} == {200}
        statuses = [pool.submit(pool_get, pool, server.url(path)).result(LONG) for path in ("away", "near")]
        assert statuses == [200, 200]
    seen = [(arrival.path, "Authorization" in arrival.headers) for arrival in server.origin.arrivals]
    assert [has for path, has in seen if path in ("/away", "/near")] == [True] * 4
    assert [has for path, has in seen if path == "/there"] == [False, False]
    assert sorted(has for path, has in seen if path == "/end") == [False, False, True, True]


def pool_get(pool: WorkerPool, url: str) -> int:
    return int(pool.session.get(url).status_code)


def test_a_token_goes_to_its_hosts_only(server: TokenServer) -> None:
    source = BearerToken("abc", hosts=(f"127.0.0.1:{server.origin.port}",))
    with open_pool(source) as pool:
        fetch(pool, server.url("a"), server.origin.url("/b", "127.0.0.2"))
        pool.submit(pool_get, pool, server.origin.url("/c", "127.0.0.2")).result(LONG)
    assert {arrival.path: arrival.headers.get("Authorization") for arrival in server.origin.arrivals} == {
        "/a": "Bearer abc", "/b": None, "/c": None,
    }  # fmt: skip


def test_a_pool_serves_several_sources_at_once(server: TokenServer) -> None:
    with open_pool(BearerToken("first")) as pool:
        fetch(pool, server.url("1"), Request(server.url("2"), auth=BearerToken("second")))
    seen = {arrival.path: arrival.headers.get("Authorization") for arrival in server.origin.arrivals}
    assert seen == {"/1": "Bearer first", "/2": "Bearer second"}


def test_a_token_takes_the_place_of_netrcs_login(
    server: TokenServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password netrcs\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with open_pool(None) as pool:
        fetch(pool, server.url("1"), Request(server.url("2"), auth=BearerToken("abc")))
    with open_pool(BearerToken("abc")) as pool:
        fetch(pool, server.url("3"))
    seen = {arrival.path: arrival.headers.get("Authorization") for arrival in server.origin.arrivals}
    assert seen == {"/1": requests.auth._basic_auth_str("me", "netrcs"), "/2": "Bearer abc", "/3": "Bearer abc"}


@pytest.mark.parametrize("auth", [("me", "pass"), requests.auth.HTTPBasicAuth("me", "pass")])
def test_a_pools_auth_may_be_requests_own(auth: Any) -> None:
    with Origin() as origin, open_pool(auth) as pool:
        (first, _) = fetch(pool, origin.url("/1"), Request(origin.url("/2"), auth=("you", "word")))
        assert first.attempts[-1].fast_path
        fetch(pool, Request(origin.url("/3"), auth=BearerToken("abc")))
        seen = {arrival.path: arrival.headers.get("Authorization") for arrival in origin.arrivals}
    basic = requests.auth._basic_auth_str
    assert seen == {"/1": basic("me", "pass"), "/2": basic("you", "word"), "/3": "Bearer abc"}


# -- secrets --------------------------------------------------------------------------------------------------------


def test_no_secret_shows_in_what_may_be_written_down(server: TokenServer, caplog: pytest.LogCaptureFixture) -> None:
    server.failure = Reply(status=400, body=f'{{"error_description": "Basic {SECRET}aaaa"}}'.encode())
    caplog.set_level("DEBUG", "workerpool")
    source: TokenSource = server.source
    with open_pool(source) as pool:
        (outcome,) = fetch(pool, server.url())
        login = pool._crew._turns.logins.login(source)
        server.failure = None
        text = f"{source!r} {Token('tok', 5)!r} {BearerToken('tok')!r} {login!r} {login.request!r} {vars(login)!r}"
        text += f"{pool!r} {pool._options!r} {outcome!r} {''.join(traceback.format_exception(outcome.error))}"
    for secret in ("s3cret", "tok'", "token1"):
        assert secret not in text
        assert secret not in caplog.text


def test_an_auth_that_is_none_is_refused_without_being_shown() -> None:
    from workerpool import OptionError

    with pytest.raises(OptionError, match="auth= is a str") as caught:
        WorkerPool(auth="me:hunter2")
    assert "hunter2" not in str(caught.value)


def test_the_answer_that_brings_a_token_is_no_request_of_the_users(server: TokenServer) -> None:
    with open_pool(server.source) as pool:
        fetch(pool, *server.urls(3))
        seen = pool.statistics()
        assert (seen.requests, seen.ok, seen.sent) == (3, 3, 4)


def test_transports_of_others_get_along_with_tokens() -> None:
    def script(request: Request, url: str) -> Answer:
        return Answer(401)

    with open_pool(BearerToken(lambda: "abc"), transport=ScriptedTransport(script)) as pool:
        assert [outcome.status for outcome in fetch(pool, "http://a.test/")] == [401]
