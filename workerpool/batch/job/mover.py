"""Takes records from the ledger to the sink: a batch is on the disk before the ledger forgets it.

The ledger is a queue between those who fetch and the sink, so going on after a crash is the same as going on: the sink
goes back to where the ledger says, and what waits is taken there. The run's housekeeper calls `flush`; the run's thread
`wait_for_room`, and once the housekeeper has ended, `move_all`.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from workerpool.batch.job.ledger import Ledger
from workerpool.batch.job.schema import Seen, apart
from workerpool.batch.job.states import Identity
from workerpool.batch.sinks.base import DurableSink

SYNC_EVERY = 1.0
"""Seconds between two syncs of the ledger: what a power cut may undo."""

TIDY_EVERY = 1.0
"""Seconds between two checkpoints of its log, which grows by some 5 kB with each outcome."""

MOVED_AT_ONCE = 4 * 1024 * 1024
"""Bytes of records taken from the ledger at once, at least."""

AHEAD = 64 * 1024 * 1024
"""Bytes of records that may wait for the sink before fetching waits for it, too."""


class Mover:
    """From a ledger to a sink, which stands where the ledger says.

    `ordered`: in the order of the inputs, up to `front`, which the run's thread moves on.
    """

    def __init__(self, ledger: Ledger, sink: DurableSink, *, ordered: bool) -> None:
        self._ledger = ledger
        self._sink = sink
        self._ordered = ordered
        self._moving = threading.Lock()  # guards the sink, _after and the times
        self._after = 0  # the number of the last record that was moved, if they go as they came
        self._last_moved = self._last_synced = self._last_tidied = time.monotonic()

        self._room = threading.Condition()  # guards _waiting, _is_stuck and _is_over; said when there is more room
        self._waiting = ledger.waiting_bytes()  # of records; also those that an earlier execution left
        self._is_stuck = False  # the last look found nothing to move, so waiting for room would not end
        self._is_over = False

        self._seen: deque[Seen] = deque()  # for the ledger, from the run's thread to the one that moves
        self.front: Identity = (0, 0)
        self.written = 0
        self.is_broken = False
        """Whether sink or ledger has failed: the sink is to get nothing more, as it may have what is not confirmed."""

    def note_seen(self, seen: Seen) -> None:
        """Let the ledger remember something with one of the next batches. The run's thread."""
        self._seen.append(seen)

    def wait_for_room(self, size: int) -> None:
        """Note that so many bytes were entered; let a sink that is slower than the answers slow them down."""
        with self._room:
            self._waiting += size
            self._is_stuck = False
            while self._waiting > AHEAD and not self._is_stuck and not self._is_over:
                self._room.wait(1.0)

    def stop_waiting(self) -> None:
        """Let nobody wait for room any more: the run ends. Any thread."""
        with self._room:
            self._is_over = True
            self._room.notify_all()

    def flush(self) -> None:
        """Move what is worth it, and keep the ledger in order; raises `SinkError` and `JobError`."""
        try:
            self._flush()
        except BaseException:
            self.is_broken = True
            raise

    def _flush(self) -> None:
        now, cadence = time.monotonic(), self._sink.cadence
        with self._room:
            waits = self._waiting
        with self._moving:
            if waits >= cadence.bytes or (waits and now - self._last_moved >= cadence.seconds):
                self._move()
            if now - self._last_synced >= SYNC_EVERY:
                self._note_all_seen()  # also where no record goes to the sink, as nothing has changed
                self._ledger.sync()
                self._last_synced = now
            if now - self._last_tidied >= TIDY_EVERY:
                self._ledger.tidy()
                self._last_tidied = now

    def move_all(self, *, from_start: bool = False) -> None:
        """Move everything that may be moved; `from_start`, also what was kept for later."""
        with self._moving:
            if from_start:
                self._after = 0
            self._move()
            self._note_all_seen()

    def _note_all_seen(self) -> None:
        if seen := self._take_seen():
            self._ledger.note_seen(seen)

    def _move(self) -> None:
        most = max(MOVED_AT_ONCE, self._sink.cadence.bytes)
        while True:
            if self._ordered:
                rows = self._ledger.waiting_in_order(self.front, most)
            else:
                rows = self._ledger.waiting(self._after, most)
            if not rows:
                break
            numbers = [number for number, _ in rows]
            records = [line for _, lines in rows for line in apart(lines)]
            self.is_broken = True
            self._ledger.confirm(numbers, self._sink.write(records), self._take_seen())
            self.is_broken = False
            self._after = max(numbers)
            self.written += len(records)
            with self._room:
                self._waiting = max(0, self._waiting - sum(map(len, records)))  # those kept for later were not counted
                self._room.notify_all()
        with self._room:
            self._is_stuck = True
            self._room.notify_all()
        self._last_moved = time.monotonic()

    def _take_seen(self) -> list[Seen]:
        seen: list[Seen] = []
        while self._seen:
            seen.append(self._seen.popleft())
        return seen
