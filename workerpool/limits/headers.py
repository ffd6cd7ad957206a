"""What a host's headers say about its limits: how much is left, and until when. Pure functions, any thread.

Read are ``RateLimit`` and ``RateLimit-Policy`` of the IETF's draft (draft-ietf-httpapi-ratelimit-headers-11, and the
three forms that older versions had), and ``X-RateLimit-*`` and ``X-Rate-Limit-*``, which no document defines: GitHub's
and X's reset is a time since the epoch, Discord's has a fraction and comes as ``-Reset-After``, too, others count
seconds from now, Kong puts the window into the header's name, and OpenAI writes durations such as ``6m0s``.

So is ``Retry-After``. Nothing here raises: what is not understood says nothing.
"""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from workerpool.rate import Rate

EPOCH_LIKE = 1e9
"""More seconds than this are a time since the epoch: nobody waits for thirty years. A thousand times as much is one in
milliseconds."""

LONGEST_WAIT = 10 * 366 * 86400.0
"""Seconds in ``Retry-After`` that are believed at most: dates beyond it cannot always be written down."""

LONGEST_VALUE = 1_000
"""Characters of a header that are looked at; a longer one says nothing."""

_FAMILY = re.compile(r"(?:x-)?rate-?limit(?:-(?P<part>[a-z]+(?:-[a-z]+)*))?", re.IGNORECASE)
_ITEM = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')
_PIECE = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^;"])+')
_NAMED = re.compile(r"\s*(?:limit|remaining|reset)\s*=", re.IGNORECASE)
_NUMBER = re.compile(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*")
_LEADING = re.compile(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*(?:[,;].*)?", re.DOTALL)
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|us|µs|h|m|s)")
_SPANS = re.compile(rf"\s*(?:{_SPAN.pattern})+\s*")
_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_WINDOWS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "month": 30 * 86400.0}
_REQUESTS = ("", "request", "requests")
"""The quota units that count requests. Others (content-bytes, concurrent-requests) say nothing about a rate."""


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


def allowance(headers: Mapping[str, str], wall_time: float) -> Allowance | None:
    """Put together what an answer's headers say; None if that is nothing. `wall_time`: seconds since the epoch, now.

    Of several policies it is the strictest, and of several counts of what is left the one that is used up first at an
    even pace. A time is compared with the answer's own ``Date`` where there is one, so that clocks may differ.
    """
    if "limit" not in "\n".join(headers).lower():
        return None
    found = _Found()
    for name, value in headers.items():
        part = part_of(name)
        if part is not None and len(value) <= LONGEST_VALUE:
            found.enter(part, value, headers, wall_time)
    return found.together()


def part_of(name: str) -> str | None:
    """What a header of these families is about, in lower case: ``"remaining"``, or ``""`` for ``RateLimit`` itself."""
    match = _FAMILY.fullmatch(name)
    return (match["part"] or "").lower() if match else None


@dataclass(slots=True)
class Item:
    """One limit of a list: its parameters that are numbers, its name if it has one, and the unit it counts in."""

    numbers: dict[str, float]
    name: str = ""
    unit: str = ""


def items(value: str) -> Iterator[Item]:
    """Take a list of limits apart; a bare number is ``q``, and the ``limit=…, remaining=…`` of draft 07 one item."""
    value = value[:LONGEST_VALUE]
    if _NAMED.match(value):
        yield _item(value.replace(",", ";"))
        return
    if _ITEM.sub("", value).strip(", \t"):
        return  # a quote that does not end
    for text in _ITEM.findall(value):
        head, _, parameters = text.partition(";") if '"' not in text else _parted(text)
        item = _item(parameters)
        if _NUMBER.fullmatch(head):
            item.numbers.setdefault("q", float(head))
        else:
            item.name = head.strip().strip('"')
        if item.numbers:
            yield item


def number(value: str) -> float | None:
    """The number that a value begins with, alone or before a list's next member; None if it is none."""
    match = _LEADING.fullmatch(value)
    return float(match[1]) if match else None


def seconds_until(value: str, headers: Mapping[str, str], wall_time: float) -> float | None:
    """Read a reset: seconds from now, or since the epoch (also in milliseconds), ``6m0s``, or a date."""
    moment = number(value)
    if moment is None and _SPANS.fullmatch(value):
        return sum(float(count) * _UNITS[unit] for count, unit in _SPAN.findall(value))
    if moment is None:
        moment = _date(value)
        if moment is None:
            return None
    elif moment <= EPOCH_LIKE:
        return moment
    elif moment > 1000 * EPOCH_LIKE:
        moment /= 1000
    stated = _date(headers.get("Date") or headers.get("date") or "")
    return max(0.0, moment - (wall_time if stated is None else stated))


def retry_after(headers: Mapping[str, str], wall_time: float) -> float | None:
    """Read ``Retry-After`` (RFC 9110, section 10.2.3) as seconds from now; None if it says nothing of use.

    Zero, negative and past values say nothing of use: obeyed literally they burn the attempts.
    """
    text = headers.get("Retry-After", "")
    if number(text) is not None and not _NUMBER.fullmatch(text):
        return None  # a list
    seconds = seconds_until(text, headers, wall_time)
    return min(seconds, LONGEST_WAIT) if seconds else None


class _Found:
    """What the headers have said so far."""

    def __init__(self) -> None:
        self.policies: list[Item] = []
        self.limits: list[Item] = []
        self.limit: float | None = None
        self.remaining: float | None = None
        self.reset: float | None = None
        self._is_exact = False

    def enter(self, part: str, value: str, headers: Mapping[str, str], wall_time: float) -> None:
        """Note one header."""
        part, window = _without_window(part)
        if part == "":
            self.limits += items(value)
        elif part == "policy":
            self.policies += items(value)
        elif part == "limit" and window is not None:
            self.policies.append(Item({"q": number(value) or 0.0, "w": window}))
        elif part == "limit":
            self.policies += items(value)
            self.limit = number(value)
        elif part == "remaining" and window is None:
            self.remaining = number(value)
        elif part in ("reset", "reset-after") and not self._is_exact:
            self.reset = seconds_until(value, headers, wall_time)
            self._is_exact = part == "reset-after" and self.reset is not None

    def together(self) -> Allowance | None:
        """The one limit that binds, with the policy behind it."""
        units = {item.name: item.unit for item in self.policies}
        limits = [item for item in self.limits if units.get(item.name, "") in _REQUESTS]
        binding = min(limits, key=_pace, default=None)
        if binding is not None:
            self.limit = binding.numbers.get("limit", self.limit)
            self.remaining = _first(binding, "r", "remaining")
            self.reset = _first(binding, "t", "reset")
        quota, window = self._strictest()
        found = Allowance(limit=quota or self.limit, window=window, remaining=self.remaining, reset=self.reset)
        return None if found == Allowance() else found

    def _strictest(self) -> tuple[float | None, float | None]:
        """The quota and window of the policy that allows the lowest rate."""
        known: list[tuple[float, float]] = []
        for item in self.policies:
            quota, window = item.numbers.get("q"), _first(item, "w", "window")
            if quota and window and item.unit in _REQUESTS:
                known.append((quota, window))
        return min(known, key=lambda each: each[0] / each[1], default=(None, None))


def _without_window(part: str) -> tuple[str, float | None]:
    """Take the window off ``limit-minute``, as Kong has it, and OpenAI's ``-requests``."""
    head, _, last = part.rpartition("-")
    if last in _WINDOWS:
        return head, _WINDOWS[last]
    return (head, None) if last == "requests" else (part, None)


def _item(parameters: str) -> Item:
    item = Item({})
    for piece in _PIECE.findall(parameters):
        key, _, text = piece.partition("=")
        key, text = key.strip().lower(), text.strip().strip('"')
        if key == "qu":
            item.unit = text.lower()
        elif _NUMBER.fullmatch(text):
            item.numbers[key] = float(text)
    return item


def _parted(text: str) -> tuple[str, str, str]:
    """Part an item with quotes at its first semicolon outside of them."""
    pieces = _PIECE.findall(text)
    return pieces[0], ";", ";".join(pieces[1:])


def _pace(item: Item) -> float:
    """What may be sent per second so that a limit lasts until its reset; without a reset it binds least."""
    left, reset = _first(item, "r", "remaining"), _first(item, "t", "reset")
    if left is None or reset is None:
        return math.inf
    return left / max(reset, 1.0) if left else -reset


def _first(item: Item, *names: str) -> float | None:
    return next((item.numbers[name] for name in names if name in item.numbers), None)


def _date(text: str) -> float | None:
    """Read a date as HTTP or ISO 8601 writes it, in seconds since the epoch."""
    try:
        return _utc(email.utils.parsedate_to_datetime(text))
    except (TypeError, ValueError, OverflowError, IndexError):
        pass
    try:
        return _utc(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        return None


def _utc(date: datetime) -> float:
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
