"""What a server receives from a pool is byte for byte what requests sends, however it is asked; and what comes back is
the same. Plain requests is asked first, then both paths in every way that a pool has."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth, HTTPProxyAuth
from requests.cookies import RequestsCookieJar, create_cookie

from tests.conftest import IN_FULL
from tests.wire import differences, paths, pictures
from tests.wire.answers import HELLO, chunked, head, sized
from tests.wire.pictures import Picture
from tests.wire.scripted import ScriptedServer, Visit
from workerpool import Request, WorkerPool

GO = b"HTTP/1.1 302 Go"
ROUTES = {
    "/cookie": sized(HELLO, b"Set-Cookie: a=b; Path=/", b"Set-Cookie: c=d; Path=/deep"),
    "/cookie/more": sized(HELLO, b"Set-Cookie: a=changed; Path=/", b"Set-Cookie: e=f"),
    "/cookie/none": sized(HELLO, b"Set-Cookie: a=; Max-Age=0; Path=/"),
    "/hop": sized(b"", b"Location: /hop/two", b"Set-Cookie: hop=1", start=GO),
    "/hop/two": chunked(HELLO, lines=[b"Location: /deep/end#part"], start=b"HTTP/1.1 301 Go"),
    "/hop/307": sized(b"", b"Location: /deep/end", start=b"HTTP/1.1 307 Go"),
    "/hop/303": sized(b"", b"Location: /deep/end", start=b"HTTP/1.1 303 Go"),
    "/hop/away": sized(b"", b"Location: http://localhost:{port}/deep/end", start=GO),
    "/challenge": sized(b"", b'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"', start=b"HTTP/1.1 401 Who"),
    "/missing": sized(HELLO, start=b"HTTP/1.1 404 No"),
    "/chunks": chunked(b"one\n", b"two\n", b"three"),
    "/empty": head(start=b"HTTP/1.1 204 No"),
}


class Signed(AuthBase):
    """An auth of the user's own, which looks at the request as it is so far."""

    def __call__(self, request: Any) -> Any:
        request.headers["X-Signed"] = f"{request.method} {request.path_url} {len(request.body or b'')}"
        return request


class Sized:
    """A body that tells its length and is read piece by piece."""

    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"12345", b"67890"])


def cookie_jar() -> RequestsCookieJar:
    jar = RequestsCookieJar()
    jar.set_cookie(create_cookie("own", "1", domain="127.0.0.1", path="/"))
    jar.set_cookie(create_cookie("other", "2", domain="example.com", path="/"))
    jar.set_cookie(create_cookie("deep", "3", domain="127.0.0.1", path="/deep"))
    return jar


Ask = tuple[str, str, Callable[[], dict[str, Any]]]
"""A method, a path, and requests' arguments, made anew for each client since some can be used up."""

ASKS: dict[str, Ask] = {
    "plain": ("GET", "/", dict),
    "path with everything": ("GET", "/a%20b/ö/%7e/;x=1/:@!$&'()*+,/[x]|^`{}\"<>?q=ö&r=a b#part", dict),
    "path with dots": ("GET", "/a/../b/./c", dict),
    "path with a percent sign": ("GET", "/100%/%zz/%2F", dict),
    "no path": ("GET", "", dict),
    "query without a path": ("GET", "?a=b", dict),
    "double slash": ("GET", "//a//b", dict),
    "params": ("GET", "/", lambda: {"params": {"a": "1", "b": ["2", "3 ö"], "c": None, "d": ""}}),
    "params after a query": ("GET", "/?x=y#z", lambda: {"params": [("a", "1"), ("a", "2")]}),
    "params as text": ("GET", "/", lambda: {"params": "a=b&c= d"}),
    "params as bytes": ("GET", "/", lambda: {"params": b"a=b"}),
    "headers": ("GET", "/", lambda: {"headers": {"X-Mine": "yes", "user-agent": "me", "Accept": "text/html"}}),
    "header taken away": ("GET", "/", lambda: {"headers": {"User-Agent": None, "accept": None}}),
    "all headers taken away": (
        "GET",
        "/",
        lambda: {"headers": dict.fromkeys(["User-Agent", "Accept", "Accept-Encoding", "Connection"])},
    ),
    "headers as bytes": ("GET", "/", lambda: {"headers": {"X-Mine": b"b\xc3\xb6", b"X-Too": "yes"}}),
    "latin-1 header": ("GET", "/", lambda: {"headers": {"X-Mine": "Größe"}}),
    "empty header": ("GET", "/", lambda: {"headers": {"X-Mine": ""}}),
    "spaces in a header": ("GET", "/", lambda: {"headers": {"X-Mine": "a   b\tc  "}}),
    "header that cannot be": ("GET", "/", lambda: {"headers": {"X-Mine": "a\nb"}}),
    "header that is no text": ("GET", "/", lambda: {"headers": {"X-Mine": 5}}),
    "header with a space before": ("GET", "/", lambda: {"headers": {"X-Mine": " a"}}),
    "own host": ("GET", "/", lambda: {"headers": {"Host": "example.com"}}),
    "own host in lower case": ("GET", "/", lambda: {"headers": {"X-A": "b", "host": "example.com", "X-C": "d"}}),
    "own length": ("POST", "/", lambda: {"headers": {"Content-Length": "5"}, "data": b"hello"}),
    "own length of a GET": ("GET", "/", lambda: {"headers": {"Content-Length": "0"}}),
    "own accept-encoding": ("GET", "/", lambda: {"headers": {"Accept-Encoding": "identity"}}),
    "own connection": ("GET", "/", lambda: {"headers": {"Connection": "close"}}),
    "own transfer-encoding": ("POST", "/", lambda: {"headers": {"Transfer-Encoding": "chunked"}, "data": b"hello"}),
    "cookies": ("GET", "/deep", lambda: {"cookies": {"a": "b", "c": "d e"}}),
    "cookie jar": ("GET", "/deep", lambda: {"cookies": cookie_jar()}),
    "cookie header": ("GET", "/", lambda: {"headers": {"Cookie": "x=y"}}),
    "cookie header and cookies": ("GET", "/", lambda: {"headers": {"Cookie": "x=y"}, "cookies": {"a": "b"}}),
    "auth": ("GET", "/", lambda: {"auth": ("me", "mine")}),
    "auth with odd characters": ("GET", "/", lambda: {"auth": ("mé:", "m%ne")}),
    "auth as bytes": ("GET", "/", lambda: {"auth": (b"me", b"mine")}),
    "basic auth": ("GET", "/", lambda: {"auth": HTTPBasicAuth("me", "mine")}),
    "proxy auth": ("GET", "/", lambda: {"auth": HTTPProxyAuth("me", "mine")}),
    "own auth": ("POST", "/a?b", lambda: {"auth": Signed(), "data": b"hello"}),
    "callable auth": ("GET", "/", lambda: {"auth": Signed().__call__}),
    "auth header": ("GET", "/", lambda: {"headers": {"Authorization": "Bearer x"}}),
    "auth and its header": ("GET", "/", lambda: {"headers": {"Authorization": "Bearer x"}, "auth": ("me", "mine")}),
    "digest auth": ("GET", "/challenge", lambda: {"auth": HTTPDigestAuth("me", "mine")}),
    "form": ("POST", "/", lambda: {"data": {"a": "1", "b": ["2", "3 ö"], "c": None}}),
    "form of pairs": ("POST", "/", lambda: {"data": [("a", "1"), ("a", "2")]}),
    "empty form": ("POST", "/", lambda: {"data": {}}),
    "text": ("POST", "/", lambda: {"data": "Größe"}),
    "bytes": ("PUT", "/", lambda: {"data": b"\x00\xff"}),
    "byte array": ("PUT", "/", lambda: {"data": bytearray(b"hello")}),
    "empty text": ("POST", "/", lambda: {"data": ""}),
    "empty bytes": ("POST", "/", lambda: {"data": b""}),
    "body of a GET": ("GET", "/", lambda: {"data": b"hello"}),
    "body of a HEAD": ("HEAD", "/", lambda: {"data": b"hello"}),
    "body of a DELETE": ("DELETE", "/", lambda: {"json": {"a": 1}}),
    "JSON": ("POST", "/", lambda: {"json": {"a": [1, None, "ö"]}}),
    "empty JSON": ("POST", "/", lambda: {"json": {}}),
    "JSON null": ("POST", "/", lambda: {"json": None}),
    "JSON false": ("POST", "/", lambda: {"json": False}),
    "JSON that is none": ("POST", "/", lambda: {"json": float("nan")}),
    "JSON and a type": ("POST", "/", lambda: {"json": [1], "headers": {"Content-Type": "application/x"}}),
    "JSON and a form": ("POST", "/", lambda: {"json": [1], "data": {"a": "b"}}),
    "file": ("POST", "/", lambda: {"data": io.BytesIO(b"hello" * 10)}),
    "file read before": ("POST", "/", lambda: {"data": _at_two(io.BytesIO(b"hello"))}),
    "empty file": ("POST", "/", lambda: {"data": io.BytesIO()}),
    "iterator": ("POST", "/", lambda: {"data": iter([b"hello", b"", b"world"])}),
    "generator of text": ("POST", "/", lambda: {"data": (piece for piece in ["a", "b"])}),
    "empty iterator": ("POST", "/", lambda: {"data": iter([])}),
    "iterator with a length": ("POST", "/", lambda: {"data": Sized()}),
    "files": ("POST", "/", lambda: {"files": {"f": ("name.txt", b"hello", "text/plain", {"X-A": "b"})}}),
    "files and a form": ("POST", "/", lambda: {"files": {"f": io.BytesIO(b"x")}, "data": {"a": "b"}}),
    "post without a body": ("POST", "/", dict),
    "put without a body": ("PUT", "/", dict),
    "patch without a body": ("PATCH", "/", dict),
    "delete": ("DELETE", "/", dict),
    "options": ("OPTIONS", "/", dict),
    "head": ("HEAD", "/", dict),
    "lower-case method": ("get", "/", dict),
    "method of one's own": ("BREW-It", "/", dict),
    "redirects": ("GET", "/hop", dict),
    "redirects, not followed": ("GET", "/hop", lambda: {"allow_redirects": False}),
    "redirects of a HEAD": ("HEAD", "/hop", dict),
    "redirects of a HEAD, followed": ("HEAD", "/hop", lambda: {"allow_redirects": True}),
    "redirects of a POST": ("POST", "/hop", lambda: {"data": {"a": "b"}}),
    "redirects of a POST by 307": ("POST", "/hop/307", lambda: {"json": {"a": "b"}, "headers": {"X-Mine": "yes"}}),
    "redirects of a file by 307": ("PUT", "/hop/307", lambda: {"data": io.BytesIO(b"hello")}),
    "redirects of files by 307": ("POST", "/hop/307", lambda: {"files": {"f": b"hello"}}),
    "redirects of a PUT by 303": ("PUT", "/hop/303", lambda: {"data": b"x"}),
    "redirects with cookies": ("GET", "/hop", lambda: {"cookies": {"a": "b"}}),
    "redirects with an auth": ("GET", "/hop", lambda: {"auth": ("me", "mine"), "params": {"a": "b"}}),
    "redirects with headers": ("GET", "/hop", lambda: {"headers": {"X-Mine": "yes", "Accept": None}}),
    "redirects to another host": ("GET", "/hop/away", lambda: {"headers": {"X-Mine": "yes", "Authorization": "x"}}),
    "streamed": ("GET", "/chunks", lambda: {"stream": True}),
    "streamed redirects": ("GET", "/hop", lambda: {"stream": True}),
    "missing": ("GET", "/missing", dict),
    "empty": ("GET", "/empty", dict),
    "a proxy of no use": ("GET", "/", lambda: {"proxies": {"ftp": "http://127.0.0.1:9"}}),
    "verify": ("GET", "/", lambda: {"verify": False}),
    "a pair of timeouts": ("GET", "/", lambda: {"timeout": (3, 4)}),
    "a hook": ("GET", "/chunks", lambda: {"hooks": {"response": _mark}}),
    "hooks": ("GET", "/chunks", lambda: {"hooks": {"response": [_mark, _mark]}}),
    "a hook that reads": (
        "GET",
        "/chunks",
        lambda: {"hooks": {"response": lambda answer, **_: answer.content and None}},
    ),
}


def _at_two(file: io.BytesIO) -> io.BytesIO:
    file.seek(2)
    return file


def _mark(response: requests.Response, **kwargs: Any) -> requests.Response:
    response.reason = f"{response.reason} and marked"
    assert kwargs.keys() >= {"timeout", "verify", "proxies", "stream", "cert"}
    return response


def _read(response: requests.Response, **kwargs: Any) -> None:
    assert response.content == b"one\ntwo\nthree"


Send = Callable[[str, str, dict[str, Any]], requests.Response]


def in_callable(pool: WorkerPool) -> Send:
    def call(method: str, url: str, options: dict[str, Any]) -> requests.Response:
        pool.session.cookies.clear()  # of those who asked before
        return pool.session.request(method, url, **options)

    return lambda *what: pool.submit(call, *what).result(paths.SECONDS)


def by_future(pool: WorkerPool) -> Send:
    def send(method: str, url: str, options: dict[str, Any]) -> requests.Response:
        return pool.request(method, url, **options).result(paths.SECONDS)

    return send


def by_stream(pool: WorkerPool) -> Send:
    def send(method: str, url: str, options: dict[str, Any]) -> requests.Response:
        (outcome,) = pool.stream([Request(url, method, **options)])
        if outcome.response is None:
            assert outcome.error is not None
            raise outcome.error.__cause__ or outcome.error
        return outcome.response

    return send


WAYS = {"pool.session": in_callable, "pool.request": by_future, "pool.stream": by_stream}


def plainly(method: str, url: str, options: dict[str, Any]) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, **options)


def ask(server: ScriptedServer, send: Send, name: str) -> Picture:
    method, path, options = ASKS[name]
    given = {"timeout": 5.0, **options()}
    if method == "HEAD":  # a Session's request() follows, and its head() and everything of a pool's do not
        given.setdefault("allow_redirects", False)
    with server.visit() as visit:
        try:
            picture = pictures.of_response(send(method, server.url(path), given))
        except Exception as error:
            picture = pictures.of_error(error)
        return {**picture, **received(visit)}


def received(visit: Visit) -> Picture:
    """Everything that came, connection by connection."""
    drawn = pictures.without_lots
    return {"received": [(arrival.connection, drawn(arrival.head), drawn(arrival.body)) for arrival in visit.arrivals]}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(routes=ROUTES) as server:
        yield server


@pytest.fixture(scope="module")
def pool(request: pytest.FixtureRequest) -> Iterator[WorkerPool]:
    with paths.POOLS[request.param]() as pool:
        yield pool


ROUTES_OF_ASKS = [
    (path, way, name)
    for number, name in enumerate(ASKS)
    for turn, (path, way) in enumerate(itertools.product(paths.POOLS, WAYS))
    if IN_FULL or turn % 3 == number % 3
]
"""Each in every way over both paths; in a sample, over both."""


@pytest.mark.parametrize(("pool", "way", "name"), ROUTES_OF_ASKS, indirect=["pool"])
def test_what_is_asked_arrives_as_requests_sends_it(
    server: ScriptedServer, pool: WorkerPool, way: str, name: str
) -> None:
    theirs, ours = ask(server, plainly, name), ask(server, WAYS[way](pool), name)
    assert ours["received"] == theirs["received"]
    may_differ = differences.EVERYWHERE.keys() | differences.MAY_DIFFER_WHEN_ASKED.keys()
    assert pictures.differences(theirs, ours) - may_differ == set()
