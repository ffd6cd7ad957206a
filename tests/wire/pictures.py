"""Everything that can be seen of a response, or of an error, as plain values that compare."""

from __future__ import annotations

import itertools
import pickle
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import requests

Picture = dict[str, Any]


def of_response(response: requests.Response, *, is_hop: bool = False) -> Picture:
    """What requests' documentation names, what its users are known to look at, and what lies below in `raw`."""
    facts: dict[str, Callable[[], Any]] = {
        # First of all what reading the body would change.
        "is a Response": lambda: isinstance(response, requests.Response),
        "is consumed": lambda: response._content_consumed,  # type: ignore[attr-defined]
        "raw": lambda: _raw(response.raw),
        "content": lambda: response.content,
        "status": lambda: response.status_code,
        "reason": lambda: response.reason,
        "headers": lambda: [type(response.headers).__name__, *response.headers.items()],
        "a header": lambda: response.headers.get("content-LENGTH"),
        "text": lambda: response.text,
        "encoding": lambda: response.encoding,
        "apparent encoding": lambda: response.apparent_encoding,
        "JSON": lambda: response.json(),
        "url": lambda: response.url,
        "history": lambda: [] if is_hop else [of_response(hop, is_hop=True) for hop in response.history],
        "history's history": lambda: [hop.url for hop in response.history],
        "cookies": lambda: [type(response.cookies).__name__, *map(_cookie, response.cookies)],
        "is redirect": lambda: (response.is_redirect, response.is_permanent_redirect),
        "next": lambda: _request(response.next),
        "links": lambda: response.links,
        "ok": lambda: (response.ok, bool(response)),
        "raise_for_status": response.raise_for_status,
        "elapsed": lambda: isinstance(response.elapsed, timedelta) and response.elapsed > timedelta(0),
        "request": lambda: _request(response.request),
        "connection": lambda: isinstance(response.connection, requests.adapters.BaseAdapter),  # type: ignore[attr-defined]
        "pieces": lambda: [*itertools.islice(response.iter_content(7), 100)],
        "text pieces": lambda: [*itertools.islice(response.iter_content(7, decode_unicode=True), 100)],
        "lines": lambda: [*itertools.islice(response.iter_lines(_piece(response)), 100)],
        "iteration": lambda: [*itertools.islice(response, 100)],
        "repr": lambda: repr(response),
        "pickled": lambda: _pickled(response),
        "fields": lambda: sorted(response.__getstate__()),
        "raw after": lambda: _raw(response.raw),
        "raw read": lambda: (response.raw.read(), response.raw.read(5), [*response.raw.stream(5)]),
        "closed": response.close,
        "raw closed": lambda: response.raw.closed,
    }
    return {name: _seen(fact) for name, fact in facts.items()}


def _piece(response: requests.Response) -> int:
    """The size of the pieces that lines are made of: requests takes a long line apart again at each."""
    return 512 if len(response.content) < 10_000 else 1 << 20


def of_error(error: BaseException) -> Picture:
    """An error of requests: its class, the class of the library's that it holds, and what it was about."""
    inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else None
    request, response = getattr(error, "request", None), getattr(error, "response", None)
    return {
        "error": type(error).__name__,
        "inner error": type(inner).__name__,
        "request": request is not None and _request(request),
        "response": response is not None and response.status_code,
    }


def _seen(fact: Callable[[], Any]) -> Any:
    try:
        return fact()
    except Exception as error:
        return f"raises {type(error).__name__}: {_plain(str(error))}"


def _plain(text: str) -> str:
    """Without addresses in memory."""
    return re.sub(r"0x[0-9a-f]{6,}", "0x…", text)


def _cookie(cookie: Any) -> Any:
    kept = ("name", "value", "domain", "path", "secure", "expires", "port", "version", "discard", "rfc2109")
    rest = [name for name in cookie._rest if not name.endswith(";")]  # no server's: what the pool notes down
    return [getattr(cookie, name) for name in kept], sorted(rest)


def _request(request: Any) -> Any:
    if request is None:
        return None
    return (
        *(type(request).__name__, request.method, request.url, request.path_url),
        [(name, without_lots(value)) for name, value in request.headers.items()],
        without_lots(request.body) if isinstance(request.body, (bytes, str)) else type(request.body).__name__,
        *(sorted(request.hooks), [*map(_cookie, request._cookies or ())]),
    )


def without_lots(text: str | bytes) -> bytes:
    """Without what a form and a digest draw by lot."""
    data = text.encode() if isinstance(text, str) else text
    if len(data) < len('nonce=""') + 16:
        return data  # as most are, and pictures hold thousands
    return re.sub(rb'\b[0-9a-f]{32}\b|nonce="[0-9a-f]{16}"', b"drawn", data)


def _raw(raw: Any) -> Picture:
    facts: dict[str, Callable[[], Any]] = {
        "status": lambda: (raw.status, raw.reason, raw.version, raw.version_string),
        "headers": lambda: [*raw.headers.iteritems()],
        "merged": lambda: [*raw.headers.itermerged()],
        "lists": lambda: {name.lower(): raw.headers.getlist(name) for name in raw.headers},
        "header": lambda: (raw.getheader("content-length"), raw.getheader("x-nothing", "no")),
        "info": lambda: [*raw.info().items()],
        "closed": lambda: (raw.closed, raw.isclosed()),
        "length": lambda: raw.length_remaining,
        "chunked": lambda: raw.chunked,
        "tell": raw.tell,
        "url": raw.geturl,
        "retries": lambda: raw.retries and (raw.retries.total, raw.retries.history),
        "decodes": lambda: raw.decode_content,
        "connection": lambda: raw.connection is None,
        "location": raw.get_redirect_location,
        "readable": lambda: (raw.readable(), raw.writable(), raw.seekable()),
        "original": lambda: [type(raw._original_response.msg).__name__, *raw._original_response.msg.items()],
    }
    return {name: _seen(fact) for name, fact in facts.items()}


def _pickled(response: requests.Response) -> Any:
    twin = pickle.loads(pickle.dumps(response))
    before, after = response.__getstate__(), twin.__getstate__()
    same = {name: _comparable(before[name]) == _comparable(after[name]) for name in before}
    return type(twin).__name__, [name for name, is_same in same.items() if not is_same], before.keys() == after.keys()


def _comparable(value: Any) -> Any:
    if isinstance(value, list):
        return [*map(_comparable, value)]
    if isinstance(value, requests.Response):
        return repr(value), value.url, value.content
    if isinstance(value, requests.PreparedRequest):
        return _request(value)
    if isinstance(value, requests.cookies.RequestsCookieJar):
        return [*map(_cookie, value)]
    return value


def differences(one: Picture, other: Picture) -> set[str]:
    """Where two pictures differ, as paths into them; only how they end, where they do not end alike."""
    ends = [picture.get("error") or picture["status"] for picture in (one, other)]
    if ends[0] != ends[1]:
        return {f"{ends[0]}, not {ends[1]}"}
    return {path for name in (one.keys() | other.keys()) for path in _apart(one.get(name), other.get(name), name)}


def _apart(one: Any, other: Any, path: str) -> Iterator[str]:
    if one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            yield from _apart(one.get(name), other.get(name), f"{path} / {name}")
    elif path == "history" and len(one) == len(other):
        for hop, twin in zip(one, other, strict=True):
            yield from _apart(hop, twin, "history")
    else:
        yield path
