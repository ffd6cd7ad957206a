"""The registered domain of a URL, by the Public Suffix List: what several hosts of one owner have in common.

The list comes with the library publicsuffixlist (the extra ``[crawl]``), which packages a new one every few days and
never asks the network. It is read when the first domain is asked for, in some 60 ms. Any thread.
"""

from __future__ import annotations

import functools
import ipaddress
from typing import Any
from urllib.parse import urlsplit

from workerpool.canonical import canonical  # layer: sibling, because a name's form is that in which it is sent
from workerpool.extras import load
from workerpool.model import Request

REMEMBERED = 10_000
"""Sites whose domains are kept: about 3 MB."""


def registered_domain(of: Request | str) -> str:
    """Return the registered domain of a request's URL: ``example.co.uk`` for ``https://www.example.co.uk/page``.

    It is what somebody could register: one label more than a public suffix. Private suffixes count as such, so
    ``a.github.io`` and ``b.github.io`` are two. IP addresses, names of one label and public suffixes are themselves; a
    URL without a host gives its own text. Lower case; names beyond ASCII in the form that is sent (``xn--…``).

    For ``limit_by=``, where all hosts of one owner share a budget. Raises `OptionError` without the extra ``[crawl]``.
    """
    url = of if isinstance(of, str) else of.url
    return _domain_of("/".join(url.split("/", 3)[:3])) or url


def prepare() -> None:
    """Read the list now; raises `OptionError` without the extra ``[crawl]``."""
    _suffixes()


@functools.lru_cache(REMEMBERED)
def _domain_of(site: str) -> str | None:
    """The registered domain of a URL that was cut after its host; None without one."""
    try:
        host = urlsplit(canonical(site)).hostname
    except ValueError:
        return None
    if not host:
        return None
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    name = host.rstrip(".")
    domain: str | None = _suffixes().privatesuffix(name)
    return domain or name or None


@functools.cache
def _suffixes() -> Any:
    return load("publicsuffixlist", "crawl", "the registered domain of a URL").PublicSuffixList()
