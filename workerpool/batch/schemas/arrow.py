"""Schemas out of Arrow's: names, types, and what may be null. Any thread."""

from __future__ import annotations

from typing import Any

from workerpool.batch.arrow import pyarrow
from workerpool.batch.schemas.fields import MOST_DIGITS, Field
from workerpool.errors import OptionError


def fields_of_arrow(schema: Any) -> tuple[Field, ...]:
    """Return a column for each field of `schema`; raises `OptionError` for one whose type no column can have."""
    arrow = pyarrow("Schema.from_arrow()")
    if not isinstance(schema, arrow.Schema):
        raise OptionError(f"{schema!r} is no Arrow schema: give a pyarrow.Schema")
    return tuple(_field(arrow.types, field) for field in schema)


def _field(types: Any, field: Any) -> Field:
    kind = field.type
    options: dict[str, Any] = {"required": not field.nullable}
    if types.is_decimal(kind):
        if kind.precision > MOST_DIGITS or kind.scale < 0:
            raise _wrong(field, f"write decimal128 of up to {MOST_DIGITS} digits")
        options |= {"type": "decimal", "precision": kind.precision, "scale": kind.scale}
    elif types.is_timestamp(kind):
        options |= {"type": "timestamp", "timezone": "UTC" if kind.tz is None else None}
    else:
        options["type"] = _name(types, field)
    return Field(name=field.name, **options)


def _name(types: Any, field: Any) -> str:
    kind = field.type
    tests = {
        "bool": types.is_boolean,
        "int": types.is_integer,
        "float": types.is_floating,
        "string": lambda kind: types.is_string(kind) or types.is_large_string(kind),
        "json": types.is_nested,
    }
    for name, test in tests.items():
        if test(kind):
            return name
    raise _wrong(field, "write string, and have what reads the output convert it")


def _wrong(field: Any, hint: str) -> OptionError:
    return OptionError(
        f"the column {field.name} has the Arrow type {field.type}, which no column of a schema has: {hint}"
    )
