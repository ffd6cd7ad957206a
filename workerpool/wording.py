"""How numbers, hosts and lines are written for people, on a terminal of 80 columns. Pure functions, any thread."""

from __future__ import annotations

import textwrap

from workerpool.redact import redact

WIDTH = 80
LABEL = 15
"""Columns of the labels in front of what they say."""


def row(label: str, text: str, *, deeper: int = 0, width: int = LABEL) -> list[str]:
    """A label of `width` columns and what it says, on several lines if need be, further ones `deeper` by so many."""
    first = f"  {label:<{width}}"
    return wrapped(text, first, " " * (len(first) + deeper))


def wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    """Lines that begin with `first`, and further ones with `rest`. A word, such as a URL, stays whole."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def shown_host(host: str) -> str:
    """Shorten an origin for people: no scheme, and no port that goes without saying."""
    shown = redact(host)
    scheme, _, rest = shown.partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    return rest.removesuffix(default) if default else shown


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def number(value: float) -> str:
    """Write a number with three digits that mean something: 0.25, 4.2, 198.6, 4,300."""
    if value >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Write seconds for people: 850 µs, 12 ms, 3.2 s, 4 min 05 s, 2 h 10 min."""
    if seconds < 0.0009995:  # each unit up to where it would be written as 1,000 or 60
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def size(count: int) -> str:
    """Write bytes for people, in powers of 1,000."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < (1_000 if unit == "bytes" else 999.95):
            break
        value, unit = value / 1_000, larger
    return f"{count:,} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
