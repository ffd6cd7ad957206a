"""Which columns of a Parquet file are read, and as what: a request's own fields, or what a template asks for.

`arrow` is the library, which is loaded by who opens the file. Any thread.
"""

from __future__ import annotations

from typing import Any, Protocol

from workerpool.batch.sources.making import Making
from workerpool.batch.sources.rows import COLUMNS, BadRow
from workerpool.errors import SourceError

_NEEDED = {
    "url": "text", "method": "text", "sha256": "text", "json": "text that is JSON", "key": "text, a number or a date",
    "body": "text or bytes", "headers": "a map, a struct, or text that is a JSON object",
    "params": "a map, a struct, or text that is a JSON object",
}  # fmt: skip


class Columns(Protocol):
    """The columns that are read: `select` finds them, `values` makes Python's objects of one."""

    def select(self, schema: Any, name: str) -> dict[str, str]:
        """Return what they are called here, in one order whatever the file's, each with its name in the file.

        Raises `SourceError`, naming the file, for what will not do.
        """

    def values(self, column: str, array: Any) -> list[Any]: ...


class FieldColumns:
    """The fields of requests, whatever the size of their names' letters: text, maps and structs."""

    def __init__(self, arrow: Any) -> None:
        self._arrow = arrow

    def select(self, schema: Any, name: str) -> dict[str, str]:
        columns: dict[str, str] = {}
        for column in COLUMNS:
            found = [field for field in schema if field.name.lower() == column]
            if len(found) > 1:
                raise SourceError(f"{name}: two columns are named '{column}': keep one of them")
            if found and not self._will_do(column, found[0].type):
                raise SourceError(f"{name}: the column '{column}' is {found[0].type}: make it {_NEEDED[column]}")
            if found:
                columns[column] = found[0].name
        if "url" not in columns:
            raise SourceError(f"{name}: no column is named 'url'")
        return columns

    def values(self, column: str, array: Any) -> list[Any]:
        types = self._arrow.types
        if types.is_map(array.type):
            return [None if pairs is None else dict(pairs) for pairs in array.to_pylist()]
        if types.is_struct(array.type):  # a struct has all its fields in each row: null is how it says none
            return [
                row and {key: value for key, value in row.items() if value is not None} for row in array.to_pylist()
            ]
        if column != "body" and not _is_text(array.type):
            array = array.cast(self._arrow.string())
        values: list[Any] = array.to_pylist()
        return values

    def _will_do(self, column: str, type: Any) -> bool:
        types = self._arrow.types
        if types.is_dictionary(type):
            type = type.value_type
        if types.is_null(type) or _is_text(type) or _is_bytes(type):
            return True
        if column == "key":
            return not types.is_nested(type)
        if column in ("headers", "params"):
            return types.is_struct(type) or (types.is_map(type) and _is_text(type.key_type))
        return False


class TypedColumns:
    """What a template asks for, by the names as they are written, with the values that the file has."""

    def __init__(self, arrow: Any, making: Making) -> None:
        self._arrow = arrow
        self._making = making

    def select(self, schema: Any, name: str) -> dict[str, str]:
        names = [str(field.name) for field in schema]
        try:
            self._making.check(names)
        except BadRow as error:
            raise SourceError(f"{name}: {error}") from error
        taken = {column: column for column in sorted(set(names)) if self._making.takes(column)}
        return taken or {names[0]: names[0]}  # of a table without columns there are no rows

    def values(self, column: str, array: Any) -> list[Any]:
        values: list[Any] = array.to_pylist()
        if self._arrow.types.is_map(array.type):
            return [None if pairs is None else dict(pairs) for pairs in values]
        return values


def _is_text(type: Any) -> bool:
    return str(type) in ("string", "large_string", "string_view")


def _is_bytes(type: Any) -> bool:
    return str(type).startswith(("binary", "large_binary", "fixed_size_binary"))
