"""What a job's run was begun with, and what has changed when it is to be continued.

Only what its outcomes hang on is kept: never a rate, which may well be another one the next time, and never a secret.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from workerpool.batch.columns import Column, Columns, Kind
from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.schema import RunRow, SourceRow
from workerpool.batch.schemas.rejects_file import rejects_path
from workerpool.batch.sources.base import STDIN, Sources
from workerpool.batch.sources.marks import Block as Part
from workerpool.batch.template.settings import settings_of
from workerpool.errors import JobError
from workerpool.paging.reading import said_of
from workerpool.redact import redact

if TYPE_CHECKING:
    from workerpool.batch.job.job import Job
    from workerpool.batch.sinks.callback import Receive

GIVE_UP = "or give restart=True to give that run up and begin anew"

COLUMNS = "the columns of --schema"

FUNCTION = "a function"
"""What an output is called that is one. Files are named by absolute paths."""

_SHOWN = 3
"""Sources that a sentence names at most."""

_LONGEST = 200
"""Characters of an option that a sentence shows."""


def terms_of(job: Job, sources: Sequence[str]) -> dict[str, Any]:
    """What has to be the same when a run is continued, by the names of the options."""
    return {
        "SOURCE": [*map(_absolute, sources)],
        "--output": _named(job.output),
        "--format": job.format,
        "--input-format": job.input_format,
        "--include": sorted(job.include),
        "--bodies": None if job.save is None else os.path.abspath(job.save.path),
        "--body-name": None if job.save is None else job.save.name,
        "--ordered": job.ordered,
        "--dedupe": job.dedupe,
        "--unique-keys": job.unique_keys,
        "--only-changed": job.only_changed,
        "--idempotency-keys": job.idempotency_keys,
        "--pages": None if job.pages is None else said_of(job.pages),
        "--query": None if job.query is None else redact(job.query),
        **settings_of(job.template),
        **_of_schema(job),
    }


def _of_schema(job: Job) -> dict[str, Any]:
    """What a schema adds: what tells it from others, where its rejects go, and what reads its rows back."""
    if job.typed is None:
        return {"--schema": None}
    return {
        "--schema": job.typed.fingerprint(),
        "--upsert": job.upsert,
        "--rejects": os.path.abspath(rejects_of(job)),
        COLUMNS: [[one.name, one.kind.value, one.scale] for one in job.typed.columns().columns],
    }


def rejects_of(job: Job) -> str:
    """The file that the rejects of a job with a schema go to; raises `OptionError`."""
    output = None if callable(job.output) else os.fspath(job.output)
    given = None if job.rejects is None else os.fspath(job.rejects)
    return rejects_path(output, given, os.fspath(job.directory))


def columns_in(settings: dict[str, Any]) -> Columns | None:
    """The columns of a run's rows, to read them back; None if these are records."""
    if settings.get("--schema") is None:
        return None
    said = settings[COLUMNS]
    return Columns(tuple(Column(name=name, kind=Kind(kind), scale=scale) for name, kind, scale in said), is_typed=True)


def _absolute(source: str) -> str:
    """What a source is called wherever the command is given; a database's name is so already."""
    return source if source in ("", STDIN) or "://" in source else os.path.abspath(source)


def _named(output: str | os.PathLike[str] | Receive) -> str:
    """Name an output, without the password that a database's URL may hold."""
    if callable(output):
        return FUNCTION
    path = os.fspath(output)
    if "://" in path:
        return redact(path)
    return path if path == "-" else os.path.abspath(path)


def check_terms(directory: str, run: RunRow, terms: dict[str, Any]) -> None:
    """Raise `JobError` if an unfinished run was begun with other options than these."""
    for name, value in terms.items():
        before = run.settings.get(name)
        if before != value:
            raise JobError(
                f"the job {directory} has an unfinished run, begun {when(run.began)}, "
                f"{_difference(name, before, value)}: run the command as it was then to finish it, {GIVE_UP}"
            )


def _difference(name: str, before: Any, now: Any) -> str:
    if name == "SOURCE":
        gone = [path for path in before or [] if path not in now]
        come = [path for path in now if path not in (before or [])]
        told = [f"{_some(gone)} among its sources"] if gone else []
        told += [f"no {_some(come)}"] if come else []
        return f"with {' and '.join(told)}" if told else "with its sources in another order"
    if isinstance(now, bool):
        return f"without {name}" if now else f"with {name}"
    if name == "--pages" and None in (before, now):
        return f"with --pages {before}" if now is None else "without --pages"
    return f"with {name} {_shown(name, before)}, not {_shown(name, now)}"


def _some(paths: Sequence[str]) -> str:
    shown = ", ".join(path or "requests of a program" for path in paths[:_SHOWN])
    return shown if len(paths) <= _SHOWN else f"{shown} and {len(paths) - _SHOWN:,} more"


def _shown(name: str, value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value) or "nothing"
    if value is None:
        return "as the name says" if name in ("--format", "--input-format") else "nothing"
    return str(value)[:_LONGEST]


def source_rows(sources: Sources) -> list[SourceRow]:
    """The sources as they are now."""
    rows = []
    for number, path in enumerate(sources.paths):
        found = sources.fingerprint(number)
        size, mtime = (None, None) if found is None else (found.size, found.mtime_ns)
        rows.append(SourceRow(number=number, path=path, size=size, mtime=mtime, lines=None))
    return rows


def check_sources(ledger: LedgerReader, sources: Sources, rows: Sequence[SourceRow]) -> list[str]:
    """Compare the sources with what they were when they were read; returns sentences about those that were added to.

    Raises `JobError` if a part that was read is not what it was. A file is read again only if its size or time differ.
    """
    notes = []
    for before, now in zip(ledger.sources(), rows, strict=True):
        if (before.size, before.mtime) == (now.size, now.mtime) or before.size is None:
            continue
        name = now.path
        changed = _first_change(ledger, sources, now.number)
        if changed is not None:
            raise JobError(
                f"from {sources.where(now.number, changed[0])} to {changed[1]:,} the source has changed since the run "
                f"began, and outcomes are counted by its numbers: put the file back as it was, {GIVE_UP}"
            )
        if before.lines is not None and now.size != before.size:
            raise JobError(
                f"{name} has changed since the run read it to its end: it had {before.size:,} bytes and has "
                f"{now.size:,}: put the file back as it was, {GIVE_UP}"
            )
        if now.size != before.size:
            notes.append(
                f"{name} has changed since the run began, from {before.size:,} bytes to {now.size:,}; "
                "what was read of it is as it was, so the run goes on"
            )
    return notes


def _first_change(ledger: LedgerReader, sources: Sources, number: int) -> tuple[int, int] | None:
    """The first and last ordinal of a part that was read and is not what it was."""
    read = (
        Part(block.start, block.end, block.check)
        for block in ledger.blocks(number)
        if block.end is not None and block.end > block.start
    )
    changed = sources.verify(number, read)
    return None if changed is None else (changed.start.line, changed.end.line - 1)


def when(seconds: float) -> str:
    """Write a time for people, in the machine's zone."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
