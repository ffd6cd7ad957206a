"""How a run has ended, as one value: what a program passes on, and what the command's last line is made of. Pure."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from workerpool.batch.codes import AT_DEADLINE, FAILED, INTERRUPTED, NOT_WRITTEN, OK, USAGE
from workerpool.errors import JobError, SinkError, SourceError

DEADLINE = "deadline"
"""The reason given when the run stopped at its deadline."""

FINISHED, BROKEN = "finished", "stopped, as its results could not be written"
"""How a run has ended, in words."""

_ENDED = ("ok", "unchanged", "skipped", "failed", "unknown")
"""What becomes of an input for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How one execution of a run has ended. `to_dict` makes JSON of it.

    Of this execution: `read` counts the requests that its sources gave, `ok`, `failed` and `cancelled` how they ended
    (`read` is more than these three if the run was stopped), `sent` what was sent for them, retries and redirects too,
    `bytes` what came in bodies, `written` the records that are safe, `elapsed` the seconds. `stopped` is the reason it
    was told to drain, None if it went to its end, and then `error` says whether its source, its sink or its ledger
    failed. `output` names where the records are.

    Of the whole run of a job, also in executions before this one: `directory` and `run`, its number; `inputs` counts
    its inputs by what has become of them: "ok", "unchanged", "skipped", "failed", "unknown", "deferred", and "queued"
    where that can be told. All three are None without a job, `inputs` also where the ledger or the output has failed.
    `rejected`: with a schema, how many rows, and failed requests, are among the rejects in the end.
    """

    output: str
    read: int
    ok: int
    failed: int
    cancelled: int
    sent: int
    bytes: int
    written: int
    elapsed: float
    directory: str | None = None
    run: int | None = None
    inputs: Mapping[str, int] | None = None
    rejected: int = 0
    stopped: str | None = None
    error: SourceError | SinkError | JobError | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every request of the sources was answered by the server or refused as invalid."""
        return self.stopped is None and self.error is None

    @property
    def has_failed(self) -> bool:
        """Whether any input has failed in the end, also in executions of the same run before this one."""
        return bool(self.failed if self.inputs is None else self.inputs["failed"] + self.inputs["unknown"])

    @property
    def rate(self) -> float:
        """Requests that ended in this execution, per second."""
        return (self.ok + self.failed) / self.elapsed if self.elapsed > 0 else 0.0

    @property
    def exit_code(self) -> int:
        """What `workerpool run` exits with after the like."""
        if isinstance(self.error, SinkError):
            return NOT_WRITTEN
        if self.stopped == DEADLINE:
            return AT_DEADLINE
        if self.stopped is not None:
            number = getattr(signal, self.stopped, None)
            return 128 + number if isinstance(number, signal.Signals) else INTERRUPTED
        if self.error is not None:
            return USAGE
        return FAILED if self.has_failed or self.rejected or self.cancelled else OK

    @property
    def how(self) -> str:
        """How it has ended, in words."""
        if isinstance(self.error, SinkError):
            return BROKEN
        if self.error is not None:
            return "broke off"
        if self.stopped is None:
            return FINISHED
        return "stopped at the deadline" if self.stopped == DEADLINE else f"interrupted by {self.stopped}"

    @property
    def next(self) -> str:
        """How to go on, as a sentence."""
        if self.run is None:
            return "A rerun starts over."
        if self.error is not None:
            return f"{self.error}. When that is mended, run it again, and it goes on."
        if self.stopped is not None:
            return "Run it again, and it goes on."
        failed = ", with retry_failed=True it fetches what has failed" if self.has_failed else ""
        return f"Another run begins anew{failed}."

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and what follows from them, as JSON has it: `error` is its sentence."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        told["inputs"] = None if self.inputs is None else dict(self.inputs)
        told["error"] = None if self.error is None else str(self.error)
        more = ("is_whole", "has_failed", "rate", "exit_code", "how", "next")
        return {**told, **{name: getattr(self, name) for name in more}}

    def __str__(self) -> str:
        """What it has come to, in one line."""
        name = self.output if self.directory is None else f"{self.directory}: run {self.run}"
        return last_word(name, self.how, self.exit_code, self.inputs, self.rejected)


def last_word(name: str, how: str, code: int, inputs: Mapping[str, int] | None, rejected: int = 0) -> str:
    """Say in one line, without a full stop, how the run of that name has ended."""
    parts = f": {', '.join(_parts(inputs, how, rejected))}" if inputs else ""
    then = "" if how == FINISHED else "; run it again, and it goes on"
    return f"{name} {how}{parts}{then} (exit {code})"


def _parts(inputs: Mapping[str, int], how: str, rejected: int) -> list[str]:
    done = sum(inputs[name] for name in _ENDED)
    counted = f"{done:,} input{'' if done == 1 else 's'}{'' if how == FINISHED else ' done'}"
    parts = [counted, *(f"{count:,} {name}" for name, count in inputs.items() if count)]
    if rejected:
        parts.append(f"{rejected:,} rejected")
    return parts if how == FINISHED or "queued" in inputs else [*parts, "more queued"]
