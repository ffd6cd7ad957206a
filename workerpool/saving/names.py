"""The name of a body's file: a template, filled in for a request, that cannot lead out of its directory.

What stands in a URL or a key was written by strangers. So every byte of it but letters, digits and a few signs is
percent-encoded, a piece of a path never begins with a dot or a dash, is no device of another system, and has a bounded
length; a URL's own escapes are read first, so ``%2e%2e%2f`` is no more than ``../``. Different paths have different
names, but for what RFC 3986 has for the same, and for ``a/``, which is called as ``a/index`` is. What is in a name and
in no path, `NO_PIECE`, `BETWEEN` and `CUT`, has a ``%`` that begins no escape. Pure functions, any thread.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from workerpool.errors import OptionError
from workerpool.model import DEFAULT_PORTS

if TYPE_CHECKING:
    from workerpool.model import Request

LONGEST_PIECE = 200
"""Bytes of one name in a directory; file systems take 255 (of these ext4, XFS, APFS and NTFS)."""
LONGEST_NAME = 800
"""Bytes after which what is left of a name is put into one piece; paths may have 4,096 on Linux, 1,024 on macOS."""
DEEPEST = 32
"""Directories, one in the other, that a name may need."""
LONGEST_ENDING = 16
"""Bytes of an ending such as ``.tar`` that stay when a name is cut."""

NO_PIECE = "%"
"""The name of an empty piece of a path, as between two slashes."""
BETWEEN = "%%"
"""What stands for a slash in a piece that was several."""
CUT = "%~"
"""What stands between the beginning of a piece that is too long, and the hash of all of it."""

SHA256 = "sha256"

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+=@,")
_AS_TEXT = [chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in range(256)]
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9]|conin\$|conout\$)(?:\..*)?", re.IGNORECASE)
_ENDING = re.compile(rf"[^.]\.([A-Za-z0-9]{{1,{LONGEST_ENDING - 1}}})\Z")
_CUT_ESCAPE = re.compile(r"%[0-9A-F]?\Z")
_FIRST = re.compile(r"(?:\.([1-9][0-9]?))?")


def _host(request: Request) -> str:
    parts = urlsplit(request.url)
    port = parts.port
    is_usual = port is None or port == DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.hostname or ''}{'' if is_usual else f':{port}'}"


def _last(request: Request) -> bytes:
    return _segments(request)[-1]


def _segments(request: Request) -> list[bytes]:
    """The pieces of the URL's path; what ends in a slash is called ``index``."""
    *directories, last = urlsplit(request.url).path.removeprefix("/").split("/")
    return [_bytes(piece) for piece in (*directories, last or "index")]


def _bytes(text: str) -> bytes:
    """What a part of a URL stands for. A URL may hold anything, and will then end as an outcome that says so."""
    return unquote_to_bytes(text.encode(errors="surrogatepass"))


def _ending(request: Request) -> str:
    found = _ENDING.search(_last(request).decode("latin-1"))
    return f".{found[1]}" if found else ""


FIELDS: dict[str, Callable[[Request], str | bytes | list[bytes]]] = {
    "host": _host,
    "path": _segments,
    "query": lambda request: _bytes(urlsplit(request.url).query),
    "name": _last,
    "ext": _ending,
    "key": lambda request: request.label,
    "source": lambda request: request.source,
    "ordinal": lambda request: str(request.ordinal),
}
"""What a template may name of a request, beside ``{sha256}``, which is known when the body is."""


class Name:
    """A template, such as ``{host}/{path}`` or ``{sha256:.2}/{sha256}``, checked. ``:.2`` takes the first two letters.

    Raises `OptionError` for one that has other fields, or leads out of its directory by itself.
    """

    __slots__ = ("_parts", "is_by_content", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = [*_parsed(text)]
        named = [field for _, field, _ in self._parts if field]
        self.is_by_content = any(field == SHA256 and first is None for _, field, first in self._parts)
        if SHA256 in named and not self.is_by_content:
            raise _bad(text, "names files by a part of {sha256} alone, so that different ones may have one name")
        if not named and not text.strip("/"):
            raise _bad(text, "is empty")

    def __reduce__(self) -> tuple[type[Name], tuple[str]]:
        return Name, (self.text,)

    def of(self, request: Request, sha256: str = "") -> str:
        """The file's name for a request, with slashes; ``sha256`` is that of the body, once it is known."""
        texts = []
        for literal, field, first in self._parts:
            texts.append(literal)
            if field:
                texts.append(_written(sha256 if field == SHA256 else FIELDS[field](request), first))
        pieces = [_guarded(piece) for piece in "".join(texts).split("/")]
        return "/".join(_bounded(pieces))


def _parsed(text: str) -> Iterator[tuple[str, str, int | None]]:
    """Take a template apart: what stands before a field, its name, and how many letters of it are taken."""
    if not isinstance(text, str):
        raise _bad(text, "is no text")
    try:
        parsed = [*string.Formatter().parse(text)]
    except ValueError as error:
        raise _bad(text, f"does not parse: {error}") from None
    if any(ord(character) < 32 or character in "\\\x7f" for literal, *_ in parsed for character in literal):
        raise _bad(text, "has a character in it that no name may have")
    shape = "".join(f"{literal}{'' if field is None else 'x'}" for literal, field, *_ in parsed)
    if any(piece == "" or piece.startswith(".") for piece in shape.split("/")):
        raise _bad(text, "has a piece that is empty or begins with a dot, or is an absolute path")
    for literal, field, spec, conversion in parsed:
        if field is not None and (field not in FIELDS and field != SHA256):
            known = ", ".join(f"{{{one}}}" for one in (*FIELDS, SHA256))
            raise _bad(text, f"has the field {{{field}}}, which there is not (there are {known})")
        first = _FIRST.fullmatch(spec or "")
        if first is None or conversion:
            raise _bad(
                text, f"asks for {{{field}}} in a form that there is not: {{{field}:.2}} is its first two letters"
            )
        yield literal, field or "", int(first[1]) if first[1] else None


def _bad(text: object, what: str) -> OptionError:
    return OptionError(f"save.name={text!r} {what}: write '{{host}}/{{path}}' or '{{sha256:.2}}/{{sha256}}'")


def _written(value: str | bytes | list[bytes], first: int | None) -> str:
    """A field's value, percent-encoded; the pieces of a path stay pieces."""
    if isinstance(value, list):
        return "/".join(_written(piece, first) for piece in value)
    data = value.encode(errors="surrogatepass") if isinstance(value, str) else value
    return "".join([_AS_TEXT[byte] for byte in data[:first]])


def _guarded(piece: str) -> str:
    """Make one name of a directory of a piece: not hidden, no option of a command, no device, and not too long."""
    if not piece:
        return NO_PIECE
    if piece[0] in ".-" or _DEVICE.fullmatch(piece):
        piece = f"%{ord(piece[0]):02X}{piece[1:]}"
    if piece[-1] in ". ":  # which other systems drop
        piece = f"{piece[:-1]}%{ord(piece[-1]):02X}"
    return piece if len(piece.encode(errors="surrogatepass")) <= LONGEST_PIECE else _shortened(piece)


def _shortened(piece: str) -> str:
    """The beginning of a piece, and a hash of all of it, so that two that begin alike are not the same."""
    digest = hashlib.blake2b(piece.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    found = _ENDING.search(piece)
    ending = f".{found[1]}" if found else ""
    plain = piece.encode("ascii", "replace").decode().replace("?", "_")
    start = plain[: LONGEST_PIECE - len(CUT) - len(digest) - LONGEST_ENDING]
    return f"{_CUT_ESCAPE.sub('', start)}{CUT}{digest}{ending}"


def _bounded(pieces: list[str]) -> list[str]:
    """Put what goes too deep, or is too long in all, into one piece."""
    size = 0
    for number, piece in enumerate(pieces):
        size += len(piece) + 1
        if number + 1 < len(pieces) and (number + 1 >= DEEPEST or size > LONGEST_NAME):
            return [*pieces[:number], _shortened(BETWEEN.join(pieces[number:]))]
    return pieces
