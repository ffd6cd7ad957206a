"""A session that is changed between requests, in an initializer or in a callable, sends what plain requests' session
would send after the same change; and which path each request takes is said."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth, HTTPDigestAuth
from requests.structures import CaseInsensitiveDict

from tests.conftest import combined
from tests.wire import paths, pictures
from tests.wire.answers import HELLO, all_cases, chunked, head, sized
from tests.wire.scripted import ScriptedServer
from workerpool import Outcome, Request, WorkerPool

GO = b"HTTP/1.1 302 Go"
CHALLENGE = b'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'
ROUTES = {
    "/set": sized(HELLO, b"Set-Cookie: a=b; Path=/", b"Set-Cookie: c=d; Path=/deep"),
    "/unset": sized(HELLO, b"Set-Cookie: a=; Max-Age=0; Path=/"),
    "/hop": sized(b"", b"Location: /deep/end", b"Set-Cookie: hop=1; Path=/", start=GO),
    "/challenge": sized(b"", CHALLENGE, start=b"HTTP/1.1 401 Who"),
    "/odd": head(b"Content-Length: 2", start=b"HTTP/1.0 200 OK") + b"ok",
    "/links": chunked(b'{"a": "\xc3\xb6"}\n', b"next", lines=[b"Link: </b>; rel=next", b"X-A: 1", b"x-a: 2"]),
}


class Tagged(HTTPAdapter):
    """An adapter of the user's own, which is the user's to close."""

    made: ClassVar[list[HTTPAdapter]] = []

    def __init__(self) -> None:
        super().__init__()
        self.made.append(self)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        request.headers["X-Tagged"] = "yes"
        return super().send(request, *args, **kwargs)


class Upper(dict[str, str]):
    """Headers of a kind of the user's own."""


def _reorder(session: requests.Session) -> None:
    session.headers["Accept"] = session.headers.pop("Accept")


def _note(response: requests.Response, **_: Any) -> None:
    response.reason = "noted"


def _sent_without_identity(session: requests.Session) -> None:
    del session.headers["Accept-Encoding"]


Change = Callable[[requests.Session], Any]
CHANGES: dict[str, tuple[Change, bool]] = {
    "nothing": (lambda session: None, True),
    "a header": (lambda session: session.headers.update({"X-Mine": "1"}), True),
    "another header's value": (lambda session: session.headers.update({"Accept": "text/html"}), True),
    "a header's case": (lambda session: session.headers.update({"ACCEPT": "*/*"}), True),
    "the headers' order": (_reorder, True),
    "a header away": (lambda session: session.headers.pop("User-Agent"), True),
    "accept-encoding away": (_sent_without_identity, True),
    "a header to None": (lambda session: session.headers.update({"Accept": None}), True),
    "all headers": (lambda session: setattr(session, "headers", CaseInsensitiveDict({"X-Only": "1"})), True),
    "headers of a plain dict": (lambda session: setattr(session, "headers", Upper({"X-Only": "1"})), True),
    "a host": (lambda session: session.headers.update({"Host": "example.com"}), True),
    "a header of bytes": (lambda session: session.headers.update({"X-Mine": b"1"}), False),
    "connection: close": (lambda session: session.headers.update({"Connection": "close"}), True),
    "a cookie header": (lambda session: session.headers.update({"Cookie": "x=y"}), True),
    "auth": (lambda session: setattr(session, "auth", ("me", "mine")), True),
    "auth of a class": (lambda session: setattr(session, "auth", HTTPBasicAuth("me", "mine")), True),
    "params": (lambda session: setattr(session, "params", {"a": "b"}), True),
    "params in place": (lambda session: session.params.update({"a": "b"}), True),  # type: ignore[union-attr]
    "a hook": (lambda session: session.hooks["response"].append(_note), False),
    "an adapter": (lambda session: session.mount("http://", Tagged()), False),
    "an adapter for a path": (lambda session: session.mount("http://127.0.0.1", Tagged()), False),
    "verify": (lambda session: setattr(session, "verify", False), True),
    "a proxy of no use": (lambda session: session.proxies.update({"https": "http://127.0.0.1:9"}), True),
    "trust_env": (lambda session: setattr(session, "trust_env", False), True),
}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(routes=ROUTES) as server:
        yield server


@pytest.fixture(autouse=True)
def _close_adapters() -> Iterator[None]:
    yield
    while Tagged.made:
        Tagged.made.pop().close()


def received(server: ScriptedServer, send: Callable[[], object]) -> list[tuple[bytes, bytes]]:
    """What comes of requests while `send` runs."""
    with server.visit() as visit:
        send()
        return [(pictures.without_lots(arrival.head), arrival.body) for arrival in visit.arrivals]


def fetch(pool: WorkerPool, *requested: Request | str) -> list[Outcome]:
    return [*pool.stream(requested, ordered=True)]


def plain_session() -> requests.Session:
    return requests.Session()


@pytest.mark.parametrize(("name", "kind"), combined([*CHANGES], [*paths.POOLS]))
def test_a_change_in_a_callable_holds_from_the_next_request_on(server: ScriptedServer, kind: str, name: str) -> None:
    change, is_fast = CHANGES[name]
    with plain_session() as session:
        before = received(server, lambda: session.get(server.url("/a")))
        change(session)
        after = received(server, lambda: session.get(server.url("/a")))
    with paths.POOLS[kind]() as pool:
        assert received(server, lambda: fetch(pool, server.url("/a"))) == before
        outcomes: list[Outcome] = []
        pool.submit(lambda: change(pool.session)).result(5)
        for _ in range(2):
            assert received(server, lambda: outcomes.extend(fetch(pool, server.url("/a")))) == after
        assert received(server, lambda: pool.submit(lambda: pool.session.get(server.url("/a"))).result(5)) == after
    may_be_fast = {False} if kind == "slow" else {None, False} if "an adapter" in name else {is_fast}
    taken = {outcome.attempts[-1].fast_path for outcome in outcomes}
    assert taken <= may_be_fast, taken


@pytest.mark.parametrize(("name", "kind"), combined([*CHANGES], ["fast", "slow"]))
def test_a_change_in_the_initializer_holds_from_the_first_request_on(
    server: ScriptedServer, kind: str, name: str
) -> None:
    change, _ = CHANGES[name]
    with plain_session() as session:
        change(session)
        there = received(server, lambda: session.get(server.url("/a")))
    pools: list[WorkerPool] = []
    with WorkerPool(1, initializer=lambda: change(pools[0].session), retry=None, fast_path=kind == "fast") as pool:
        pools.append(pool)
        assert received(server, lambda: fetch(pool, server.url("/a"))) == there


def test_headers_of_requests_keep_their_own_order_and_case(server: ScriptedServer) -> None:
    asked = [{"X-A": "1", "X-B": "2"}, {"X-B": "2", "X-A": "1"}, {"x-a": "1", "x-b": "2"}, {}, {"X-A": "1"}]
    asked += [CaseInsensitiveDict({"X-A": "1", "X-B": "2"}), CaseInsensitiveDict({"x-a": "1", "x-b": "2"})]  # type: ignore[list-item]
    with plain_session() as session:
        there = received(server, lambda: [session.get(server.url("/a"), headers=each) for each in asked * 2])
    for make in paths.POOLS.values():
        with make() as pool:
            given = [Request(server.url("/a"), headers=each) for each in asked * 2]
            assert received(server, lambda pool=pool, given=given: fetch(pool, *given)) == there  # type: ignore[misc]


@pytest.mark.parametrize("kind", paths.POOLS)
@pytest.mark.parametrize("mode", ["none", "worker", "shared"])
def test_cookies_are_stored_and_sent_back_as_the_mode_says(server: ScriptedServer, kind: str, mode: Any) -> None:
    paths_asked = ["/a", "/set", "/a", "/deep", "/hop", "/a", "/unset", "/a"]

    def cookies(sent: list[tuple[bytes, bytes]]) -> list[set[str]]:
        lines = [sent_head.decode().partition("\r\nCookie: ")[2].partition("\r\n")[0] for sent_head, _ in sent]
        return [set(line.split("; ")) - {""} for line in lines]

    with plain_session() as session:
        kept = cookies(received(server, lambda: [session.get(server.url(path)) for path in paths_asked]))
    none_kept = [set(), set(), set(), set(), set(), {"hop=1"}, set(), set(), set()]
    with WorkerPool(1, cookies=mode, fast_path=kind == "fast") as pool:
        ours = cookies(received(server, lambda: [fetch(pool, server.url(path)) for path in paths_asked]))
    assert kept != none_kept
    assert ours == (none_kept if mode == "none" else kept)


WAYS: dict[str, tuple[dict[str, Any], bool]] = {
    "plain": ({}, True),
    "headers": ({"headers": {"X-A": "1"}}, True),
    "params": ({"params": {"a": "b"}}, True),
    "auth": ({"auth": ("me", "mine")}, True),
    "cookies": ({"cookies": {"a": "b"}}, True),
    "bytes": ({"method": "POST", "data": b"x"}, True),
    "a form": ({"method": "POST", "data": {"a": "b"}}, True),
    "JSON": ({"method": "PUT", "json": [1]}, True),
    "files": ({"method": "POST", "files": {"f": b"x"}}, True),
    "a HEAD": ({"method": "HEAD"}, True),
    "a DELETE": ({"method": "DELETE"}, True),
    "an OPTIONS": ({"method": "OPTIONS"}, True),
    "a PATCH": ({"method": "PATCH", "data": b"x"}, True),
    "streamed": ({"stream": True}, False),
    "a hook": ({"hooks": {"response": [_note]}}, False),
    "an iterator": ({"method": "POST", "data": iter([b"x"])}, False),
    "digest auth": ({"auth": HTTPDigestAuth("me", "mine")}, False),
    "a method of one's own": ({"method": "Brew"}, True),
    "a method with a dash": ({"method": "M-SEARCH"}, False),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_path_that_was_taken_is_said(server: ScriptedServer, name: str) -> None:
    options, is_fast = WAYS[name]
    for kind in ("fast", "slow"):
        with paths.POOLS[kind]() as pool, server.visit():
            expected = is_fast and kind == "fast"
            if name != "an iterator" or kind == "fast":  # it can be read once
                (outcome,) = fetch(pool, Request(server.url("/a"), **options))
                assert outcome.ok
                assert outcome.attempts[-1].fast_path is expected
                assert pool.statistics().sent_fast == expected
                assert outcome.response is not None
                outcome.response.close()


@pytest.mark.parametrize("odd", [{"X-Odd": "a\nb"}, {"X-Odd": b"bytes"}, {"Expect": "100-continue"}], ids=str)
def test_one_requests_odd_headers_change_nothing_for_the_next(server: ScriptedServer, odd: Any) -> None:
    with paths.carrying_pool() as pool, server.visit():
        witness: Any = pool._transport
        (first,) = fetch(pool, Request(server.url("/a"), headers=odd))
        assert first.attempts == () or not first.attempts[-1].fast_path
        for carried in range(4):  # the first one opens a connection, perhaps
            fetch(pool, server.url("/b"))
            assert witness.carried[server.url("/b")] >= carried


def test_requests_own_path_takes_over_what_is_odd_and_is_counted_so(server: ScriptedServer) -> None:
    with paths.fast_pool() as pool, server.visit():
        odd, usual = fetch(pool, server.url("/odd"), server.url("/a"))
        assert (odd.attempts[-1].fast_path, usual.attempts[-1].fast_path) == (False, True)
        assert odd.response is not None
        assert odd.response.content == b"ok"
        assert pool.statistics().sent_fast == 1
        pool.submit(lambda: pool.session.get(server.url("/a"))).result(5)
        assert pool.statistics().sent_fast == 2


class Mine(requests.Session):
    """A session that overrides what requests' documentation names."""

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        prepared = super().prepare_request(request)
        prepared.headers["X-Prepared"] = "yes"
        return prepared

    def merge_environment_settings(self, *args: Any) -> Any:
        return {**super().merge_environment_settings(*args), "verify": False}

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        request.headers["X-Sent"] = "yes"
        return super().send(request, **kwargs)

    def get_adapter(self, url: Any) -> Any:
        adapter = super().get_adapter(url)
        assert adapter is not None
        return adapter


@pytest.mark.parametrize("kind", paths.POOLS)
def test_a_session_factory_keeps_what_it_overrides(server: ScriptedServer, kind: str) -> None:
    def send(session: requests.Session) -> None:
        for method, path in (("GET", "/a"), ("GET", "/hop"), ("POST", "/a")):
            session.request(method, server.url(path))

    with Mine() as session:
        there = received(server, lambda: send(session))
    with WorkerPool(1, session_factory=Mine, retry=None, fast_path=kind == "fast", cookies="worker") as pool:
        asked = [Request(server.url("/a")), Request(server.url("/hop")), Request(server.url("/a"), "POST")]
        assert received(server, lambda: [fetch(pool, each) for each in asked]) == there
    with WorkerPool(1, session_factory=Mine, retry=None, fast_path=kind == "fast") as pool:
        assert received(server, lambda: pool.submit(lambda: send(pool.session)).result(5)) == there


@pytest.mark.parametrize("kind", paths.POOLS)
def test_prepared_requests_are_sent_as_they_are(server: ScriptedServer, kind: str) -> None:
    def send(session: requests.Session) -> None:
        prepared = session.prepare_request(requests.Request("POST", server.url("/a?x"), data={"a": "b"}))
        prepared.headers["X-Late"] = "1"
        prepared.body = "other=body"
        session.send(prepared)
        bare = requests.Request("GET", server.url("/a"), headers={"X-Mine": "1"}).prepare()
        session.send(bare)
        session.send(bare, stream=True, timeout=5, allow_redirects=False, verify=False, cert=None, proxies={}).close()

    with plain_session() as session:
        there = received(server, lambda: send(session))
    with paths.POOLS[kind]() as pool:
        assert received(server, lambda: pool.submit(lambda: send(pool.session)).result(5)) == there


@pytest.mark.parametrize("kind", paths.POOLS)
@pytest.mark.parametrize("twin_of", [copy.copy, copy.deepcopy, lambda response: pickle.loads(pickle.dumps(response))])
def test_a_copy_of_a_response_is_as_good_as_one_of_plain_requests(
    server: ScriptedServer, kind: str, twin_of: Callable[[requests.Response], requests.Response]
) -> None:
    with server.visit():
        with plain_session() as session:
            theirs = pictures.of_response(twin_of(_read(session.get(server.url("/hop")))))
            links = pictures.of_response(twin_of(_read(session.get(server.url("/links")))))
        with paths.POOLS[kind]() as pool:
            first, second = fetch(pool, server.url("/hop"), server.url("/links"))
    for response, expected in ((first.response, theirs), (second.response, links)):
        assert response is not None
        apart = pictures.differences(expected, pictures.of_response(twin_of(response)))
        # a session keeps a redirect's cookies, and plain requests' own sends them on
        assert {part for part in apart if "request" not in part and "next" not in part} == set()


def _read(response: requests.Response) -> requests.Response:
    assert response.content is not None
    return response


@pytest.mark.parametrize("kind", paths.POOLS)
def test_a_response_is_used_in_each_way_of_its_own(server: ScriptedServer, kind: str) -> None:
    with paths.POOLS[kind]() as pool, server.visit():
        for _ in range(2):
            response = pool.get(server.url("/links")).result(5)
            with response as same:
                assert same is response
                assert same.raw.headers.getlist("x-a") == ["1", "2"]
                assert same.headers["X-A"] == "1, 2"
                assert [*same.iter_lines()] == ['{"a": "ö"}'.encode(), b"next"]
                assert same.links == {"next": {"url": "/b", "rel": "next"}}
                assert (same.raw.read(), [*same.raw.stream()], same.raw.tell() > 0) == (b"", [], True)
            assert response.raw.closed
            assert response.content.endswith(b"next")


@pytest.mark.parametrize("kind", paths.POOLS)
def test_the_environments_login_and_proxies_hold(
    server: ScriptedServer, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\nmachine far.example login far password away\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", server.url(""))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    urls = [server.url("/a"), "http://far.example/a", "http://far.example:80/b?c", "http://u:p@far.example/a"]
    with plain_session() as session:
        there = received(server, lambda: [session.get(url) for url in urls * 2])
    assert len(there) == len(urls * 2)
    with paths.POOLS[kind]() as pool:
        assert received(server, lambda: [fetch(pool, url) for url in urls * 2]) == there
    with paths.POOLS[kind]() as pool:
        assert (
            received(server, lambda: pool.submit(lambda: [pool.session.get(url) for url in urls]).result(5))
            == there[:4]
        )


def answered(self: object, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
    """An answer that no server gave."""
    response: Any = requests.Response()
    response.status_code, response._content, response.request = 299, b"made up", request
    return cast(requests.Response, response)


class Fake(HTTPAdapter):
    send = answered  # type: ignore[assignment]


@pytest.mark.parametrize("kind", paths.POOLS)
@pytest.mark.parametrize("data", [None, b"x"])
def test_what_stands_in_for_requests_in_a_test_stands_in_here_too(
    server: ScriptedServer, kind: str, data: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = Request(server.url("/a"), "GET" if data is None else "POST", data=data)
    with paths.POOLS[kind]() as pool, server.visit() as visit:
        assert fetch(pool, requested)[0].status == 200
        for place, name, value in (
            (HTTPAdapter, "send", answered),
            (requests.Session, "get_adapter", lambda session, url: Fake()),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(place, name, value)
                assert fetch(pool, requested)[0].status == 299
            assert fetch(pool, requested)[0].status == 200

        def wrap() -> None:
            session: Any = pool.session
            send = session.send
            session.send = lambda request, **kwargs: (
                request.headers.update({"X-Wrapped": "1"}) or send(request, **kwargs)
            )

        pool.submit(wrap).result(5)
        assert fetch(pool, requested)[0].status == 200
        assert b"X-Wrapped: 1" in visit.arrivals[-1].head


STREAMED = [
    *("status 200 with a body", "status 404 with a body", "status 200 in chunks", "status 200 until the end"),
    *("status 204 bare", "301 of a GET", "307 of a POST", "103 before", "coding gzip", "coding br, in chunks"),
    *("redirect said to close", "sized closed after 57", "version 'HTTP/1.0'"),
]


@pytest.mark.parametrize("name", STREAMED)
def test_a_streamed_answer_goes_by_requests_own_path_and_reads_the_same(name: str) -> None:
    case = all_cases()[name]

    def seen(response: requests.Response) -> tuple[Any, ...]:
        with response:
            try:
                body: object = b"".join(response.iter_content(5))
            except requests.RequestException as error:
                body = type(error)
            return response.status_code, [*response.headers.items()], body

    with ScriptedServer(case) as server:
        with server.visit(), plain_session() as session:
            if name != "103 before":  # which plain requests takes for the final one
                there = seen(session.request(case.method, server.url(), data=case.data, stream=True))
        for fast_path in (True, False):
            with WorkerPool(1, retry=None, fast_path=fast_path) as pool, server.visit():
                (outcome,) = fetch(pool, Request(server.url(), case.method, data=case.data, stream=True))
                assert outcome.response is not None
                ours = seen(outcome.response)
                assert outcome.attempts[-1].fast_path is False
                assert pool.statistics().sent_fast == 0
            assert ours == there if name != "103 before" else ours[0] == 200
