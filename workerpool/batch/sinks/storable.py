"""What a database's cells cannot hold, replaced; and what they held, as a row has it. Pure functions, any thread."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from workerpool.batch.columns import Column, text_of, time_text
from workerpool.batch.record import Record

_NUL = "\0"


def without_nul(records: Iterable[Record]) -> Iterator[Record]:
    """Have a body of a record with a NUL, which text of a database may not hold, in ``body_base64``."""
    for record in records:
        body = record.get("body")
        if body is not None and _NUL in body:
            packed = b64encode(body.encode(errors="surrogatepass")).decode()
            record = {**record, "body": None, "body_base64": packed}  # a new one: records are not ours to change
        yield record


def storable_text(value: Any) -> str:
    """Return a value as text with a NUL, which text of a database may not hold, replaced as `storable` does."""
    return text_of(value).replace(_NUL, "\ufffd")


def storable(value: Any) -> Any:
    """Return a value of JSON with what its text may not hold replaced: NUL by U+FFFD, a lone surrogate by an escape."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {storable(name): storable(one) for name, one in value.items()}
    return [storable(one) for one in value] if isinstance(value, list) else value


def value_of(column: Column, cell: Any) -> Any:
    """What a cell stands for. A time without a zone is in UTC."""
    if isinstance(cell, datetime):
        return time_text(cell if cell.tzinfo else cell.replace(tzinfo=UTC), column.scale)
    return f"{cell:f}" if isinstance(cell, Decimal) else cell
