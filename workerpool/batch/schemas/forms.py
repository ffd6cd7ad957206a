"""What the books of a run write of an outcome: one record of fixed fields, or the rows and rejects of a schema.

An outcome is made a *record* once, which is also what is kept for inputs that ask for the same; from it come the rows
that go to the sink, and the rejects. The run's thread alone uses this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from workerpool.batch.job.states import State
from workerpool.batch.record import Record, record_of
from workerpool.batch.schemas.schema import Schema
from workerpool.batch.sinks.jsonl import encode, encode_row
from workerpool.model import Outcome


class Form(Protocol):
    """`encode` makes a line of a row."""

    @property
    def encode(self) -> Callable[[Record], bytes]: ...

    def record(self, outcome: Outcome, state: State | None = None) -> Record:
        """What is known of an outcome; `state`: what a job makes of it."""

    def rows(self, record: Record) -> Sequence[Record]: ...

    def rejects(self, record: Record) -> Sequence[Record]: ...


class Records:
    """An outcome is a row, and nothing is rejected."""

    encode = staticmethod(encode)

    def __init__(self, include: Collection[str]) -> None:
        self._include = frozenset(include)

    def record(self, outcome: Outcome, state: State | None = None) -> Record:
        record = record_of(outcome, self._include)
        if state is State.UNCHANGED:
            record["unchanged"] = True
        elif state is State.SKIPPED:
            record["skipped"] = True
        return record

    def rows(self, record: Record) -> Sequence[Record]:
        return (record,)

    def rejects(self, record: Record) -> Sequence[Record]:
        return ()


class TypedRows:
    """An outcome is the rows of its items; of one that has not changed, or was not asked for, there are none."""

    encode = staticmethod(encode_row)

    def __init__(self, schema: Schema) -> None:
        self._mapper = schema.mapper()
        # What a copy of an answer has of its own.
        self._own = [
            (field.name, field.source.removeprefix("request."))
            for field in schema.fields
            if field.source in ("request.key", "request.url")
        ]

    def record(self, outcome: Outcome, state: State | None = None) -> Record:
        has_answer = state not in (State.UNCHANGED, State.SKIPPED)
        rows, rejects = self._mapper.map(outcome) if has_answer else ([], [])
        response, error = outcome.response, outcome.error
        return {
            "key": outcome.request.label,
            "url": outcome.request.url,
            "status": None if response is None else response.status_code,
            "error": None if error is None else str(error),
            "bytes": 0 if response is None else len(response.content or b""),
            "rows": rows,
            "rejects": rejects,
        }

    def rows(self, record: Record) -> Sequence[Record]:
        rows: list[Record] = record["rows"]
        if not self._own:
            return rows
        own = {name: record[of] for name, of in self._own}
        return [{**row, **own} for row in rows]

    def rejects(self, record: Record) -> Sequence[Record]:
        return [{**reject, "key": record["key"], "url": record["url"]} for reject in record["rejects"]]


def form_of(schema: Schema | None, include: Collection[str]) -> Form:
    return Records(include) if schema is None else TypedRows(schema)
