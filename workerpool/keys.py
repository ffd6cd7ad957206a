"""What quotas are counted by (``limit_by=``): a function of the user's, a header of the request, its registered domain.

Made once, called by any thread for each request.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import TypeAlias

from workerpool import domains
from workerpool.errors import OptionError
from workerpool.model import Request

LimitBy: TypeAlias = Callable[[Request], str | None] | str
"""A function that gives a request's key, None for no quota; or the name of a header whose value is the key."""

KeyOf: TypeAlias = Callable[[Request], str | None]

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def key_function(limit_by: LimitBy) -> KeyOf:
    """Make of `limit_by` the function that gives a request's key, or None where no quota by key holds for it.

    A header's key is a hash of its value, which may be a secret; requests without that header, or with None as its
    value, have no key. Headers that the session adds by itself are not seen.

    Raises `OptionError` for what is neither a function nor a header's name.
    """
    if isinstance(limit_by, str):
        if not is_header(limit_by):
            raise OptionError(f"limit_by={limit_by!r} is no header's name: write 'X-Api-Key', or give a function")
        return _by_header(limit_by.lower())
    if not callable(limit_by):
        raise OptionError(
            f"limit_by={limit_by!r} must be a header's name such as 'X-Api-Key', or a function of a request"
        )
    if limit_by is domains.registered_domain:
        domains.prepare()
        return domains.registered_domain
    return _checked(limit_by)


def is_header(name: str) -> bool:
    """Whether that can be a header's name."""
    return _HEADER.fullmatch(name) is not None


def _by_header(wanted: str) -> KeyOf:
    def key_of(request: Request) -> str | None:
        for name, value in (request.headers or {}).items():
            if _as_text(name).lower() == wanted and value is not None:
                return f"{wanted}:{_hashed(value)}"
        return None

    return key_of


def _checked(function: Callable[[Request], str | None]) -> KeyOf:
    def key_of(request: Request) -> str | None:
        key = function(request)
        if key is not None and not isinstance(key, str):
            raise OptionError(f"limit_by gave {type(key).__name__} for {request!r}: it must give a text, or None")
        return key

    return key_of


def _as_text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _hashed(value: str | bytes) -> str:
    """What stands for a header's value, which may be a secret, in all that is kept."""
    secret = _as_text(value).strip().encode(errors="backslashreplace")
    return hashlib.blake2b(secret, digest_size=12, person=b"limit-by").hexdigest()
