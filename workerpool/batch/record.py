"""What is written of an outcome: one flat record of fixed fields. Pure functions, any thread."""

from __future__ import annotations

import functools
from base64 import b64encode
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from workerpool.errors import OptionError
from workerpool.model import Outcome
from workerpool.paging import Pages
from workerpool.saving import Save, Saved

Record = dict[str, Any]

FIELDS = (
    "key", "url", "method", "status", "ok", "error", "attempts", "elapsed", "bytes", "final_url", "started_at",
)  # fmt: skip
"""The fields of every record, in their order."""

JOB_FIELDS = ("unchanged", "skipped")
"""What a job's records may have beside them: whether the server said that nothing had changed since the run before, and
whether nothing was sent as that run had the answer already."""

PAGE = "page"
"""What records have, too, where pages are followed: which one of its input's it is."""
IN_FILES = "file"
"""What is added to a record where bodies go to files: the file, and the SHA-256 of what is in it."""

INCLUDABLE = ("body", "headers")
"""What may be added to a record."""


def record_of(outcome: Outcome, include: Collection[str] = ()) -> Record:
    """Flatten `outcome`: `elapsed` in seconds, `bytes` of the body as read, `started_at` in UTC or None if never sent.

    `error` is a sentence, None if ok. `include` adds ``headers`` (the response's, by name) and ``body`` (text, or
    ``body_base64`` where it is not UTF-8), and `IN_FILES` the ``file`` that it went to, and its ``sha256``.
    """
    request, response, error, attempts = outcome.request, outcome.response, outcome.error, outcome.attempts
    saved = outcome.saved
    record: Record = {
        "key": request.label,
        "url": request.url,
        "method": request.method,
        "status": None if response is None else response.status_code,
        "ok": error is None,
        "error": None if error is None else str(error),
        "attempts": len(attempts),
        "elapsed": round(outcome.elapsed, 6),
        "bytes": outcome.size,
        "final_url": None if response is None else response.url,
        "started_at": _iso(attempts[0].started_at) if attempts else None,
    }
    if PAGE in include:
        record[PAGE] = request.page or 1
    if "headers" in include:
        record["headers"] = None if response is None else dict(response.headers)
    if "body" in include:
        record.update(_body(None if response is None else response.content or b""))
    if IN_FILES in include:
        record.update(_file(saved))
    return record


def check_include(include: Collection[str]) -> None:
    """Raise `OptionError` if something in `include` cannot be added to a record."""
    if isinstance(include, str):
        raise OptionError(f"include={include!r} must be a list of names: write [{include!r}]")
    for name in include:
        if name not in INCLUDABLE:
            raise OptionError(f"include={name!r} is unknown: write {' or '.join(INCLUDABLE)}")


def check_save(save: object, include: Collection[str]) -> None:
    """Raise `OptionError` if `save` does not say where bodies go, or they are to be in the records, too."""
    if save is not None and not isinstance(save, Save):
        raise OptionError(f"save={save!r} must be a Save, as in save=Save('bodies'), or None")
    if save is not None and "body" in include:
        raise OptionError("include=body with save=: bodies are in files then, so leave one of the two out")


def all_included(include: Collection[str], save: Save | None, pages: Pages | None = None) -> frozenset[str]:
    """What is added to records: what was asked for, the files if bodies go to some, and the pages' numbers."""
    return (
        frozenset(include)
        | ({IN_FILES} if save is not None else frozenset())
        | (frozenset() if pages is None else {PAGE})
    )


def needs_bodies(include: Collection[str], pages: Pages | None, schema: object) -> bool:
    """Whether what is written is made of bodies, so that a worker elsewhere has to send them."""
    return "body" in include or pages is not None or schema is not None


def check_alone(pages: Pages | None, others: Mapping[str, Any]) -> None:
    """Raise `OptionError` for what looks at an input's one answer, where it has pages. `others`: by their names."""
    for name in ("dedupe", "conditional", "only_changed", "skip_recent", "save"):
        value = others.get(name)
        if pages is not None and value:
            shown = "=True" if value is True else "="
            raise OptionError(
                f"{name}{shown} with pages=: it goes by an input's one answer, and with pages there are many; leave "
                "out one of the two"
            )


def fields_of(include: Collection[str], *, job: bool = False) -> tuple[str, ...]:
    """Name every field that a record may have, in a `job` or without one, in their order: a table's columns."""
    page = (PAGE,) if PAGE in include else ()
    headers = ("headers",) if "headers" in include else ()
    body = ("body", "body_base64") if "body" in include else ()
    file = ("file", "sha256") if IN_FILES in include else ()
    return FIELDS + page + headers + body + file + (JOB_FIELDS if job else ())


def _body(content: bytes | None) -> Record:
    try:
        return {"body": None if content is None else content.decode()}
    except UnicodeDecodeError:
        return {"body_base64": b64encode(content or b"").decode()}


def _file(saved: Saved | None) -> Record:
    return {"file": None, "sha256": None} if saved is None else {"file": saved.path, "sha256": saved.sha256}


def _iso(seconds: float) -> str:
    """Write seconds since the epoch as ISO 8601 in UTC, to the millisecond; as datetime does, but in a third of it."""
    second, rest = divmod(seconds, 1)
    milliseconds = round(rest * 1e6) // 1_000  # by way of microseconds, of which datetime cuts off the last three
    if milliseconds == 1_000:
        second, milliseconds = second + 1, 0
    return f"{_iso_second(second)}.{milliseconds:03}Z"


@functools.lru_cache(128)
def _iso_second(second: float) -> str:
    """Write a whole second without its zone. Remembered, as thousands of requests begin in one."""
    return datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")
