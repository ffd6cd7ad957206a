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
from workerpool.model import Request


class UrlLines(Text):
    """A URL a line."""

    def _requests(self, opened: Opened, start: Mark, positions: LinePositions | None) -> Iterator[Request]:
        with opened.lines(start, positions) as lines:
            for number, text, problem in lines:
                if problem:
                    yield rows.bad(text, Place(opened.path, opened.name, number), problem)
                elif url := text.strip():
                    yield rows.from_url(url, opened.path, opened.name, number)


class JsonLines(Text):
    """A JSON object a line."""

    def _requests(self, opened: Opened, start: Mark, positions: LinePositions | None) -> Iterator[Request]:
        with opened.lines(start, positions) as lines:
            for line in lines:
                place = Place(opened.path, opened.name, line.number)
                if line.problem:
                    yield rows.bad(line.text, place, line.problem)
                elif text := line.text.strip():
                    request, unknown = rows.from_json(text, place)
                    if unknown:
                        opened.note(sorted(unknown))
                    yield request


FORMATS: dict[str, Format] = {"txt": UrlLines(), "csv": Csv(), "jsonl": JsonLines(), "parquet": Parquet()}
"""The first is that of standard input."""

NAMES = (*FORMATS,)

ENDINGS = (
    f"{', '.join(f'.{name}' for name in NAMES[:-1])} or .{NAMES[-1]} "
    f"({' '.join(packing.ending for packing in PACKINGS)} may follow a text)"
)
"""How the name of a source may end, for sentences."""
