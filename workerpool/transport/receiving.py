"""Bodies that go to files: what is asked for, what to make of the answer, and its bytes from the socket to the disk.

In place of the attempt's deadline, which ends with the headers, each stretch of a body has to bring its bytes in time.
What came of a body that breaks off is kept where the server can be asked for the rest. The worker thread that sends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, MutableMapping
from contextlib import closing
from typing import Any

import urllib3.response
from requests import PreparedRequest, Response

from workerpool.errors import (
    BadBody,
    ConnectionLost,
    InvalidRequest,
    NameTaken,
    RequestError,
    TimedOut,
    TooLarge,
    WrongChecksum,
)
from workerpool.model import Request, origin
from workerpool.redact import redact
from workerpool.saving import Board, Known, Offer, Part, Save, Saved, Span, is_taken, offered, open_part, put
from workerpool.saving.place import taken
from workerpool.transport.bodies import ENCODED_PIECE, decoded, raise_as_requests
from workerpool.transport.deadline import Watch

PIECE = 256 * 1024
"""Bytes that are read at once, at most: what has come, without waiting for more, so that little is lost with it."""

PARTIAL, UNSATISFIABLE = 206, 416

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_RANGES = ("Range", "If-Range")


def wanted_sha256(request: Request) -> str | None:
    """The checksum that a request names; raises `InvalidRequest` for what is none."""
    if request.sha256 is None:
        return None
    if not isinstance(request.sha256, str) or not _SHA256.fullmatch(request.sha256):
        raise InvalidRequest(f"sha256={request.sha256!r} is no SHA-256: write its 64 hexadecimal digits")
    return request.sha256.lower()


def check_sha256(wanted: str | None, found: str, host: str) -> None:
    """Raise `WrongChecksum` for a body that is not the one that was meant."""
    if wanted is not None and wanted != found:
        raise WrongChecksum(f"the body from {host} has the SHA-256 {found}, not {wanted}, as was asked for")


class Receiver:
    """Receives bodies for files. `board`: where it says how far they are. One object for all threads."""

    def __init__(self) -> None:
        self.board = Board()

    def ask(self, request: Request, prepared: PreparedRequest) -> Offer | None:
        """Have a request ask for what is missing of its body, uncoded; returns what is there.

        Raises `NameTaken` where the body would have no place.
        """
        save = request.save
        assert save is not None
        wanted_sha256(request)
        if not save.overwrite and not save.template.is_by_content:
            name = save.template.of(request)
            if is_taken(save.path, name):
                raise taken(f"{save.path}/{name}")
        own = {name.lower() for name in request.headers or ()}
        headers: MutableMapping[str, str] = prepared.headers
        if "accept-encoding" not in own:
            headers["Accept-Encoding"] = "identity"
        if not own.isdisjoint({"range", "if-range"}) or (prepared.method or "").upper() != "GET":
            return None  # what it asks for is its own
        for name in _RANGES:
            headers.pop(name, None)
        offer = offered(save, request)
        headers.update(offer.headers if offer is not None else {})
        return offer

    def takes(self, response: Response, offer: Offer | None) -> bool:
        """Whether an answer's body goes to a file: it is what was asked for, or says that nothing of it is missing."""
        if response.status_code == UNSATISFIABLE:
            return offer is not None
        return 200 <= response.status_code < 300 and response.request.method != "HEAD"

    def receive(self, request: Request, response: Response, offer: Offer | None, watch: Watch) -> None:
        """Read the body into its file, and put that in its place; the response says which, as `saved`.

        Raises what `Response.content` raises, and errors of ours for what is wrong with the answer or the disk.
        """
        save, state = request.save, _State(response)
        assert save is not None
        try:
            with closing(open_part(save, request)) as part:
                host = redact(origin(response.url))
                _take_up(part, request, response, offer, host)
                if response.status_code != UNSATISFIABLE:
                    self._fill(part, save, request, response, watch)
                if not watch.renew(None):  # from here on nothing hangs on the server
                    raise _too_slow(save, host)
                state.saved = _finished(part, save, request, host)
        except BaseException:
            response.close()  # what is left of it is not read, so nothing else can come over this socket
            raise
        finally:
            state.let_go()

    def _fill(self, part: Part, save: Save, request: Request, response: Response, watch: Watch) -> None:
        """Write the body as it comes. Each `save.window` seconds have to bring their bytes."""
        stretch = math.inf if save.min_speed is None else math.ceil(save.min_speed * save.window)
        window = None if save.min_speed is None else save.window
        line = self.board.line
        line.begin(redact(request.label), part.size, part.known.total)
        try:
            left = stretch
            watch.renew(window)
            for piece in _pieces(response):
                _check_size(part.size + len(piece), save)
                part.write(piece)
                line.add(len(piece))
                left -= len(piece)
                if left <= 0:
                    left = stretch
                    watch.renew(window)
        except Exception as error:
            if watch.has_expired and not isinstance(error, RequestError):
                raise _too_slow(save, redact(origin(response.url))) from error
            raise
        finally:
            line.end()


class _State:
    """A response whose body is not in memory: what requests keeps of that, and its file."""

    def __init__(self, response: Response) -> None:
        self._response: Any = response
        self.saved: Saved | None = None

    def let_go(self) -> None:
        response = self._response
        if self.saved is not None and response.status_code == UNSATISFIABLE:  # nothing was missing: it is a success
            response.status_code, response.reason = 200, "OK"
        response._content, response._content_consumed = b"", True
        response.saved = self.saved
        release = getattr(response.raw, "release_conn", None)
        if release is not None:
            release()


def _take_up(part: Part, request: Request, response: Response, offer: Offer | None, host: str) -> None:
    """Make the part ready for what the answer brings: all of the body, or the rest of it.

    Where it is neither, the part is forgotten, and the error has the next attempt start over.
    """
    status, span = response.status_code, Span.of(response.headers)
    is_asked = any(name in response.request.headers for name in _RANGES)
    if offer is None:
        if status == PARTIAL and not is_asked:
            raise BadBody(f"{host} answered with a part of the body (206), which was not asked for")
        part.begin(Known() if status == PARTIAL else Known.of(response.headers))
        return
    if status not in (PARTIAL, UNSATISFIABLE):
        part.begin(Known.of(response.headers))  # it is another one by now, or the server knows no ranges
        return
    is_rest = span is not None and (
        span.continues(offer, response.headers) if status == PARTIAL else span.total == offer.start
    )
    if not is_rest:
        part.drop()
        raise ConnectionLost(f"{host} did not go on with the body where it broke off, at byte {offer.start:,}")
    if not part.go_on(offer):
        raise ConnectionLost("what was there of the body is not any more")
    if span is not None and span.total is not None:
        part.known = Known(part.known.validator, span.total)


def _finished(part: Part, save: Save, request: Request, host: str) -> Saved:
    """Check that it is the body, all of it, and put it in its place."""
    total, was_there = part.known.total, not part.is_in_one_piece
    if total is not None and part.size != total:
        raise ConnectionLost(f"the connection to {host} ended early: {part.size:,} of {total:,} bytes came")
    sha256 = part.finish()
    try:
        check_sha256(wanted_sha256(request), sha256, host)
        template = save.template
        name = template.of(request, sha256)
        path = put(
            part.path, part.size, save.path, name, overwrite=save.overwrite, is_by_content=template.is_by_content
        )
    except WrongChecksum as error:
        part.drop()
        error.retry_helps = was_there  # it may be the earlier part that is bad
        raise
    except NameTaken:
        part.drop()
        raise
    part.drop()
    return Saved(path, part.size, sha256)


def _check_size(size: int, save: Save) -> None:
    if save.max_size is not None and size > save.max_size:
        raise TooLarge(f"the body is larger than save.max_size={save.max_size}")


def _too_slow(save: Save, host: str) -> TimedOut:
    return TimedOut(f"the body from {host} came slower than {save.min_speed:g} bytes/s, over {save.window:g} s")


def _pieces(response: Response) -> Iterator[bytes]:
    """The body as it comes, decoded if the server has coded it all the same. Raises what `Response.content` raises."""
    raw: Any = response.raw
    state: Any = response
    if state._content is not False or not isinstance(raw, urllib3.response.HTTPResponse):
        yield from response.iter_content(PIECE)  # a hook has read it, or an adapter brought its own kind of raw
        return
    try:
        yield from _pieces_of(raw)
    except GeneratorExit:
        raise
    except BaseException as error:
        raise_as_requests(error)


def _pieces_of(raw: Any) -> Iterator[bytes]:
    if raw.chunked and not getattr(raw._original_response, "chunked", True):
        return raw.stream(PIECE, decode_content=True)  # type: ignore[no-any-return]  # see `bodies`
    coding = raw.headers.get("content-encoding", "identity")
    if coding.strip().lower() == "identity":
        return iter(lambda: raw.read1(PIECE, decode_content=False), b"")
    return decoded(iter(lambda: raw.read1(ENCODED_PIECE, decode_content=False), b""), coding, None)
