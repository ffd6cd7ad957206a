"""Records as JSON Lines: one object a line, UTF-8."""

from __future__ import annotations

import json

from workerpool.batch.record import Record
from workerpool.batch.sinks.base import FileSink
from workerpool.batch.sinks.target import Target

_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode


def jsonl_sink(target: Target) -> FileSink:
    """Write records to `target` as JSON Lines."""
    return FileSink(target, encode)


def encode(record: Record) -> bytes:
    """Return `record` as a line; text that UTF-8 cannot hold (a lone surrogate, from a key) is escaped."""
    try:
        return (_encode(record) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(record) + "\n").encode()
