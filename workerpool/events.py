"""The names and fields of every log event; the only user of structlog.

Events go to the standard library's logger ``workerpool``, which is silent until the application configures logging (or
`configure` is called, as the command line does). An event is a fixed name and fixed fields: `EVENTS` lists them all.
Secrets are redacted here, so no caller can forget. Any thread; an event whose level is off, or that nobody listens for,
costs next to nothing.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import IO, Any, Literal

from workerpool.redact import redact

LOGGER_NAME = "workerpool"

EVENTS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "attempt.failed": (logging.INFO, ("key", "host", "attempt", "reason", "error")),
    "request.parked": (logging.INFO, ("key", "host", "attempt", "wait", "reason")),
    "request.resent": (logging.DEBUG, ("key", "host", "attempt")),
    "request.redirected": (logging.DEBUG, ("key", "host", "attempt", "url", "status")),
    "request.ended": (logging.DEBUG, ("key", "host", "attempt", "status", "elapsed")),
    "request.failed": (logging.WARNING, ("key", "host", "attempt", "reason", "error")),
    "request.cancelled": (logging.DEBUG, ("key", "host", "attempt", "reason", "error")),
    "host.paused": (logging.WARNING, ("host", "wait", "reason")),
    "circuit.opened": (logging.WARNING, ("host",)),
    "circuit.closed": (logging.INFO, ("host",)),
    "robots.read": (logging.INFO, ("url", "status", "delay", "error")),
    "token.fetched": (logging.INFO, ("source", "expires_in")),
    "token.refused": (logging.INFO, ("key", "host", "attempt")),
    "token.failed": (logging.WARNING, ("source", "error")),
    "proxy.aside": (logging.WARNING, ("proxy", "wait", "reason")),
    "proxy.back": (logging.INFO, ("proxy",)),
    "pool.started": (logging.DEBUG, ("workers", "rate", "host_rate", "max_connections", "host_connections")),
    "pool.stopped": (logging.DEBUG, ("requests", "sent", "elapsed")),
    "cluster.joined": (logging.INFO, ("worker",)),
    "cluster.lost": (logging.WARNING, ("worker",)),
    "worker.failed": (logging.ERROR, ("error",)),
    "adapter.foreign": (logging.WARNING, ("prefix", "adapter")),
    "warm.failed": (logging.WARNING, ("host", "error")),
    "budget.away": (logging.WARNING, ("budget", "reason", "members")),
    "budget.back": (logging.INFO, ("budget", "seconds", "members")),
    "run.started": (logging.INFO, ("sources", "output")),
    "run.continued": (logging.INFO, ("job", "run", "before")),
    "run.progress": (logging.INFO, ("done", "total", "ok", "failed", "rate", "left", "in_flight", "parked")),
    "run.draining": (logging.WARNING, ("reason",)),
    "run.noted": (logging.WARNING, ("note",)),
    "run.failed": (logging.ERROR, ("error",)),
    "run.cancelled": (logging.WARNING, ("requests",)),
    "run.finished": (logging.INFO, ("inputs", "ok", "failed", "cancelled", "elapsed")),
}
"""Every event: its level, and the fields that it carries."""

_stdlib = logging.getLogger(LOGGER_NAME)
_SILENCE = logging.NullHandler()
_stdlib.addHandler(_SILENCE)


def emit(event: str, **fields: Any) -> None:
    """Log `event`, one of `EVENTS`, with its fields."""
    if is_on(event):
        getattr(_logger(), logging.getLevelName(EVENTS[event][0]).lower())(event, **fields)


def is_on(event: str) -> bool:
    """Whether `event` would be logged: ask before working out costly fields."""
    return _stdlib.isEnabledFor(EVENTS[event][0]) and _is_heard()


def prepare() -> None:
    """Make the logger if somebody listens, as the first event is a bad moment: importing structlog takes 0.2 s."""
    if _is_heard():
        _logger()


def configure(format: Literal["console", "json"], stream: IO[str], level: int = logging.INFO) -> Callable[[], None]:
    """Write events to `stream`, one a line, and return a function that undoes it. For applications, not libraries."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter(format, colors=format == "console" and stream.isatty()))
    previous = _stdlib.level
    _stdlib.addHandler(handler)
    _stdlib.setLevel(level)

    def undo() -> None:
        _stdlib.removeHandler(handler)
        _stdlib.setLevel(previous)

    return undo


def _is_heard() -> bool:
    """Whether an event would reach any handler but the one that keeps the standard library from printing warnings."""
    logger: logging.Logger | None = _stdlib
    while logger is not None:
        if any(handler is not _SILENCE for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _redact_fields(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, float):
            event[name] = round(value, 3)
        elif not isinstance(value, (int, bool, type(None))):
            event[name] = redact(str(value))
    return event


def _to_record(logger: Any, method: str, event: MutableMapping[str, Any]) -> tuple[tuple[str], dict[str, Any]]:
    """End the chain with a standard record: a readable message, and the fields for handlers that want them."""
    import structlog

    name = event.pop("event")
    text = structlog.processors.LogfmtRenderer(bool_as_flag=False)(logger, method, dict(event))
    return (f"{name} {text}".rstrip(),), {"extra": {"event": name, "fields": dict(event)}}


class _Formatter(logging.Formatter):
    """Renders the records of `_to_record` with structlog's renderers."""

    def __init__(self, format: Literal["console", "json"], colors: bool) -> None:
        import structlog

        super().__init__()
        self._as_json = structlog.processors.JSONRenderer()
        self._as_text = structlog.dev.ConsoleRenderer(colors=colors)
        self._format = format

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if self._format == "json":
            return str(self._as_json(None, "", fields))
        return str(self._as_text(None, "", fields))


@functools.cache
def _logger() -> Any:
    """The logger: importing structlog takes 0.2 s, which silence need not cost."""
    import structlog

    return structlog.wrap_logger(
        _stdlib,
        wrapper_class=structlog.BoundLogger,
        processors=[_redact_fields, _to_record],
        cache_logger_on_first_use=True,
    )
