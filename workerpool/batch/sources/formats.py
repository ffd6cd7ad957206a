"""The formats of sources, by the endings of their names: a new one is registered here, and nowhere else in the code."""

from __future__ import annotations

from collections.abc import Iterator

from workerpool.batch.sources import rows
from workerpool.batch.sources.csv import Csv
from workerpool.batch.sources.marks import LinePositions, Mark
from workerpool.batch.sources.opened import Format, Opened, Text
from workerpool.batch.sources.packed import PACKINGS
from workerpool.batch.sources.parquet import Parquet
from workerpool.batch.sources.rows import Place
from workerpool.errors import SourceError
from workerpool.model import Request

LINE = "line"
"""What a line of text is called as a column."""


class UrlLines(Text):
    """A URL a line, or a value for a template."""

    def check(self, opened: Opened) -> None:
        _check_columns(opened)
        super().check(opened)

    def _requests(self, opened: Opened, start: Mark, positions: LinePositions | None) -> Iterator[Request]:
        _check_columns(opened)
        with opened.lines(start, positions) as lines:
            for number, text, problem in lines:
                if problem:
                    yield rows.bad(text, Place(opened.path, opened.name, number), problem)
                elif url := text.strip():
                    yield opened.making.of_line(url, Place(opened.path, opened.name, number))


def _check_columns(opened: Opened) -> None:
    """Raise `SourceError` for a template that asks for another column than the only one that there is."""
    if opened.making.is_typed:
        try:
            opened.making.check([LINE])
        except rows.BadRow as error:
            raise SourceError(f"{opened.name}: {error}, the text of each") from error


class JsonLines(Text):
    """A JSON object a line."""

    def _requests(self, opened: Opened, start: Mark, positions: LinePositions | None) -> Iterator[Request]:
        with opened.lines(start, positions) as lines:
            for line in lines:
                place = Place(opened.path, opened.name, line.number)
                if line.problem:
                    yield rows.bad(line.text, place, line.problem)
                elif text := line.text.strip():
                    yield _of_object(opened, text, place)


def _of_object(opened: Opened, text: str, place: Place) -> Request:
    try:
        fields = rows.object_in(text)
    except rows.BadRow as error:
        return rows.bad(text, place, str(error))
    opened.note(fields)
    return opened.making.of_fields(fields, place, text)


FORMATS: dict[str, Format] = {"txt": UrlLines(), "csv": Csv(), "jsonl": JsonLines(), "parquet": Parquet()}
"""The first is that of standard input."""

NAMES = (*FORMATS,)

ENDINGS = (
    f"{', '.join(f'.{name}' for name in NAMES[:-1])} or .{NAMES[-1]} "
    f"({' '.join(packing.ending for packing in PACKINGS)} may follow a text)"
)
"""How the name of a source may end, for sentences."""
