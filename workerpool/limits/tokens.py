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
        self._tokens = floor
        self._at = now  # when the tokens were counted
        self._parent = parent

    def earn(self, now: float) -> None:
        """Count a first try."""
        if self._tokens < self._floor:
            self._refill(now)
            self._tokens = min(self._floor, self._tokens + self._share)
        if self._parent is not None:
            self._parent.earn(now)

    def spend(self, now: float) -> None:
        """Spend a token on a retry; there has to be one."""
        self._refill(now)
        self._tokens -= 1.0
        if self._parent is not None:
            self._parent.spend(now)

    def next_at(self) -> float:
        """The time from which on there is a token; in the past if there is one now."""
        at = self._at if self._tokens >= 1.0 else self._at + (1.0 - self._tokens) / self._per_second
        return at if self._parent is None else max(at, self._parent.next_at())

    def count(self, now: float) -> int:
        """How many tokens of its own there are, its parent's apart."""
        return int(min(self._floor, self._tokens + max(0.0, now - self._at) * self._per_second))

    @property
    def rests_at(self) -> float:
        """The time from which on all tokens are back, and this one may be forgotten."""
        return self._at + (self._floor - self._tokens) / self._per_second

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self._floor, self._tokens + (now - self._at) * self._per_second)
            self._at = now
