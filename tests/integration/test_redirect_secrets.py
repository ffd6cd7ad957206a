"""What a request carries for one origin reaches no other one, whatever chain of redirects leads there."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from requests.auth import HTTPDigestAuth

from tests.conftest import IN_FULL, combined, some
from workerpool import WorkerPool
from workerpool.testing import Origin, Reply
from workerpool.testing.origin import Arrival
from workerpool.transport import Session
from workerpool.transport.redirects import confine

SECRET = "s3cret"
TOLD = (SECRET, base64.b64encode(f"me:{SECRET}".encode()).decode(), "Digest ")
STATUSES = (301, 302, 303, 307, 308)


def some_statuses(chain: str) -> tuple[int, ...]:
    """One of those that keep the method and one of the others, which differ from chain to chain; in full, all."""
    turn = sum(map(ord, chain))
    return STATUSES if IN_FULL else (STATUSES[turn % 3], STATUSES[3 + turn % 2])


@dataclass
class Sites:
    """A and B are hosts of one server, and C is another port of A's host."""

    first: Origin
    second: Origin

    def url(self, site: str, path: str = "/") -> str:
        if site == "C":
            return self.second.url(path)
        return self.first.url(path, "127.0.0.1" if site == "A" else "127.0.0.2")

    def chain(self, sites: str, status: int = 302, *, last: str = "/echo", relative: bool = False) -> str:
        """The URL at the first of `sites` that leads through all of them."""
        url = self.url(sites[-1], last)
        for site in reversed(sites[:-1]):
            target = url.removeprefix("http:") if relative else url
            url = self.url(site, f"/redirect-to?url={quote(target, safe='')}&status={status}")
        return url

    def arrivals(self, site: str) -> list[Arrival]:
        if site == "C":
            return [*self.second.arrivals]
        address = "127.0.0.1" if site == "A" else "127.0.0.2"
        return [arrival for arrival in self.first.arrivals if arrival.address == address]


@pytest.fixture
def sites() -> Iterator[Sites]:
    with Origin(("127.0.0.1", "127.0.0.2")) as first, Origin() as second:
        yield Sites(first, second)


def leaks(arrivals: list[Arrival]) -> list[tuple[str, str]]:
    pairs = [pair for arrival in arrivals for pair in arrival.headers.pairs]
    return [(name, value) for name, value in pairs if any(word in value for word in TOLD)]


Send = Callable[..., requests.Response]


def by_pool(pool: WorkerPool) -> Send:
    return lambda url, **options: pool.get(url, **options).result()


def by_session(pool: WorkerPool) -> Send:
    return lambda url, **options: pool.submit(lambda: pool.session.get(url, **options)).result()


WAYS: dict[str, tuple[dict[str, Any], Callable[[WorkerPool], Send]]] = {
    "cookies=none": ({"cookies": "none"}, by_pool),
    "cookies=worker": ({"cookies": "worker"}, by_pool),
    "cookies=shared": ({"cookies": "shared"}, by_pool),
    "pool.session": ({}, by_session),
    "plain session, pool": ({"session_factory": requests.Session}, by_pool),
    "plain session, cookies=worker": ({"session_factory": requests.Session, "cookies": "worker"}, by_pool),
    "plain session, pool.session": ({"session_factory": requests.Session}, by_session),
}
EACH_WAY = pytest.mark.parametrize("way", WAYS)


def opened(way: str, **more: Any) -> WorkerPool:
    return WorkerPool(1, retry=None, **{**WAYS[way][0], **more})


def sender(way: str, pool: WorkerPool) -> Send:
    return WAYS[way][1](pool)


SECRETS: dict[str, dict[str, Any]] = {
    "Authorization": {"headers": {"Authorization": f"Bearer {SECRET}"}},
    "auth": {"auth": ("me", SECRET)},
    "Cookie": {"headers": {"Cookie": f"a={SECRET}"}},
    "cookies": {"cookies": {"a": SECRET}},
}


@pytest.mark.parametrize(
    ("way", "sites_in_turn", "secret"),
    some(itertools.product(WAYS, ["AB", "AC", "ABA", "ABB", "ABBB", "ABC", "ACA", "ACB"], SECRETS), 5),
)
def test_a_requests_own_secrets_stay_with_its_origin(sites: Sites, way: str, sites_in_turn: str, secret: str) -> None:
    statuses = some_statuses(sites_in_turn)
    with opened(way) as pool:
        for status in statuses:
            send = sender(way, pool)
            for relative in (False, True):
                assert send(sites.chain(sites_in_turn, status, relative=relative), **SECRETS[secret]).status_code == 200
    assert leaks(sites.arrivals("B")) == []
    assert leaks(sites.arrivals("C")) == []
    assert len(leaks(sites.arrivals("A"))) >= 2 * len(statuses)  # its first send had it


@EACH_WAY
def test_a_urls_userinfo_stays_with_its_origin(sites: Sites, way: str) -> None:
    with opened(way) as pool:
        for chain in ("AB", "AC", "ABB"):
            sender(way, pool)(sites.chain(chain).replace("://", f"://me:{SECRET}@", 1))
    assert leaks(sites.arrivals("B") + sites.arrivals("C")) == []
    assert len(leaks(sites.arrivals("A"))) == 3


@EACH_WAY
def test_a_netrc_login_goes_to_its_host_only(
    sites: Sites, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with opened(way) as pool:
        for chain in ("AB", "ABB", "BB"):
            sender(way, pool)(sites.chain(chain))
        assert leaks(sites.arrivals("B")) == []
        assert len(leaks(sites.arrivals("A"))) == 2
        sender(way, pool)(sites.chain("BA"))
    assert len(leaks(sites.arrivals("A"))) == 3


@EACH_WAY
def test_another_origins_challenge_is_not_answered_with_this_ones_login(sites: Sites, way: str) -> None:
    """It would get a hash of the password, over a nonce of its own choice."""
    challenge = Reply(status=401, headers={"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
    sites.first.script("/locked", challenge)
    sites.second.script("/locked", challenge)
    with opened(way) as pool:
        for chain in ("AB", "ABB", "AC"):
            send = sender(way, pool)
            assert send(sites.chain(chain, last="/locked"), auth=HTTPDigestAuth("me", SECRET)).status_code == 401
        assert leaks(sites.arrivals("B") + sites.arrivals("C")) == []
        send(sites.chain("AA", last="/locked"), auth=HTTPDigestAuth("me", SECRET))
    assert len(leaks(sites.arrivals("A"))) == 1  # its own origin gets the answer


@pytest.mark.parametrize(
    ("way", "sites_in_turn"), some(itertools.product(WAYS, ["AB", "AC", "ABB", "ABBB", "ABA", "ACA"]), 5)
)
def test_a_sessions_cookies_without_a_domain_stay_with_the_first_origin(
    sites: Sites, way: str, sites_in_turn: str
) -> None:
    def set_up() -> None:
        pool.session.cookies["a"] = SECRET

    statuses = some_statuses(sites_in_turn)
    with opened(way, initializer=set_up) as pool:
        for status in statuses:
            sender(way, pool)(sites.chain(sites_in_turn, status))
    assert leaks(sites.arrivals("B") + sites.arrivals("C")) == []
    assert len(leaks(sites.arrivals("A"))) >= len(statuses)


@pytest.mark.parametrize(
    ("way", "sites_in_turn"), some(itertools.product(WAYS, ["AC", "ACC", "ABC", "AABC", "ACA"]), 4)
)
def test_a_cookie_that_a_server_sets_for_its_host_stays_with_its_port(
    sites: Sites, way: str, sites_in_turn: str
) -> None:
    following = sites.chain(sites_in_turn[1:])
    sites.first.script("/start", Reply(status=302, headers={"Location": following, "Set-Cookie": f"a={SECRET}"}))
    with opened(way) as pool:
        assert sender(way, pool)(sites.url("A", "/start")).status_code == 200
    assert leaks(sites.arrivals("C") + sites.arrivals("B")) == []
    if sites_in_turn == "ACA":
        assert len(leaks(sites.arrivals("A"))) == 1  # the chain came back


@EACH_WAY
def test_a_server_cannot_claim_a_cookie_for_another_port(sites: Sites, way: str) -> None:
    header = f"a={SECRET}; home;=x; home=x; workerpool-home=x; Port"
    sites.first.script("/start", Reply(status=302, headers={"Location": sites.url("C"), "Set-Cookie": header}))
    with opened(way) as pool:
        assert sender(way, pool)(sites.url("A", "/start")).status_code == 200
    assert leaks(sites.arrivals("C")) == []


@pytest.mark.parametrize(("way", "secret"), combined([*WAYS], ["Authorization", "auth", "cookies"]))
def test_redirects_within_an_origin_keep_what_belongs_to_it(sites: Sites, way: str, secret: str) -> None:
    with opened(way) as pool:
        for status in STATUSES:
            sender(way, pool)(sites.chain("AAA", status), **SECRETS[secret])
    assert len(leaks(sites.arrivals("A"))) == 3 * len(STATUSES)


@EACH_WAY
def test_a_chain_keeps_its_own_cookies(sites: Sites, way: str) -> None:
    sites.first.script("/start", Reply(status=302, headers={"Location": "/cookies", "Set-Cookie": "a=1"}))
    with opened(way) as pool:
        assert sender(way, pool)(sites.url("A", "/start")).json() == {"a": "1"}


@pytest.mark.parametrize("way", ["cookies=worker", "cookies=shared", "pool.session", "plain session, pool.session"])
def test_a_cookie_from_an_earlier_request_is_sent_where_a_redirect_leads_back_to_its_site(
    sites: Sites, way: str
) -> None:
    """And goes on being sent within it: coming by way of another site has not made it that one's."""
    with opened(way) as pool:
        send = sender(way, pool)
        send(sites.url("A", "/cookies/set?a=1"))
        for chain in ("BA", "AA", "BAA", "AB", "AA"):
            if chain[-1] == "A":
                assert send(sites.chain(chain, last="/cookies")).json() == {"a": "1"}
            else:
                assert send(sites.chain(chain, last="/cookies")).json() == {}


def test_the_next_request_has_its_secrets_again(sites: Sites) -> None:
    """What a chain lost on its way is not lost to another attempt, or to the one after it."""
    sites.first.script("/end", Reply(status=503), Reply(body=b"here"))
    with WorkerPool(1, retry=2) as pool:
        challenged = pool.get(sites.chain("AB", last="/end"), **SECRETS["auth"], **SECRETS["cookies"]).result()
        assert challenged.content == b"here"
    assert len(sites.arrivals("A")) == 2
    assert len(leaks(sites.arrivals("A"))) == 4
    assert leaks(sites.arrivals("B")) == []


# -- a proxy's login --------------------------------------------------------------------------------------------------


@EACH_WAY
@pytest.mark.parametrize("said", ["environment", "option"])
def test_a_proxys_login_reaches_no_origin(sites: Sites, way: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy answers with a redirect to a host that is to be asked directly, as the pool does.

    requests itself asks the proxy again, where the environment told of it.
    """
    with Origin() as proxy:
        proxy_url = proxy.url().replace("://", f"://me:{SECRET}@")
        proxy.script("/start", Reply(status=302, headers={"Location": sites.chain("BB")}))
        options: dict[str, Any] = {"proxies": {"http": proxy_url, "no_proxy": "127.0.0.2"}}
        if said == "environment":
            monkeypatch.setenv("http_proxy", proxy_url)
            monkeypatch.setenv("no_proxy", "127.0.0.2")
            options = {}
        with opened(way) as pool:
            assert sender(way, pool)("http://example.test/start", **options).status_code in (200, 404)
        assert len(leaks(list(proxy.arrivals))) >= 1
    assert leaks(sites.arrivals("B")) == []


# -- http and https ---------------------------------------------------------------------------------------------------


def followed(before: str, after: str, jar: dict[str, str], **options: Any) -> requests.PreparedRequest:
    """What `confine` leaves of a redirect between two URLs on their default ports, which tests cannot serve."""
    session = Session()
    for name, value in jar.items():
        session.cookies.set_cookie(requests.cookies.create_cookie(name, value, domain="site.test", path="/"))
        for cookie in session.cookies:
            cookie.domain_specified = False
    response = requests.Response()
    response.request = session.prepare_request(requests.Request("GET", before, **options))
    response.status_code, response.url = 302, before
    following = response.request.copy()
    following.url = after
    confine(session, following, response)
    return following


@pytest.mark.parametrize(
    ("before", "after", "goes"),
    [
        ("http://site.test/", "https://site.test/", True),  # a site that moves to https takes its cookies along
        ("http://site.test:80/", "https://site.test:443/", True),
        ("https://site.test/", "http://site.test/", False),
        ("https://site.test/", "https://site.test:8443/", False),
        ("https://site.test:8443/", "https://site.test/", False),
        ("https://site.test/", "https://SITE.test:443/", True),
    ],
)
def test_a_servers_own_cookies_go_up_to_https_and_not_down(before: str, after: str, goes: bool) -> None:
    assert ("Cookie" in followed(before, after, {"a": "1"}).headers) is goes


@pytest.mark.parametrize("after", ["https://site.test/", "https://site.test:8443/", "http://other.test/"])
@pytest.mark.parametrize("secret", ["Authorization", "auth", "cookies"])
def test_a_change_of_scheme_is_a_change_of_origin(after: str, secret: str) -> None:
    following = followed("http://site.test/", after, {}, **SECRETS[secret])
    assert "Authorization" not in following.headers
    assert "Cookie" not in following.headers


def test_the_standard_port_spelled_out_is_no_change_of_origin() -> None:
    following = followed("https://site.test/", "https://site.test:443/x", {}, **SECRETS["auth"])
    assert "Authorization" in following.headers
