"""Proves that a job's inputs and outcomes are the same: reads the sources, the ledger and the output again, in full.

What is proven: every input of the sources has one state in the ledger that is an end, no state is without an input, the
sources are what they were, and the records in the output are one for each input that has one, by key and URL. Memory is
the same for any number of inputs. The job is held meanwhile, so that no run changes what is read; nothing but the
lock is written. One thread.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from workerpool.batch.job.again import why_not
from workerpool.batch.job.inputs import count_inputs
from workerpool.batch.job.lock import FILE, JobLock
from workerpool.batch.job.multiset import Multiset, Pair, as_stored, bucket_of
from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.records import UNREADABLE, records_of, went_to
from workerpool.batch.job.rereading import Rereading, without_record
from workerpool.batch.job.rows import compare_rows
from workerpool.batch.job.schema import RunRow, SourceRow
from workerpool.batch.job.states import BLOCK, ENDED, Block, State
from workerpool.batch.job.status import check_job
from workerpool.batch.record import PAGE
from workerpool.batch.sinks.base import KEY_AND_URL
from workerpool.errors import OptionError, SourceError
from workerpool.model import Request
from workerpool.redact import HIDDEN, redact

EXAMPLES = 3
"""Pairs that are named of each kind of difference."""

PARTS = 3
"""Parts of the records that are searched for examples."""


@dataclass(kw_only=True)
class Reconciliation:
    """What was found. `wrong`: sentences about what is missing, twice, or not what it was; `unproven`: about what could
    not be looked at though it should; `notes`: about what nobody can look at, such as standard input.

    `inputs`: counted in the sources, in the ledger for those that cannot be read twice; `ended`: those that have ended;
    `records`: in the output; `held`: in the ledger, on their way there. `rows`, `rejects`: what a schema has made,
    None without one. `queued` and `deferred`: what is left to do.
    """

    directory: str
    run: int | None = None
    phase: str | None = None
    output: str | None = None
    inputs: int = 0
    ended: int = 0
    records: int | None = None
    rows: int | None = None
    rejects: int | None = None
    held: int = 0
    queued: int = 0
    deferred: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_proven(self) -> bool:
        return not (self.wrong or self.unproven)


def reconcile(directory: str, output: str | None = None) -> Reconciliation:
    """Compare everything. Raises `JobHeld` while a run holds the job, `JobError` if there is none or it cannot be read.

    `output`: the output once more, if it is a URL with a password, which the ledger does not keep.
    """
    check_job(directory)
    lock = _lock(directory)
    try:
        with closing(LedgerReader(directory)) as ledger:
            return _Comparison(directory, ledger, output).compare()
    finally:
        if lock is not None:
            lock.release()


def _lock(directory: str) -> JobLock | None:
    """Hold the job; None where nobody could, as its directory is only to be read."""
    path = os.path.join(directory, FILE)
    return JobLock(directory) if os.access(path if os.path.exists(path) else directory, os.W_OK) else None


class _Comparison:
    def __init__(self, directory: str, ledger: LedgerReader, output: str | None) -> None:
        self._ledger = ledger
        self._given = output
        self._found = Reconciliation(directory=directory)
        self._expected = Multiset()
        self._is_counted_only = False  # what a source held cannot be read again, only its count is known

    def compare(self) -> Reconciliation:
        found, ledger = self._found, self._ledger
        found.wrong += [f"the ledger is damaged: {text}" for text in ledger.check()]
        run = ledger.run()
        if found.wrong:
            return found
        if run is None:
            found.unproven.append("no run has begun, so there is nothing to prove")
            return found
        found.run, found.phase = run.number, run.phase
        counts = count_inputs(ledger)
        for row in ledger.sources():
            self._read(row, run, self._expect)
        found.ended = sum(counts[state] for state in ENDED)
        found.deferred = counts[State.DEFERRED] + counts[State.AGAIN]
        found.queued = max(0, found.inputs - found.ended - found.deferred)
        found.counts = {state.name.lower(): counts[state] for state in (*ENDED, State.DEFERRED, State.AGAIN)}
        self._compare_records(run, counts)
        self._look_at_phase(run)
        return found

    # -- the sources against the ledger -------------------------------------------------------------------------------

    def _read(self, row: SourceRow, run: RunRow, take: Callable[[Request], None]) -> None:
        """Read one source in full, and compare it with its blocks; `take` is called with what has a record."""
        found = self._found
        reason = why_not(row, run)
        if reason is not None:
            inputs = sum(_inputs_in(block) for block in self._ledger.blocks(row.number))
            found.notes.append(
                f"{reason}: that it had {inputs:,} inputs is taken from the ledger, and of "
                "the records their number is compared, not what they are of"
            )
            found.inputs += inputs
            self._is_counted_only = True
            return
        try:
            reader = Rereading(row, run, self._ledger)
            reader.read(take)
        except (SourceError, OSError) as error:
            found.unproven.append(f"{error}: put the file back where it was, to have it compared")
            found.inputs += sum(_inputs_in(block) for block in self._ledger.blocks(row.number))
            self._is_counted_only = True
            return
        found.inputs += reader.inputs
        found.wrong += reader.sentences()

    def _expect(self, request: Request) -> None:
        self._expected.add(*_pair_of(request))

    # -- the records against the sources ------------------------------------------------------------------------------

    def _compare_records(self, run: RunRow, counts: Counter[State]) -> None:
        found = self._found
        if run.settings.get("--schema") is not None:
            compare_rows(self._ledger, run, found, self._output(run))
            return
        expected = sum(counts[state] for state in (*ENDED, State.AGAIN) if state not in without_record(run))
        if _has_pages(run):
            expected += self._ledger.chains.further()
        found.held, _ = self._ledger.held()
        output = self._output(run)
        if output is None:
            return
        entries = partial(self._entries, run, output)
        there = Multiset()
        try:
            for pair in entries():
                there.add(*pair)
        except UNREADABLE as error:
            hint = "; give the output once more, with its password, by -o" if HIDDEN in output else ""
            found.unproven.append(f"the records cannot be read back: {redact(str(error))}{hint}")
            return
        found.records = there.total - found.held
        if there.total != expected:
            kind = "missing" if there.total < expected else "too many"
            found.wrong.append(
                f"{_plural(expected, 'record')} should be there, and {there.total:,} are ({found.records:,} in "
                f"{found.output}, {found.held:,} in the ledger): {abs(expected - there.total):,} {kind}"
            )
        if self._is_counted_only:
            return
        parts = [*self._expected.differing(there)]
        if parts:
            found.wrong += self._examples(run, frozenset(parts[:PARTS]), entries)

    def _output(self, run: RunRow) -> str | None:
        found = self._found
        output = str(run.settings["--output"])
        if self._given is not None:
            if redact(self._given) != output:
                raise OptionError(
                    f"-o {redact(self._given)}: the job's output is {output}; leave out -o, or give that one, "
                    "with its password"
                )
            output = self._given
        found.output = went_to(run) or redact(output)
        if went_to(run) is not None:
            found.notes.append(f"the records went to {found.output}, and cannot be read back: they are not compared")
            return None
        return output

    def _entries(self, run: RunRow, output: str) -> Iterator[Pair]:
        """Yield the key and URL of every record, or its key and page."""
        fields = ("key", PAGE) if _has_pages(run) else KEY_AND_URL
        for key, url_or_page in records_of(self._ledger, run, fields, output):
            yield str(key), str(url_or_page)

    def _examples(self, run: RunRow, parts: frozenset[int], entries: Callable[[], Iterable[Pair]]) -> Iterator[str]:
        """Read everything again, and tell some pairs apart by how often they are there."""
        expected: Counter[Pair] = Counter()
        there: Counter[Pair] = Counter()

        def expect(request: Request) -> None:
            key, url = _pair_of(request)
            if bucket_of(key, url) in parts:
                expected[as_stored(key), as_stored(url)] += 1

        for row in self._ledger.sources():
            Rereading(row, run, self._ledger).read(expect)
        for key, url in entries():
            if bucket_of(key, url) in parts:
                there[as_stored(key), as_stored(url)] += 1
        for missing, count in (expected - there).most_common(EXAMPLES):
            few = _plural(count, "record")
            yield f"{_named(missing)} has {few} too few: {there[missing]:,} of {expected[missing]:,}"
        for extra, count in (there - expected).most_common(EXAMPLES):
            many = _plural(count, "record")
            if expected[extra]:
                yield f"{_named(extra)} has {many} too many: {there[extra]:,} in place of {expected[extra]:,}"
            else:
                yield f"{_named(extra)} has {many}, and is no input that has ended"

    # -- the phase ----------------------------------------------------------------------------------------------------

    def _look_at_phase(self, run: RunRow) -> None:
        found = self._found
        if run.is_finished:
            if found.held:
                found.wrong.append(f"the run is finished, and {_plural(found.held, 'record')} are still in the ledger")
            return
        if run.phase == "closing":
            left = f"every input has ended, and {_plural(found.held, 'record')} are not in the output yet"
        else:
            left = f"{found.queued:,} inputs are still queued and {found.deferred:,} deferred"
        found.unproven.append(
            f"run {run.number} is not finished, {left}: run the same command again, which goes on with it, "
            "and reconcile then"
        )


def _inputs_in(block: Block) -> int:
    """Count the inputs in a block; of one that was not read to its end those that are known."""
    unknown = 0 if block.is_read else block.states.count(State.QUEUED)
    return BLOCK - block.states.count(State.NO_INPUT) - unknown


def _has_pages(run: RunRow) -> bool:
    return run.settings.get("--pages") is not None


def _pair_of(request: Request) -> Pair:
    """What a record is known by: its key and its URL; of a page its key and its number."""
    return request.label, str(request.page) if request.page else request.url


def _named(pair: Pair) -> str:
    key, url = (redact(text)[:200] for text in pair)
    if url.isdecimal():
        return f"page {url} of {key}"
    return url if key == url else f"{url} (key {key})"


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
