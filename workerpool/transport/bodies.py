"""Bodies: whether one can be sent again, going back to its start, and reading one whole. Worker threads only."""

from __future__ import annotations

import sys
import time
import zlib
from collections.abc import Iterator
from typing import Any, NoReturn, cast

import requests
import urllib3.exceptions
from requests import PreparedRequest, Response
from requests.utils import rewind_body

from workerpool.errors import TimedOut, TooLarge

PIECE = 1024 * 1024
"""Bytes, decompressed, that are read at once of a body whose size is not known ahead."""
ENCODED_PIECE = 64 * 1024
"""Bytes that are given to a decoder at once. What it has left over is copied for each member of a gzip body, so the
cost of tiny members grows with this number: 10 MB of them take 0.8 s, and with 1 MiB they would take 14 s."""
MOST_CODINGS = 5
"""Codings that may be applied to a body, one over the other; urllib3 allows no more."""

_GZIP = 16 + zlib.MAX_WBITS


_REQUESTS_ERRORS: tuple[tuple[type[Exception], type[Exception]], ...] = (
    (urllib3.exceptions.ProtocolError, requests.exceptions.ChunkedEncodingError),
    (urllib3.exceptions.DecodeError, requests.exceptions.ContentDecodingError),
    (urllib3.exceptions.ReadTimeoutError, requests.exceptions.ConnectionError),
    (urllib3.exceptions.SSLError, requests.exceptions.SSLError),
)
UNREADABLE = (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)
"""What requests lets pass in the body of a redirect that it follows."""


def is_repeatable(prepared: PreparedRequest) -> bool:
    """Whether the body can be sent again: there is none, it is bytes, or a file that tells its position."""
    body: Any = prepared.body
    return body is None or isinstance(body, (bytes, str)) or isinstance(_position(prepared), int)


def rewind(prepared: PreparedRequest) -> None:
    """Go back to where the body began, before it is sent again: a file's end would be sent as an empty body."""
    if isinstance(_position(prepared), int):
        rewind_body(prepared)


def _position(prepared: Any) -> Any:
    return prepared._body_position  # requests notes it when it prepares a body that has a tell()


def read_whole(response: Response, max_bytes: int | None = None) -> None:
    """Read the whole body at once; requests' `content` joins pieces of 10 KiB, at a third of the speed for 1 MiB.

    Raises what `Response.content` raises, and `TooLarge` for one that is over `max_bytes` once it is decompressed: no
    more than that is ever held.
    """
    raw = response.raw
    state: Any = response  # its content is kept in fields that requests' stubs do not name
    if state._content_consumed or not isinstance(raw, urllib3.response.BaseHTTPResponse):
        _ = response.content  # a hook has read it, or an adapter brought its own kind of raw
        return
    try:
        state._content = _read(raw, max_bytes)
    except BaseException as error:
        raw.close()  # what is left of it is not read, so nothing else can come over this socket
        if isinstance(error, TooLarge):
            state._content = b""
        raise_as_requests(error)
    finally:
        state._content_consumed = True
        raw.release_conn()


def raise_as_requests(error: BaseException) -> NoReturn:
    """Raise what `Response.content` makes of an error of urllib3's."""
    for kind, of_requests in _REQUESTS_ERRORS:
        if isinstance(error, kind):
            raise of_requests(error) from error
    raise error


def read_redirect(response: Response, max_bytes: int | None) -> Exception | None:
    """Read the body of a redirect, if it can be read: as in requests, one that is cut short does no harm to what
    follows. Returns what is wrong with it, for where nothing follows."""
    try:
        read_whole(response, max_bytes)
    except UNREADABLE as error:
        state: Any = response
        state._content = b""
        return error
    return None


def _read(raw: Any, max_bytes: int | None) -> bytes:
    if raw.chunked and raw.length_remaining != 0 and not getattr(raw._original_response, "chunked", True):
        # ``Transfer-Encoding`` says more than ``chunked``: urllib3 reads the chunks, where http.client does not.
        return collect(raw.stream(PIECE, decode_content=True), max_bytes)
    length = raw.length_remaining
    is_plain = "content-encoding" not in raw.headers
    if max_bytes is None or (is_plain and length is not None and length <= max_bytes):
        return cast(bytes, raw.read(decode_content=True))
    if is_plain and length is not None:
        raise too_large(max_bytes)
    return collect(_plain_pieces(raw, max_bytes) if is_plain else _decoded_pieces(raw, max_bytes), max_bytes)


def collect(pieces: Iterator[bytes], max_bytes: int | None) -> bytes:
    """Join `pieces`; raises `TooLarge` when they are more than `max_bytes`."""
    taken: list[bytes] = []
    left = sys.maxsize if max_bytes is None else max_bytes
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise too_large(max_bytes)
        taken.append(piece)
    return taken[0] if len(taken) == 1 else b"".join(taken)


def _plain_pieces(raw: Any, max_bytes: int) -> Iterator[bytes]:
    size = min(PIECE, max_bytes + 1)
    while piece := raw.read(size, decode_content=True):
        yield piece


def _decoded_pieces(raw: Any, max_bytes: int) -> Iterator[bytes]:
    """Decode by ourselves: urllib3's `read` forgets the limit when it flushes what its decoder has left over, and its
    decoder doubles its input where a gzip member ends at the limit."""
    header = raw.headers["content-encoding"]
    if raw._has_decoded_content:
        return _plain_pieces(raw, max_bytes)  # a hook has begun to read it
    pieces: Iterator[bytes] = iter(lambda: raw.read(ENCODED_PIECE, decode_content=False), b"")
    return decoded(pieces, header, max_bytes)


def decoded(pieces: Iterator[bytes], header: str, max_bytes: int | None) -> Iterator[bytes]:
    """Decompress `pieces`, which are of `ENCODED_PIECE` at most, as ``Content-Encoding: header`` says.

    Codings that are unknown, or whose library is not installed, are left as they are, as urllib3 does. Raises its
    `DecodeError`.
    """
    size = PIECE if max_bytes is None else min(PIECE, max_bytes + 1)
    codings = [coding.strip() for coding in header.lower().split(",")]
    if len(codings) <= MOST_CODINGS and set(codings) <= {"gzip", "x-gzip", "deflate"}:
        for left, coding in zip(range(len(codings) - 1, -1, -1), reversed(codings), strict=True):
            pieces = _inflated(pieces, ENCODED_PIECE if left else size, is_gzip=coding != "deflate")
        return _explained(pieces, header)
    decoder = _decoder(header)
    return pieces if decoder is None else _explained(_by(decoder, pieces, size), header)


def _decoder(header: str) -> Any:
    """urllib3's decoder for some codings, None for unknown ones."""
    raw: Any = urllib3.HTTPResponse(headers={"content-encoding": header}, preload_content=False)
    raw._init_decoder()
    return raw._decoder


def _inflated(pieces: Iterator[bytes], size: int, *, is_gzip: bool) -> Iterator[bytes]:
    """Decompress `pieces` into some of `size` bytes at most.

    As urllib3 does, it takes gzip's members one after the other, ignores what comes after them (or after deflate's
    end), does not mind an early end, and reads deflate without zlib's header (RFC 9110, section 8.4.1.2) too.
    """
    inflater = zlib.decompressobj(_GZIP) if is_gzip else None
    is_later_member = False
    start = b""
    for data in pieces:
        if inflater is None:
            start += data
            if len(start) < 2:
                continue
            data, has_header = start, start[0] & 0x0F == 8 and int.from_bytes(start[:2], "big") % 31 == 0
            inflater = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
        while data:
            try:
                piece = inflater.decompress(data, size)
            except zlib.error:
                if not is_later_member:
                    raise
                break
            if piece:
                yield piece
            if inflater.eof and not is_gzip:
                break
            data = inflater.unused_data or inflater.unconsumed_tail
            if inflater.eof:
                inflater, is_later_member = zlib.decompressobj(_GZIP), True
    if inflater is not None and not inflater.unconsumed_tail and (piece := inflater.flush()):
        yield piece


def _by(decoder: Any, pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Decompress by one of urllib3's decoders. An empty body is taken for what it is, whatever its coding."""
    has_any = False
    for data in pieces:
        has_any = True
        while piece := decoder.decompress(data, max_length=size):
            yield piece
            data = b""
            if not decoder.has_unconsumed_tail:
                break
    if has_any and not decoder.has_unconsumed_tail and (piece := decoder.flush()):
        yield piece


def _explained(pieces: Iterator[bytes], header: str) -> Iterator[bytes]:
    try:
        yield from pieces
    except OSError:
        raise  # among urllib3's classes, but the socket's, not a decoder's: that nothing is there yet, say
    except urllib3.response.BaseHTTPResponse.DECODER_ERROR_CLASSES as error:
        raise urllib3.exceptions.DecodeError(
            f"a body with content-encoding {header!r} does not decode", error
        ) from error


def too_large(max_bytes: int | None) -> TooLarge:
    return TooLarge(f"the body is larger than max_body, {max_bytes} bytes")


def read_first(response: Response, most: int, seconds: float) -> bytes:
    """Read the first `most` bytes, decompressed, of the body of a streamed response, and let go of the rest.

    Raises what `Response.content` raises, and `TimedOut` if that takes longer than `seconds` and one silence.
    """
    raw = response.raw
    state: Any = response
    if state._content is not False or not isinstance(raw, urllib3.response.HTTPResponse):
        return response.content[:most]
    ends_at = time.monotonic() + seconds
    taken = bytearray()
    try:
        while len(taken) < most and (piece := raw.read1(most, decode_content=True)):
            taken += piece
            if time.monotonic() > ends_at:
                raise TimedOut(f"the body did not end within {seconds:g} s")
    except Exception as error:
        raise_as_requests(error)
    finally:
        response.close()
    return bytes(taken[:most])
