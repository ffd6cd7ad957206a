"""Reads a source that may have to wait, such as a pipe, in a thread of its own, so that nobody waits with it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from workerpool.model import IDLE, Idle, Request

AHEAD = 1000
"""Requests read ahead at most."""


@dataclass(frozen=True, slots=True)
class _End:
    """The last item: the source has ended, perhaps with an error."""

    error: BaseException | None = None


def read_ahead(source: Iterable[Request]) -> Iterator[Request | Idle]:
    """Yield what `source` gives, and `IDLE` whenever it has given nothing more yet; raises what it raises.

    Leaving this early leaves the thread in the source, waiting: it is a daemon, and ends with the process.
    """
    items: queue.Queue[Request | _End] = queue.Queue(AHEAD)
    thread = threading.Thread(target=_read, args=(source, items), name="workerpool-source", daemon=True)
    thread.start()
    while True:
        try:
            item = items.get_nowait()
        except queue.Empty:
            yield IDLE
            continue
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
        yield item


def _read(source: Iterable[Request], items: queue.Queue[Request | _End]) -> None:
    try:
        for request in source:
            items.put(request)
        items.put(_End())
    except BaseException as error:
        items.put(_End(error))
