"""A guarded pool sends nothing to where its rules do not lead, and no pool sends a line break that it was given."""

from __future__ import annotations

import re
import socket
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import requests
from requests.adapters import HTTPAdapter

from workerpool import Denied, InvalidRequest, OptionError, Outcome, Request, StatusError, WorkerPool
from workerpool.testing import Origin, Reply
from workerpool.transport.dns import Resolver

PUBLIC = "93.184.215.14"


def outcome_of(pool: WorkerPool, request: str | Request) -> Outcome:
    (outcome,) = pool.stream([request])
    return outcome


def denied(pool: WorkerPool, url: str, words: str = "") -> None:
    """Hold that `url` is refused, in a sentence with `words`, by the pool and by ``pool.session``."""
    outcome = outcome_of(pool, url)
    assert isinstance(outcome.error, Denied), outcome
    assert words in str(outcome.error)
    with pytest.raises(Denied, match=re.escape(words) or None):
        pool.submit(lambda: pool.session.get(url)).result()


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: str, ttl: float = 30.0) -> list[str]:
    """Let names lead to `answers`, one after the other, the last one for ever; gives the names that were asked for."""
    asked: list[str] = []

    def look_up(host: str, *args: Any) -> Any:
        asked.append(host)
        ip = answers[min(len(asked), len(answers)) - 1]
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (ip, 0, 0, 0) if ":" in ip else (ip, 0))]

    monkeypatch.setattr("workerpool.transport.sending.Resolver", lambda: Resolver(look_up=look_up, ttl=ttl))
    return asked


# -- the first URL ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "localhost",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "0",
            "0.0.0.0",
        ),
        *(
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[0:0:0:0:0:0:0:1]",
            "[::127.0.0.1]",
        ),
        *("me:pw@127.0.0.1", "example.com@127.0.0.1", "127.0.0.1@127.0.0.1", "example.com%40@127.0.0.1"),
        *("127.0.0.1.", "①②⑦.⓪.⓪.①", "127。0。0。1"),
    ],
)
def test_no_spelling_of_a_private_address_is_sent_to(host: str) -> None:
    with Origin() as origin, WorkerPool(1, retry=None, deny_private=True) as pool:
        url = f"http://{host}:{origin.port}/"
        for outcome in pool.stream([url, Request(url, method="POST", data=b"x")]):
            assert outcome.error is not None
            assert outcome.error.reason in ("denied", "invalid", "connect")  # the last one: the name does not resolve
        with pytest.raises((Denied, requests.RequestException)):
            pool.submit(lambda: pool.session.get(url)).result()
        assert origin.connections_opened == 0


@pytest.mark.parametrize(
    "ip",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "fe80::1", "0.0.0.0"],
)
def test_a_name_that_leads_to_a_private_address_is_refused(ip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch, ip)
    with WorkerPool(1, retry=None, deny_private=True) as pool:
        denied(pool, "http://name.test/", "deny_private")
        assert pool.statistics().sockets_opened == 0
    assert asked == ["name.test"]


def test_a_name_that_leads_elsewhere_the_second_time_is_refused_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is checked is the address that is connected to, not one of an earlier look-up."""
    asked = resolving(monkeypatch, PUBLIC, "127.0.0.1", ttl=0.0)
    connected: list[Any] = []

    def connect(sock: socket.socket, address: Any) -> None:
        connected.append(address)
        raise ConnectionRefusedError(111, "refused")

    with Origin() as origin, WorkerPool(1, retry=None, deny_private=True) as pool:
        with monkeypatch.context() as patched:
            patched.setattr("socket.socket.connect", connect)
            first = outcome_of(pool, f"http://name.test:{origin.port}/")
        assert first.error is not None
        assert first.error.reason == "connect"
        second = outcome_of(pool, f"http://name.test:{origin.port}/")
        assert isinstance(second.error, Denied)
        assert connected == [(PUBLIC, origin.port)]
        assert origin.connections_opened == 0
    assert asked == ["name.test", "name.test"]


def test_the_address_that_a_socket_is_connected_to_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, PUBLIC)
    real = socket.socket.connect

    with Origin() as origin, WorkerPool(1, retry=None, deny_private=True) as pool:
        monkeypatch.setattr(socket.socket, "connect", lambda sock, _: real(sock, ("127.0.0.1", origin.port)))
        outcome = outcome_of(pool, f"http://name.test:{origin.port}/")
        assert isinstance(outcome.error, Denied)
        assert origin.requests == 0


@pytest.mark.parametrize(
    ("pattern", "host", "goes"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "127.1", False),
        ("127.0.0.1:1", "127.0.0.1", False),
        ("localhost", "LOCALHOST", True),
        ("localhost", "localhost@127.0.0.1", False),
        ("localhost", "localhost%40127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1@localhost", False),
        ("*.localhost", "localhost", False),
        ("example.com", "127.0.0.1", False),
    ],
)
def test_only_allowed_hosts_are_sent_to(pattern: str, host: str, goes: bool) -> None:
    with Origin() as origin, WorkerPool(1, retry=None, allow_hosts=[pattern]) as pool:
        outcome = outcome_of(pool, f"http://{host}:{origin.port}/")
        assert outcome.ok is goes
        assert goes or isinstance(outcome.error, Denied)
        assert origin.connections_opened == goes


@pytest.mark.parametrize(
    "url",
    [
        "http://allowed.test\\@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\\@allowed.test/",
        "http://allowed.test#@127.0.0.1:{port}/",
        "http://allowed.test?@127.0.0.1:{port}/",
        "http://allowed.test:80@127.0.0.1:{port}/",
        "http://user@allowed.test@127.0.0.1:{port}/",
        "http:\\\\127.0.0.1:{port}/",
        "http:127.0.0.1:{port}/",
        "http:///127.0.0.1:{port}/",
        "http:/127.0.0.1:{port}/",
        "http://allowed.test\t@127.0.0.1:{port}/",
        " http://127.0.0.1:{port}/",
    ],
)
@pytest.mark.parametrize("as_redirect", [False, True])
def test_urls_that_parsers_read_differently_lead_nowhere_else(
    url: str, as_redirect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "192.0.2.1")
    monkeypatch.setattr("workerpool.transport.dial.ATTEMPT_CAP", 0.01)
    with Origin() as target, Origin() as start:
        hosts = ["allowed.test", f"127.0.0.1:{start.port}"]
        with WorkerPool(1, retry=None, timeout=0.1, allow_hosts=hosts) as pool:
            url = url.format(port=target.port)
            if as_redirect:
                start.script("/", Reply(status=302, headers={"Location": url}))
                url = start.url("/")
            outcome_of(pool, url)
            assert target.connections_opened == 0
            with pytest.raises((Denied, requests.RequestException, ValueError)):
                pool.submit(lambda: pool.session.get(url).raise_for_status()).result()
        assert target.connections_opened == 0


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "HTTPX://h/", "data:,x"]
)
def test_nothing_but_http_is_sent(url: str) -> None:
    for options in ({}, {"deny_private": True}, {"allow_hosts": ["127.0.0.1"]}):
        with WorkerPool(1, **options) as pool:  # type: ignore[arg-type]
            outcome = outcome_of(pool, url)
            assert isinstance(outcome.error, (InvalidRequest, Denied))
            with pytest.raises((Denied, requests.exceptions.InvalidSchema)):
                pool.submit(lambda: pool.session.get(url)).result()


# -- each hop ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factory", [None, requests.Session], ids=["own session", "plain session"])
@pytest.mark.parametrize("hops", [1, 2])
def test_a_redirect_to_a_host_that_is_not_allowed_is_not_followed(factory: Any, hops: int) -> None:
    with Origin(("127.0.0.1", "127.0.0.2")) as origin:
        url = origin.url("/", "127.0.0.2")
        for _ in range(hops):
            url = origin.url(f"/redirect-to?url={quote(url, safe='')}")
        with WorkerPool(1, retry=None, allow_hosts=["127.0.0.1"], session_factory=factory) as pool:
            denied(pool, url, "127.0.0.2")
        assert origin.sockets("127.0.0.2").opened == 0
        assert origin.sockets("127.0.0.1").opened >= 1


@pytest.mark.parametrize("location", ["http://127.0.0.1:{port}/", "//127.1:{port}/", "http://[::ffff:7f00:1]:{port}/"])
def test_a_redirect_to_a_private_address_is_not_followed(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first host is taken for a public one here."""
    from workerpool.transport import guard

    real = guard.reason_against
    monkeypatch.setattr(guard, "reason_against", lambda ip: None if ip == "127.0.0.9" else real(ip))
    with Origin(("127.0.0.1", "127.0.0.9")) as origin, WorkerPool(1, retry=None, deny_private=True) as pool:
        origin.script(
            "/", Reply(status=302, headers={"Location": location.format(port=origin.port)}), address="127.0.0.9"
        )
        denied(pool, origin.url("/", "127.0.0.9"), "deny_private")
        assert origin.sockets("127.0.0.1").opened == 0
        assert origin.sockets("127.0.0.9").opened >= 1


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "FILE:/etc/passwd", "javascript:alert(1)"]
)
@pytest.mark.parametrize("guarded", [False, True])
def test_a_redirect_to_another_scheme_is_not_followed(location: str, guarded: bool) -> None:
    with Origin() as origin, WorkerPool(1, retry=None, allow_hosts=["127.0.0.1"] if guarded else None) as pool:
        origin.script("/", Reply(status=302, headers={"Location": location}))
        outcome = outcome_of(pool, origin.url("/"))
        assert isinstance(outcome.error, Denied)
        assert "only http and https" in str(outcome.error)
        with pytest.raises((Denied, requests.exceptions.InvalidSchema)):
            pool.submit(lambda: pool.session.get(origin.url("/"))).result()
        assert origin.requests == 2


# -- other ways to send -----------------------------------------------------------------------------------------------


def test_warming_opens_no_socket_to_where_the_guard_does_not_lead() -> None:
    with Origin() as origin:
        for options in ({"deny_private": True}, {"allow_hosts": ["example.com"]}):
            with WorkerPool(2, **options) as pool:  # type: ignore[arg-type]
                assert pool.warm([origin.url("/"), origin.url("/").replace("127.0.0.1", "127.1")]) == 0
        assert origin.connections_opened == 0


class Custom(HTTPAdapter):
    """An adapter that a user has written; it connects as it likes."""


@pytest.mark.parametrize("options", [{"deny_private": True}, {"allow_hosts": ["example.com"]}], ids=repr)
@pytest.mark.parametrize("when", ["factory", "initializer"])
def test_an_adapter_that_a_user_mounted_is_under_the_guard(options: dict[str, Any], when: str) -> None:
    def session() -> requests.Session:
        made = requests.Session()
        made.mount("http://", Custom())
        return made

    def initialize() -> None:
        pool.session.mount("http://", Custom())

    setup: dict[str, Any] = {"session_factory": session} if when == "factory" else {"initializer": initialize}
    with Origin() as origin, WorkerPool(1, retry=None, **options, **setup) as pool:
        denied(pool, origin.url("/"))
        assert origin.connections_opened == 0


def test_deny_private_with_a_proxy_is_an_error_unless_the_proxy_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    with Origin() as proxy:
        address = proxy.url().rstrip("/")
        proxy.default = Reply(body=b"by proxy")
        with pytest.raises(OptionError, match="trust_proxy"):
            WorkerPool(1, deny_private=True, proxies={"http": address})
        with WorkerPool(1, retry=None, deny_private=True) as pool:
            outcome = outcome_of(pool, Request("http://name.test/", proxies={"http": address}))
            assert isinstance(outcome.error, Denied)
            assert "trust_proxy" in str(outcome.error)
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("http_proxy", address)
        for factory in (None, requests.Session):
            with WorkerPool(1, retry=None, deny_private=True, session_factory=factory) as pool:
                denied(pool, "http://name.test/", "trust_proxy")
        assert proxy.connections_opened == 0
        with WorkerPool(1, retry=None, deny_private=True, trust_proxy=True) as pool:
            assert pool.get("http://name.test/").result().content == b"by proxy"


def test_a_refusal_is_not_retried_and_shows_no_secret() -> None:
    with WorkerPool(1, allow_hosts=["example.com"]) as pool:
        outcome = outcome_of(pool, "http://me:s3cret@other.test/?token=s3cret")
        assert isinstance(outcome.error, Denied)
        assert len(outcome.attempts) <= 1
        assert "s3cret" not in f"{outcome.error}{outcome!r}"


@pytest.mark.parametrize("make_session", [None, requests.Session], ids=["ours", "the user's"])
@pytest.mark.parametrize("value", ["hunter2\n", " hunter2", 4711, ["hunter2"]], ids=str)
@pytest.mark.parametrize("name", ["X-Whose", "Authorization"])
def test_what_is_wrong_with_a_header_is_told_without_its_value(
    caplog: pytest.LogCaptureFixture, make_session: Callable[[], Any] | None, value: Any, name: str
) -> None:
    with Origin() as origin, WorkerPool(1, session_factory=make_session) as pool:
        outcome = outcome_of(pool, Request(origin.url("/"), headers={name: value}))
        assert isinstance(outcome.error, InvalidRequest)
        said = f"{outcome.error} {caplog.text}"
        if make_session is None:
            assert f"the header {name!r}" in said
            said += "".join(traceback.format_exception(outcome.error))
        assert not any(secret in said for secret in ("hunter2", "4711"))
        assert origin.requests == 0


# -- line breaks ------------------------------------------------------------------------------------------------------

BREAKS = [
    "a\r\nX-Evil: 1",
    "a\nX-Evil: 1",
    "a\rX-Evil: 1",
    "a\r\n X-Evil: 1",
    "a\r\n\r\nGET /evil HTTP/1.1",
    "a\n",
    "a\0b",
]


class Evil(requests.auth.AuthBase):
    def __init__(self, value: str) -> None:
        self.value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self.value
        return request


PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "a header": lambda text: {"headers": {"X-Header": text}},
    "a header in bytes": lambda text: {"headers": {"X-Header": text.encode()}},
    "a header's name": lambda text: {"headers": {text: "x"}},
    "the host": lambda text: {"headers": {"Host": text}},
    "a cookie": lambda text: {"cookies": {"a": text}},
    "a cookie's name": lambda text: {"cookies": {text: "a"}},
    "an auth's header": lambda text: {"auth": Evil(text)},
    "the method": lambda text: {"method": text},
}


@pytest.mark.parametrize("text", BREAKS)
@pytest.mark.parametrize("place", PLACES)
def test_a_line_break_or_nul_in_a_head_is_refused_and_not_sent(place: str, text: str) -> None:
    with Origin() as origin, WorkerPool(1) as pool:
        options = PLACES[place](text)
        outcome = outcome_of(pool, Request(origin.url("/"), **options))
        assert isinstance(outcome.error, InvalidRequest), outcome.error
        assert len(outcome.attempts) <= 1
        method = options.pop("method", "GET")
        with pytest.raises((InvalidRequest, ValueError, requests.RequestException)):
            pool.submit(lambda: pool.session.request(method, origin.url("/"), **options)).result()
        assert origin.requests == 0


@pytest.mark.parametrize("text", BREAKS)
def test_a_line_break_in_a_url_is_refused_or_escaped(text: str) -> None:
    with Origin() as origin, WorkerPool(1, retry=None) as pool:
        outcomes = list(
            pool.stream(
                [origin.url("/") + text, origin.url("/?q=") + text, origin.url("/").replace("://", f"://{text}@")]
            )
        )
        assert all(outcome.ok or isinstance(outcome.error, InvalidRequest | StatusError) for outcome in outcomes)
        for arrival in origin.arrivals:
            assert "x-evil" not in arrival.headers
            assert "evil" not in arrival.path.partition("?")[0].lower() or "%0" in arrival.path
        assert origin.requests <= 3


@pytest.mark.parametrize("text", BREAKS)
def test_a_line_break_in_a_multipart_name_is_escaped(text: str) -> None:
    with Origin() as origin, WorkerPool(1) as pool:
        response = pool.post(origin.url("/echo"), files={text: (text, b"content")}).result()
        body = response.json()["body"]
        head = body.partition("\r\n\r\n")[0]
        assert len(head.splitlines()) == 2  # the boundary, and one line that names the field and the file


@pytest.mark.parametrize("text", BREAKS[:5])
def test_a_line_break_in_a_redirect_leads_to_no_header(text: str) -> None:
    with Origin() as origin, WorkerPool(1, retry=None) as pool:
        origin.script(
            "/", Reply(status=302, headers={"Location": "/next?" + text.replace("\r", "%0D").replace("\n", "%0A")})
        )
        outcome_of(pool, origin.url("/"))
        assert all("x-evil" not in arrival.headers for arrival in origin.arrivals)
        assert origin.requests == 2
