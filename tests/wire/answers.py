"""What servers answer: some hundred answers as they stand on the wire, valid ones, odd ones and hostile ones.

A `Case` is a request and the bytes that answer it. Each family is a generator; what a family is about is in its
docstring. What must come of a case is not written here: plain requests says it, see `test_answers`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

End = Literal["keep", "close", "reset"]
Waits = Literal["", "requests", "everyone"]

OK = b"HTTP/1.1 200 OK"
TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 20
HELLO = b"hello world"
PATIENCE = 1.0
"""Seconds after which a client gives up a case that `waits`: its answer never ends, and nobody closes."""


@dataclass(frozen=True)
class Case:
    """One request and its answer.

    `pieces`: the answer, each piece in a write of its own; `end`: what the server does with the connection then;
    `late`: written once the client has its response, or has given up. `reads`: whether the server reads the request's
    body before it answers. `waits`: who can only run out of time. `used`: whether another request has gone over the
    connection before.
    """

    name: str
    pieces: tuple[bytes, ...]
    end: End = "keep"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes | None = None
    late: bytes = b""
    reads: bool = True
    waits: Waits = ""
    used: bool = False


def head(*lines: bytes, start: bytes = OK) -> bytes:
    return b"\r\n".join([start, *lines, b"", b""])


def sized(body: bytes, *lines: bytes, start: bytes = OK) -> bytes:
    """An answer with a Content-Length."""
    return head(b"Content-Length: %d" % len(body), *lines, start=start) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunked(*chunks: bytes, lines: Iterable[bytes] = (), start: bytes = OK, trailers: bytes = b"") -> bytes:
    """An answer in chunks."""
    pieces = [head(b"Transfer-Encoding: chunked", *lines, start=start), *map(chunk, chunks)]
    return b"".join([*pieces, b"0\r\n", trailers, b"\r\n"])


def to_chunked(body: bytes) -> bytes:
    """An answer whose chunks, sizes and all, are `body`."""
    return head(b"Transfer-Encoding: chunked") + body


Cases = Iterator[Case]
Family = Callable[[], Cases]
FAMILIES: list[Family] = []


def family(function: Family) -> Family:
    FAMILIES.append(function)
    return function


# -- status lines ------------------------------------------------------------------------------------------------------

_STATUSES = (
    *(200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 299),
    *(300, 301, 302, 303, 304, 305, 306, 307, 308, 399),
    *(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 415, 417, 418, 421, 422, 425, 426, 428),
    *(429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 507, 511, 520, 599, 600, 777, 999),
)


@family
def statuses() -> Cases:
    """Each status with a body that has a length; some with other bodies."""
    for status in _STATUSES:
        start = b"HTTP/1.1 %d Any reason" % status
        if status not in (204, 304):
            yield Case(f"status {status} with a body", (sized(HELLO, start=start),))
    for status in (200, 301, 404, 503):
        start = b"HTTP/1.1 %d Any reason" % status
        yield Case(f"status {status} with an empty body", (sized(b"", start=start),))
        yield Case(f"status {status} in chunks", (chunked(HELLO, start=start),))
        yield Case(f"status {status} until the end", (head(start=start) + HELLO,), "close")
    for status in (204, 205, 304):
        start = b"HTTP/1.1 %d Any reason" % status
        waits: Waits = "everyone" if status == 205 else ""
        yield Case(f"status {status} bare", (head(start=start),), waits=waits)
        yield Case(f"status {status} bare, then closed", (head(start=start),), "close")
        yield Case(f"status {status} of length 0", (sized(b"", start=start),))
        yield Case(
            f"status {status} of length 11 without the body", (head(b"Content-Length: 11", start=start),), waits=waits
        )
        yield Case(f"status {status} of length 11 with the body", (sized(HELLO, start=start),))
        waits = "everyone" if status == 205 else "requests"
        yield Case(f"status {status} in no chunks", (head(b"Transfer-Encoding: chunked", start=start),), waits=waits)
        yield Case(f"status {status} in chunks", (chunked(HELLO, start=start),))


@family
def versions() -> Cases:
    """The first word of the status line."""
    for version in (
        *("HTTP/1.0", "HTTP/1.1", "HTTP/1.2", "HTTP/1.10", "HTTP/1.", "HTTP/1.x", "HTTP/2", "HTTP/2.0", "HTTP/3"),
        *("HTTP/0.9", "HTTP/", "HTTP", "http/1.1", "Http/1.1", "HTTPS/1.1", "HTTP/11", "HTTP/01.1", "HTTP/1.1.1"),
        *("HTTP/1.1;", "HTTP/-1", "ICY", "SIP/2.0", "HTTP /1.1", "HTTP/ 1.1", "H", "HTTP/9.9"),
    ):
        yield Case(f"version {version!r}", (sized(HELLO, start=f"{version} 200 OK".encode()),), "close")
    yield Case("HTTP/1.0 keeps nothing open", (sized(HELLO, start=b"HTTP/1.0 200 OK"),))
    yield Case("HTTP/1.0 until the end", (head(start=b"HTTP/1.0 200 OK") + HELLO,), "close")
    yield Case("HTTP/1.0 with chunks", (chunked(HELLO, start=b"HTTP/1.0 200 OK"),), "close")
    yield Case("HTTP/1.0 with chunks, kept open", (chunked(HELLO, start=b"HTTP/1.0 200 OK"),))


@family
def connections() -> Cases:
    """Who keeps the connection open, as each version has it; the server keeps it in any case."""
    for version in ("1.0", "1.1"):
        for line in (
            *("Connection: keep-alive", "Connection: Keep-Alive", "connection: close", "Connection: CLOSE"),
            *("Connection: close, keep-alive", "Connection: keep-alive, close", "Connection: x, close , y"),
            *("Connection: Upgrade", "Connection: ", "Connection: closed", "Connection: keep-alive, Upgrade"),
            *("Keep-Alive: timeout=5, max=100", "Keep-Alive: timeout=x", "Keep-Alive:", "Proxy-Connection: keep-alive"),
            *("Proxy-Connection: close", "Connection: close\r\nConnection: keep-alive"),
            *("Connection: keep-alive\r\nConnection: close", "Connection: keep-alive\r\nKeep-Alive: timeout=1"),
            *("Connection: keep-alive\r\nKeep-Alive: timeout=0", "Connection: keep-alive\r\nKeep-Alive: max=0"),
        ):
            start = f"HTTP/{version} 200 OK".encode()
            yield Case(f"HTTP/{version} {line!r}", (sized(HELLO, line.encode(), start=start),))
    yield Case("said to close, and closed", (sized(HELLO, b"Connection: close"),), "close")
    yield Case("not said to close, and closed", (sized(HELLO),), "close")
    yield Case("chunks, said to close", (chunked(HELLO, lines=[b"Connection: close"]),))
    yield Case("no body, said to close", (head(b"Connection: close", start=b"HTTP/1.1 204 No"),))


@family
def status_codes() -> Cases:
    """The second word of the status line."""
    for code in (
        *(
            "099",
            "000",
            "0",
            "1",
            "20",
            "2000",
            "1000",
            "0200",
            "00200",
            "200.0",
            "2_0_0",
            "abc",
            "2xx",
            "-200",
            "+200",
        ),
        *("20O", "0x200", "٢٠٠", "²00", "", " ", "200,", '"200"', "1e2", "99999999999999999999"),
    ):
        yield Case(f"code {code!r}", (sized(HELLO, start=f"HTTP/1.1 {code} OK".encode()),), "close")


@family
def status_lines() -> Cases:
    """What else may be odd about the status line."""
    for name, start in {
        "no reason, a space": b"HTTP/1.1 200 ",
        "no reason": b"HTTP/1.1 200",
        "two spaces before the code": b"HTTP/1.1  200 OK",
        "two spaces after the code": b"HTTP/1.1 200  OK",
        "tabs": b"HTTP/1.1\t200\tOK",
        "form feed": b"HTTP/1.1\x0c200\x0cOK",
        "NBSP for a space": b"HTTP/1.1\xa0200\xa0OK",
        "space before it": b" HTTP/1.1 200 OK",
        "space after it": b"HTTP/1.1 200 OK   ",
        "long reason": b"HTTP/1.1 200 " + b"OK " * 300,
        "UTF-8 reason": "HTTP/1.1 200 Größe".encode(),
        "latin-1 reason": "HTTP/1.1 200 Größe".encode("latin-1"),
        "not even latin-1 control reason": b"HTTP/1.1 200 \x80\x85\x9f",
        "control reason": b"HTTP/1.1 200 \x01\x02\x1b[2J\x7f",
        "NUL in the reason": b"HTTP/1.1 200 O\0K",
        "bare CR in the reason": b"HTTP/1.1 200 O\rK",
        "bare CR before the end": b"HTTP/1.1 200 OK\r",
        "reason of one letter": b"HTTP/1.1 200 O",
        "reason of digits": b"HTTP/1.1 200 404 Not Found",
        "reason with a colon": b"HTTP/1.1 200 X: y",
        "reason with tabs": b"HTTP/1.1 200 \tOK\t",
        "only a version": b"HTTP/1.1",
        "only a version and a space": b"HTTP/1.1 ",
        "empty": b"",
        "a header instead": b"Content-Type: text/plain",
        "a request instead": b"GET / HTTP/1.1",
        "HTML instead": b"<html><body>Welcome</body></html>",
        "a TLS alert instead": b"\x15\x03\x03\x00\x02\x02\x46",
        "a TLS handshake instead": b"\x16\x03\x03\x00\x5a\x02\x00\x00\x56\x03\x03" + bytes(70),
        "an HTTP/2 preface instead": b"PRI * HTTP/2.0\r\n\r\nSM",
        "HTTP/2 settings instead": b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        "an SSH banner instead": b"SSH-2.0-OpenSSH_9.2",
        "a mail server's banner instead": b"220 mail.example ESMTP ready",
        "NUL bytes instead": bytes(64),
        "NUL before": b"\0HTTP/1.1 200 OK",
        "empty line before": b"\r\nHTTP/1.1 200 OK",
        "empty lines before": b"\r\n\r\n\r\nHTTP/1.1 200 OK",
        "bare LF before": b"\nHTTP/1.1 200 OK",
        "garbage before": b"garbage HTTP/1.1 200 OK",
        "a line of garbage before": b"garbage\r\nHTTP/1.1 200 OK",
        "byte order mark before": b"\xef\xbb\xbfHTTP/1.1 200 OK",
        "folded": b"HTTP/1.1 200\r\n OK",
    }.items():
        yield Case(f"status line: {name}", (sized(HELLO, start=start),), "close")
    for size in (60_000, 65_536 - 17, 65_536 - 16, 65_536 - 15, 65_536 - 14, 65_536 - 13, 65_536 - 12, 70_000, 300_000):
        yield Case(f"a reason of {size} bytes", (sized(HELLO, start=b"HTTP/1.1 200 " + b"r" * size),), "close")


@family
def interim() -> Cases:
    """Answers before the answer (RFC 9110, section 15.2)."""
    hints = head(b"Link: </style.css>; rel=preload", start=b"HTTP/1.1 103 Early Hints")
    go_on = head(start=b"HTTP/1.1 100 Continue")
    final = sized(HELLO)
    yield Case("100 before", (go_on + final,))
    yield Case("100 before, by itself", (go_on, final))
    yield Case("100 with headers before", (head(b"X-A: b", b"Content-Length: 3", start=b"HTTP/1.1 100 C") + final,))
    yield Case("100 without a reason before", (head(start=b"HTTP/1.1 100") + final,))
    yield Case("102 before", (head(start=b"HTTP/1.1 102 Processing") + final,))
    yield Case("103 before", (hints + final,))
    yield Case("103 before, by itself", (hints, final))
    yield Case("100, 102 and 103 before", (go_on + head(start=b"HTTP/1.1 102 P") + hints * 2 + final,))
    yield Case("199 before", (head(start=b"HTTP/1.1 199 What") + final,))
    yield Case("104 with a cookie before", (head(b"Set-Cookie: early=1", start=b"HTTP/1.1 104 X") + final,))
    yield Case("twenty 100 before", (go_on * 20 + final,))
    yield Case("twenty 103 before", (hints * 20 + final,))
    yield Case("10,000 times 100", (go_on * 10_000 + final,))
    yield Case("10,000 times 103", (hints * 10_000 + final,))
    yield Case("100 and a bare LF before", (b"HTTP/1.1 100 Continue\n\n" + final,))
    yield Case("100 and then nothing", (go_on,), waits="everyone")
    yield Case("103 and then nothing", (hints,), waits="everyone")
    yield Case("100 and then closed", (go_on,), "close")
    yield Case("103 and then closed", (hints,), "close")
    yield Case("103 and then reset", (hints,), "reset")
    yield Case("100 cut short", (go_on[:-2],), "close")
    yield Case("101 unasked", (head(b"Upgrade: websocket", b"Connection: Upgrade", start=b"HTTP/1.1 101 S"),), "close")
    yield Case("101 unasked, kept open", (head(b"Upgrade: x", b"Connection: Upgrade", start=b"HTTP/1.1 101 S"),))
    yield Case("101 unasked, with more", (head(b"Upgrade: x", start=b"HTTP/1.1 101 S") + b"\x81\x05hello",))
    yield Case("101 with a length", (sized(HELLO, b"Upgrade: x", start=b"HTTP/1.1 101 S"),))
    yield Case("103 then 204", (hints + head(start=b"HTTP/1.1 204 No"),))
    yield Case("103 then chunks", (hints + chunked(HELLO),))
    yield Case("103 then 404", (hints + sized(HELLO, start=b"HTTP/1.1 404 No"),))
    yield Case("103 of HTTP/1.0 before", (hints.replace(b"1.1", b"1.0") + final,))
    yield Case("100 to a HEAD", (go_on + final[:-11],), method="HEAD")


# -- headers -----------------------------------------------------------------------------------------------------------


@family
def header_lines() -> Cases:
    """A line among the headers, between one before and one after it; the length comes last of all."""
    for name, line in {
        "plain": b"X-Odd: value",
        "no space": b"X-Odd:value",
        "spaces around": b"X-Odd:   value   ",
        "tabs around": b"X-Odd:\tvalue\t",
        "tabs inside": b"X-Odd: a\tb",
        "form feed around": b"X-Odd: \x0cvalue\x0c",
        "vertical tab inside": b"X-Odd: a\x0bb",
        "file separator inside": b"X-Odd: a\x1cb\x1dc\x1ed",
        "NEL inside": b"X-Odd: a\x85b",
        "NBSP around": b"X-Odd: \xa0value\xa0",
        "UTF-8 value": "X-Odd: Größe €".encode(),
        "latin-1 value": "X-Odd: Größe".encode("latin-1"),
        "bytes that are neither": b"X-Odd: \xff\xfe\x80",
        "control characters": b"X-Odd: a\x01\x1b[2Jb\x7f",
        "NUL in the value": b"X-Odd: a\0b",
        "NUL in the name": b"X-\0Odd: value",
        "empty value": b"X-Odd:",
        "blank value": b"X-Odd:    ",
        "empty name": b": value",
        "blank name": b"  : value",
        "space before the colon": b"X-Odd : value",
        "tab before the colon": b"X-Odd\t: value",
        "space in the name": b"X Odd: value",
        "space before the name": b" X-Odd: value",
        "tab before the name": b"\tX-Odd: value",
        "no colon": b"X-Odd value",
        "no colon, one word": b"X-Odd",
        "only a colon": b":",
        "only a space": b" ",
        "only a tab": b"\t",
        "two colons": b"X-Odd:: value",
        "colon in the value": b"X-Odd: a:b",
        "quotes": b'X-Odd: "a\\"b", c',
        "non-ASCII name": "X-Größe: value".encode(),
        "latin-1 name": "X-Größe: value".encode("latin-1"),
        "control character in the name": b"X-\x01Odd: value",
        "separator in the name": b"X(Odd)/@: value",
        "underscore name": b"X_Odd: value",
        "digits name": b"123: value",
        "lower case": b"x-odd: value",
        "upper case": b"X-ODD: VALUE",
        "a mail's envelope": b"From nobody Sat Jan  1 00:00:00 2000",
        "a mail's quoted envelope": b">From nobody: x",
        "encoded word": b"X-Odd: =?utf-8?q?Gr=C3=B6=C3=9Fe?=",
        "folded with a space": b"X-Odd: one\r\n two",
        "folded with a tab": b"X-Odd: one\r\n\ttwo",
        "folded twice": b"X-Odd: one\r\n two\r\n   three",
        "folded at once": b"X-Odd:\r\n value",
        "folded to nothing": b"X-Odd: one\r\n ",
        "folded, with a colon": b"X-Odd: one\r\n X-Two: two",
        "bare LF": b"X-Odd: value\nX-Two: two",
        "bare LF, folded": b"X-Odd: one\n two",
        "bare CR": b"X-Odd: one\rX-Two: two",
        "bare CR, folded": b"X-Odd: one\r two",
        "CR twice": b"X-Odd: value\r",
        "CR LF CR": b"X-Odd: one\r\n\rX-Two: two",
        "bare CR at the start": b"\rX-Odd: value",
        "LS of Unicode": "X-Odd: a\u2028b".encode(),
        "another one": b"X-Odd: 1\r\nX-Odd: 2",
        "another one in another case": b"X-Odd: 1\r\nx-oDD: 2\r\nX-ODD: 3",
        "another one, empty": b"X-Odd: 1\r\nX-Odd:",
        "another status line": b"HTTP/1.1 404 Not Found",
        "a long one": b"X-Odd: " + b"v" * 8000,
        "a long name": b"X-" + b"n" * 8000 + b": v",
        "a boundary": b"Content-Type: multipart/mixed; boundary=x",
        "a message": b"Content-Type: message/rfc822",
        "an external body": b"Content-Type: message/external-body",
        "a delivery status": b"Content-Type: message/delivery-status",
        "multipart without a boundary": b"Content-Type: multipart/mixed",
    }.items():
        lines = (b"X-Before: 1", line, b"X-After: 2", b"Content-Length: 11")
        yield Case(f"header line: {name}", (head(*lines) + HELLO,), "close")
    yield Case("no headers", (head() + HELLO,), "close")
    yield Case("no headers, nothing else", (head(),), "close")
    yield Case("first line is folded", (b"HTTP/1.1 200 OK\r\n folded\r\nContent-Length: 11\r\n\r\n" + HELLO,), "close")
    for field_name in ("content-length", "CONTENT-LENGTH", "cOnTeNt-LeNgTh"):
        yield Case(f"{field_name!r}", (head(f"{field_name}: 11".encode()) + HELLO,))


@family
def line_ends() -> Cases:
    """Lines that end in another way than with CR LF."""
    answers = {"sized": sized(HELLO, b"X-A: b"), "chunks": chunked(HELLO, lines=[b"X-A: b"])}
    for name, answer in answers.items():
        yield Case(f"bare LF everywhere, {name}", (answer.replace(b"\r\n", b"\n"),), "close")
        yield Case(f"bare CR everywhere, {name}", (answer.replace(b"\r\n", b"\r"),), "close")
        yield Case(f"CR CR LF everywhere, {name}", (answer.replace(b"\r\n", b"\r\r\n"),), "close")
        yield Case(f"LF CR everywhere, {name}", (answer.replace(b"\r\n", b"\n\r"),), "close")
        yield Case(f"space CR LF everywhere, {name}", (answer.replace(b"\r\n", b" \r\n"),), "close")
        for number in range(answer.count(b"\r\n")):
            parts = answer.split(b"\r\n")
            line = b"\r\n".join(parts[: number + 1])
            rest = b"\r\n".join(parts[number + 1 :])
            yield Case(f"bare LF for line end {number}, {name}", (line + b"\n" + rest,), "close")
            yield Case(f"bare CR for line end {number}, {name}", (line + b"\r" + rest,), "close")
    yield Case("head ends LF CR LF", (b"HTTP/1.1 200 OK\r\nContent-Length: 11\n\r\n" + HELLO,))
    yield Case("head ends CR LF LF", (b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\n" + HELLO,))
    yield Case("head ends LF LF", (b"HTTP/1.1 200 OK\r\nContent-Length: 11\n\n" + HELLO,))


@family
def large_heads() -> Cases:
    """Around the limits: 64 KiB for a line, 100 lines, 256 KiB in all."""
    for size in (65_526, 65_527, 65_528, 65_529, 65_530, 65_531, 65_532, 70_000, 300_000):
        yield Case(f"a header line of {size + 9} bytes", (sized(HELLO, b"X-Big: " + b"v" * size),), "close")
    for count in (50, 98, 99, 100, 101, 102, 1000):
        lines = [b"X-%d: y" % number for number in range(count)]
        yield Case(f"{count} headers and the length", (sized(HELLO, *lines),), "close")
    for size in (130_000, 262_000, 262_144, 270_000, 600_000):
        lines = [b"X-%d: %s" % (number, b"v" * (size // 20 - 8)) for number in range(20)]
        yield Case(f"headers of about {size} bytes", (sized(HELLO, *lines),), "close")
    yield Case("a head that never ends", (OK + b"\r\n" + b"X-A: b\r\n" * 50_000,), "close")
    yield Case("a line that never ends", (OK + b"\r\nX-A: " + b"b" * 400_000,), "close")


# -- where the body ends -----------------------------------------------------------------------------------------------


@family
def lengths() -> Cases:
    """What a Content-Length may say; the body is longer than 5."""
    for name, value in {
        "5": b"5",
        "0": b"0",
        "plus": b"+5",
        "minus": b"-5",
        "minus one": b"-1",
        "minus zero": b"-0",
        "leading zeros": b"005",
        "many zeros": b"0" * 60 + b"5",
        "spaces": b"   5   ",
        "tabs": b"\t5\t",
        "NBSP": b"\xa05\xa0",
        "form feed": b"\x0c5",
        "list of the same": b"5, 5",
        "tight list of the same": b"5,5",
        "list of different": b"5, 6",
        "tight list of different": b"5,6",
        "list of different numerals": b"5, 05",
        "list with nothing": b"5,",
        "list from nothing": b",5",
        "list of nothings": b",",
        "fraction": b"5.0",
        "exponent": b"5e0",
        "hex": b"0x5",
        "hex digit": b"b",
        "octal": b"0o5",
        "underscore": b"1_0",
        "word": b"five",
        "empty": b"",
        "blank": b"   ",
        "two numbers": b"5 5",
        "semicolon": b"5;q=1",
        "quoted": b'"5"',
        "UTF-8 digit": "５".encode(),
        "superscript": b"\xb2",
        "NUL": b"5\0",
        "bytes": b"bytes 0-4/5",
        "folded": b"\r\n 5",
        "folded list": b"5,\r\n 5",
        "folded digits": b"1\r\n 1",
    }.items():
        yield Case(f"length {name}", (head(b"Content-Length: " + value) + HELLO,), "close")
    for value in (10**9, 2**31, 2**32 + 5, 2**63, 2**64 + 5, 10**30, 10**400):
        text = str(value) if value < 10**40 else "a huge number"
        yield Case(f"length {text}", (head(b"Content-Length: %d" % value) + HELLO,), "close")
    yield Case("a length of 5,000 digits", (head(b"Content-Length: " + b"9" * 5000) + HELLO,), "close")
    yield Case("length is too long, kept open", (head(b"Content-Length: 12") + HELLO,), waits="everyone")
    yield Case("length is too long, reset", (head(b"Content-Length: 12") + HELLO,), "reset")
    yield Case("length without a body, closed", (head(b"Content-Length: 12"),), "close")
    yield Case("length plus, kept open", (head(b"Content-Length: +11") + HELLO,))
    yield Case("list of the same length, kept open", (head(b"Content-Length: 11, 11") + HELLO,), waits="requests")
    yield Case("space before the length's colon", (head(b"Content-Length : 11") + HELLO,), "close")
    yield Case("tab before the length's colon", (head(b"Content-Length\t: 5") + HELLO,), "close")
    yield Case("the length is folded away", (head(b"X-A: b", b" Content-Length: 5") + HELLO,), "close")
    yield Case("underscore length", (head(b"Content_Length: 5") + HELLO,), "close")
    yield Case("length after a line without a colon", (head(b"X-A", b"Content-Length: 5") + HELLO,), "close")
    for name, lines in {
        "same twice": (b"Content-Length: 5", b"Content-Length: 5"),
        "same thrice": (b"Content-Length: 5", b"Content-Length: 5", b"content-length: 5"),
        "different": (b"Content-Length: 5", b"Content-Length: 6"),
        "different, zero first": (b"Content-Length: 0", b"Content-Length: 11"),
        "different, zero last": (b"Content-Length: 11", b"Content-Length: 0"),
        "different numerals": (b"Content-Length: 5", b"Content-Length: 05"),
        "different case": (b"Content-Length: 5", b"CONTENT-LENGTH: 6"),
        "one bad": (b"Content-Length: 5", b"Content-Length: x"),
        "bad one first": (b"Content-Length: x", b"Content-Length: 5"),
        "one empty": (b"Content-Length: 5", b"Content-Length:"),
        "one a list": (b"Content-Length: 5", b"Content-Length: 5, 5"),
        "a hundred": (b"Content-Length: 5",) * 99,
    }.items():
        yield Case(f"two lengths: {name}", (head(*lines) + HELLO,), "close")
    yield Case("two lengths: same twice, kept open", (head(*[b"Content-Length: 11"] * 2) + HELLO,))
    yield Case("two lengths: different, kept open", (head(b"Content-Length: 5", b"Content-Length: 11") + HELLO,))


@family
def transfer_encodings() -> Cases:
    """What a Transfer-Encoding may say; the body is in chunks, and there is a length in half of them."""
    body = chunk(b"hello") + chunk(b" world") + b"0\r\n\r\n"
    for name, value in {
        "chunked": b"chunked",
        "Chunked": b"Chunked",
        "CHUNKED": b"CHUNKED",
        "spaces": b"   chunked   ",
        "tab": b"\tchunked\t",
        "form feed": b"\x0cchunked",
        "NBSP": b"\xa0chunked",
        "comma": b"chunked,",
        "comma before": b",chunked",
        "quoted": b'"chunked"',
        "parameter": b"chunked;q=1",
        "twice": b"chunked, chunked",
        "gzip before": b"gzip, chunked",
        "gzip after": b"chunked, gzip",
        "identity": b"identity",
        "identity before": b"identity, chunked",
        "identity after": b"chunked, identity",
        "empty": b"",
        "unknown": b"xchunked",
        "unknown too": b"chunkedx",
        "NUL": b"chunked\0",
        "folded": b"\r\n chunked",
        "no such thing": b"cow",
    }.items():
        coding = b"Transfer-Encoding: " + value
        yield Case(f"transfer coding {name}", (head(coding) + body,), "close")
        yield Case(f"transfer coding {name}, and a length", (head(coding, b"Content-Length: 5") + body,), "close")
    for name, lines in {
        "same twice": (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        "identity first": (b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"),
        "identity last": (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        "gzip first": (b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
        "length first": (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        "length on both sides": (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Content-Length: 6"),
        "space before the colon": (b"Transfer-Encoding : chunked",),
        "space before the colon, and a length": (b"Transfer-Encoding : chunked", b"Content-Length: 5"),
        "underscore": (b"Transfer_Encoding: chunked",),
        "lower case": (b"transfer-encoding: chunked",),
        "bad length": (b"Transfer-Encoding: chunked", b"Content-Length: x"),
        "conflicting lengths": (b"Transfer-Encoding: chunked", b"Content-Length: 5", b"Content-Length: 6"),
        "negative length": (b"Transfer-Encoding: chunked", b"Content-Length: -1"),
        "TE": (b"TE: chunked",),
        "after a line without a colon": (b"X-A", b"Transfer-Encoding: chunked"),
        "folded away": (b"X-A: b", b" Transfer-Encoding: chunked", b"Content-Length: 5"),
    }.items():
        yield Case(f"transfer codings: {name}", (head(*lines) + body,), "close")
    yield Case("chunks and a length, kept open", (head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + body,))
    yield Case(
        "chunks and a longer length, kept open", (head(b"Content-Length: 500", b"Transfer-Encoding: chunked") + body,)
    )
    yield Case("gzip, chunked, kept open", (head(b"Transfer-Encoding: gzip, chunked") + body,))


@family
def chunk_sizes() -> Cases:
    """What stands before and after a chunk."""
    for name, size, rest in (
        ("plain", b"5", b"\r\n"),
        ("leading zero", b"05", b"\r\n"),
        ("16 digits", b"0" * 15 + b"5", b"\r\n"),
        ("17 digits", b"0" * 16 + b"5", b"\r\n"),
        ("100 digits", b"0" * 99 + b"5", b"\r\n"),
        ("extension", b"5;a=b", b"\r\n"),
        ("extension without a value", b"5;a", b"\r\n"),
        ("empty extension", b"5;", b"\r\n"),
        ("quoted extension", b'5;a="b;c"', b"\r\n"),
        ("extension with a quoted line break", b'5;a="b\r\nc"', b"\r\n"),
        ("extension with spaces", b"5 ; a = b", b"\r\n"),
        ("extensions", b"5;a=b;c=d;e", b"\r\n"),
        ("a long extension", b"5;a=" + b"b" * 10_000, b"\r\n"),
        ("an endless extension", b"5;a=" + b"b" * 100_000, b"\r\n"),
        ("extension with latin-1", b"5;a=\xff", b"\r\n"),
        ("extension with NUL", b"5;a=\0", b"\r\n"),
        ("extension with a bare CR", b"5;a=\rb", b"\r\n"),
        ("extension with a bare LF", b"5;a=\nb", b"\r\n"),
        ("space after", b"5 ", b"\r\n"),
        ("spaces after", b"5     ", b"\r\n"),
        ("tab after", b"5\t", b"\r\n"),
        ("space before", b" 5", b"\r\n"),
        ("tab before", b"\t5", b"\r\n"),
        ("form feed after", b"5\x0c", b"\r\n"),
        ("NBSP after", b"5\xa0", b"\r\n"),
        ("comma", b"5,", b"\r\n"),
        ("two numbers", b"5 5", b"\r\n"),
        ("hex prefix", b"0x5", b"\r\n"),
        ("upper hex prefix", b"0X5", b"\r\n"),
        ("plus", b"+5", b"\r\n"),
        ("minus", b"-5", b"\r\n"),
        ("minus one", b"-1", b"\r\n"),
        ("minus zero", b"-0", b"\r\n"),
        ("underscore", b"0_5", b"\r\n"),
        ("empty", b"", b"\r\n"),
        ("word", b"five", b"\r\n"),
        ("letter", b"g", b"\r\n"),
        ("letter after", b"5g", b"\r\n"),
        ("fraction", b"5.0", b"\r\n"),
        ("UTF-8 digit", "５".encode(), b"\r\n"),
        ("NUL after", b"5\0", b"\r\n"),
        ("quoted", b'"5"', b"\r\n"),
        ("32 bits and 5", b"100000005", b"\r\n"),
        ("31 bits", b"7fffffff", b"\r\n"),
        ("63 bits", b"7fffffffffffffff", b"\r\n"),
        ("64 bits", b"ffffffffffffffff", b"\r\n"),
        ("64 bits and 5", b"10000000000000005", b"\r\n"),
        ("1,000 digits", b"f" * 1000, b"\r\n"),
        ("too small", b"4", b"\r\n"),
        ("too small by two", b"3", b"\r\n"),
        ("too large", b"6", b"\r\n"),
        ("too large by two", b"7", b"\r\n"),
        ("bare LF after the size", b"5", b"\n"),
        ("bare CR after the size", b"5", b"\r"),
        ("CR CR LF after the size", b"5", b"\r\r\n"),
    ):
        body = size + rest + b"hello\r\n" + chunk(b" world") + b"0\r\n\r\n"
        yield Case(f"chunk size: {name}", (to_chunked(body),), "close")
    for name, after in {
        "nothing": b"",
        "bare LF": b"\n",
        "bare CR": b"\r",
        "LF CR": b"\n\r",
        "two letters": b"xy",
        "two spaces": b"  ",
        "an empty line more": b"\r\n\r\n",
        "three letters": b"xyz",
    }.items():
        body = b"5\r\nhello" + after + chunk(b" world") + b"0\r\n\r\n"
        yield Case(f"after a chunk: {name}", (to_chunked(body),), "close")
    for digits in (b"a", b"A", b"0a", b"00A"):
        body = digits + b"\r\n0123456789\r\n0\r\n\r\n"
        yield Case(f"chunk size {digits.decode()}", (to_chunked(body),))


@family
def last_chunks() -> Cases:
    """The last chunk, and what comes after it."""
    body = chunk(b"hello") + chunk(b" world")
    for name, end in {
        "zeros": b"000\r\n\r\n",
        "16 zeros": b"0" * 16 + b"\r\n\r\n",
        "20 zeros": b"0" * 20 + b"\r\n\r\n",
        "extension": b"0;a=b\r\n\r\n",
        "space": b"0 \r\n\r\n",
        "trailer": b"0\r\nX-T: u\r\n\r\n",
        "trailers": b"0\r\nX-T: u\r\nX-V: w\r\nX-V: x\r\n\r\n",
        "trailer without a space": b"0\r\nX-T:u\r\n\r\n",
        "folded trailer": b"0\r\nX-T: u\r\n v\r\n\r\n",
        "trailer without a colon": b"0\r\nX-T\r\n\r\n",
        "trailer with NUL": b"0\r\nX-T: \0\r\n\r\n",
        "trailer with bare CR": b"0\r\nX-T: a\rb\r\n\r\n",
        "length as a trailer": b"0\r\nContent-Length: 3\r\n\r\n",
        "coding as a trailer": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "cookie as a trailer": b"0\r\nSet-Cookie: a=b\r\n\r\n",
        "location as a trailer": b"0\r\nLocation: /land\r\n\r\n",
        "trailer of bare LF": b"0\r\nX-T: u\n\r\n",
        "trailers end in bare LF": b"0\r\nX-T: u\r\n\n",
        "bare LF at the end": b"0\r\n\n",
        "bare LF twice": b"0\n\n",
        "500 trailers": b"0\r\n" + b"X-T: u\r\n" * 500 + b"\r\n",
        "50,000 trailers": b"0\r\n" + b"X-T: u\r\n" * 50_000 + b"\r\n",
        "a trailer of 64 KiB": b"0\r\nX-T: " + b"u" * 66_000 + b"\r\n\r\n",
        "a trailer of 60,000 bytes": b"0\r\nX-T: " + b"u" * 60_000 + b"\r\n\r\n",
    }.items():
        waits: Waits = "requests" if end.endswith(b"\n\n") else ""  # it goes on reading until CR LF
        yield Case(f"last chunk: {name}", (to_chunked(body + end),), waits=waits)
        yield Case(f"last chunk, closed: {name}", (to_chunked(body + end),), "close")
    for name, end in {
        "missing": b"",
        "only the digit": b"0",
        "only CR": b"0\r",
        "without its empty line": b"0\r\n",
        "without its LF": b"0\r\n\r",
        "a trailer cut short": b"0\r\nX-T: u",
        "trailers without an end": b"0\r\nX-T: u\r\n",
    }.items():
        yield Case(f"last chunk {name}, closed", (to_chunked(body + end),), "close")
        yield Case(f"last chunk {name}, kept open", (to_chunked(body + end),), waits="everyone")
        yield Case(f"last chunk {name}, reset", (to_chunked(body + end),), "reset")
    yield Case("no chunks", (to_chunked(b"0\r\n\r\n"),))
    yield Case("no chunks, not even the last, closed", (to_chunked(b""),), "close")
    yield Case("1,000 chunks of one byte", (to_chunked(chunk(b"x") * 1000 + b"0\r\n\r\n"),))
    yield Case("a chunk in each write", (head(b"Transfer-Encoding: chunked"), *map(chunk, [HELLO] * 5), b"0\r\n\r\n"))
    yield Case(
        "chunks cut in odd places",
        (to_chunked(b"5"), b"\r", b"\nhel", b"lo\r", b"\n6\r\n world\r\n0", b"\r\n\r", b"\n"),
    )
    yield Case("large chunks", (chunked(TEXT * 100, TEXT * 30, b"x"),))


@family
def heads_only() -> Cases:
    """HEAD: the answer has no body, whatever its headers say."""
    for name, answer in {
        "with a length": head(b"Content-Length: 11"),
        "with a large length": head(b"Content-Length: 99999999999999"),
        "with conflicting lengths": head(b"Content-Length: 11", b"Content-Length: 12"),
        "with a bad length": head(b"Content-Length: x"),
        "with chunks": head(b"Transfer-Encoding: chunked"),
        "with gzip": head(b"Content-Encoding: gzip", b"Content-Length: 20"),
        "with nothing": head(),
        "of HTTP/1.0": head(b"Content-Length: 11", start=b"HTTP/1.0 200 OK"),
        "of 204": head(start=b"HTTP/1.1 204 No"),
        "of 404": head(b"Content-Length: 11", start=b"HTTP/1.1 404 No"),
        "with a redirect": head(b"Location: /land", b"Content-Length: 11", start=b"HTTP/1.1 302 F"),
        "said to close": head(b"Content-Length: 11", b"Connection: close"),
    }.items():
        yield Case(f"HEAD {name}", (answer,), method="HEAD")
    yield Case("HEAD with a body", (sized(HELLO),), method="HEAD")
    yield Case("HEAD with chunks in the body", (chunked(HELLO),), method="HEAD")
    yield Case("HEAD with a body in a later write", (sized(HELLO)[:-11],), late=HELLO, method="HEAD")
    yield Case("HEAD in lower case", (sized(HELLO)[:-11],), method="head")
    yield Case("HEAD and closed", (head(b"Content-Length: 11"),), "close", method="HEAD")


@family
def leftovers() -> Cases:
    """More bytes than the answer has: the socket must not be used again."""
    second = sized(b"evil", b"X-Evil: yes")
    for name, more in {"a byte": b"x", "an empty line": b"\r\n", "an answer": second, "many": second * 500}.items():
        for kind, answer in {
            "sized": sized(HELLO),
            "chunks": chunked(HELLO),
            "empty": sized(b""),
            "204": head(start=b"HTTP/1.1 204 No"),
            "304": head(b"Content-Length: 4", start=b"HTTP/1.1 304 No"),
            "redirect": sized(HELLO, b"Location: /land", start=b"HTTP/1.1 302 F"),
            "404": sized(HELLO, start=b"HTTP/1.1 404 No"),
        }.items():
            yield Case(f"{name} after {kind}", (answer + more,))
            if kind != "redirect":
                yield Case(f"{name} later, after {kind}", (answer,), late=more)
    yield Case("a byte in the last write of a body", (sized(HELLO)[:-3], b"rldx"))
    yield Case("half an answer after the answer", (sized(HELLO) + second[:20],))
    yield Case("an answer after one said to close", (sized(HELLO, b"Connection: close") + second,))
    yield Case("an answer after a large one", (sized(TEXT * 100) + second,))
    yield Case("100 after the answer", (sized(HELLO) + head(start=b"HTTP/1.1 100 Continue"),))


# -- ends and interruptions --------------------------------------------------------------------------------------------


@family
def interruptions() -> Cases:
    """The connection ends at some stage of the answer; or nothing comes any more."""
    answers = {"sized": sized(HELLO, b"X-A: b"), "chunks": chunked(b"hello", b" world", trailers=b"X-T: u\r\n")}
    for name, answer in answers.items():
        for place in (
            1,
            5,
            9,
            12,
            15,
            16,
            17,
            20,
            30,
            answer.index(b"\r\n\r\n") + 2,
            answer.index(b"\r\n\r\n") + 4,
            -12,
            -1,
        ):
            at = place % len(answer)
            yield Case(f"{name} closed after {at}", (answer[:at],), "close")
            yield Case(f"{name} reset after {at}", (answer[:at],), "reset")
        for at in (5, 20, answer.index(b"\r\n\r\n") + 4, len(answer) - 1):
            yield Case(f"{name} silent after {at}", (answer[:at],), waits="everyone")
    for method, data in (("GET", None), ("POST", b"a body"), ("DELETE", None)):
        yield Case(f"{method} closed at once", (), "close", method=method, data=data)
        yield Case(f"{method} reset at once", (), "reset", method=method, data=data)
        yield Case(f"{method} without an answer", (), method=method, data=data, waits="everyone")
        yield Case(f"{method} answered half, closed", (head()[:20],), "close", method=method, data=data)
        yield Case(f"{method} reset at once, used before", (), "reset", method=method, data=data, used=True)
        yield Case(f"{method} closed at once, used before", (), "close", method=method, data=data, used=True)
    yield Case("until the end, cut by a reset", (head() + HELLO,), "reset")
    yield Case("until the end, in pieces", (head(), b"hello", b" ", b"world"), "close")
    yield Case("until the end, which does not come", (head() + HELLO,), waits="everyone")
    yield Case("until the end, nothing", (head(b"Content-Type: text/plain"),), "close")
    yield Case("until the end, large", (head() + TEXT * 500,), "close")
    yield Case("a large body", (sized(TEXT * 500),))
    yield Case("a large body, cut short", (sized(TEXT * 500)[:-1],), "close")
    yield Case("answered, then reset", (sized(HELLO),), "reset")


@family
def used_before() -> Cases:
    """The same over a connection that has carried another request."""
    for name, answer in {
        "sized": sized(HELLO),
        "chunks": chunked(HELLO),
        "204": head(start=b"HTTP/1.1 204 No"),
        "103 before": head(start=b"HTTP/1.1 103 E") + sized(HELLO),
        "conflicting lengths": head(b"Content-Length: 5", b"Content-Length: 6") + HELLO,
        "leftover": sized(HELLO) + sized(b"evil"),
        "not HTTP": b"garbage\r\n\r\n",
    }.items():
        yield Case(f"used before: {name}", (answer,), used=True)
    yield Case("used before: until the end", (head() + HELLO,), "close", used=True)
    yield Case("used before: half an answer", (sized(HELLO)[:20],), "close", used=True)


@family
def splits() -> Cases:
    """An answer in several writes, or byte by byte. (For every place of a split, see `test_answers`.)"""
    for name, answer in SPLIT.items():
        yield Case(f"{name}, byte by byte", tuple(answer[at : at + 1] for at in range(len(answer))))


SPLIT = {
    "sized": sized(b"hello", b"X-A: b"),
    "chunks": chunked(b"hello", b" world", trailers=b"X-T: u\r\n"),
    "103 before": head(b"X: y", start=b"HTTP/1.1 103 E") + sized(b"hi"),
    "gzip in chunks": chunked(gzip.compress(b"hello", mtime=0), lines=[b"Content-Encoding: gzip"]),
    "folded": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nhi",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
}
"""Answers that are split at every byte."""


# -- requests with a body ----------------------------------------------------------------------------------------------


@family
def uploads() -> Cases:
    """The answer comes before the body has been read, or instead of reading it."""
    small, large = b"x" * 1000, b"x" * 8_000_000
    yield Case("POST answered", (sized(HELLO),), method="POST", data=small)
    yield Case("PUT answered", (sized(HELLO),), method="PUT", data=large)
    yield Case("PATCH answered 204", (head(start=b"HTTP/1.1 204 No"),), method="PATCH", data=small)
    yield Case("POST without a body", (sized(HELLO),), method="POST")
    yield Case("DELETE with a body", (sized(HELLO),), method="DELETE", data=small)
    yield Case("OPTIONS answered", (sized(b"", b"Allow: GET, HEAD"),), method="OPTIONS")
    yield Case("an odd method", (sized(HELLO),), method="PROPFIND", data=small)
    expects = {"Expect": "100-continue"}
    go_on = head(start=b"HTTP/1.1 100 Continue")
    yield Case("100-continue", (go_on + sized(HELLO),), method="POST", data=small, headers=expects)
    yield Case(
        "417 to 100-continue", (sized(b"", start=b"HTTP/1.1 417 E"),), method="POST", data=small, headers=expects
    )
    for name, data in {"small": small, "large": large}.items():
        early = sized(HELLO, start=b"HTTP/1.1 413 Too large")
        yield Case(f"413 before a {name} body, which is then read", (early,), method="POST", data=data, reads=False)
        closing = sized(HELLO, b"Connection: close", start=b"HTTP/1.1 413 Too large")
        yield Case(f"413 and closed before a {name} body", (closing,), "close", method="POST", data=data, reads=False)


# -- what the body means -----------------------------------------------------------------------------------------------

_GZIP = gzip.compress(TEXT, mtime=0)
_ZLIB = zlib.compress(TEXT)
_RAW = zlib.compress(TEXT, wbits=-15)
_BROTLI = bytes.fromhex(
    "1b8303882c0eec98327861c374ea6b05aa32344966c6d62067787a2aecad415ce6f2c2061c3824903712dfa0d30a671e1e27aa2938c289b84f0303"
)
_ZSTD = (
    b"\x28\xb5\x2f\xfd\x60"
    + (len(TEXT) - 256).to_bytes(2, "little")
    + (len(TEXT) << 3 | 1).to_bytes(3, "little")
    + TEXT
)
"""A frame of one block that is not compressed (RFC 8878, section 3.1.1)."""


@family
def content_codings() -> Cases:
    """Compressed bodies, whole and broken; with and without chunks."""
    for name, coding, body in (
        ("gzip", b"gzip", _GZIP),
        ("GZip", b"GZip", _GZIP),
        ("x-gzip", b"x-gzip", _GZIP),
        ("gzip, spaces", b"  gzip  ", _GZIP),
        ("deflate", b"deflate", _ZLIB),
        ("deflate, raw", b"deflate", _RAW),
        ("br", b"br", _BROTLI),
        ("BR", b"BR", _BROTLI),
        ("zstd", b"zstd", _ZSTD),
        ("two zstd frames", b"zstd", _ZSTD * 2),
        ("identity", b"identity", TEXT),
        ("unknown", b"compress", TEXT),
        ("empty coding", b"", TEXT),
        ("comma", b",", TEXT),
        ("gzip, identity", b"gzip, identity", _GZIP),
        ("identity, gzip", b"identity, gzip", _GZIP),
        ("gzip, comma", b"gzip,", _GZIP),
        ("gzip twice", b"gzip, gzip", gzip.compress(_GZIP, mtime=0)),
        ("deflate, gzip", b"deflate, gzip", gzip.compress(_ZLIB, mtime=0)),
        ("gzip, br", b"gzip, br", _BROTLI),
        ("br, unknown", b"br, cow", _BROTLI),
        ("unknown, br", b"cow, br", _BROTLI),
        ("five", b"gzip, gzip, gzip, gzip, gzip", _nested(5)),
        ("six", b"gzip, gzip, gzip, gzip, gzip, gzip", _nested(6)),
        ("gzip of nothing", b"gzip", gzip.compress(b"", mtime=0)),
        ("deflate of nothing", b"deflate", zlib.compress(b"")),
        ("raw deflate of nothing", b"deflate", zlib.compress(b"", wbits=-15)),
        ("gzip, empty body", b"gzip", b""),
        ("deflate, empty body", b"deflate", b""),
        ("br, empty body", b"br", b""),
        ("zstd, empty body", b"zstd", b""),
        ("two members", b"gzip", _GZIP * 2),
        ("two members, the second broken", b"gzip", _GZIP + _GZIP[:10] + b"broken"),
        ("two members, the second cut", b"gzip", _GZIP + _GZIP[:30]),
        ("an empty member between", b"gzip", _GZIP + gzip.compress(b"", mtime=0) + _GZIP),
        ("zeros after", b"gzip", _GZIP + bytes(100)),
        ("garbage after", b"gzip", _GZIP + b"garbage"),
        ("garbage after deflate", b"deflate", _ZLIB + b"garbage"),
        ("garbage after raw deflate", b"deflate", _RAW + b"garbage"),
        ("garbage after br", b"br", _BROTLI + b"garbage"),
        ("garbage after zstd", b"zstd", _ZSTD + b"garbage"),
        ("no gzip", b"gzip", TEXT),
        ("no deflate", b"deflate", TEXT),
        ("no br", b"br", TEXT),
        ("no zstd", b"zstd", TEXT),
        ("gzip as deflate", b"deflate", _GZIP),
        ("deflate as gzip", b"gzip", _ZLIB),
        ("cut short", b"gzip", _GZIP[:-20]),
        ("without its checksum", b"gzip", _GZIP[:-8]),
        ("cut in its header", b"gzip", _GZIP[:5]),
        ("one byte", b"gzip", _GZIP[:1]),
        ("deflate of one byte", b"deflate", _ZLIB[:1]),
        ("deflate of two bytes", b"deflate", _ZLIB[:2]),
        ("wrong checksum", b"gzip", _GZIP[:-8] + bytes(4) + _GZIP[-4:]),
        ("wrong size", b"gzip", _GZIP[:-4] + bytes(4)),
        ("wrong checksum of deflate", b"deflate", _ZLIB[:-4] + bytes(4)),
        ("corrupt inside", b"gzip", _GZIP[:25] + b"\xff\xff\xff\xff" + _GZIP[29:]),
        ("deflate cut short", b"deflate", _ZLIB[:-20]),
        ("raw deflate cut short", b"deflate", _RAW[:-10]),
        ("br cut short", b"br", _BROTLI[:-10]),
        ("zstd cut short", b"zstd", _ZSTD[:-10]),
        ("a bomb of 2 MB", b"gzip", gzip.compress(bytes(2_000_000), mtime=0)),
    ):
        line = b"Content-Encoding: " + coding
        yield Case(f"coding {name}", (sized(body, line),))
        if name in (
            "gzip",
            "deflate",
            "deflate, raw",
            "br",
            "zstd",
            "two members",
            "cut short",
            "no gzip",
            "gzip twice",
        ):
            pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
            yield Case(f"coding {name}, in chunks", (chunked(*pieces, lines=[line]),))
            yield Case(f"coding {name}, until the end", (head(line) + body,), "close")
    line = b"Content-Encoding: gzip"
    yield Case("codings in two lines", (sized(gzip.compress(_ZLIB, mtime=0), b"Content-Encoding: deflate", line),))
    yield Case("coding of a 204", (head(line, start=b"HTTP/1.1 204 No"),))
    yield Case("lengths that differ, of a HEAD", (head(b"Content-Length: 5, 6"),), "close", method="HEAD")
    yield Case("coding of a HEAD", (head(b"Content-Encoding: zstd", b"Content-Length: 20"),), method="HEAD")
    yield Case("coding of a 304", (head(line, b"Content-Length: 20", start=b"HTTP/1.1 304 No"),))
    yield Case("coding of a 404", (sized(_GZIP, line, start=b"HTTP/1.1 404 No"),))
    yield Case("coding of a broken 404", (sized(TEXT, line, start=b"HTTP/1.1 404 No"),))
    yield Case("coding, the length cut short", (sized(_GZIP, line)[:-10],), "close")
    yield Case("coding, reset inside", (sized(_GZIP, line)[:-10],), "reset")
    yield Case("coding, reset in a chunk", (chunked(_GZIP, lines=[line])[:-20],), "reset")
    yield Case("coding, silent inside", (sized(_GZIP, line)[:-10],), waits="everyone")
    yield Case("coding, silent in a chunk", (chunked(_GZIP, lines=[line])[:-20],), waits="everyone")
    yield Case("coding of a redirect", (sized(_GZIP, line, b"Location: /land", start=b"HTTP/1.1 302 F"),))
    yield Case("coding of a broken redirect", (sized(TEXT, line, b"Location: /land", start=b"HTTP/1.1 302 F"),))


def _nested(times: int) -> bytes:
    body = TEXT
    for _ in range(times):
        body = gzip.compress(body, mtime=0)
    return body


@family
def content_types() -> Cases:
    """Where requests finds the text's encoding."""
    word = "Größe €"
    for name, value, body in (
        ("none", None, word.encode()),
        ("text", "text/html", word.encode()),
        ("text of latin-1", "text/plain", "Größe".encode("latin-1")),
        ("JSON", "application/json", b'{"a": "\xc3\xb6"}'),
        ("JSON in UTF-16", "application/json", '{"a": 1}'.encode("utf-16")),
        ("other", "application/octet-stream", bytes(range(256))),
        ("UTF-8", "text/html; charset=utf-8", word.encode()),
        ("upper case", "TEXT/HTML; CHARSET=UTF-8", word.encode()),
        ("quoted", 'text/html; charset="utf-8"', word.encode()),
        ("single quoted", "text/html; charset='utf-8'", word.encode()),
        ("spaces", "text/html ; charset = utf-8 ", word.encode()),
        ("latin-1", "text/html; charset=iso-8859-1", "Größe".encode("latin-1")),
        ("cp1252", "text/html; charset=windows-1252", word.encode("cp1252")),
        ("unknown", "text/html; charset=cow", word.encode()),
        ("empty", "text/html; charset=", word.encode()),
        ("NUL", "text/html; charset=utf-8\0", word.encode()),
        ("twice", "text/html; charset=latin-1; charset=utf-8", word.encode()),
        ("without a type", "charset=utf-8", word.encode()),
        ("other parameters", "text/html; a=b; charset=utf-8; c", word.encode()),
        ("a codec that gives no text", "text/html; charset=base64", b"aGVsbG8="),
        ("odd characters", "text/html; charset=\u00fcml", word.encode()),
        ("two in one line", "text/html, text/plain; charset=utf-8", word.encode()),
        ("star", "text/html; charset*=utf-8''utf-8", word.encode()),
        ("empty value", "", word.encode()),
        ("lines", "text/plain", b"a\r\nb\nc\rd\x0be\x0cf\x1cg\x85h\n\n"),
        ("lines of UTF-8", "text/plain; charset=utf-8", "a\u2028b\u0085c\n".encode()),
        ("byte order mark", "text/plain; charset=utf-8", b"\xef\xbb\xbfhello"),
    ):
        lines = [] if value is None else [b"Content-Type: " + value.encode("latin-1")]
        yield Case(f"type {name}", (sized(body, *lines),))
    yield Case("two types", (sized(HELLO, b"Content-Type: text/plain", b"Content-Type: text/html; charset=utf-8"),))


@family
def cookies() -> Cases:
    """Set-Cookie; sent along the redirects of the same request."""
    for name, lines in {
        "one": (b"Set-Cookie: a=b",),
        "several": (b"Set-Cookie: a=b", b"Set-Cookie: c=d; Path=/", b"set-cookie: e=f; HttpOnly"),
        "same twice": (b"Set-Cookie: a=b", b"Set-Cookie: a=c"),
        "an expiry": (b"Set-Cookie: a=b; Expires=Wed, 21 Oct 2099 07:28:00 GMT; Path=/",),
        "expired": (b"Set-Cookie: a=b; Expires=Wed, 21 Oct 1999 07:28:00 GMT",),
        "several in one line": (b"Set-Cookie: a=b; Expires=Wed, 21 Oct 2099 07:28:00 GMT, c=d",),
        "max-age": (b"Set-Cookie: a=b; Max-Age=0",),
        "other domain": (b"Set-Cookie: a=b; Domain=example.com",),
        "this domain": (b"Set-Cookie: a=b; Domain=127.0.0.1",),
        "secure": (b"Set-Cookie: a=b; Secure",),
        "SameSite": (b"Set-Cookie: a=b; SameSite=Strict; Partitioned; Priority=High",),
        "other path": (b"Set-Cookie: a=b; Path=/elsewhere",),
        "quoted": (b'Set-Cookie: a="b c; d"; Path=/',),
        "no value": (b"Set-Cookie: a=",),
        "no name": (b"Set-Cookie: =b",),
        "no equals sign": (b"Set-Cookie: a",),
        "empty": (b"Set-Cookie:",),
        "only attributes": (b"Set-Cookie: ; Path=/",),
        "latin-1": (b"Set-Cookie: a=\xf6",),
        "UTF-8": ("Set-Cookie: a=ö€".encode(),),
        "port": (b'Set-Cookie: a=b; Port="80,8080"',),
        "version": (b"Set-Cookie: a=b; Version=1",),
        "Set-Cookie2": (b"Set-Cookie2: a=b; Version=1",),
        "folded": (b"Set-Cookie: a=b;\r\n Path=/",),
        "JSON": (b'Set-Cookie: a={"b": 1, "c": "d"}',),
        "a bad date": (b"Set-Cookie: a=b; Expires=Foo, 99 Bar 2020",),
        "a hundred": tuple(b"Set-Cookie: c%d=v" % number for number in range(90)),
    }.items():
        yield Case(f"cookie {name}", (sized(HELLO, *lines),))
        if name in ("one", "several", "secure", "other path", "quoted", "expired"):
            start = b"HTTP/1.1 302 Found"
            yield Case(f"cookie {name}, redirected", (sized(b"", b"Location: /land", *lines, start=start),))


@family
def redirects() -> Cases:
    """Where a Location leads; ``/land`` is there."""
    for status in (301, 302, 303, 307, 308):
        start = b"HTTP/1.1 %d Go" % status
        for method, data in (("GET", None), ("POST", b"a body"), ("HEAD", None), ("PUT", b"a body")):
            body = b"" if method == "HEAD" else HELLO
            answer = head(b"Location: /land", b"Content-Length: 11", start=start) + body
            yield Case(f"{status} of a {method}", (answer,), method=method, data=data)
    start = b"HTTP/1.1 302 Go"
    for name, value in {
        "relative": b"land",
        "with dots": b"../land/./x/..",
        "query only": b"?land",
        "fragment": b"/land#part",
        "fragment only": b"#part",
        "empty": b"",
        "blank": b"   ",
        "no scheme": b"//127.0.0.1:{port}/land",
        "absolute": b"http://127.0.0.1:{port}/land",
        "upper case": b"HTTP://127.0.0.1:{port}/land",
        "name": b"http://localhost:{port}/land",
        "login": b"http://me:mine@127.0.0.1:{port}/land",
        "UTF-8": "/land/ö€".encode(),
        "latin-1": "/land/ö".encode("latin-1"),
        "percent": b"/land/%C3%B6%2F%zz",
        "space": b"/land/a b",
        "tab": b"/land/a\tb",
        "backslash": b"\\land",
        "quotes": b'/land/"a"',
        "brackets": b"/land/[a]",
        "NUL": b"/land\0",
        "other scheme": b"ftp://127.0.0.1:{port}/land",
        "mail": b"mailto:me@example.com",
        "data": b"data:text/plain,hello",
        "file": b"file:///etc/passwd",
        "javascript": b"javascript:alert(1)",
        "bad port": b"http://127.0.0.1:99999/land",
        "no port": b"http://127.0.0.1:x/land",
        "no host": b"http:///land",
        "bad IPv6": b"http://[::1/land",
        "two": b"/land\r\nLocation: /land/two",
        "a list": b"/land, /land/two",
        "folded": b"\r\n /land",
        "long": b"/land/" + b"x" * 5000,
        "itself": b"/case",
        "dot": b".",
    }.items():
        yield Case(f"location {name}", (sized(HELLO, b"Location: " + value, start=start),))
    there = b"Location: /land"
    yield Case("redirect with chunks", (chunked(HELLO, lines=[there], start=start),))
    yield Case("redirect until the end", (head(there, start=start) + HELLO,), "close")
    yield Case("redirect without a body", (sized(b"", there, start=start),))
    yield Case("redirect with a bare head", (head(there, start=start),), "close")
    yield Case("redirect said to close", (sized(HELLO, there, b"Connection: close", start=start),))
    yield Case("redirect cut short", (sized(HELLO, there, start=start)[:-3],), "close")
    yield Case("redirect to nowhere, cut short", (sized(HELLO, b"Location: ", start=start)[:-3],), "close")
    yield Case("redirect cut short in a chunk", (chunked(HELLO, lines=[there], start=start)[:-9],), "close")
    yield Case(
        "redirect with a bad chunk size", (head(b"Transfer-Encoding: chunked", there, start=start) + b"x\r\n",), "close"
    )
    yield Case("redirect reset in its body", (sized(HELLO, there, start=start)[:-3],), "reset")
    yield Case("redirect silent in its body", (sized(HELLO, there, start=start)[:-3],), waits="everyone")
    yield Case("redirect without a location", (sized(HELLO, start=start),))
    yield Case("redirect of HTTP/1.0", (sized(HELLO, there, start=b"HTTP/1.0 302 Go"),))
    yield Case("redirect after 103", (head(start=b"HTTP/1.1 103 E") + sized(HELLO, there, start=start),))
    yield Case("redirect with 300", (sized(HELLO, there, start=b"HTTP/1.1 300 Go"),))
    yield Case("redirect with 304", (head(there, start=b"HTTP/1.1 304 Go"),))
    yield Case("redirect with 201", (sized(HELLO, there, start=b"HTTP/1.1 201 Go"),))


@family
def other_headers() -> Cases:
    """Headers that a client may look at."""
    for name, lines in {
        "links": (b'Link: </a>; rel="next", <b?c>; rel=prev; title="x, y"', b"Link: <c>"),
        "bad links": (b"Link: ;;,<", b"Link: "),
        "refresh": (b"Refresh: 0; url=/land",),
        "retry-after": (b"Retry-After: 0",),
        "alt-svc": (b'Alt-Svc: h3=":443"',),
        "upgrade": (b"Upgrade: h2c", b"Connection: Upgrade"),
        "trailer": (b"Trailer: X-T",),
        "ranges": (b"Accept-Ranges: bytes", b"Content-Range: bytes 0-10/11"),
        "date": (b"Date: Wed, 21 Oct 2015 07:28:00 GMT", b"Age: 5"),
        "challenge": (b'WWW-Authenticate: Basic realm="a, b"', b"WWW-Authenticate: Digest realm=c"),
        "unix-from": (b"From nobody", b"Server: x"),
        "status": (b"Status: 404 Not Found",),
        "host": (b"Host: elsewhere",),
        "md5": (b"Content-MD5: x", b"Digest: y"),
        "hop by hop": (b"TE: trailers", b"Proxy-Authenticate: Basic"),
    }.items():
        yield Case(f"header {name}", (sized(HELLO, *lines),))
    yield Case("429 with retry-after", (sized(b"", b"Retry-After: 0", start=b"HTTP/1.1 429 Slow"),))
    yield Case("503 with retry-after", (sized(b"", b"Retry-After: 1", start=b"HTTP/1.1 503 Slow"),))
    yield Case("401 with a challenge", (sized(HELLO, b"WWW-Authenticate: Basic realm=a", start=b"HTTP/1.1 401 Who"),))


def all_cases() -> dict[str, Case]:
    """Every case by its name."""
    cases: dict[str, Case] = {}
    for each in FAMILIES:
        for case in each():
            assert case.name not in cases, f"two cases are called {case.name!r}"
            cases[case.name] = case
    return cases
