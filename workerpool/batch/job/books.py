"""The books of a job: every outcome is entered in its ledger, and from there its record goes to the sink.

The run's thread fetches: `pool.batches` gives it all that has ended and waits, that is one transaction, and only then
are the requests in it no longer counted as being sent. So at most as many requests are sent and not in the ledger as
there are workers. The housekeeper's thread takes records from the ledger to the sink, a batch at a time: it is on the
disk before the ledger forgets it and notes where the sink stands. Going on after a crash is the same again, from there.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace

from workerpool.batch.job.heartbeat import Heartbeat
from workerpool.batch.job.inputs import Inputs, change_all, count_inputs
from workerpool.batch.job.ledger import Entries, Held, Ledger, RunRow, Seen
from workerpool.batch.job.prepare import Preparation, attempts_from, attempts_to
from workerpool.batch.job.states import GOOD, TO_DO, State
from workerpool.batch.record import Record, record_of
from workerpool.batch.run import DEADLINE, Pool, Take
from workerpool.batch.sinks.base import DurableSink
from workerpool.batch.sinks.jsonl import encode
from workerpool.errors import Cancelled, JobError, OutcomeUnknown, SinkError, SourceError
from workerpool.model import IDLE, Idle, Outcome, Request, Underway

SYNC_EVERY = 1.0
"""Seconds between two syncs of the ledger: what a power cut may undo."""

TIDY_EVERY = 5.0
"""Seconds between two checkpoints of its log."""

MOVED_AT_ONCE = 4 * 1024 * 1024
"""Bytes of records taken from the ledger at once, at least."""

AHEAD = 64 * 1024 * 1024
"""Bytes of records that may wait for the sink before fetching waits for it, too."""

MADE = 256
"""Outcomes that come without a request before they are entered."""

Place = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a job is to be carried out. `rounds`: further rounds, at the end, for failures that may be tried again."""

    include: Collection[str] = ()
    ordered: bool = False
    window: int | None = None
    rounds: int = 0
    only_changed: bool = False


class JobBooks:
    """The books of one execution of a job's run. Ledger and sink are open, the sink stands where the ledger says.

    Once they are closed, `counts` says what has become of all inputs, also in executions before this one.
    """

    def __init__(
        self, ledger: Ledger, inputs: Inputs, sink: DurableSink, preparation: Preparation, plan: Plan, run: RunRow
    ) -> None:
        self._ledger = ledger
        self._inputs = inputs
        self._sink = sink
        self._preparation = preparation
        self._plan = plan
        self._phase = run.phase
        self._execution = run.continued
        self._heartbeat = Heartbeat(os.path.dirname(ledger.name), run.number)
        self._done = self._good = 0  # inputs that have ended in this execution, and those that were good
        self._output: str = run.settings["--output"]
        self._take: Take = lambda outcomes: None
        self._stopped: str | None = None
        self._made: list[Outcome] = []  # ended without being sent
        self._underway: dict[Place, tuple[bool, str]] = {}  # what an earlier execution has left
        self._rows: set[Place] = set()  # places that have a row of theirs in the ledger while they are under way
        self._seen: deque[Seen] = deque()  # for the ledger, from the run's thread to the housekeeper's
        self._moving = threading.Lock()  # guards what is below, the sink, and the ledger's reading
        self._room = threading.Condition()  # guards _entered and _moved; said when there is more room
        self._entered = self._moved = 0  # bytes of records, in the ledger and from there to the sink
        self._is_stuck = False  # nothing can be moved now
        self._last_moved = self._last_synced = self._last_tidied = time.monotonic()
        self._after = 0  # the number of the last record that was moved, if they go as they came
        self._front: Place = (0, 0)
        self._is_broken = False
        self.read = 0
        self.written = 0
        self.source_error: SourceError | None = None
        self.is_whole = False
        self.counts: Counter[State] = Counter()

    @property
    def name(self) -> str:
        return self._sink.name

    # -- fetching: the run's thread -----------------------------------------------------------------------------------

    def fetch(self, pool: Pool, take: Take) -> None:
        self._take = take
        if self._phase != "fetching":
            return
        self._underway = {place: (row.announced, row.attempts) for place, row in self._ledger.underway().items()}
        self._rows = {*self._underway}
        if self._plan.ordered and self._plan.rounds:
            self._inputs.keep_spent()
        self._pass(pool)
        for _ in range(self._plan.rounds):
            if self._stopped is not None or self.source_error is not None or not self._begin_round():
                break
            self._pass(pool)

    def stop(self, reason: str) -> None:
        self._stopped = self._stopped or reason
        self._inputs.stop()
        with self._room:
            self._room.notify_all()

    def _pass(self, pool: Pool) -> None:
        requests = self._requests()
        with closing(
            pool.batches(requests, window=self._plan.window, receipts=True, before_send=self._announce)
        ) as batches:
            for items in batches:
                self._enter(items)
                del items
        self._enter([])

    def _begin_round(self) -> bool:
        """Set failures that may be tried again to be fetched; False if there are none."""
        blocks = [*change_all(self._ledger, [State.SPENT], State.AGAIN)]
        self._ledger.enter(Entries(blocks=blocks))
        if self._plan.ordered:
            self._inputs.keep_spent()
        return bool(blocks)

    def _requests(self) -> Iterator[Request | Idle]:
        try:
            for item in self._inputs.to_do():
                if isinstance(item, Idle):
                    yield IDLE
                    continue
                self.read += 1
                request = self._prepare(item[0])
                if request is not None:
                    yield request
                elif len(self._made) >= MADE:
                    self._enter([])
        except SourceError as error:
            self.source_error = error

    def _prepare(self, request: Request) -> Request | None:
        """Make a request ready to be sent; None if it has its outcome already."""
        announced, attempts = self._underway.pop(self._inputs.place(request), (False, "[]"))
        if announced:
            error = OutcomeUnknown(
                f"it was sent, and the run was ended before its answer came; {request.method} is not repeated blindly",
                key=request.label,
            )
            self._made.append(Outcome(request, None, error, attempts_from(attempts)))
            return None
        if attempts != "[]":
            request = replace(request, earlier=attempts_from(attempts))
        ready = self._preparation.prepare(request)
        if isinstance(ready, Outcome):
            self._made.append(ready)
            return None
        return ready

    def _announce(self, request: Request) -> None:
        """Note that a request which must not be repeated is about to be sent. Workers' threads."""
        place = self._inputs.place(request)
        self._ledger.announce(*place)
        self._rows.add(place)

    # -- entering: the run's thread -----------------------------------------------------------------------------------

    def _enter(self, items: Sequence[Outcome | Underway]) -> None:
        """Enter what has come in, in one transaction, and tell of it."""
        made, self._made = self._made, []
        outcomes = [item for item in items if isinstance(item, Outcome)] + made
        entries = _Entering()
        for item in items:
            if isinstance(item, Underway):
                self._note(item, entries)
        for outcome in outcomes:
            self._note_end(outcome, entries)
        if not (outcomes or entries.underway or self._inputs.has_changes):
            return
        blocks, lines = self._inputs.changes()
        self._ledger.enter(
            Entries(
                held=entries.held,
                blocks=blocks,
                underway=entries.underway,
                ended=entries.ended,
                tried_again=entries.tried_again,
                lines=lines,
            )
        )
        if self._plan.ordered:
            self._front = self._inputs.front()
        self._take(outcomes)
        self._wait_for_room(sum(len(one.record) for one in entries.held if not one.later))

    def _note(self, item: Underway, entries: _Entering) -> None:
        place = self._inputs.place(item.request)
        if self._inputs.state(place) in TO_DO:  # or else its outcome has come before it
            entries.underway.append((*place, attempts_to(item.attempts)))
            self._rows.add(place)

    def _note_end(self, outcome: Outcome, entries: _Entering) -> None:
        place = self._inputs.place(outcome.request)
        if isinstance(outcome.error, Cancelled):
            self._note_cancelled(place, entries)
            return
        state = self._preparation.state_of(outcome)
        self._done += 1
        self._good += state in GOOD
        if self._inputs.set(place, state) is State.AGAIN:
            entries.tried_again.append(place)
        if place in self._rows:
            self._rows.remove(place)
            entries.ended.append(place)
        seen = self._preparation.seen(outcome, state)
        if seen is not None:
            self._seen.append(seen)
        if not (self._plan.only_changed and state in (State.UNCHANGED, State.SKIPPED)):
            entries.held.append(Held(*place, self._is_for_later(state), encode(self._record(outcome, state))))

    def _note_cancelled(self, place: Place, entries: _Entering) -> None:
        """It was given up, and is fetched when the run goes on; it may have been announced, but was not sent."""
        if self._stopped == DEADLINE and self._inputs.state(place) is not State.AGAIN:
            self._inputs.set(place, State.DEFERRED)
        if place in self._rows:
            self._rows.remove(place)
            entries.ended.append(place)

    def _is_for_later(self, state: State) -> bool:
        if self._plan.ordered:
            return state is State.SPENT and self._plan.rounds > 0
        return state in (State.SPENT, State.FAILED)

    def _record(self, outcome: Outcome, state: State) -> Record:
        record = record_of(outcome, self._plan.include)
        if state is State.UNCHANGED:
            record["unchanged"] = True
        elif state is State.SKIPPED:
            record["skipped"] = True
        return record

    def _wait_for_room(self, size: int) -> None:
        """Let a sink that is slower than the answers slow down the run, rather than fill the disk."""
        with self._room:
            self._entered += size
            self._is_stuck = False
            while self._entered - self._moved > AHEAD and not self._is_stuck and self._stopped is None:
                self._room.wait(1.0)

    # -- moving: the housekeeper's thread, and the run's once that has ended ------------------------------------------

    def flush(self) -> None:
        self._heartbeat.beat(self._phase, done=self._done, ok=self._good, in_flight=self.read - self._done)
        now = time.monotonic()
        cadence = self._sink.cadence
        with self._moving:
            waits = self._entered - self._moved
            if waits >= cadence.bytes or (waits and now - self._last_moved >= cadence.seconds):
                self._move()
            if now - self._last_synced >= SYNC_EVERY:
                self._ledger.sync()
                self._last_synced = now
            if now - self._last_tidied >= TIDY_EVERY:
                self._ledger.tidy()
                self._last_tidied = now

    def _move(self) -> None:
        """Take the records that wait to the sink."""
        most = max(MOVED_AT_ONCE, self._sink.cadence.bytes)
        while True:
            if self._plan.ordered:
                rows = self._ledger.waiting_in_order(self._front, most)
            else:
                rows = self._ledger.waiting(self._after, most)
            if not rows:
                break
            numbers, records = [number for number, _ in rows], [record for _, record in rows]
            position = self._write(records)
            self._ledger.confirm(numbers, position, self._take_seen())
            self._after = max(numbers)
            self.written += len(rows)
            with self._room:
                self._moved += sum(map(len, records))
                self._room.notify_all()
        with self._room:
            self._is_stuck = True
            self._room.notify_all()
        self._last_moved = time.monotonic()

    def _write(self, records: Sequence[bytes]) -> str:
        try:
            return self._sink.write(records)
        except BaseException:
            self._is_broken = True
            raise

    def _take_seen(self) -> list[Seen]:
        seen: list[Seen] = []
        while self._seen:
            seen.append(self._seen.popleft())
        return seen

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        try:
            if not self._is_broken:
                self._finish()
        finally:
            self._note_last()
            self._sink.close()
            self._ledger.close()

    def _note_last(self) -> None:
        """Note how this execution has ended, for who looks at the job later; that must not end it in another way."""
        why = self._stopped or (None if self.source_error is None else str(self.source_error))
        if self._phase == "finished":
            why = "finished"
        with suppress(JobError, SinkError):
            self._ledger.note_last({"execution": self._execution, "at": time.time(), "why": why or "it broke off"})
        self._heartbeat.beat("ended", done=self._done, ok=self._good, is_last=True)

    def _finish(self) -> None:
        with self._moving:
            self._move()
            self._ledger.note_seen(self._take_seen())
            self.counts = count_inputs(self._ledger)
            is_read = all(row.lines is not None for row in self._ledger.sources())
            self.is_whole = is_read and not any(self.counts[state] for state in TO_DO)
            if self._phase == "fetching" and self.is_whole:
                self._ledger.begin_closing()
                self._phase = "closing"
                self._after = 0
                self._front = self._inputs.end()
                self._move()
            if self._phase == "closing":
                self._move()
                self._sink.finish()
                self._ledger.end_run(self._output)
                self._phase = "finished"
            self._ledger.sync()
            self._ledger.tidy()

    def abort(self) -> None:
        """Nothing is to be done: what was entered is safe."""


class _Entering:
    """What is to be entered next."""

    __slots__ = ("ended", "held", "tried_again", "underway")

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.underway: list[tuple[int, int, str]] = []
        self.ended: list[Place] = []
        self.tried_again: list[Place] = []
