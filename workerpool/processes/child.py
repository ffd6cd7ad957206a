"""A process of a pool, from within: a `WorkerPool` whose requests come over a line, and whose outcomes leave over it.

The main thread reads the line, and `telling` has what is told. Workers tell by themselves, before they send it, of a
request that may not be repeated: what stands in the line is read even if this process is killed the moment after.
Signals are the parent's to act on, and ignored here. When the parent is gone, which the line's end tells, or that this
process has been given another parent, this process ends at once.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from workerpool.crew import Crew
from workerpool.endings import unsent
from workerpool.errors import InvalidRequest, OptionError, WorkerPoolError
from workerpool.model import Request
from workerpool.pool import WorkerPool
from workerpool.processes.messages import (
    LIGHT,
    Begin,
    Close,
    Doing,
    Forget,
    GiveUp,
    Hold,
    Leave,
    Line,
    Logged,
    Look,
    Open,
    Receipt,
    Refused,
    Seen,
    Task,
    Told,
    Urge,
    Work,
)
from workerpool.processes.parcels import OutcomeParcel, pack_error, pack_outcome
from workerpool.processes.telling import AnnouncedTicket, ParentTicket, Teller
from workerpool.redact import redact
from workerpool.statistics import Wait
from workerpool.tickets import NOBODY

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that reach a whole group of processes, as Ctrl-C does, and that the parent acts on."""

_PLAIN = (str, int, float, bool, type(None))

LOOK_AROUND = 0.25
"""Seconds between two looks whether the parent is still there, while it says nothing."""


def main(descriptor: int, parent: int) -> None:
    """Serve the process `parent` over the open socket `descriptor`. The whole life of the process."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)  # blocked since before it began, or one might have ended it
    Child(Line(Connection(descriptor)), parent).serve()


class _Feeder:
    """The parent's streams, as what this process waits for when it has nothing to do; see `delays.Feeder`."""

    def __init__(self) -> None:
        self.doing = Wait.IDLE


class _Pool(WorkerPool):
    """A pool whose crew takes requests that come from elsewhere."""

    @property
    def crew(self) -> Crew:
        return self._crew


class Child:
    """What the process does with each message."""

    def __init__(self, line: Line, parent: int) -> None:
        self._line = line
        self._parent = parent
        self._pool: _Pool
        self._feeder = _Feeder()
        self._is_refused = False
        self._scratch: str | None = None
        self._teller = Teller(line, self._end_at_once)

    def serve(self) -> None:
        """Do what the parent says until it says no more."""
        try:
            while True:
                while not self._line.has_more(LOOK_AROUND):
                    if os.getppid() != self._parent:
                        self._end_at_once()
                for message in self._line.receive():
                    self._handle(message)
        except (EOFError, OSError):
            if not self._teller.is_done:
                self._end_at_once()

    def _end_at_once(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        os._exit(0)  # nobody takes what is still being fetched

    # -- what the parent says: the main thread ------------------------------------------------------------------------

    def _handle(self, message: Any) -> None:
        if self._is_refused:
            return
        if isinstance(message, Work):
            self._add(message.tasks)
        elif isinstance(message, Receipt):
            if (stream := self._teller.streams.get(message.owner)) is not None:
                self._pool.crew.acknowledge(stream, message.places)
        elif isinstance(message, Hold):
            if (stream := self._teller.streams.get(message.owner)) is not None:
                self._teller.hold(stream, message.is_full)
        elif isinstance(message, Leave):
            ticket = self._teller.tickets.get(message.number)
            if isinstance(ticket, AnnouncedTicket):
                ticket.answer(message)
        elif isinstance(message, Look):
            figures, cpu = self._pool.statistics(), time.process_time()
            self._teller.send(Seen(message.number, figures, cpu, self._pool.crew.needs_more_hosts()))
        elif isinstance(message, Doing):
            self._feeder.doing = message.wait
            self._pool.crew.look_again()
        elif isinstance(message, Open):
            self._teller.open(message.owner, message.room)
        elif isinstance(message, (GiveUp, Forget)):
            self._end(message)
        elif isinstance(message, Urge):
            self._urge(message.number)
        elif isinstance(message, Begin):
            self._begin(message)
        elif isinstance(message, Close):
            threading.Thread(target=self._close, args=(message.cancel,), name="workerpool-closing").start()

    def _begin(self, begin: Begin) -> None:
        root, ours = begin.log_levels
        logging.getLogger().addHandler(_ToParent(self._teller))
        logging.getLogger().setLevel(root)
        logging.getLogger("workerpool").setLevel(ours)
        self._scratch = begin.scratch
        try:
            self._pool = _Pool(**_unpacked(begin.options))
        except Exception as error:
            self._refuse(error)
            return
        self._pool.crew.attend(self._feeder)
        self._teller.begin(self._pool.crew, self._pool.statistics, begin.held_bytes)

    def _add(self, tasks: Sequence[Task]) -> None:
        tickets = []
        for task in tasks:
            owner = self._teller.streams[task.owner] if task.owner else NOBODY
            try:
                ticket = (ParentTicket if task.kind == LIGHT else AnnouncedTicket)(self._teller, task, owner)
            except Exception as error:  # what it carries cannot be imported here, or not be made again
                self._teller.send(Told([(task.number, False, _unreadable(task, error), None)]))
                continue
            self._teller.tickets[task.number] = ticket
            tickets.append(ticket)
        try:
            self._pool.crew.add(tickets)
        except RuntimeError as error:  # no worker can be started
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        self._is_refused = True
        told = error if isinstance(error, WorkerPoolError) else WorkerPoolError(redact(str(error)))
        self._teller.send(Refused(pack_error(told)))

    def _urge(self, number: int) -> None:
        ticket = self._teller.tickets.get(number)
        if ticket is not None and ticket.owner is not NOBODY:
            ticket.owner.awaited = ticket
            self._pool.crew.urge(ticket)

    def _end(self, message: GiveUp | Forget) -> None:
        stream = self._teller.streams.get(message.owner)
        if stream is None:
            return
        stream.is_over = True
        if isinstance(message, GiveUp):
            self._pool.crew.give_up(stream)
            return
        stream.is_forsaken = True
        self._pool.crew.forsake(stream, has_requests=True)
        self._teller.forget(message.owner)

    def _close(self, cancel: bool) -> None:
        """End when all has ended. A thread of its own: meanwhile the main thread gives leave to what waits for it."""
        self._pool.shutdown(wait=True, cancel_futures=cancel)
        self._teller.end()


class _ToParent(logging.Handler):
    """Hands what is logged to the parent, whose handlers it concerns."""

    def __init__(self, teller: Teller) -> None:
        super().__init__()
        self._teller = teller

    def emit(self, record: logging.LogRecord) -> None:
        try:
            told = {**vars(record), "msg": record.getMessage(), "args": None, "exc_info": None}
            if record.exc_info:
                told["exc_text"] = logging.Formatter().formatException(record.exc_info)
            packed = _packed_record(told)
        except Exception:
            self.handleError(record)
        else:
            self._teller.send(Logged(packed))


def _packed_record(told: dict[str, Any]) -> bytes:
    """Pickle a record's attributes; of those that cannot be pickled, or not be made again, the plain ones alone."""
    try:
        packed = pickle.dumps(told)
        pickle.loads(packed)
    except Exception:
        packed = pickle.dumps({name: value for name, value in told.items() if type(value) in _PLAIN})
    return packed


def _unreadable(task: Task, error: Exception) -> OutcomeParcel:
    url, _ = task.request
    why = f"the process that was to send it cannot read what it carries ({redact(str(error))}): use modules on sys.path"
    return pack_outcome(unsent(Request(url), InvalidRequest(why)))


def _unpacked(options: dict[str, bytes]) -> dict[str, Any]:
    unpacked = {}
    for name, packed in options.items():
        try:
            unpacked[name] = pickle.loads(packed)
        except Exception as error:
            raise OptionError(
                f"{name}: another process cannot import what it needs ({redact(str(error))}): "
                "take it from a module that is found on sys.path"
            ) from error
    return unpacked
