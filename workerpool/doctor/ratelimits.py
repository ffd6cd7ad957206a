"""Rate-limit headers in plain words: what a server says about how much it allows. Pure functions, any thread.

What the headers mean is read by `workerpool.limits.headers`. ``Retry-After`` (RFC 9110, section 10.2.3) is put into
words here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workerpool.limits.headers import items, number, part_of, seconds_until


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """One header as it came, and what it means, in words. Counts are of whatever unit the server counts in."""

    header: str
    value: str
    meaning: str


def rate_limits(headers: Mapping[str, str], now: float) -> tuple[RateLimit, ...]:
    """Return the rate-limit headers of an answer that came at `now` (seconds since the epoch), in their order."""
    found: list[RateLimit] = []
    for name, value in headers.items():
        part = part_of(name)
        if part is not None:
            found.append(RateLimit(header=name, value=value, meaning=_meaning(part, value, headers, now)))
        elif name.lower() == "retry-after":
            found.append(RateLimit(header=name, value=value, meaning=_pause(value)))
    return tuple(found)


def _meaning(part: str, value: str, headers: Mapping[str, str], now: float) -> str:
    policies = [item.numbers for item in items(value) if "q" in item.numbers and "w" in item.numbers]
    if part in ("policy", "limit") and policies:
        return " and ".join(f"{policy['q']:g} every {_span(policy['w'])}" for policy in policies)
    if part == "":
        return _service_limit(value)
    count = number(value)
    if part == "limit" and count is not None:
        return f"{count:g} in a window that it does not name"
    if part == "remaining" and count is not None:
        return f"{count:g} left in this window"
    if part in ("reset", "reset-after") and (reset := seconds_until(value, headers, now)) is not None:
        return f"the window ends in {_span(reset)}"
    return {"used": "used in this window", "resource": "what is counted"}.get(part, "not understood")


def _service_limit(value: str) -> str:
    first = next(items(value), None)
    said = first.numbers if first else {}
    left, reset = said.get("r", said.get("remaining")), said.get("t", said.get("reset"))
    parts = [f"{said['limit']:g} in all"] if "limit" in said else []
    parts += [] if left is None else [f"{left:g} left"]
    parts += [] if reset is None else [f"for {_span(reset)}"]
    return ", ".join(parts) or "not understood"


def _pause(value: str) -> str:
    seconds = number(value)
    return f"send nothing until {value}" if seconds is None else f"send nothing for {_span(seconds)}"


def _span(seconds: float) -> str:
    if seconds >= 120 and seconds % 60 == 0:
        return f"{seconds / 60:g} min" if seconds < 7200 or seconds % 3600 else f"{seconds / 3600:g} h"
    return f"{seconds:g} s" if seconds < 120 else f"{round(seconds)} s"
