"""The last line that a run with a job says: what the whole run has come to, for a mail or a log. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workerpool.batch.job.states import ENDED, TO_DO, State, told


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an execution of a job's run has ended. `how`: in words, "finished" or "stopped at the deadline".

    `counts`: all inputs of the run by what has become of them, also in executions before; None where that was not
    counted any more, as the output or the ledger has failed. `total`: the inputs of the sources, None if unknown.
    `rejected`: what became no row of a schema.
    """

    directory: str
    run: int
    how: str
    code: int
    counts: Mapping[State, int] | None
    total: int | None = None
    rejected: int = 0


def last_word(ending: Ending) -> str:
    """Say how it ended in one line, without a full stop."""
    parts = "" if ending.counts is None else f": {', '.join(_parts(ending.counts, ending))}"
    then = "" if ending.how == "finished" else "; run it again, and it goes on"
    return f"{ending.directory}: run {ending.run} {ending.how}{parts}{then} (exit {ending.code})"


def _parts(counts: Mapping[State, int], ending: Ending) -> list[str]:
    done = sum(counts.get(state, 0) for state in ENDED)
    inputs = f"{done:,} input{'' if done == 1 else 's'}{'' if ending.how == 'finished' else ' done'}"
    parts = [inputs, *(f"{count:,} {name}" for name, count in told(counts).items() if count)]
    if ending.rejected:
        parts.append(f"{ending.rejected:,} rejected")
    if ending.how == "finished":
        return parts
    queued = counts.get(State.QUEUED, 0)
    if ending.total is None:
        return [*parts, "more queued"]
    put_off = sum(counts.get(state, 0) for state in TO_DO) - queued
    queued = max(0, ending.total - done - put_off)
    return [*parts, f"{queued:,} queued"] if queued else parts
