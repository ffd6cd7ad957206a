"""Reads a source that may have to wait, such as a pipe, in a thread of its own, so that nobody waits with it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from workerpool.model import IDLE, Idle

T = TypeVar("T")

AHEAD = 1000
"""Items read ahead at most."""


@dataclass(frozen=True, slots=True)
class _End:
    """The last item: the source has ended, perhaps with an error."""

    error: BaseException | None = None


def read_ahead(source: Iterable[T]) -> Iterator[T | Idle]:
    """Yield what `source` gives, and `IDLE` whenever it has given nothing more yet; raises what it raises.

    Leaving this early ends the reading after the item at hand, and closes the source, which may hold a connection. One
    that gives nothing more keeps its thread, waiting: it is a daemon, and ends with the process.
    """
    items: queue.Queue[T | _End] = queue.Queue(AHEAD)
    is_left = threading.Event()
    thread = threading.Thread(target=_read, args=(source, items, is_left), name="workerpool-source", daemon=True)
    thread.start()
    try:
        yield from _arrived(items)
    finally:
        is_left.set()
        while not items.empty():  # which lets the thread go on that waits for room, and see that nobody reads
            items.get_nowait()


def _arrived(items: queue.Queue[T | _End]) -> Iterator[T | Idle]:
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


def _read(source: Iterable[T], items: queue.Queue[T | _End], is_left: threading.Event) -> None:
    reading = iter(source)
    try:
        for item in reading:
            if is_left.is_set():
                break
            items.put(item)
        items.put(_End())
    except BaseException as error:
        items.put(_End(error))
    finally:
        if isinstance(reading, Generator):
            reading.close()
