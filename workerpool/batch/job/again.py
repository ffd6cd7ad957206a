"""The sources of a run as its job keeps them, to be read once more by who only looks. One thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workerpool.batch.job.schema import RunRow, SourceRow
from workerpool.batch.sources.base import STDIN
from workerpool.batch.sources.choice import sources_for
from workerpool.batch.sources.files import FileSources
from workerpool.batch.sources.query import QueryRows
from workerpool.batch.template.making import making_of
from workerpool.batch.template.settings import is_whole, template_from
from workerpool.redact import HIDDEN


def sources_again(
    run: RunRow, paths: Sequence[str], note: Callable[[str], None] = lambda sentence: None
) -> FileSources | QueryRows:
    """Return those of a run's sources; raises `OptionError` or `SourceError` where they cannot be named any more."""
    return sources_for(
        paths,
        format=run.settings.get("--input-format"),
        query=run.settings.get("--query"),
        making=making_of(template_from(run.settings)),
        note=note,
    )


def why_not(row: SourceRow, run: RunRow) -> str | None:
    """Say in half a sentence why a source cannot be read once more to prove what was made of it; None if it can."""
    if not is_whole(run.settings):
        return f"{row.path} cannot be compared, as its template has a secret, which no job keeps"
    query = run.settings.get("--query")
    if query is not None:
        is_known = HIDDEN not in row.path + query
        return None if is_known else f"{row.path} cannot be asked again, as its URL has a secret, which no job keeps"
    if "://" in row.path and HIDDEN in row.path:
        return f"{row.path} cannot be read again, as its URL has a secret, which no job keeps"
    if row.path == STDIN or row.size is None:
        name = {STDIN: "standard input", "": "what a program gave"}.get(row.path, row.path)
        return f"{name} cannot be read a second time"
    return None
