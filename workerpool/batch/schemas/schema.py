"""A `Schema`: the columns of a table, what makes rows of an answer, and by what a row is known. A checked value."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from workerpool.batch.columns import Columns
from workerpool.batch.schemas.document import read_document, schema_parts
from workerpool.batch.schemas.fields import Field, check_fields
from workerpool.batch.schemas.mapping import Items, Mapper
from workerpool.errors import OptionError

if TYPE_CHECKING:
    import pyarrow as pa
    import pydantic


@dataclass(frozen=True, slots=True)
class Schema:
    """Which rows are made of JSON answers: `fields` are the columns, in their order.

    `explode`: a JMESPath expression for the array in an answer whose elements, the items, become a row each; ``@`` for
    an answer that is one. Without it the answer is the item. `key`: columns by which a row is known, for an upsert;
    they may not be missing. Paths need the extra ``etl`` where they are more than names with dots between them.

    Raises `OptionError`, as do all that make one: `load`, `from_dict`, `from_pydantic` and `from_arrow`.
    """

    fields: tuple[Field, ...]
    _: KW_ONLY
    explode: str | None = None
    key: tuple[str, ...] = ()
    model: Any = None  # a pydantic model's class, which then makes the items' rows

    def __post_init__(self) -> None:
        check_fields(self.fields, self.key)
        self.mapper()  # which compiles everything that may be wrong

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Schema:
        """Read a file in TOML or, if its name ends in .json, in JSON; see `from_dict`."""
        name = os.fspath(path)
        try:
            return cls.from_dict(read_document(name))
        except OptionError as error:
            raise OptionError(f"the schema {name}: {error}") from error

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Schema:
        """Make one of what a file says: ``columns``, a table of tables or types by name, ``explode`` and ``key``."""
        fields, explode, key = schema_parts(document)
        return cls(fields, explode=explode, key=key)

    @classmethod
    def from_pydantic(
        cls, model: type[pydantic.BaseModel], *, explode: str | None = None, key: Sequence[str] = ()
    ) -> Schema:
        """Have each item validated by a pydantic `model`: its fields are the columns, its reasons the rejects'."""
        from workerpool.batch.schemas.models import fields_of_model

        return cls(fields_of_model(model), explode=explode, key=tuple(key), model=model)

    @classmethod
    def from_arrow(cls, schema: pa.Schema, *, explode: str | None = None, key: Sequence[str] = ()) -> Schema:
        """Take names and types of an Arrow `schema`; lists, maps and structs are json, a time without a zone is UTC."""
        from workerpool.batch.schemas.arrow import fields_of_arrow

        return cls(fields_of_arrow(schema), explode=explode, key=tuple(key))

    def mapper(self) -> Mapper:
        """Compile it."""
        items: Items | None = None
        if self.model is not None:
            from workerpool.batch.schemas.models import model_mapper

            items = model_mapper(self.model, self.fields)
        return Mapper([self._as_key(field) for field in self.fields], self.explode, items)

    def columns(self, *, upsert: bool = False) -> Columns:
        """The columns of the table, which an `upsert` knows by their key."""
        columns = tuple(self._as_key(field).column() for field in self.fields)
        return Columns(columns, is_typed=True, key=self.key if upsert else ())

    def fingerprint(self) -> str:
        """What tells it from other schemas."""
        said: dict[str, Any] = {"fields": [asdict(field) for field in self.fields], "explode": self.explode}
        said["key"] = self.key
        if self.model is not None:
            said["model"] = self.model.model_json_schema()
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:12]

    def _as_key(self, field: Field) -> Field:
        """A column of the key may not be missing."""
        if field.name not in self.key or field.required or field.default is not None:
            return field
        return replace(field, required=True)


def schema_option(schema: Any) -> Schema | None:
    """Return what an option `schema=` means: a `Schema`, or the name of its file."""
    if schema is None or isinstance(schema, Schema):
        return schema
    if isinstance(schema, (str, os.PathLike)):
        return Schema.load(schema)
    raise OptionError(f"schema={schema!r} must be a Schema, or the name of a file with one")
