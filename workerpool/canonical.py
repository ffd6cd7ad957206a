"""Gives every way of writing a URL that means the same, as it is sent, one form (RFC 3986, section 6.2).

Scheme and host are lower case, hosts in letters of other scripts are in their ASCII form, the scheme's own port and the
fragment are left out, an empty path is "/", dot segments are resolved, and what needs no percent-encoding has none. The
order of a query is kept, and so is userinfo. A URL that is not http or https, or has no host that can be looked up,
stays as it is. Pure functions, any thread.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from workerpool.model import DEFAULT_PORTS

_PLAIN = re.compile(
    r"https?://[a-z0-9_-][a-z0-9._-]*(?::(?!80/|443/)(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?/[A-Za-z0-9._~!$&'()*+,;=:@/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@/?-]+)?"
)
"""What most URLs are, and canonical if there is no "/." in it: to find that out takes a tenth of the time."""

_PARTS = re.compile(r"(https?)://([^\\/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.ASCII | re.IGNORECASE | re.DOTALL)
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:%@\s]+)(?::([0-9]*))?", re.ASCII)
_NAME = re.compile(r"[a-z0-9._~!$&'()*+,;=-]+|\[.*\]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT = "!$&'()*+,;=:@/"  # in a path as they are, besides the unreserved ones


def canonical(url: str) -> str:
    """Return the one form of `url`; what is no URL is returned as it is. Raises nothing."""
    if "/." not in url and _PLAIN.fullmatch(url):
        return url
    parts = _PARTS.fullmatch(url.lstrip())
    if parts is None:
        return url
    scheme = parts[1].lower()
    try:
        site = _site(parts[2], scheme)
        path, query = _path(parts[3]), _encoded(parts[4] or "", _KEPT + "?")
    except UnicodeError:  # a host that is none, or half of a surrogate pair
        return url
    return url if site is None else f"{scheme}://{site}{path}{query and '?'}{query}"


def _site(text: str, scheme: str) -> str | None:
    """Return userinfo, host and port in their form; None if there is no host, or one that cannot be looked up."""
    userinfo, at, place = text.rpartition("@")
    found = _PLACE.fullmatch(place)
    if found is None:
        return None
    host, port = _host(found[1]), (found[2] or "").lstrip("0")
    if not _NAME.fullmatch(host) or len(port) > 5 or int(port or "0") > 65535:
        return None
    login = userinfo and userinfo + at
    return f"{login}{host}:{port}" if port and int(port) != DEFAULT_PORTS[scheme] else login + host


def _host(host: str) -> str:
    host = host.lower()
    if host.isascii():
        return host
    import idna  # requests brings it; most batches do without

    # As urllib3 does it: a name that this refuses is never looked up.
    return ".".join(
        label if label.isascii() else idna.encode(label, strict=True, std3_rules=True).decode()
        for label in host.split(".")
    )


def _path(path: str) -> str:
    """Resolve the dot segments before and after decoding: those that are encoded do not count for urllib3."""
    path = path if path.startswith("/") else "/" + path
    return _without_dots(_encoded(_without_dots(path), _KEPT))


def _without_dots(path: str) -> str:
    """Resolve "." and ".." segments; of several slashes that are left at the beginning one stays, as urllib3 has it."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if not kept or kept[0]:
        kept.insert(0, "")
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept) or "/"


def _encoded(text: str, safe: str) -> str:
    """Encode what has to be, decode what need not be. One bad escape makes every percent sign stand for itself."""
    safe = safe if _BAD_ESCAPE.search(text) else safe + "%"
    return _ESCAPE.sub(_decoded, quote(_ESCAPE.sub(_upper, text), safe))


def _upper(escape: re.Match[str]) -> str:
    return escape[0].upper()


def _decoded(escape: re.Match[str]) -> str:
    code = int(escape[1], 16)
    return chr(code) if code in _UNRESERVED else escape[0]
