"""Keeps secrets out of text meant for people: URLs, error messages, log fields.

What counts as a secret: the userinfo of a URL, the value of a query parameter whose name says so, and the value of a
header that carries credentials. Pure functions, any thread.
"""

from __future__ import annotations

import re

HIDDEN = "***"

_SECRET_NAME = (
    r"(?:token|secret|passw(?:or)?d|pwd|passphrase|api[-_]?key|auth|credential|signature|session|sig|key|jwt|code)"
)
_USERINFO = re.compile(
    r"""(?<=://)(?:[^/?#\s]*@|[^/?#@:\s]*:(?!\d+\s)[^/?#@\n'"<>]*@)"""  # the latter for a password with a space in it
)
_BARE_USERINFO = re.compile(  # of a URL whose scheme was forgotten
    r"(?<![^\s'\"<>()=])[^\s/?#@:'\"<>()=]+:[^\s/?#@'\"<>()]+@(?=[\w\[])"
)
_QUERY = re.compile(
    rf"([?&;#](?:[\w.\-\[\]]|%[0-9a-f]{{2}})*{_SECRET_NAME}[\w.\-\[\]%]*=)[^&;#\s'\"<>)]*", re.IGNORECASE
)
_HEADER = re.compile(
    r"((?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]*(?:key|token|secret)[\w-]*)"
    r"(['\"]?\s*[:=]\s*['\"]?)[^'\"\r\n]*",
    re.IGNORECASE,
)
_SCHEME_TOKEN = re.compile(r"\b(bearer|basic|digest)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)


def redact(text: str) -> str:
    """Return `text` with every URL's userinfo, secret query values and credential headers replaced by ``***``."""
    if "@" in text:
        text = _USERINFO.sub(HIDDEN + "@", text)
        text = _BARE_USERINFO.sub(HIDDEN + "@", text)
    if "=" in text:
        text = _QUERY.sub(rf"\g<1>{HIDDEN}", text)
    if ":" in text or "=" in text:
        text = _HEADER.sub(rf"\g<1>\g<2>{HIDDEN}", text)
    return _SCHEME_TOKEN.sub(rf"\g<1> {HIDDEN}", text)


def printable(text: str) -> str:
    """Return `text` with a question mark for each character that would do something to a terminal.

    For what a server wrote: its words end up in errors, and errors on screens.
    """
    return text if text.isprintable() else "".join(character if character.isprintable() else "?" for character in text)
