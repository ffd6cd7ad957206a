"""The books of a job: every outcome is entered in its ledger, and from there its record goes to the sink.

The run's thread fetches: `pool.batches` gives it all that has ended and waits, that is one transaction, and only then
are the requests in it no longer counted as being sent. So at most as many requests are sent and not in the ledger as
there are workers. The housekeeper's thread takes records from the ledger to the sink (`mover`).

It is long, as all that an outcome may mean to a job (a copy, a page, a body, a reject) goes into one transaction.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from workerpool.batch.bodies import Bodies, as_sink_error
from workerpool.batch.job.chains import JobChains
from workerpool.batch.job.duplicates import Copy, Duplicates
from workerpool.batch.job.heartbeat import Heartbeat
from workerpool.batch.job.inputs import Inputs, change_all, count_inputs
from workerpool.batch.job.keys import Claims, UniqueKeys
from workerpool.batch.job.ledger import Entries, Ledger
from workerpool.batch.job.mover import Mover
from workerpool.batch.job.prepare import Preparation, attempts_from, attempts_to
from workerpool.batch.job.schema import Held, Rejected, RunRow, together
from workerpool.batch.job.states import GOOD, TO_DO, Identity, State, told
from workerpool.batch.progress import Moment
from workerpool.batch.record import Record, all_included
from workerpool.batch.result import DEADLINE
from workerpool.batch.run import Pool, Take
from workerpool.batch.schemas.forms import form_of
from workerpool.batch.schemas.rejects_file import publish
from workerpool.batch.sinks.base import ABORT_WAIT, DurableSink
from workerpool.batch.sinks.jsonl import encode_row
from workerpool.errors import Cancelled, JobError, NotSaved, OutcomeUnknown, SinkError, SourceError
from workerpool.model import IDLE, Idle, Outcome, Request, Underway
from workerpool.paging import Chains
from workerpool.redact import redact

if TYPE_CHECKING:
    from workerpool.batch.job.job import Job

MADE = 256
"""Inputs that end unsent (refused, skipped, copies) are entered once there are so many."""


class JobBooks:
    """The books of one execution of a job's run. Ledger and sink are open, the sink stands where the ledger says.

    Once they are closed, `inputs` counts all inputs by what has become of them, and `rejected` what of their answers
    became no row, also in executions before this one.
    """

    def __init__(
        self,
        job: Job,
        ledger: Ledger,
        inputs: Inputs,
        sink: DurableSink,
        preparation: Preparation,
        run: RunRow,
        claims: Claims,
        keys: UniqueKeys | None = None,
        bodies: Bodies | None = None,
    ) -> None:
        self._job = job
        self._form = form_of(job.typed, all_included(job.include, job.save, job.pages))
        self._is_typed = job.typed is not None
        self._ledger = ledger
        self._inputs = inputs
        self._sink = sink
        self._preparation = preparation
        self._phase = run.phase
        self._rounds = run.rounds  # that executions before this one have begun
        self._execution = run.continued
        self._done = self._good = 0  # inputs that have ended in this execution, and those that were good
        self._output: str = run.settings["--output"]
        self._take: Take = lambda outcomes: None
        self._drain: Callable[[], None] = lambda: None
        self._stopped: str | None = None
        self._duplicates = Duplicates(ledger.answers, inputs.identity) if job.dedupe else None
        self._claims = claims
        self._keys = keys
        self._chains = None if job.pages is None else JobChains(ledger.chains, job.pages, inputs.identity)
        self._bodies = bodies
        self._made: list[Outcome] = []  # ended without being sent
        self._copies: list[Copy] = []  # ended with another one
        self._underway: dict[Identity, tuple[bool, str]] = {}  # what an earlier execution has left
        self._rows: set[Identity] = set()  # identities of which the ledger knows attempts that failed
        self._announced: set[Identity] = set()  # identities whose requests were announced; workers' threads add to it
        self._entries = Entries()  # what is entered next, and the outcomes that are told of then
        self._outcomes: list[Outcome] = []
        self._mover = Mover(ledger, sink, ordered=job.ordered)
        self._broken: SinkError | JobError | None = None  # why a request could not be announced, or its body not saved
        self._is_fetched = False  # nothing broke off
        self.read = 0
        self.source_error: SourceError | None = None
        self.is_whole = False
        self.directory = os.path.dirname(ledger.name)
        self.run = run.number
        self._heartbeat = Heartbeat(self.directory, run.number)
        self.inputs: Mapping[str, int] | None = None
        self.rejected = 0
        self._rejects_path: str | None = run.settings.get("--rejects")

    @property
    def name(self) -> str:
        return self._sink.name

    @property
    def written(self) -> int:
        """Records that went to the sink in this execution."""
        return self._mover.written

    # -- fetching: the run's thread -----------------------------------------------------------------------------------

    def fetch(self, pool: Pool, take: Take) -> None:
        self._take = take
        if self._phase == "fetching":
            self._fetch(pool)
        self._is_fetched = True

    def _fetch(self, pool: Pool) -> None:
        self._drain = pool.drain
        self._underway = {identity: (row.announced, row.attempts) for identity, row in self._ledger.underway().items()}
        self._rows = {*self._underway}
        if self._job.ordered and (self._job.retry_rounds or self._ledger.held()[1]):
            self._inputs.keep_spent()  # an earlier execution may have kept failures for a round that this one has not
        self._pass(pool)
        for _ in range(self._job.retry_rounds - self._rounds):
            if self._is_ending or not self._begin_round():
                break
            self._pass(pool)
        if self._broken is not None:
            raise self._broken

    @property
    def _is_ending(self) -> bool:
        return not (self._stopped is None and self.source_error is None and self._broken is None)

    def stop(self, reason: str) -> None:
        self._stopped = self._stopped or reason
        self._inputs.stop()
        self._mover.stop_waiting()

    def _pass(self, pool: Pool) -> None:
        if self._duplicates is not None:
            self._duplicates.begin()
        kind: dict[str, Any] = {"window": self._job.window, "receipts": True, "before_send": self._announce}
        if self._chains is not None and self._job.pages is not None:
            self._chains.begin()
            kind["pages"] = Chains(self._job.pages, self._chains)
        with closing(pool.batches(self._requests(), **kind)) as batches:
            for items in batches:
                self._enter(items)
                del items
        self._enter([])

    def _begin_round(self) -> bool:
        """Set failures that may be tried again to be fetched; False if there are none."""
        blocks = [*change_all(self._ledger, [State.SPENT], State.AGAIN)]
        if blocks:
            self._ledger.begin_round(blocks, State.SPENT)
        if self._job.ordered:
            self._inputs.keep_spent()
        return bool(blocks)

    def _requests(self) -> Iterator[Request | Idle]:
        try:
            for item in self._inputs.to_do():
                if self._broken is not None:
                    return
                if isinstance(item, Idle):
                    yield IDLE
                    continue
                self.read += 1
                request = self._prepare(item[0])
                if request is not None:
                    yield request
                elif len(self._made) + len(self._copies) >= MADE:
                    self._enter([])
        except SourceError as error:
            self.source_error = error

    def _prepare(self, request: Request) -> Request | None:
        """Make a request ready to be sent; None if it has its outcome already, or will have that of another one."""
        identity = self._inputs.identity(request)
        if self._keys is not None and request.problem is None:
            refused = self._keys.claim(request, identity)  # before all else: whatever becomes of it, it had the key
            if refused is not None:
                self._made.append(Outcome(request, None, refused))
                return None
        if self._chains is not None:
            request = self._at_its_page(request, self._chains)
        announced, attempts = self._underway.pop(identity, (False, "[]"))
        if announced:
            error = OutcomeUnknown(
                f"it was sent, and the run was ended before its answer came; {request.method} is not repeated blindly",
                key=redact(request.label),
            )
            self._made.append(Outcome(request, None, error, attempts_from(attempts)))
            return None
        if self._duplicates is not None:
            met = self._duplicates.meet(request)
            if isinstance(met, Copy):
                self._copies.append(met)
            if met:
                return None
        if attempts != "[]":
            request = replace(request, earlier=attempts_from(attempts))
        if self._chains is not None:
            return request
        ready = self._preparation.prepare(request)
        if self._bodies is not None and isinstance(ready, Request):
            ready = self._bodies.prepare(ready)
        if isinstance(ready, Outcome):
            self._made.append(ready)
            return None
        return ready

    def _at_its_page(self, start: Request, chains: JobChains) -> Request:
        """The request for the page at which an input's chain is. Ready to be sent: its pages are made of what is."""
        ready = self._preparation.prepare(start)
        assert isinstance(ready, Request)  # answers of runs before are none for pages
        return chains.request(ready)

    def _announce(self, request: Request) -> None:
        """Note that a request which must not be repeated is about to be sent. Workers' threads."""
        identity = self._inputs.identity(request)
        self._announced.add(identity)  # first: where announcing fails halfway, this request's end still removes the row
        try:
            self._ledger.announce(*identity)
        except (SinkError, JobError) as error:
            self._broken = error
            raise

    # -- entering: the run's thread -----------------------------------------------------------------------------------

    def _enter(self, items: Sequence[Outcome | Underway]) -> None:
        """Enter what has come in, in one transaction, and tell of it."""
        made, self._made = self._made, []
        copies, self._copies = self._copies, []
        for item in items:
            if isinstance(item, Underway):
                self._note(item)
        for copy in copies:
            self._note_end(copy.identity, copy.outcome, copy.state, copy.record)
        for outcome in (item for item in chain(items, made) if isinstance(item, Outcome)):
            if isinstance(outcome.error, NotSaved):
                self._note_unsaved(outcome, outcome.error)
            elif isinstance(outcome.error, Cancelled):
                self._note_cancelled(outcome)
            else:
                self._note_outcome(outcome)
        if self._outcomes or self._entries.underway or self._inputs.has_changes:
            self._write()

    def _write(self) -> None:
        entries, self._entries = self._entries, Entries()
        outcomes, self._outcomes = self._outcomes, []
        entries.blocks, entries.lines = self._inputs.changes()
        if self._duplicates is not None:
            entries.answers = self._duplicates.take_answers()
        entries.keys = self._claims.take()
        if self._chains is not None:
            entries.chains = self._chains.take()
        self._ledger.enter(entries)
        if self._job.ordered:
            self._mover.front = self._inputs.front()
        self._take(outcomes)
        self._mover.wait_for_room(sum(len(one.record) for one in entries.held if not one.later))

    def _note(self, item: Underway) -> None:
        identity = self._inputs.identity(item.request)
        is_open = self._chains is None or self._chains.page_of(identity) == item.request.page
        if is_open and self._inputs.state(identity) in TO_DO:  # or else its outcome has come before it
            self._entries.underway.append((*identity, attempts_to(item.attempts)))
            self._rows.add(identity)

    def _note_outcome(self, outcome: Outcome) -> None:
        state = State.QUEUED if outcome.following is not None else self._preparation.state_of(outcome)
        record = self._form.record(outcome, state)
        self._note_end(self._inputs.identity(outcome.request), outcome, state, record)
        if self._chains is not None:
            self._chains.enter(self._inputs.identity(outcome.request), state)
            return
        seen = self._preparation.seen(outcome, state)
        if seen is not None:
            self._mover.note_seen(seen)
        if self._duplicates is None:
            return
        for copies in self._duplicates.end(outcome, state, record):
            for copy in copies:
                self._note_end(copy.identity, copy.outcome, copy.state, copy.record)
            self._write()

    def _note_end(self, identity: Identity, outcome: Outcome, state: State, record: Record) -> None:
        self._outcomes.append(outcome)
        self._done += state is not State.QUEUED  # whose pages go on
        self._good += state in GOOD
        if self._inputs.set(identity, state) is State.AGAIN:
            self._entries.tried_again.append(identity)
        if identity in self._rows or identity in self._announced:
            self._rows.discard(identity)
            self._announced.discard(identity)
            self._entries.ended.append(identity)
        if not (self._job.only_changed and state in (State.UNCHANGED, State.SKIPPED)):
            self._hold(identity, state, record)

    def _hold(self, identity: Identity, state: State, record: Record) -> None:
        """Enter what is written of an input's end."""
        entries, form, is_for_later = self._entries, self._form, self._is_for_later(state)
        rows = form.rows(record)
        entries.held += [Held(*identity, is_for_later, lines) for lines in together(map(form.encode, rows))]
        if self._is_typed:
            entries.rows += len(rows)
            has_failed = state in (State.SPENT, State.FAILED)
            entries.rejects += [Rejected(*identity, has_failed, encode_row(one)) for one in form.rejects(record)]

    def _note_cancelled(self, outcome: Outcome) -> None:
        """It was given up, and is fetched when the run goes on; it may have been announced, but was not sent."""
        identity = self._inputs.identity(outcome.request)
        self._outcomes.append(outcome)
        if self._stopped == DEADLINE and self._inputs.state(identity) is State.QUEUED:
            self._inputs.set(identity, State.DEFERRED)
        if identity in self._announced:
            self._announced.remove(identity)
            self._entries.ended.append(identity)
        if self._duplicates is not None:
            self._duplicates.give_up(outcome.request)

    def _note_unsaved(self, outcome: Outcome, error: NotSaved) -> None:
        """The disk takes no bodies: the run ends, and what may be sent again is, when it goes on."""
        self._broken = self._broken or as_sink_error(error)
        self._drain()
        if self._inputs.identity(outcome.request) in self._announced:
            self._note_outcome(outcome)  # the server has had it
        else:
            self._note_cancelled(outcome)

    def _is_for_later(self, state: State) -> bool:
        if self._job.ordered:
            return state is State.SPENT and self._job.retry_rounds > 0
        return state in (State.SPENT, State.FAILED)

    # -- the housekeeper's thread -------------------------------------------------------------------------------------

    def flush(self, look: Callable[[], Moment]) -> None:
        pending = max(0, self.read - self._done)
        self._heartbeat.beat(self._phase, done=self._done, ok=self._good, pending=pending, look=look)
        self._mover.flush()

    # -- the end: the run's thread ------------------------------------------------------------------------------------

    def close(self) -> None:
        try:
            if not self._mover.is_broken:
                self._finish()
        finally:
            if self._phase != "finished":
                self._note_last(self._stopped or str(self.source_error or "it broke off"))
            self._sink.close()
            self._ledger.close()
            if self._bodies is not None:
                self._bodies.close()

    def _note_last(self, why: str) -> None:
        """Note how this execution has ended, for who looks at the job later; that must not end it in another way."""
        with suppress(JobError, SinkError):
            self._ledger.note_last({"execution": self._execution, "at": time.time(), "why": why})
        self._heartbeat.beat("ended", done=self._done, ok=self._good)

    def _finish(self) -> None:
        ledger, mover = self._ledger, self._mover
        mover.move_all()
        counts = count_inputs(ledger)
        self.rejected = ledger.count_rejects()
        is_read = all(row.lines is not None for row in ledger.sources())
        self.is_whole = self._is_fetched and is_read and not any(counts[state] for state in TO_DO)
        self.inputs = self._told(counts, is_read)
        if self._phase == "fetching" and self.is_whole:
            ledger.begin_closing()
            self._phase = "closing"
        if self._phase == "closing":
            mover.front = self._inputs.end()
            mover.move_all(from_start=True)
            self._sink.finish()
            if self._rejects_path is not None:
                publish(self._rejects_path, ledger.rejects())
        ledger.sync()
        ledger.tidy()
        if self._phase == "closing":
            self._note_last("finished")
            ledger.end_run(self._output)  # last: the next execution begins a new run
            self._phase = "finished"
            self._sink.settle()

    def _told(self, counts: Counter[State], is_read: bool) -> dict[str, int]:
        """Count inputs in the words that people read, with those that are queued where that can be told."""
        total = None if is_read else self._inputs.count()
        if is_read:
            return {**told(counts), "queued": counts[State.QUEUED]}
        if total is None:
            return told(counts)
        return {**told(counts), "queued": max(0, total - sum(told(counts).values()))}

    def abort(self) -> None:
        """Note that the process is about to end; what was entered is safe. Another thread than the run's."""
        why = self._stopped or "it was stopped at once"
        noting = threading.Thread(target=self._note_last, args=(why,), name="workerpool-noting", daemon=True)
        noting.start()
        noting.join(ABORT_WAIT)  # a disk that hangs must not hold up the end
