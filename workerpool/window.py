"""The window: how much of a source is in memory, and when more of it is handed out.

A request is *unanswered* from when it is handed out to its outcome, and takes room of its host's share as long (see
`Intake`). It is *outstanding* for longer, until whoever consumes the outcomes has been told of it. For that one thread.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from typing import Any

from workerpool.checks import check_count
from workerpool.clock import NEVER
from workerpool.config import Budgets
from workerpool.intake import Intake, Item

WINDOW = 1000
"""Requests of one stream in memory, unless it is told otherwise; more for pools of over 125 workers."""

PATIENCE = 0.05
"""Two uses: seconds for which a host may give no outcome before the stream reads past it, where workers are idle or
soon will be; and how often a consumer that waits looks whether that is so."""

READ_ON = 20
"""Windows read on at a time. At 1,000 a window, 100,000 requests of a dead host are passed in about a second."""


def window_of(workers: int, budgets: Budgets, window: int | None = None) -> tuple[int, int]:
    """Requests of one stream in memory at once, and how many of these may be one host's; raises `OptionError`.

    That share is a quarter, as long as that keeps a host's sockets busy.
    """
    window = max(WINDOW, 8 * workers) if window is None else check_count("window", window)
    return window, max(1, window // 4, min(window, 2 * budgets.host_connections))


class Window:
    """Counts what its `intake` gives.

    `size`: how many may be outstanding; `share`: how many of these may be one host's. `clock`: gives the time, in
    seconds.
    """

    def __init__(
        self,
        source: Iterator[Any],
        size: int,
        share: int,
        as_item: Callable[[int, Any], Item],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.intake = Intake(source, share, size, as_item, clock)
        self._size = size
        self._clock = clock
        self.outstanding = 0
        # How many have to end before the next are handed out, once the window or a host's share was full: one by one,
        # the consumer's thread would meet the workers at their lock for every request.
        self._batch = max(1, share // 8)
        self._batch_left = 0
        self._awaited: int | None = None  # what there is room for in any case, see `let_one_in`
        self._next_pages: list[tuple[int, Item]] = []  # a heap, by the number of the input: no two of one

    @property
    def unanswered(self) -> int:
        """How many have been handed out and have no outcome yet."""
        return self.intake.admitted

    @property
    def is_full(self) -> bool:
        """Whether there is no room for one more."""
        return self.outstanding >= self._size and self._awaited is None

    @property
    def has_pages(self) -> bool:
        """Whether pages wait for room."""
        return bool(self._next_pages)

    @property
    def is_open(self) -> bool:
        """Whether to hand out what there is room for; once there was none, not before a batch has ended.

        A page that follows another one waits for no batch: it is all that its chain has.
        """
        if self._next_pages and not self.is_full:
            return True
        return self._batch_left <= 0 or self.intake.admitted <= self._batch

    def next(self) -> Item | None:
        """Take the next request to hand out; None if there is no room, or the intake has none that it may give."""
        if self.outstanding >= self._size and self._awaited is None:  # `is_full`, without a call for each request
            self._batch_left = self._batch
            return None
        awaited, self._awaited = self._awaited, None
        if self._next_pages and (awaited is None or self._next_pages[0][0] == awaited):
            _, page = heapq.heappop(self._next_pages)
            self.intake.admit(page[2])
            self.outstanding += 1
            return page
        item = self.intake.next()
        if item is None:
            self._batch_left = self._batch if self.intake.is_blocked else 0
        else:
            self.outstanding += 1
        return item

    def follow(self, item: Item) -> None:
        """Hand out the next page of an input before anything else, those of earlier inputs first.

        It takes the room that the page before it had, whatever its host's share: chains that were begun are gone on
        with, so that no more of them are open than the window holds.
        """
        heapq.heappush(self._next_pages, (item[0], item))

    def let_one_in(self, number: int) -> None:
        """Give room beyond its size to the input of that number, which is not in memory, and all that is waits for it.

        Ordered pages may come to that: those of later inputs fill the window while an earlier one has not begun, as its
        host had its share. It is the first in the backlog then, or the one that was refused: nothing is before it.
        """
        self._awaited = number

    def ended(self, host: str) -> None:
        """Note the outcome of a request that was read for `host`."""
        self._batch_left -= 1
        self.intake.ended(host)

    def told(self) -> None:
        """Note that an outcome has been told."""
        self.outstanding -= 1

    @property
    def stuck_at(self) -> float:
        """From when on it is worth reading past a host without outcomes, if workers need more; `NEVER` if it is not."""
        return NEVER if self.outstanding >= self._size else self.intake.stuck_since + PATIENCE

    @property
    def is_stuck(self) -> bool:
        """Whether that time has come."""
        return self._clock() >= self.stuck_at

    def read_on(self) -> None:
        """Look behind a request that waits for room of its host."""
        self.intake.read_on(READ_ON * self._size)
        self._batch_left = 0
