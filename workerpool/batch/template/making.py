"""What makes the requests of a source's rows by a template. Any thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workerpool.batch.sources.formats import LINE
from workerpool.batch.sources.making import FIELD_ROWS, Making
from workerpool.batch.sources.rows import BadRow, Place
from workerpool.batch.template.template import Template
from workerpool.model import Request

_NAMED = 20
"""Columns that a sentence names at most."""


def making_of(template: Template | None) -> Making:
    """Return what makes requests by a template, or of rows that say themselves what their requests are."""
    return FIELD_ROWS if template is None else TemplateRows(template)


class TemplateRows:
    """Rows whose columns are put into a template, with the names that they are written with."""

    is_typed = True

    def __init__(self, template: Template) -> None:
        self._template = template
        self._taken = {column for name in template.mentioned for column in (name, name.partition(".")[0])}

    def column(self, written: str) -> str:
        return written.strip()

    def takes(self, column: str) -> bool:
        return column in self._taken

    def check(self, columns: Sequence[str]) -> None:
        known = frozenset(columns)
        missing = [n for n in sorted(self._template.columns) if not {n, n.partition(".")[0]} & known]
        if missing:
            more = f", and {len(columns) - _NAMED:,} more" if len(columns) > _NAMED else ""
            raise BadRow(
                f"no column is named {' or '.join(map(repr, missing))}, which the template names: "
                f"there are {', '.join(columns[:_NAMED]) or 'none'}{more}"
            )
        twice = next((name for name in columns if self.takes(name) and columns.count(name) > 1), None)
        if twice is not None:
            raise BadRow(f"two columns are named '{twice}': keep one of them")

    def unread(self, columns: Iterable[str]) -> tuple[str, ...]:
        return ()  # the template says what is wanted

    def of_line(self, text: str, place: Place) -> Request:
        return self._template.fill({LINE: text}, place, text)

    def of_fields(self, fields: Mapping[str, Any], place: Place, text: str) -> Request:
        return self._template.fill(fields, place, text)

    def of_cells(self, cells: Mapping[str, Any], place: Place, text: str) -> Request:
        return self._template.fill(cells, place, text)
