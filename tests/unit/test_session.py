"""The worker's Session prepares and sends as requests' own does, in fewer steps."""

from __future__ import annotations

import netrc
from pathlib import Path
from typing import Any

import pytest
import requests
from requests import Request
from requests.structures import CaseInsensitiveDict

from workerpool.testing import Origin
from workerpool.transport import Session

SHAPES: list[dict[str, Any]] = [
    {},
    {"headers": {"X-One": "1"}},
    {"headers": {"accept": "text/plain"}},
    {"headers": {"User-Agent": None}},
    {"params": {"a": "b c"}},
    {"data": b"abc", "method": "POST"},
    {"json": {"a": 1}, "method": "POST"},
    {"method": "POST"},
    {"auth": ("me", "pw")},
    {"cookies": {"a": "b"}},
    {"url": "http://me:pw@host.test/"},
    {"url": "http://host.test/a b?c=d e#f"},
    {"url": "HTTP://Host.TEST"},
]


def prepared(session: requests.Session, shape: dict[str, Any]) -> tuple[Any, ...]:
    request = session.prepare_request(Request(**{"method": "GET", "url": "http://host.test/x", **shape}))
    return request.method, request.url, request.headers, request.body, request.hooks


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("change", ["nothing", "a header", "a header taken away", "a plain dict", "a cookie", "auth"])
def test_a_request_is_prepared_as_requests_prepares_it(shape: dict[str, Any], change: str) -> None:
    sessions: list[requests.Session] = [Session(), requests.Session()]
    for session in sessions:
        prepared(session, shape)  # what is remembered from before must not show
        if change == "a header":
            session.headers["X-Session"] = "2"
        elif change == "a header taken away":
            session.headers["Accept-Encoding"] = None  # type: ignore[assignment]
        elif change == "a plain dict":
            session.headers = {"X-Plain": "3"}  # type: ignore[assignment]
        elif change == "a cookie":
            session.cookies.set("session", "4")
        elif change == "auth":
            session.auth = ("other", "pw")
    ours, theirs = (prepared(session, shape) for session in sessions)
    assert ours == theirs


def test_the_headers_of_one_request_are_its_own() -> None:
    session = Session()
    first = session.prepare_request(Request("GET", "http://host.test/"))
    first.headers["X-Mine"] = "1"
    assert "X-Mine" not in session.prepare_request(Request("GET", "http://host.test/")).headers


def test_a_header_with_a_line_break_is_refused_also_on_the_session() -> None:
    session = Session()
    session.headers["X-Bad"] = "a\r\nb"
    with pytest.raises(requests.exceptions.InvalidHeader):
        session.prepare_request(Request("GET", "http://host.test/"))


@pytest.mark.parametrize("path", ["/", "/redirect/2", "/cookies/set?a=b", "/status/404", "/gzip"])
def test_a_send_gives_what_requests_gives(path: str) -> None:
    results = []
    with Origin() as origin:
        for session in (Session(), requests.Session()):
            with session:
                request = session.prepare_request(Request("GET", origin.url(path)))
                settings = session.merge_environment_settings(request.url, {}, True, None, None)
                response = session.send(request, allow_redirects=False, timeout=10, **settings)
                following = None if response.next is None else (response.next.url, response.next.method)
                results.append(
                    (response.status_code, response.content, following, [*session.cookies], response.cookies.get_dict())
                )
                assert response.elapsed.total_seconds() > 0
                assert isinstance(response.headers, CaseInsensitiveDict)
    ours, theirs = results
    assert str(ours) == str(theirs)


def test_the_environments_authorities_do_not_go_before_those_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/env.pem")
    with Session() as session:
        session.verify = "/own.pem"
        for proxies in ({}, {"no_proxy": "b.test"}):
            assert (
                session.merge_environment_settings("https://a.test/", proxies, True, None, None)["verify"] == "/own.pem"
            )


def test_a_request_names_the_hosts_that_need_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    for session in (Session(), requests.Session()):
        for no_proxy, proxies in (("b.test", {"http": "http://proxy.test:3128"}), ("a.test", {})):
            given = {"no_proxy": no_proxy}
            merged = session.merge_environment_settings("http://a.test/", dict(given), True, None, None)
            assert merged["proxies"] == {**proxies, **given}


def test_redirects_do_not_ask_the_environment_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []
    bypasses, read = requests.utils.should_bypass_proxies, netrc.netrc
    monkeypatch.setattr(
        requests.utils, "should_bypass_proxies", lambda *args, **kw: asked.append(1) or bypasses(*args, **kw)
    )
    monkeypatch.setattr(netrc, "netrc", lambda *args: asked.append(1) or read(*args))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Origin() as origin, Session() as session:
        for _ in range(2):
            before = len(asked)
            response = session.get(origin.url("/redirect/3"))
            assert len(response.history) == 3
            assert [hop.request.headers["Authorization"] for hop in (*response.history, response)] == [
                "Basic bWU6bWluZQ=="
            ] * 4
    assert len(asked) == before
