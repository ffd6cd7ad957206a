"""A circuit breaker's state: told how sends ended, it says when its host is to be left alone. Waits never."""

from __future__ import annotations

from collections import deque

from workerpool.clock import LONG_AGO
from workerpool.config import Breaker


class Circuit:
    """Closed, open until a time, or half-open: since that time, until a send that began after it has ended."""

    __slots__ = ("_failed", "_failures", "_heard_at", "_last", "_open_for", "_rules", "open_until")

    def __init__(self, rules: Breaker) -> None:
        self._rules = rules
        self._failures = 0  # in a row
        self._last: deque[bool] = deque(maxlen=rules.window)  # which of the last sends have failed
        self._failed = 0  # of these
        self._open_for = rules.open_for
        self.open_until: float | None = None  # None: closed
        self._heard_at = LONG_AGO

    @property
    def is_closed(self) -> bool:
        return self.open_until is None

    @property
    def rests_at(self) -> float:
        """The time from which on nothing that it remembers matters."""
        if self.open_until is not None:
            return self.open_until + self._rules.longest
        return self._heard_at + self._rules.longest if self._failures or self._failed else LONG_AGO

    def hear(self, failed: bool, sent_at: float, now: float) -> bool | None:
        """Note how a send ended. True: the circuit opens, until `open_until`; False: it closes; None: it stays.

        What was sent before it opened says nothing about the host since.
        """
        self._heard_at = now
        if self.open_until is not None:
            if sent_at < self.open_until:
                return None
            if not failed:
                self._close()
                return False
            self._open_for = min(self._rules.longest, 2 * self._open_for)
            self._open(now)
            return True
        self._failures = self._failures + 1 if failed else 0
        if len(self._last) == self._rules.window:
            self._failed -= self._last[0]
        self._last.append(failed)
        self._failed += failed
        if self._failures >= self._rules.failures or self._is_share_reached():
            self._open(now)
            return True
        return None

    def _is_share_reached(self) -> bool:
        share, last = self._rules.share, self._last
        return share is not None and len(last) == self._rules.window and self._failed >= share * len(last)

    def _open(self, now: float) -> None:
        self.open_until = now + self._open_for

    def _close(self) -> None:
        self.open_until = None
        self._open_for = self._rules.open_for
        self._failures = 0
        self._failed = 0
        self._last.clear()
