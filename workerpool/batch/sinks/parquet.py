"""Parquet: columns of groups of rows, packed, with a footer that says where each is. The parts are such files, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING

from workerpool.batch.columns import Columns
from workerpool.batch.sinks.parts import STEP, PartsStore
from workerpool.extras import load

if TYPE_CHECKING:
    import pyarrow as pa


class ParquetStore(PartsStore):
    """Parts in a directory, which become one Parquet file; raises `OptionError` without the extra `parquet`."""

    def __init__(self, output: str, columns: Columns) -> None:
        super().__init__(output, columns, ParquetFile())


class ParquetFile:
    """The `TableFile` of Parquet. A group of rows is one of the format's row groups.

    The library is given open files: it takes no path that is not UTF-8.
    """

    ending = ".parquet"

    def __init__(self) -> None:
        self._parquet = load("pyarrow.parquet", "parquet", "a Parquet output")

    def write(self, file: IO[bytes], schema: pa.Schema, groups: Iterable[pa.Table]) -> None:
        with self._parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for table in groups:
                writer.write_table(table, row_group_size=table.num_rows)

    def rows(self, path: str) -> int:
        with open(path, "rb") as file:
            rows: int = self._parquet.read_metadata(file).num_rows
        return rows

    def batches(self, path: str, fields: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        with open(path, "rb") as opened, self._parquet.ParquetFile(opened) as file:
            yield from file.iter_batches(STEP, columns=fields and [*fields])
