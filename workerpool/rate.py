"""A rate, and the ways in which people write one. Frozen; no state and no clock."""

from __future__ import annotations

import re
from dataclasses import dataclass

from workerpool.checks import is_number, is_positive
from workerpool.errors import OptionError

UNITS = {
    "ms": 0.001, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip
"""Seconds, by what people call so many."""

_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/|per)\s*(\d+(?:\.\d+)?)?\s*([a-z]+)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` requests in every `seconds` seconds, spread evenly: ``Rate(30, 300)`` is one every 10 s.

    `quotas`: longer windows that hold at once, and are not spread: with ``Rate(10, 1, (Rate(1000, 3600),))`` ten are
    sent a second until the thousand is spent, and then none until the first of them is an hour old.
    """

    count: float
    seconds: float = 1.0
    quotas: tuple[Rate, ...] = ()

    def __post_init__(self) -> None:
        if not (is_positive(self.count) and is_positive(self.seconds)):
            raise OptionError(f"rate={self.count}/{self.seconds}s: both numbers must be above zero, as in Rate(50, 1)")
        if not isinstance(self.quotas, tuple) or not all(isinstance(quota, Rate) for quota in self.quotas):
            raise OptionError(f"rate.quotas={self.quotas!r} must be a tuple of Rates, as in (Rate(1000, 3600),)")
        for quota in self.quotas:
            if quota.seconds <= self.seconds or quota.quotas or quota.count < 1:
                raise OptionError(
                    f"rate={self}: {quota} must be of 1 or more in a longer window than {self.seconds:g} s"
                )

    @classmethod
    def of(cls, value: Rate | str | float, option: str = "rate") -> Rate:
        """Read ``"50/s"``, ``"100/min"``, ``"30/5min"``, ``"1000/h"``, several by "and", or a number per second.

        Of ``"10/s and 1000/h"``, the shortest window is spread evenly, and the others are quotas. Raises `OptionError`,
        naming `option`, for anything else.
        """
        if isinstance(value, Rate):
            return value
        if isinstance(value, str) and len(parts := re.split(r"\s+and\s+|\s*,\s*", value.strip())) > 1:
            rates = sorted((cls.of(part, option) for part in parts), key=lambda rate: rate.seconds)
            if len({rate.seconds for rate in rates}) < len(rates):
                raise OptionError(f"{option}={value!r} names a window twice: write '10/s and 1000/h'")
            return cls(rates[0].count, rates[0].seconds, tuple(rates[1:]))
        if isinstance(value, str):
            match = _RATE.fullmatch(value)
            if match and match[3].lower() in UNITS:
                count, seconds = float(match[1]), float(match[2] or 1) * UNITS[match[3].lower()]
            elif re.fullmatch(r"\s*\d+(?:\.\d+)?\s*", value):
                count, seconds = float(value), 1.0
            else:
                raise _bad_rate(value, option)
        elif is_number(value):
            count, seconds = float(value), 1.0
        else:
            raise _bad_rate(value, option)
        if not (is_positive(count) and is_positive(seconds)):
            raise _bad_rate(value, option)
        return cls(count, seconds)

    @property
    def per_second(self) -> float:
        """Requests per second in the first window."""
        return self.count / self.seconds

    @property
    def sustained(self) -> float:
        """Requests a second in the long run, quotas included."""
        return min(self.per_second, *(quota.per_second for quota in self.quotas)) if self.quotas else self.per_second

    @property
    def interval(self) -> float:
        """Seconds between two slots."""
        return self.seconds / self.count

    def __str__(self) -> str:
        return " and ".join([self._spelled(), *map(str, self.quotas)])

    def _spelled(self) -> str:
        for unit, seconds in (("s", 1.0), ("min", 60.0), ("h", 3600.0), ("d", 86400.0)):
            if self.seconds == seconds:
                return f"{_plain(self.count)}/{unit}"
        return f"{_plain(self.count)}/{_plain(self.seconds)}s"


def _bad_rate(value: object, option: str) -> OptionError:
    return OptionError(
        f"{option}={value!r} is no rate above zero: write '50/s', '100/min', '30/5min', '10/s and 1000/h' or 50"
    )


def _plain(number: float) -> str:
    """The number without an exponent, which `Rate.of` does not read."""
    return str(int(number)) if number == int(number) else f"{number:f}".rstrip("0")
