"""What makes requests of rows: of the fields that say what a request is, unless a program brings a template.

Formats know how rows are read; what is in here knows which columns are taken, and what becomes of them. Any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from workerpool.batch.sources import rows
from workerpool.batch.sources.rows import COLUMNS, BadRow, Place
from workerpool.model import Request


class Making(Protocol):
    """Makes a request of a row. `is_typed`: it takes a table's values as they are, whatever their types."""

    @property
    def is_typed(self) -> bool: ...

    def column(self, written: str) -> str:
        """The name of a column, of how it is written in a header."""

    def takes(self, column: str) -> bool:
        """Whether anything is made of that column."""

    def check(self, columns: Sequence[str]) -> None:
        """Raise `BadRow` if a header with these columns cannot work."""

    def unread(self, columns: Iterable[str]) -> Iterable[str]:
        """The columns that people are told of, as nothing is made of them."""

    def of_line(self, text: str, place: Place) -> Request:
        """Make a request of a line of text."""

    def of_fields(self, fields: Mapping[str, Any], place: Place, text: str) -> Request:
        """Make a request of an object's fields; `text` is the row as it was given."""

    def of_cells(self, cells: Mapping[str, Any], place: Place, text: str) -> Request:
        """Make a request of a table's row, in which an empty cell says nothing.

        Where rows are no lines `text` is "" for who is typed, who writes the row down where that is needed.
        """


class FieldRows:
    """Rows that say themselves what their requests are, by the names in `rows.COLUMNS`."""

    is_typed = False

    def column(self, written: str) -> str:
        return written.strip().lower()

    def takes(self, column: str) -> bool:
        return column in COLUMNS

    def check(self, columns: Sequence[str]) -> None:
        if columns.count("url") > 1:
            raise BadRow("two columns are named 'url': keep one of them")
        if "url" not in columns:
            raise BadRow("no column is named 'url': the first line names the columns, as in url,key")

    def unread(self, columns: Iterable[str]) -> list[str]:
        return sorted(column for column in columns if column not in COLUMNS)

    def of_line(self, text: str, place: Place) -> Request:
        return rows.from_url(text, place)

    def of_fields(self, fields: Mapping[str, Any], place: Place, text: str) -> Request:
        return rows.from_fields(fields, place, text)

    def of_cells(self, cells: Mapping[str, Any], place: Place, text: str) -> Request:
        return rows.from_cells(cells, place, text)


FIELD_ROWS = FieldRows()
