"""A retry budget's arithmetic: tokens that first tries and time bring and retries spend. Told the time, waits never."""

from __future__ import annotations


class RetryTokens:
    """Tokens for retries: `floor` at first and at most, `share` more for each first try, `per_second` for each second.

    In any time at most ``floor + share * first tries + per_second * seconds`` are spent. With a `parent`, a retry
    spends a token of both, and waits until both have one.
    """

    __slots__ = ("_at", "_floor", "_parent", "_per_second", "_share", "_tokens")

    def __init__(
        self, share: float, per_second: float, floor: float, now: float, parent: RetryTokens | None = None
    ) -> None:
        self._share = share
        self._per_second = per_second
        self._floor = floor
        self._tokens = floor  # as of then: `_level` adds what time has brought since, and leaves the floor at most
        self._at = now
        self._parent = parent

    def earn(self) -> None:
        """Count a first try."""
        self._tokens += self._share
        if self._parent is not None:
            self._parent.earn()

    def spend(self, now: float) -> None:
        """Spend a token on a retry; there has to be one."""
        self._tokens = self._level(now) - 1.0
        self._at = max(self._at, now)
        if self._parent is not None:
            self._parent.spend(now)

    def next_at(self) -> float:
        """The time from which on there is a token; in the past if there is one now."""
        at = self._at + (1.0 - self._tokens) / self._per_second
        return at if self._parent is None else max(at, self._parent.next_at())

    def count(self, now: float) -> int:
        """How many tokens of its own there are, its parent's apart."""
        return int(self._level(now))

    @property
    def rests_at(self) -> float:
        """The time from which on all tokens are back, and this one may be forgotten."""
        return self._at + (self._floor - self._tokens) / self._per_second

    def _level(self, now: float) -> float:
        return min(self._floor, self._tokens + max(0.0, now - self._at) * self._per_second)
