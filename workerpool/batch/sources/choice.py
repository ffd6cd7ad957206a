"""Which sources are meant by names: files, or the one query of a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workerpool.batch.sources.database import is_database
from workerpool.batch.sources.files import FileSources
from workerpool.batch.sources.making import FIELD_ROWS, Making
from workerpool.batch.sources.query import QueryRows
from workerpool.errors import OptionError


def sources_for(
    names: Sequence[str],
    *,
    format: str | None = None,
    query: str | None = None,
    making: Making = FIELD_ROWS,
    note: Callable[[str], None] = lambda sentence: None,
) -> FileSources | QueryRows:
    """Return the sources of those names; raises `OptionError` or `SourceError` where the names alone cannot work."""
    if query is None:
        if any(map(is_database, names)):
            raise OptionError("a database as a source needs query=: write query='select … order by …'")
        return FileSources(names, format=format, making=making, note=note)
    if len(names) != 1 or "://" not in names[0]:
        raise OptionError("query= is asked of one database: name its URL as the only source, as in sqlite:///items.db")
    if format is not None:
        raise OptionError("input_format= is of files: leave it out where the source is a database")
    return QueryRows(names[0], query, making=making)
