"""Proxies that take turns, against real ones: what fails by a proxy costs no request anything, and is not held against
the others."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.contract.routes import open_pool
from tests.contract.tinyproxy import PASSWORD, USER, tinyproxy
from tests.servers import head, serving
from tests.socks_server import SocksServer
from tests.tunnels import Tunnels
from tests.waiting import LONG
from workerpool import ConnectFailed, Outcome, Request, RetryPolicy, WorkerPool
from workerpool.proxies import ProxyList
from workerpool.testing import Origin, Reply
from workerpool.transport.rotation import PERHAPS_MOST

ONCE = RetryPolicy(attempts=1)


@contextmanager
def keepers(count: int) -> Iterator[list[Origin]]:
    """Origins that stand for HTTP proxies, which answer every request themselves."""
    with ExitStack() as stack:
        made = [stack.enter_context(Origin()) for _ in range(count)]
        for keeper in made:
            keeper.default = Reply(body=b"by the proxy")
        yield made


@contextmanager
def dead_proxy(login: str = "") -> Iterator[str]:
    """The URL of a port that refuses connections: it is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://{login}127.0.0.1:{taken.getsockname()[1]}"


def pool_by(*proxies: str, max_workers: int = 8, **options: Any) -> WorkerPool:
    return open_pool(max_workers, proxies=ProxyList(proxies), **{"retry": ONCE, **options})


def pool_outcomes(proxies: Iterable[str], urls: Iterable[str]) -> Iterator[Outcome]:
    with pool_by(*proxies) as pool:
        yield from pool.stream(urls)


def fetch(pool: WorkerPool, *requests: str | Request) -> list[Outcome]:
    return [*pool.stream(requests)]


@pytest.mark.parametrize("fast_path", [True, False])
def test_with_a_dead_proxy_among_four_no_request_fails_and_none_spends_an_attempt(fast_path: bool) -> None:
    with keepers(3) as three, dead_proxy() as dead:
        with pool_by(dead, *(keeper.url() for keeper in three), fast_path=fast_path) as pool:
            outcomes = fetch(pool, *(f"http://host.test/{n}" for n in range(300)))
            assert all(outcome.ok and len(outcome.attempts) == 1 for outcome in outcomes)
            assert 1 <= pool.statistics().resent <= 8, "only what found out went again"
        counts = [keeper.requests for keeper in three]
        assert sum(counts) == 300
        assert min(counts) > 50, "the others take turns"


def test_sockets_stay_within_the_budget_whichever_proxy_they_lead_through() -> None:
    with keepers(4) as four, pool_by(*(keeper.url() for keeper in four), host_connections=2) as pool:
        assert all(outcome.ok for outcome in fetch(pool, *(f"http://host.test/{n}" for n in range(100))))
        assert pool.statistics().sockets_open <= 2
        assert sum(keeper.connections_open for keeper in four) <= 2


def test_code_in_the_pool_that_sends_by_itself_takes_turns_too() -> None:
    with keepers(2) as two, dead_proxy() as dead, pool_by(dead, *(keeper.url() for keeper in two)) as pool:
        sent = [pool.submit(lambda: pool.session.get("http://host.test/").status_code) for _ in range(40)]
        assert {future.result(LONG) for future in sent} == {200}
        counts = [keeper.requests for keeper in two]
        assert sum(counts) == 40
        assert min(counts) > 0


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_not_counted_against_what_comes_after_it(fast_path: bool, stream: bool) -> None:
    """For code in the pool, too, whose send is one for the budgets, by whichever proxies it goes."""
    with keepers(2) as (bad, good), dead_proxy() as dead:
        bad.default = Reply(status=407)
        with pool_by(bad.url(), dead, good.url(), max_workers=1, fast_path=fast_path) as pool:
            get = pool.submit(lambda: pool.session.get("http://host.test/", stream=stream).content)
            assert get.result(LONG) == b"by the proxy"
        assert (bad.requests, good.requests) == (1, 1)


def test_a_request_with_proxies_of_its_own_goes_by_these() -> None:
    with keepers(1) as (own,), dead_proxy() as dead, pool_by(dead) as pool:
        (outcome,) = fetch(pool, Request("http://host.test/", proxies={"http": own.url()}))
        assert outcome.ok


def test_a_proxy_that_asks_for_a_login_is_set_aside(tmp_path: Path) -> None:
    with Origin() as origin, keepers(1) as (good,), tinyproxy(tmp_path, login=True) as strict:
        without = strict.url.replace(f"{USER}:{PASSWORD}@", "")
        with pool_by(without, good.url()) as pool:
            outcomes = fetch(pool, *(origin.url(f"/{n}") for n in range(20)))
            assert all(outcome.ok for outcome in outcomes)
        assert good.requests == 20
        with pool_by(without) as pool:
            (outcome,) = fetch(pool, origin.url())
            assert outcome.status == 407, "nobody else is there: it is what came"


@pytest.mark.parametrize("answer", [407, 502, 503])
def test_a_proxy_that_opens_no_tunnel_costs_nothing(answer: int, authority: Authority) -> None:
    def refuse(sock: socket.socket) -> None:
        while head(sock):
            sock.sendall(f"HTTP/1.1 {answer} no\r\nContent-Length: 0\r\n\r\n".encode())

    with (
        Origin(tls=authority.context()) as origin,
        serving(refuse) as bad,
        Tunnels() as good,
        pool_by(bad.url, good.url, verify=authority.file, max_workers=2) as pool,
    ):
        outcomes = fetch(pool, *(origin.url(f"/bytes/{n + 1}") for n in range(30)))
        assert all(outcome.ok and len(outcome.attempts) == 1 for outcome in outcomes), outcomes
        assert len(bad.clients) <= 4, "it is set aside once the other one has had an answer"


def test_a_server_that_is_down_sets_no_proxy_aside(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "workerpool")
    with dead_proxy() as dead, ExitStack() as stack:
        tunnels = [stack.enter_context(Tunnels()) for _ in range(4)]
        down = dead.replace("http:", "https:")
        with pool_by(*(each.url for each in tunnels), max_workers=1) as pool:
            outcomes = fetch(pool, *[f"{down}/{n}" for n in range(5)])
            assert not any(outcome.ok for outcome in outcomes)
            assert pool.statistics().sent == 5 * (1 + PERHAPS_MOST), "each asks three proxies, not all of them"
    assert "proxy.aside" not in caplog.text


def test_a_connection_that_dies_in_a_proxy_sends_what_may_be_repeated_by_another_one() -> None:
    def die(sock: socket.socket) -> None:
        head(sock)

    with serving(die) as bad, keepers(1) as (good,), pool_by(bad.url, good.url(), max_workers=1) as pool:
        assert all(outcome.ok for outcome in fetch(pool, *(f"http://host.test/{n}" for n in range(10))))
        assert good.requests == 10
        assert len(bad.clients) == 1
    with serving(die) as bad, keepers(1) as (good,), pool_by(bad.url, good.url(), max_workers=1) as pool:
        (outcome,) = fetch(pool, Request("http://host.test/", "POST", data=b"once"))
        assert not outcome.ok
        assert good.requests == 0, "whether it was sent on nobody knows"


def test_socks_proxies_take_turns() -> None:
    with Origin() as origin, SocksServer() as socks, dead_proxy() as dead:
        proxies = dead.replace("http:", "socks5h:"), socks.url
        outcomes = [*pool_outcomes(proxies, [origin.url(f"/bytes/{n + 1}") for n in range(20)])]
        assert all(outcome.ok for outcome in outcomes)


def test_where_all_are_down_the_error_names_them_without_their_logins() -> None:
    with dead_proxy(f"{USER}:hunter2@") as dead, pool_by(dead) as pool:
        first, second = fetch(pool, "http://host.test/1")[0], fetch(pool, "http://host.test/2")[0]
        assert isinstance(first.error, ConnectFailed)
        assert isinstance(second.error, ConnectFailed)
        assert "the only proxy is set aside" in str(second.error)
        assert "hunter2" not in str(first.error) + str(second.error) + repr(pool._options)


def test_a_proxy_in_trouble_is_told_of_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "workerpool")
    with keepers(1) as (good,), dead_proxy("me:hunter2@") as dead, pool_by(dead, good.url()) as pool:
        assert all(outcome.ok for outcome in fetch(pool, *["http://host.test/"] * 5))
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("proxy.aside")]
    assert len(told) == 1
    assert "connection refused" in told[0]
    assert "hunter2" not in caplog.text
