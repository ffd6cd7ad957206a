"""A process of a pool, from within: a `WorkerPool` whose requests come over a line, and whose outcomes leave over it.

The main thread reads the line. A thread sends what has ended, all that waits at once. The pool's workers tell by
themselves, before they send it, of a request that may not be repeated: what stands in the line is read even if this
process is killed the moment after. Signals are the parent's to act on, and ignored here. When the parent is gone, which
the line's end tells, or that this process has been given another parent, this process ends at once.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from workerpool.crew import Crew
from workerpool.endings import unsent
from workerpool.errors import InvalidRequest, OptionError, WorkerPoolError
from workerpool.meter import Wait
from workerpool.model import Attempt, Outcome, Request
from workerpool.pool import WorkerPool
from workerpool.processes.messages import (
    ASKED,
    LIGHT,
    Begin,
    Close,
    Doing,
    Done,
    Forget,
    GiveUp,
    Hold,
    Leave,
    Line,
    Logged,
    Look,
    News,
    Open,
    Refused,
    Seen,
    Sending,
    Settle,
    Task,
    Told,
    Urge,
    Work,
)
from workerpool.processes.parcels import (
    OutcomeParcel,
    pack_attempts,
    pack_error,
    pack_outcome,
    unpack_error,
    unpack_request,
)
from workerpool.redact import redact
from workerpool.stream import NAP, body_size
from workerpool.tickets import NOBODY, Owner, Ticket

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that reach a whole group of processes, as Ctrl-C does, and that the parent acts on."""

LOOK_AROUND = 0.25
"""Seconds between two looks whether the parent is still there, while it says nothing."""

AT_ONCE = 8 * 1024 * 1024
"""Bytes of bodies that are sent together, about."""


def main(descriptor: int, parent: int) -> None:
    """Serve the process `parent` over the open socket `descriptor`. The whole life of the process."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)  # blocked since before it began, or one might have ended it
    Child(Line(Connection(descriptor)), parent).serve()


class _Owner(Owner):
    """A stream of the parent's. Where it is full or without room, its consumer has not taken what was sent."""

    def __init__(self, room: int | None) -> None:
        super().__init__(sys.maxsize if room is None else room, needs_receipts=room is not None)
        self.is_held = False  # by the parent; it is also full while this process holds too much by itself


class _Feeder:
    """The parent's streams, as what this process waits for when it has nothing to do; see `delays.Feeder`."""

    def __init__(self) -> None:
        self.doing = Wait.IDLE


class _Pool(WorkerPool):
    """A pool whose crew takes requests that come from elsewhere."""

    @property
    def crew(self) -> Crew:
        return self._crew


class _Task(Ticket):
    """A request of the parent's. `number`: there. `told`: its attempts that the parent knows. `size`: of its body."""

    __slots__ = ("_child", "number", "size", "told")
    is_light = True

    def __init__(self, child: Child, task: Task, owner: Owner) -> None:
        request = unpack_request(task.request)
        super().__init__(request, task.host, owner)
        self._child = child
        self.number = task.number
        self.told = len(request.earlier)
        self.size = 0

    def go_on(self, attempts: tuple[Attempt, ...]) -> None:
        holds_place, self.holds_place = self.holds_place, False
        if holds_place or len(attempts) > self.told:
            self.told = len(attempts)
            self._child.tell((self, holds_place, None, attempts))

    def deliver(self, outcome: Outcome) -> None:
        self.trip = None
        self._child.take(self, outcome)


class _Announced(_Task):
    """A request that the parent has to hear of before it is sent, and perhaps to give leave to."""

    __slots__ = ("_leave",)
    is_light = False

    def __init__(self, child: Child, task: Task, owner: Owner) -> None:
        super().__init__(child, task, owner)
        self._leave: queue.SimpleQueue[Leave] | None = queue.SimpleQueue() if task.kind == ASKED else None

    def before_send(self) -> None:
        self._child.send(Sending(self.number))
        if self._leave is not None:
            leave = self._leave.get()
            if leave.error is not None:
                raise unpack_error(leave.error)

    def answer(self, leave: Leave) -> None:
        assert self._leave is not None
        self._leave.put(leave)


_News: TypeAlias = tuple[_Task, bool, Outcome | None, tuple[Attempt, ...] | None]
"""As `News`, of a request of this process's, and not packed: that is for the thread that tells."""


def _packed(news: _News) -> News:
    task, holds_place, outcome, attempts = news
    if outcome is not None:
        return task.number, holds_place, pack_outcome(outcome), None
    return task.number, holds_place, None, pack_attempts(attempts or ())


def _size_of(news: _News) -> int:
    """Bytes of bodies that it holds."""
    task, _, outcome, _ = news
    return 0 if outcome is None else task.size


class Child:
    """What the process does with each message, and what it tells."""

    def __init__(self, line: Line, parent: int) -> None:
        self._line = line
        self._parent = parent
        self._pool: _Pool
        self._feeder = _Feeder()
        self._is_refused = False
        self._tasks: dict[int, _Task] = {}  # without an outcome; workers take theirs out
        self._owners: dict[int, _Owner] = {}
        self._news: queue.SimpleQueue[_News | None] = queue.SimpleQueue()
        self._scratch: str | None = None
        self._held_most = 0
        self._held = 0  # bytes of bodies that are still to be sent
        self._held_lock = threading.Lock()  # guards it, and whether owners are full
        self._is_full = False
        self._is_done = False

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
            if not self._is_done:
                self._end_at_once()

    def _end_at_once(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        os._exit(0)  # nobody takes what is still being fetched

    def send(self, message: Any) -> None:
        """Send one message now."""
        try:
            self._line.send([message])
        except OSError:
            self._end_at_once()

    # -- what the parent says: the main thread ------------------------------------------------------------------------

    def _handle(self, message: Any) -> None:
        if self._is_refused:
            return
        if isinstance(message, Work):
            self._add(message.tasks)
        elif isinstance(message, Settle):
            if (owner := self._owners.get(message.owner)) is not None:
                self._pool.crew.settle(owner, message.places)
        elif isinstance(message, Hold):
            if (owner := self._owners.get(message.owner)) is not None:
                self._hold(owner, message.is_full)
        elif isinstance(message, Leave):
            task = self._tasks.get(message.number)
            if isinstance(task, _Announced):
                task.answer(message)
        elif isinstance(message, Look):
            self.send(
                Seen(message.number, self._pool.statistics(), time.process_time(), self._pool.crew.needs_more_hosts())
            )
        elif isinstance(message, Doing):
            self._feeder.doing = message.wait
            self._pool.crew.look_again()
        elif isinstance(message, Open):
            owner = self._owners[message.owner] = _Owner(message.room)
            with self._held_lock:
                owner.is_full = self._is_full
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
        logging.getLogger().addHandler(_ToParent(self))
        logging.getLogger().setLevel(root)
        logging.getLogger("workerpool").setLevel(ours)
        self._held_most, self._scratch = begin.held_bytes, begin.scratch
        try:
            self._pool = _Pool(**_unpacked(begin.options))
        except Exception as error:
            self._refuse(error)
            return
        self._pool.crew.attend(self._feeder)
        threading.Thread(target=self._tell_all, name="workerpool-telling", daemon=True).start()

    def _add(self, tasks: Sequence[Task]) -> None:
        tickets = []
        for task in tasks:
            owner = self._owners[task.owner] if task.owner else NOBODY
            try:
                ticket = (_Task if task.kind == LIGHT else _Announced)(self, task, owner)
            except Exception as error:  # what it carries cannot be imported here, or not be made again
                self.send(Told([(task.number, False, _unreadable(task, error), None)]))
                continue
            self._tasks[task.number] = ticket
            tickets.append(ticket)
        try:
            self._pool.crew.add(tickets)
        except RuntimeError as error:  # no worker can be started
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        self._is_refused = True
        told = error if isinstance(error, WorkerPoolError) else WorkerPoolError(redact(str(error)))
        self.send(Refused(pack_error(told)))

    def _urge(self, number: int) -> None:
        task = self._tasks.get(number)
        if task is not None and task.owner is not NOBODY:
            task.owner.awaited = task
            self._pool.crew.urge(task)

    def _end(self, message: GiveUp | Forget) -> None:
        owner = self._owners.get(message.owner)
        if owner is None:
            return
        owner.is_over = True
        if isinstance(message, GiveUp):
            self._pool.crew.give_up(owner)
            return
        owner.is_forsaken = True
        self._pool.crew.forsake(owner, has_requests=True)
        del self._owners[message.owner]
        for task in [*self._tasks.values()]:
            if task.owner is owner:
                self._tasks.pop(task.number, None)

    def _close(self, cancel: bool) -> None:
        """End when all has ended. A thread of its own: meanwhile the main thread gives leave to what waits for it."""
        self._pool.shutdown(wait=True, cancel_futures=cancel)
        self._news.put(None)

    # -- what is to be told -------------------------------------------------------------------------------------------

    def tell(self, news: _News) -> None:
        """Let the parent know, soon. A worker's thread."""
        self._news.put(news)

    def take(self, task: _Task, outcome: Outcome) -> None:
        """Take a request that has ended. A worker's thread."""
        self._tasks.pop(task.number, None)
        task.size = body_size(outcome)
        if task.size:
            with self._held_lock:
                self._held += task.size
                if self._held >= self._held_most and not self._is_full:
                    self._is_full = True
                    for owner in [*self._owners.values()]:
                        owner.is_full = True
        self._news.put((task, task.holds_place, outcome, None))

    def _tell_all(self) -> None:
        """Send what is to be told, until nothing will be any more. A thread's whole life."""
        told_at = 0.0
        while True:
            news = [self._news.get()]
            if time.monotonic() - told_at < NAP:  # it comes faster than it could be sent one by one
                time.sleep(NAP)
            size = 0
            while news[-1] is not None and size < AT_ONCE:
                try:
                    news.append(self._news.get_nowait())
                except queue.Empty:
                    break
                if (last := news[-1]) is not None:
                    size += _size_of(last)
            told_at = time.monotonic()
            ends = news[-1] is None
            self._tell([one for one in news if one is not None])
            if ends:
                self._is_done = True  # first: once it is told, the line may end at any moment
                self.send(Done(self._pool.statistics(), time.process_time()))
                return
            del news

    def _tell(self, news: Sequence[_News]) -> None:
        if news:
            self.send(Told([_packed(one) for one in news]))
        if size := sum(map(_size_of, news)):
            self._make_room(size)

    def _make_room(self, size: int) -> None:
        """Fetch on when half of what was held has gone."""
        with self._held_lock:
            self._held -= size
            if not self._is_full or self._held >= self._held_most // 2:
                return
            self._is_full = False
            owners = [owner for owner in [*self._owners.values()] if not owner.is_held]
            for owner in owners:
                owner.is_full = False
        for owner in owners:
            self._pool.crew.resume(owner)

    def _hold(self, owner: _Owner, is_full: bool) -> None:
        with self._held_lock:
            owner.is_held = is_full
            owner.is_full = is_full or self._is_full
        if not owner.is_full:
            self._pool.crew.resume(owner)


class _ToParent(logging.Handler):
    """Hands what is logged to the parent, whose handlers it concerns."""

    def __init__(self, child: Child) -> None:
        super().__init__()
        self._child = child

    def emit(self, record: logging.LogRecord) -> None:
        told = {**vars(record), "msg": record.getMessage(), "args": None, "exc_info": None}
        if record.exc_info:
            told["exc_text"] = logging.Formatter().formatException(record.exc_info)
        try:
            pickle.dumps(told)
        except Exception:
            told = {name: value for name, value in told.items() if isinstance(value, (str, int, float, type(None)))}
        self._child.send(Logged(told))


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
