"""Rejects: what is written of what became no row. Pure functions, any thread.

A reject has the input's `key` and `url`, so that the file is a source of what is to be fetched again; the `page`, if
the answer is one of several; the item's `index` in its answer, the `column` and the `reason`, and the `value`, as JSON.
"""

from __future__ import annotations

import json
from typing import Any

from workerpool.batch.record import Record
from workerpool.model import Request
from workerpool.redact import redact

LONGEST = 200
"""Characters of a value that a reject shows."""


def reject_of(request: Request, reason: str, *, index: int | None = None, column: str | None = None) -> Record:
    """What is written of a reject whose value is of no interest."""
    page = request.page or None
    return {
        "key": request.label,
        "url": request.url,
        **({} if page is None else {"page": page}),
        "index": index,
        "column": column,
        "reason": reason,
        "value": None,
    }


def shown(value: Any) -> str | None:
    """Return `value` as JSON for people: its beginning, and no secret."""
    if value is None:
        return None
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "(too large to be shown)"
    text = redact(text[: LONGEST * 10])  # first: a secret that is cut in two may look like none
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
