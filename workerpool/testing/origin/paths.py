"""The paths that an origin answers without a script; the package's docstring lists them.

Some remember what they answered before, each per host and URL; limits, per host and terms. The origin's thread only.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, unquote

from workerpool.errors import OptionError
from workerpool.testing.origin.limits import FixedWindow, Limit, Places, Queue, SlidingWindow, TokenBucket, announce
from workerpool.testing.origin.pages import Book
from workerpool.testing.origin.replies import Arrival, Reply

_LARGEST_BODY = 256 * 1024 * 1024
EARLY_PREFIX = "/unread/"
"""Paths that are answered before the request's body has come."""

_JSON = (("Content-Type", "application/json"),)
_OCTETS = (("Content-Type", "application/octet-stream"),)
_NOT_FOUND = Reply(status=404, body=b"nothing is scripted for this path\n")
_INDEX = Reply(body=b"workerpool test origin\n")


@dataclass(frozen=True, slots=True)
class _Call:
    """A request to a built-in path: what follows its first segment, its query, and the arrival itself."""

    argument: str
    query: Mapping[str, str]
    arrival: Arrival

    def count(self, name: str, default: int, most: int = _LARGEST_BODY) -> int:
        return _count(self.query.get(name, default), most)

    def seconds(self, name: str, default: float) -> float:
        return _seconds(self.query.get(name, default))

    @property
    def url(self) -> tuple[str, str, str]:
        return (self.arrival.address, self.arrival.host, self.arrival.path)


def _count(value: str | int, most: int = _LARGEST_BODY) -> int:
    number = int(value)
    if not 0 <= number <= most:
        raise ValueError(f"{value} is not between 0 and {most}")
    return number


def _seconds(value: str | float) -> float:
    number = float(value)
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"{value} is no number of seconds")
    return number


@functools.lru_cache(maxsize=64)
def _bytes(count: int) -> Reply:
    return Reply(body=_octets(count), headers=_OCTETS)


def _octets(count: int) -> bytes:
    return (bytes(range(256)) * (count // 256 + 1))[:count]


def _text(count: int) -> bytes:
    line = b"The quick brown fox jumps over the lazy dog.\n"
    return (line * (count // len(line) + 1))[:count]


class Paths:
    """Answers for the built-in paths, and what they remember."""

    def __init__(self) -> None:
        self._visits: Counter[tuple[str, str, str]] = Counter()
        self._limits: dict[tuple[object, ...], Limit] = {}
        self._handlers: dict[str, Callable[[_Call], Reply]] = {
            "bytes": lambda call: _bytes(_count(call.argument)),
            "chunked": lambda call: Reply(body=_text(call.count("bytes", 1000)), chunked=True),
            "cookies": self._cookies,
            "deflate": lambda call: Reply(body=_text(call.count("bytes", 1000)), encoding="deflate"),
            "delay": lambda call: Reply(body=b"ok\n", delay=_seconds(call.argument)),
            "drip": self._drip,
            "echo": self._echo,
            "etag": lambda call: Reply(body=b"ok\n", etag=call.argument or "v1"),
            "flaky": self._flaky,
            "gzip": lambda call: Reply(body=_text(call.count("bytes", 1000)), encoding="gzip"),
            "limit": self._limit,
            "pages": _page,
            "places": self._places,
            "queue": self._queue,
            "redirect": self._redirect,
            "redirect-to": lambda call: _redirect(call.query["url"], call.count("status", 302, 399)),
            "reset": lambda call: Reply(body=_text(1000), reset=True, reset_after=call.count("after", 0)),
            "retry-after": self._retry_after,
            "status": lambda call: Reply(status=int(call.argument), body=f"status {call.argument}\n".encode()),
            "truncate": self._truncate,
            "unread": lambda call: Reply(body=b"ok\n", delay=_seconds(call.argument), early=True),
            "window": self._window,
        }

    def reply(self, arrival: Arrival) -> Reply:
        """Return the answer to `arrival`: 404 for an unknown path, 400 for one that cannot be read."""
        if arrival.path == "/":
            return _INDEX
        path, _, query = arrival.path.partition("?")
        name, _, argument = path[1:].partition("/")
        handler = self._handlers.get(name)
        if handler is None:
            return _NOT_FOUND
        try:
            return handler(_Call(unquote(argument), dict(parse_qsl(query)) if query else {}, arrival))
        except (ValueError, CookieError, OptionError) as error:
            return Reply(status=400, body=f"/{name}: {error}\n".encode())
        except KeyError as error:
            return Reply(status=400, body=f"/{name}: the query lacks {error}\n".encode())

    def _visit(self, call: _Call) -> int:
        """Count this visit and return how many there were before."""
        self._visits[call.url] += 1
        return self._visits[call.url] - 1

    def _flaky(self, call: _Call) -> Reply:
        if self._visit(call) < _count(call.argument):
            return Reply(status=call.count("status", 503, 999), body=b"not yet\n")
        return Reply(body=b"ok\n")

    def _retry_after(self, call: _Call) -> Reply:
        value = call.query.get("value", call.argument)
        if self._visit(call) < call.count("times", 1):
            status = call.count("status", 429, 999)
            return Reply(status=status, body=b"later\n", headers=(("Retry-After", value),))
        return Reply(body=b"ok\n")

    def _limit(self, call: _Call) -> Reply:
        rate, burst = call.seconds("rate", 50), call.seconds("burst", 1)
        if not rate or burst < 1:
            raise ValueError("the rate must be above zero, the burst 1 or more")
        return self._limited(call, ("bucket", rate, burst), lambda: TokenBucket(rate, burst))

    def _window(self, call: _Call) -> Reply:
        count, window, kind = call.count("count", 600), call.seconds("seconds", 60), call.query.get("kind", "fixed")
        if not (count and window and kind in ("fixed", "sliding")):
            raise ValueError("count and seconds must be above zero, kind fixed or sliding")
        make = FixedWindow if kind == "fixed" else SlidingWindow
        return self._limited(call, (kind, count, window), lambda: make(count, window))

    def _places(self, call: _Call) -> Reply:
        most = call.count("most", 8)
        if not most:
            raise ValueError("most must be 1 or more")
        return self._limited(call, ("places", most), lambda: Places(most), status=503, delay=0.05)

    def _queue(self, call: _Call) -> Reply:
        slots = call.count("slots", 8, 10_000)
        if not slots:
            raise ValueError("slots must be 1 or more")
        return self._limited(call, ("queue", slots), lambda: Queue(slots), delay=0.02)

    def _limited(
        self,
        call: _Call,
        terms: tuple[object, ...],
        make: Callable[[], Limit],
        *,
        status: int = 429,
        delay: float = 0.0,
    ) -> Reply:
        """Answer by the limit of these terms, which all requests to the host share that have the same key.

        `status`: of refusals, `delay`: seconds that other answers take, if the query does not say.
        """
        arrival, query = call.arrival, call.query
        key = (arrival.address, arrival.host, arrival.headers.get(query.get("by", ""), ""), *terms)
        limit = self._limits.get(key)
        if limit is None:
            limit = self._limits[key] = make()
        verdict = limit.take(time.monotonic(), call.seconds("delay", delay))
        headers: tuple[tuple[str, str], ...] = ()
        if verdict.allowance is not None:
            headers = announce(query.get("headers", "no"), verdict.allowance, time.time())
        if verdict.wait is None:
            return Reply(body=b"ok\n", delay=verdict.delay, headers=headers)
        hint = query.get("hint", f"{math.ceil(verdict.wait)}")
        if hint != "no":
            headers = (*headers, ("Retry-After", hint))
        return Reply(status=call.count("status", status, 999), body=b"too many\n", headers=headers)

    def _redirect(self, call: _Call) -> Reply:
        left = _count(call.argument)
        query = call.arrival.path.partition("?")[2]
        if not left:
            return Reply(body=b"arrived\n")
        return _redirect(f"/redirect/{left - 1}{'?' if query else ''}{query}", call.count("status", 302, 399))

    def _drip(self, call: _Call) -> Reply:
        count = call.count("bytes", 10)
        return Reply(body=_text(count), drip=call.seconds("seconds", 1.0) / max(1, count))

    def _truncate(self, call: _Call) -> Reply:
        count = call.count("bytes", 100)
        return Reply(body=_text(count), truncate=call.count("after", count // 2))

    def _echo(self, call: _Call) -> Reply:
        arrival = call.arrival
        value = {
            "method": arrival.method,
            "path": arrival.path,
            "headers": dict(arrival.headers),
            "body": arrival.body.decode("utf-8", "replace"),
            "body_bytes": arrival.body_bytes,
        }
        return Reply(body=json.dumps(value).encode(), headers=_JSON)

    def _cookies(self, call: _Call) -> Reply:
        if call.argument == "set":
            headers = [*_JSON, *(("Set-Cookie", f"{name}={value}; Path=/") for name, value in call.query.items())]
            return Reply(body=json.dumps(dict(call.query)).encode(), headers=headers)
        sent = SimpleCookie(call.arrival.headers.get("cookie", ""))
        return Reply(body=json.dumps({name: morsel.value for name, morsel in sent.items()}).encode(), headers=_JSON)


def _page(call: _Call) -> Reply:
    count, items = _count(call.argument or "5", 1_000_000), call.count("items", 10)
    book = Book(count, items, call.count("loop", 0), call.count("broken", 0), call.count("failing", 0))
    return book.reply(call.arrival, call.query, call.seconds("delay", 0))


def _redirect(location: str, status: int) -> Reply:
    return Reply(status=status, body=b"elsewhere\n", headers=(("Location", location),))
