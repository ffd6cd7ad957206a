"""`ProxyList`: proxies that take turns. A value; which of them are good is `transport`'s to know. Any thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from workerpool.checks import is_positive
from workerpool.errors import OptionError

SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


@dataclass(frozen=True, slots=True, repr=False)
class ProxyList:
    """Proxies that take turns: each send goes by the next one.

    One that cannot be connected to, or refuses to make a connection, is set aside, and the request goes by another one,
    which costs it no attempt. After a while one request tries it again.

    `urls`: as in ``http://user:password@proxy:3128``; with the extra ``[socks]`` SOCKS proxies, too.
    `rest`: seconds for which one is set aside the first time; each time that it fails again it is twice as long, up to
        `longest`.
    """

    urls: tuple[str, ...]
    rest: float = field(default=5.0, kw_only=True)
    longest: float = field(default=300.0, kw_only=True)

    def __init__(self, urls: Iterable[str], *, rest: float = 5.0, longest: float = 300.0) -> None:
        if isinstance(urls, (str, bytes)) or not isinstance(urls, Iterable):
            raise OptionError("ProxyList takes a list of URLs, as in ['http://proxy-1:3128', 'http://proxy-2:3128']")
        given = tuple(dict.fromkeys(check_proxy(url, "ProxyList") for url in urls))
        if not given:
            raise OptionError("ProxyList has no proxy in it: name one at least")
        for name, value in (("rest", rest), ("longest", longest)):
            if not is_positive(value):
                raise OptionError(f"ProxyList.{name}={value!r} must be seconds above zero")
        if rest > longest:
            raise OptionError(f"ProxyList.rest={rest!r} is above longest={longest!r}: raise that, too")
        object.__setattr__(self, "urls", given)
        object.__setattr__(self, "rest", float(rest))
        object.__setattr__(self, "longest", float(longest))

    def __repr__(self) -> str:
        """Without logins."""
        return f"ProxyList([{', '.join(repr(shown(url)) for url in self.urls)}])"


def check_proxy(url: object, option: str) -> str:
    """Return the URL of a proxy; raises `OptionError`, which names `option` and no password."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        is_good = parts is not None and parts.scheme in SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not is_good:
        what = (
            repr(f"***@{url.rpartition('@')[2]}" if "@" in url else url) if isinstance(url, str) else type(url).__name__
        )
        raise OptionError(
            f"{option}={what} is no proxy: write 'http://proxy:3128' or 'socks5h://proxy:1080', "
            "with a login as in 'http://user:password@proxy:3128', percent-encoded"
        )
    assert isinstance(url, str)
    return url


def shown(url: str) -> str:
    """A proxy's scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def password_of(url: str) -> str | None:
    """The secret in a URL, None if there is none that can be told."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return None
    return None if password is None else unquote(password)


def has_password(url: str) -> bool:
    """Whether a proxy's URL holds a secret."""
    try:
        return urlsplit(url).password is not None
    except ValueError:
        return "@" in url
