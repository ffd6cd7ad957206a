"""URLs with everything odd about them: what a server, or a proxy, receives is byte for byte what plain requests sends,
and what cannot be sent is refused alike."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.conftest import combined
from tests.wire import pictures
from tests.wire.scripted import ScriptedServer
from workerpool import Request, WorkerPool

URLS = (
    *(
        "http://example.com",
        "http://example.com/",
        "http://example.com:80/",
        "http://EXAMPLE.com/",
        "HTTP://example.com/",
    ),
    *("http://example.com:8080", "http://example.com:8080/a", "http://example.com?x", "http://example.com:80?x=/y"),
    *("http://example.com#f", "http://example.com/#f", "http://example.com/a#f?b", "http://example.com/a?b#f"),
    *("http://example.com/?", "http://example.com/??", "http://example.com/?a?b", "http://example.com/a?b#"),
    *(
        "http://user:pw@example.com/",
        "http://user@example.com/",
        "http://:pw@example.com/",
        "http://u%20s:p%40w@example.com/",
    ),
    *(
        "http://@example.com/",
        "http://user:pw@example.com:80/a",
        "http://a:b@c@example.com/",
        "http://user:@example.com/",
    ),
    *("http://[::1]/", "http://[::1]:8080/a", "http://[::FFFF:1.2.3.4]/", "http://[fe80::1%25eth0]/", "http://[::1/"),
    *("http://bücher.example/", "http://BÜCHER.example/a", "http://xn--bcher-kva.example/", "http://faß.example/"),
    *("http://example.com./", "http://127.1/", "http://0x7f.1/", "http://under_score.example/", "http://-a.example/"),
    *("http://a..b/", "http://.example.com/", "http://*.example/", "http://exa mple.com/", "http://ex%41mple.com/"),
    *("http://example.com:080/", "http://example.com:/", "http://example.com:99999/", "http://example.com:x/"),
    *("http://example.com//a//b", "http://example.com//", "http://example.com/a//", "http://example.com///a"),
    *("http://example.com/a/../b", "http://example.com/./a", "http://example.com/a/..", "http://example.com/../../a"),
    *("http://example.com/a/.", "http://example.com/...", "http://example.com/.a", "http://example.com/a/..b/c."),
    *(
        "http://example.com/%2e%2e/a",
        "http://example.com/%2E/a",
        "http://example.com/?a=/../b",
        "http://example.com/a..b",
    ),
    *(
        "http://example.com/%7euser",
        "http://example.com/%7Euser",
        "http://example.com/~user",
        "http://example.com/%41%2D",
    ),
    *("http://example.com/%c3%b6", "http://example.com/%C3%B6", "http://example.com/ö", "http://example.com/€?€=€"),
    *("http://example.com/a b", "http://example.com/a+b", "http://example.com/a%20b", "http://example.com/a\u00a0b"),
    *(
        "http://example.com/%",
        "http://example.com/100%",
        "http://example.com/%zz",
        "http://example.com/%a",
        "http://example.com/%%41",
    ),
    *(
        "http://example.com/a%2Fb",
        "http://example.com/a%2fb",
        "http://example.com/?q=%2f",
        "http://example.com/?q=%2F%3d",
    ),
    *(
        "http://example.com/?q=a%20b",
        "http://example.com/?q=a b",
        "http://example.com/?q=ö",
        "http://example.com/?q=%ff",
    ),
    *("http://example.com/a;b=c", "http://example.com/a|b", "http://example.com/{a}", 'http://example.com/"a"'),
    *("http://example.com/<a>", "http://example.com/a\\b", "http://example.com/a^b`", "http://example.com/[a]"),
    *(
        "http://example.com/?a[b]=c",
        "http://example.com/a:b@c",
        "http://example.com/a!$&'()*,=",
        "http://example.com/?'",
    ),
    *("http://example.com/a\tb", "http://example.com/a\nb", "http://example.com/a\r\nX: y", "http://example.com/\x7f"),
    *("http://example.com/a\x00b", " http://example.com/", "http://example.com/ ", "http://example.com/\u2028"),
    *("http://example.com/😀", "http://example.com/" + "x" * 3000, "http://example.com/?" + "%41" * 100),
    *(
        "http:///a",
        "http://",
        "http:/a",
        "http:a",
        "//example.com/",
        "/a",
        "",
        "ftp://example.com/",
        "http://?a",
        "http://#a",
    ),
)

REFUSED_OTHERWISE = {"http://[::1/": "InvalidURL, where plain requests with a proxy lets a bare ValueError through"}


def sent(server: ScriptedServer, send: Any, url: str) -> Any:
    """What came of a URL: what the server received, or what was raised."""
    with server.visit() as visit:
        try:
            response = send(url)
        except Exception as error:
            return type(error).__name__, [arrival.head for arrival in visit.arrivals]
        picture = pictures._request(response.request)
        return response.url, response.content, picture, [arrival.head for arrival in visit.arrivals]


def here(url: str, port: int) -> str:
    return url.replace("example.com", f"127.0.0.1:{port}", 1)


def through_proxy(url: str, port: int) -> str:
    return url


def asks_nobody_else(url: str) -> bool:
    """Whether it leads to our server without a proxy."""
    before = url.partition("example.com")
    return before[0] in ("http://", "HTTP://", " http://", "http://user:pw@") and before[2][:1] in ("", "/", "?", "#")


@pytest.mark.parametrize(("kind", "way"), combined(["fast", "slow"], ["straight", "proxy"]))
def test_what_is_sent_is_byte_for_byte_what_requests_sends(kind: str, way: str) -> None:
    apart: dict[str, Any] = {}
    taken: dict[str, bool | None] = {}
    with ScriptedServer() as server:
        proxies = {"http": server.url("")} if way == "proxy" else None
        place = through_proxy if way == "proxy" else here
        chosen = [place(url, server.port) for url in URLS if way == "proxy" or asks_nobody_else(url)]

        def plainly(url: str) -> requests.Response:
            with requests.Session() as session:
                session.proxies = proxies or {}
                return session.get(url, timeout=5)

        with WorkerPool(1, retry=None, fast_path=kind == "fast", proxies=proxies, timeout=5) as pool:

            def by_stream(url: str) -> requests.Response:
                (outcome,) = pool.stream([Request(url)])
                taken[url] = outcome.attempts and outcome.attempts[-1].fast_path  # type: ignore[assignment]
                if outcome.response is None:
                    assert outcome.error is not None
                    raise outcome.error.__cause__ or outcome.error
                return outcome.response

            for url in chosen:
                theirs = sent(server, plainly, url)
                for _ in range(2):  # the second time there may be a plan
                    ours = sent(server, by_stream, url)
                    if ours != theirs and url not in REFUSED_OTHERWISE:
                        apart[url] = (theirs, ours)
    assert apart == {}
    assert (True in taken.values()) is (kind == "fast")
