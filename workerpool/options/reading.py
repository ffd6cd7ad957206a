"""What the text of a flag means: made what Python takes. Each function raises `OptionError`, naming the flag.

Whether that can work is for those to check who take it from Python, too. Pure functions, any thread, but for
certificates, which are looked at.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Callable
from typing import Any

from workerpool import domains
from workerpool.config import AUTO, RetryBudget
from workerpool.errors import OptionError
from workerpool.keys import LimitBy, is_header
from workerpool.rate import UNITS

_SIZES = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def same(text: str, flag: str) -> str:
    return text


DIGITS = 100
"""Characters that a number may have: Python reads no whole number of thousands, and no size of hundreds."""


def directory(text: str, flag: str) -> str:
    if not text:
        raise OptionError(f"{flag}='' must name a directory")
    return text


def number(text: str, flag: str, *, least: int = 1, more: str = "") -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= DIGITS) or int(text) < least:
        raise OptionError(f"{flag}={text!r} must be a whole number, {least} or more{more}")
    return int(text)


def number_or_auto(text: str, flag: str) -> int | str:
    return AUTO if text == AUTO else number(text, flag, more=", or auto")


def number_or_0(text: str, flag: str) -> int:
    return number(text, flag, least=0)


def tries(text: str, flag: str) -> int:
    """Tries after the first, as tries in all."""
    return 1 + number(text, flag, least=0)


def duration(text: str, flag: str) -> float:
    """Seconds above zero: ``90``, ``90s``, ``10m``, ``1h30m``."""
    if (seconds := duration_or_0(text, flag)) <= 0:
        raise OptionError(f"{flag}={text!r} must be above zero: write '90s', '10m' or '1h30m'")
    return seconds


def duration_or_0(text: str, flag: str) -> float:
    parts = _DURATION.findall(text.strip())
    known = all(not unit or unit.lower() in UNITS for _, unit in parts)
    if not parts or not known or _DURATION.sub("", text.strip()):
        raise OptionError(f"{flag}={text!r} is no duration: write '90s', '10m' or '1h30m'")
    return float(sum(float(count) * UNITS[unit.lower() or "s"] for count, unit in parts))


def size(text: str, flag: str) -> int:
    """Bytes: ``1000``, ``64KiB``, ``10MB``, ``1GiB``."""
    match = _SIZE.fullmatch(text) if len(text) <= DIGITS else None
    if not match or match[2].lower() not in _SIZES or (found := int(float(match[1]) * _SIZES[match[2].lower()])) < 1:
        raise OptionError(f"{flag}={text!r} is no size above zero: write '64KiB', '10MB' or '1GiB'")
    return found


def text_or_file(text: str, flag: str) -> str:
    """A text, or with ``@`` before it the name of a file that holds it."""
    if not text.startswith("@"):
        return text
    try:
        with open(text[1:], encoding="utf-8", newline="") as file:  # with its ends of lines as they are
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name, or no UTF-8
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise OptionError(f"{flag}={text!r} cannot be read: {reason[:1].lower()}{reason[1:]}") from None


def json_or_file(text: str, flag: str) -> Any:
    """JSON, as a text or in a file."""
    try:
        found = json.loads(text_or_file(text, flag))
    except (json.JSONDecodeError, RecursionError) as error:
        place = "nested too deeply"
        if isinstance(error, json.JSONDecodeError):
            place = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise OptionError(
            f'{flag} is no JSON ({place}): write \'{{"id": "{{id}}"}}\', with places in double quotes, whatever '
            "their values' types"
        ) from None
    if found is None:
        raise OptionError(f"{flag}='null' is no body: leave it out")
    return found


def speed(text: str, flag: str) -> float | None:
    """Bytes a second: ``10KB/s``, ``1MiB``; None for ``none``."""
    return None if text == "none" else float(size(text.strip().removesuffix("/s"), flag))


def fields(text: str, flag: str) -> frozenset[str]:
    return frozenset(field.strip() for field in text.split(",") if field.strip())


def none_or_share(text: str, flag: str) -> RetryBudget | None:
    if text == "none":
        return None
    try:
        return RetryBudget(share=float(text[:-1]) / 100 if text.endswith("%") else float(text))
    except ValueError as error:  # OptionError is one, too
        raise OptionError(f"{flag}={text!r} must be a share from 0 to 10 such as 20% or 0.2, or none") from error


def limit_by(text: str, flag: str) -> LimitBy:
    """``domain``, or ``header:NAME``."""
    if text == "domain":
        return domains.registered_domain
    kind, colon, name = text.partition(":")
    if kind != "header" or not colon or not is_header(name):
        raise OptionError(f"{flag}={text!r} is unknown: write 'domain', or 'header:X-Api-Key' with a header's name")
    return name


def authorities(path: str, flag: str) -> str:
    """A file of certificates, or a directory of such files."""
    places = (None, path) if os.path.isdir(path) else (path, None)
    fault = "holds no certificate: name a PEM file, or a directory of them"
    return _pem(path, flag, lambda context: context.load_verify_locations(*places), fault)


def certificate(path: str, flag: str) -> str:
    """A file of a certificate with its key."""
    # Without a password that is none, OpenSSL would ask for an encrypted key's on the terminal.
    fault = "holds no certificate with its key, both in PEM and the key open"
    return _pem(path, flag, lambda context: context.load_cert_chain(path, password=""), fault)


def _pem(path: str, flag: str, load: Callable[[ssl.SSLContext], Any], fault: str) -> str:
    try:
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except ssl.SSLError:
        raise OptionError(f"{flag}={path!r} {fault}") from None
    except OSError as error:
        raise OptionError(f"{flag}={path!r} cannot be read: {(error.strerror or str(error)).lower()}") from None
    return path
