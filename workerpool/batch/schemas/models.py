"""Schemas out of pydantic models: their fields as columns, and their own validation in place of ours. Any thread."""

from __future__ import annotations

import types
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Union, get_args, get_origin

from workerpool.batch.record import Record
from workerpool.batch.schemas.fields import Field
from workerpool.batch.schemas.mapping import ItemRefused, Items
from workerpool.batch.schemas.values import Refused, converter
from workerpool.errors import OptionError
from workerpool.extras import load

_TYPES = {bool: "bool", int: "int", float: "float", Decimal: "decimal", datetime: "timestamp"}
_AS_THEY_ARE = ("int", "float", "decimal", "bool", "timestamp")
"""Types whose values are taken from the validated object; the others from what pydantic writes of it as JSON."""


def fields_of_model(model: Any) -> tuple[Field, ...]:
    """Return a column for each field of a model; raises `OptionError` if it is none."""
    pydantic = load("pydantic", "pydantic", "Schema.from_pydantic()")
    if not (isinstance(model, type) and issubclass(model, pydantic.BaseModel)):
        raise OptionError(f"{model!r} is no pydantic model: give a class of pydantic.BaseModel")
    fields: dict[str, Any] = vars(model)["__pydantic_fields__"]
    return tuple(_field(name, info) for name, info in fields.items())


def model_mapper(model: Any, fields: Sequence[Field]) -> Items:
    """Return what validates an item, and makes a row of the object that comes of it."""
    errors = load("pydantic", "pydantic", "Schema.from_pydantic()").ValidationError
    taken = [(field.name, converter(field)) for field in fields if field.type in _AS_THEY_ARE]
    written = [(field.name, converter(field)) for field in fields if field.type not in _AS_THEY_ARE]
    names = [field.name for field in fields]
    needed = {field.name for field in fields if field.required}
    as_json = {field.name for field in fields if field.type not in _AS_THEY_ARE}

    def make(item: Any) -> Record:
        try:
            validated = model.model_validate(item)
            said = validated.model_dump(mode="json", include=as_json) if as_json else {}
        except errors as error:
            raise _refusal(error, item) from None
        except Exception as error:  # a validator's own mistake costs its row, and no run
            raise ItemRefused(None, f"the model's validation failed: {type(error).__name__}: {error}", item) from error
        values = [(name, convert, getattr(validated, name)) for name, convert in taken]
        values += [(name, convert, said.get(name)) for name, convert in written]
        row: Record = dict.fromkeys(names)
        for name, convert, value in values:
            row[name] = _converted(name, convert, value, name in needed)
        return row

    return make


def _converted(name: str, convert: Any, value: Any, is_needed: bool) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        if is_needed:
            raise ItemRefused(name, "it is missing or null, and required", None)
        return None
    try:
        return convert(value)
    except Refused as refused:
        raise ItemRefused(name, str(refused), value) from None


def _refusal(error: Any, item: Any) -> ItemRefused:
    """Say pydantic's first reason, and how many more it has."""
    first, *more = error.errors(include_url=False, include_context=False)
    others = f", and {len(more)} more" if more else ""
    place = ".".join(map(str, first["loc"]))
    value = first.get("input", item)
    is_whole = value is item and isinstance(item, dict)  # of which a field is missing, say
    return ItemRefused(place or None, f"{first['msg']}{others}", None if is_whole else value)


def _field(name: str, info: Any) -> Field:
    kind, is_nullable = _plain(info.annotation)
    options: dict[str, Any] = {}
    if kind == "decimal":
        options = {
            said: value
            for one in info.metadata
            for said, value in (("precision", _of(one, "max_digits")), ("scale", _of(one, "decimal_places")))
            if value is not None
        }
    return Field(name=name, type=kind, required=not is_nullable, **options)


def _of(constraint: Any, name: str) -> int | None:
    value = getattr(constraint, name, None)
    return value if isinstance(value, int) else None


def _plain(annotation: Any) -> tuple[str, bool]:
    """Return the type of a column for an annotation, and whether its values may be None."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = {_plain(one)[0] for one in get_args(annotation) if one is not type(None)}
        is_nullable = type(None) in get_args(annotation)
        if kinds == {"int", "float"}:
            return "float", is_nullable
        return (kinds.pop() if len(kinds) == 1 else "json"), is_nullable
    if annotation is Any:
        return "json", True
    if not isinstance(annotation, type):
        return "json", False
    if issubclass(annotation, Enum):
        values = {type(member.value) for member in annotation}
        return (_TYPES.get(values.pop(), "string") if len(values) == 1 else "json"), False
    return _of_class(annotation), False


def _of_class(annotation: type) -> str:
    for kind, name in _TYPES.items():
        if issubclass(annotation, kind):
            return name
    return "string" if issubclass(annotation, (str, date)) or annotation.__name__ in _TEXTS else "json"


_TEXTS = ("UUID", "time", "timedelta", "AnyUrl", "HttpUrl", "Path", "IPv4Address", "IPv6Address", "SecretStr")
"""What pydantic writes as text in JSON."""
