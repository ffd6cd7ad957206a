"""Rate-limit headers: what a server says about how much it allows, in plain words. Pure functions, any thread.

Three families are read: ``RateLimit`` and ``RateLimit-Policy`` of the IETF's drafts (draft-ietf-httpapi-ratelimit-
headers, versions 00 to 10, whose syntax changed twice), ``X-RateLimit-*`` as GitHub, Discourse and others send them,
which no document defines, and ``Retry-After`` (RFC 9110, section 10.2.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workerpool.config import Rate

EPOCH_LIKE = 1e8
"""A reset above this many seconds is a date in seconds since the epoch: nobody waits for three years."""

_FAMILY = re.compile(r"(?:x-)?rate-?limit(?:-(?P<part>[a-z-]+))?", re.IGNORECASE)
_POLICY = re.compile(r"\s*(?:\"[^\"]*\"|[A-Za-z][\w-]*)?\s*(?P<bare>\d+)?\s*(?P<parameters>(?:;[^,]*)?)")
_PAIR = re.compile(r"([a-z]+)\s*=\s*\"?(\d+(?:\.\d+)?)", re.IGNORECASE)
_LEADING = re.compile(r"\s*(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """One header as it came, and what it means, in words. Counts are of whatever unit the server counts in."""

    header: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What the headers together allow: `limit` in `window` seconds; `remaining` until `reset` seconds from now."""

    limit: float | None = None
    window: float | None = None
    remaining: float | None = None
    reset: float | None = None

    @property
    def rate(self) -> Rate | None:
        """The rate that keeps within the policy, or within what is left; None if the headers do not say enough."""
        if self.limit and self.window:
            return Rate(self.limit, self.window)
        if self.remaining and self.reset and self.reset >= 1:
            return Rate(self.remaining, float(round(self.reset)))
        return None


def rate_limits(headers: Mapping[str, str], now: float) -> tuple[RateLimit, ...]:
    """Return the rate-limit headers of an answer that came at `now` (seconds since the epoch), in their order."""
    found: list[RateLimit] = []
    for name, value in headers.items():
        match = _FAMILY.fullmatch(name)
        if match:
            found.append(RateLimit(header=name, value=value, meaning=_meaning(match["part"] or "", value, now)))
        elif name.lower() == "retry-after":
            found.append(RateLimit(header=name, value=value, meaning=_pause(value)))
    return tuple(found)


def allowance(headers: Mapping[str, str], now: float) -> Allowance:
    """Put together what the headers say; the strictest policy, where there are several."""
    limit = window = remaining = reset = None
    for name, value in headers.items():
        match = _FAMILY.fullmatch(name)
        if not match:
            continue
        part = (match["part"] or "").lower()
        policies = [*_policies(value)]
        if part == "policy" or (part == "limit" and any("w" in policy for policy in policies)):
            rates = [(p["q"], p["w"]) for p in policies if p.get("q") and p.get("w")]
            if rates:
                limit, window = min(rates, key=lambda rate: rate[0] / rate[1])
        elif part == "":
            first = policies[0] if policies else {}
            limit = limit or first.get("limit")
            remaining = first.get("r", first.get("remaining"))
            reset = first.get("t", first.get("reset"))
        elif part in ("limit", "remaining", "reset", "reset-after"):
            number = _number(value)
            if part == "limit":
                limit = limit or number
            elif part == "remaining":
                remaining = number
            elif number is not None:
                reset = max(0.0, number - now) if number > EPOCH_LIKE else number
    return Allowance(limit=limit, window=window, remaining=remaining, reset=reset)


def _policies(value: str) -> Iterator[dict[str, float]]:
    """Yield each policy's parameters, the bare number as ``q``; draft-07's ``limit=…, remaining=…`` is one policy."""
    if re.match(r"\s*(limit|remaining|reset)\s*=", value, re.IGNORECASE):
        yield {name.lower(): float(number) for name, number in _PAIR.findall(value)}
        return
    for item in value.split(","):
        match = _POLICY.match(item)
        if match is None:
            continue
        policy = {name.lower(): float(number) for name, number in _PAIR.findall(match["parameters"])}
        if match["bare"]:
            policy.setdefault("q", float(match["bare"]))
        if policy:
            yield policy


def _meaning(part: str, value: str, now: float) -> str:
    part = part.lower()
    policies = [policy for policy in _policies(value) if "q" in policy and "w" in policy]
    if part in ("policy", "limit") and policies:
        return " and ".join(f"{policy['q']:g} every {_span(policy['w'])}" for policy in policies)
    number = _number(value)
    if part == "":
        said = next(_policies(value), {})
        left, reset = said.get("r", said.get("remaining")), said.get("t", said.get("reset"))
        parts = [f"{said['limit']:g} in all"] if "limit" in said else []
        parts += [] if left is None else [f"{left:g} left"]
        parts += [] if reset is None else [f"for {_span(reset)}"]
        return ", ".join(parts) or "not understood"
    if part == "limit" and number is not None:
        return f"{number:g} in a window that it does not name"
    if part == "remaining" and number is not None:
        return f"{number:g} left in this window"
    if part in ("reset", "reset-after") and number is not None:
        return f"the window ends in {_span(max(0.0, number - now) if number > EPOCH_LIKE else number)}"
    return {"used": "used in this window", "resource": "what is counted"}.get(part, "not understood")


def _pause(value: str) -> str:
    number = _number(value)
    return f"send nothing until {value}" if number is None else f"send nothing for {_span(number)}"


def _number(value: str) -> float | None:
    match = _LEADING.match(value)
    return float(match[1]) if match and not re.match(r"\s*\d+\s*[-:T]", value) else None


def _span(seconds: float) -> str:
    if seconds >= 120 and seconds % 60 == 0:
        return f"{seconds / 60:g} min" if seconds < 7200 or seconds % 3600 else f"{seconds / 3600:g} h"
    return f"{seconds:g} s" if seconds < 120 else f"{round(seconds)} s"
