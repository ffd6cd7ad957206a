"""What is decided under the crew's lock: which work a thread does next, what follows from a send, and who is woken.

The dispatcher decides and returns. It sends nothing, delivers nothing, calls no users' code and logs nothing: that is
for whoever asks (`workerpool.crew.turns`), without the lock. All of it is called with the lock held.

Work is a request that the scheduler allows to be sent, or a callable from `submit()`. With both waiting, the kind of
which fewer are being done is served next, so neither starves the other. As many requests and callables as there are
workers are being done at once.

It is long, as one lock guards all of it and each question reads what another one writes: see the class.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workerpool.clock import Clock
from workerpool.crew.alarm import Alarm
from workerpool.crew.carrier import Carrier, Sending
from workerpool.crew.delays import Delays
from workerpool.crew.held import RobotsFetch
from workerpool.crew.locking import ChoreLock
from workerpool.crew.threads import Call, Threads
from workerpool.crew.tokens import TokenFetch, fetch, tell
from workerpool.scheduler import Scheduler
from workerpool.tickets import Ticket
from workerpool.trip import Step
from workerpool.worker import Worker

if TYPE_CHECKING:
    from workerpool.credentials import Bearer, Login
    from workerpool.crew.turns import Turns
    from workerpool.gate import Sorting


@dataclass(slots=True)
class Counts:
    """What the crew has done so far."""

    ended: int = 0
    ok: int = 0
    sent: int = 0
    retries: int = 0
    redirects: int = 0
    resent: int = 0


class Dispatcher:
    """All that the crew knows, and what it makes of that.

    Its fields count the same things from several sides (`pick`, `wake_for_work`, `carry_out` and `is_drained` each read
    most of them), so they are one class.
    """

    def __init__(
        self,
        turns: Turns,
        executor: ThreadPoolExecutor,
        workers: int,
        scheduler: Scheduler,
        worker: Worker,
        clock: Clock,
    ) -> None:
        self._turns = weakref.ref(turns)  # they hold this, and a pool that is dropped must not wait for the collector
        self._worker = worker
        # Guards every field below, with what is in it: the scheduler (an owner's `room` and `queued`, and tickets that
        # wait), the threads' counts, the alarm, the meter in `delays`, and what the carrier and the others have for
        # each other. And `Turns._lost`. Not `delays.feeders`, nor what is being carried.
        # While it is held, these may be taken: the lock of a shared budget, and then that of its file; a future's own,
        # and the executor's. Never those of the robots' rules, of a stream's bytes and of the connections.
        self.lock = ChoreLock(turns.forsaken, turns.clear_out)
        self.scheduler = scheduler
        self.clock = clock
        self.workers = workers
        self.threads = Threads(executor)
        self.carrier = Carrier(worker)
        self.callables: deque[Call] = deque()
        self.awaiting: dict[Login, list[threading.Condition]] = {}  # threads that wait for a token
        self.on_callables = 0  # callables that are being run
        self.on_requests = 0  # requests that are being sent: carried, left to the others, or on a thread of their own
        self._callable_next = True  # breaks a tie between the two kinds
        self.at_gate = 0  # requests that were held, and are being looked at
        self.counts = Counts()
        self.is_closing = False
        self.closing_since: float | None = None  # if that is to be told of
        self.is_cancelling = False  # closing, and what is not being sent is given up
        self._has_drained = False  # somebody has been told to close what is open
        self.is_closed = False  # and has done it
        self.is_unmanned = False  # a thread was called for what is there now, and none could be started
        self.is_unwatched = False  # something waits for a time, and the alarm's thread could not be started
        self.closed = self.lock.condition()
        self._alarm = Alarm(self.lock, clock)
        self.delays = Delays(scheduler, clock.now())

    # -- every change: look, change, wake -----------------------------------------------------------------------------

    def before_change(self) -> float:
        """The time, for a change that begins now; what has held requests up until then is looked at first."""
        now = self.clock.now()
        self.delays.look(now)
        return now

    def wake_for_work(self, now: float) -> None:
        """Bring threads and work together after any change: the one place that wakes anybody.

        Wakes at most one worker. That one asks for this again when it has picked its work, and so wakes the next one if
        there is more: a batch of arrivals starts threads in a chain, and a single one starts a single thread.
        """
        scheduler, carrier = self.scheduler, self.carrier
        self.is_unmanned = False
        if scheduler.callers:  # first, as they may take what a worker would be woken for
            scheduler.admit(now, all_busy=self.is_full)
        has_room = not self.is_full  # or else whoever finishes first looks for more
        is_ready = has_room and scheduler.has_ready(now)
        if scheduler.wanted:
            self._fetch_tokens(now)
            is_ready = has_room and scheduler.has_ready(now)
        waiting = len(carrier.for_others)  # also without room: these are counted as being sent already
        if has_room:
            waiting += len(self.callables)
        if self.threads.called < waiting or (is_ready and not carrier.is_carrying):
            self._call_worker()
        if is_ready and carrier.is_carrying:
            # Or the carrier would find that the next work is not its own, sleep, and be woken by this line again.
            if not self._is_for_others():
                carrier.call()
        elif has_room and not is_ready:
            self._set_alarm(now)
        self.delays.note(now, is_full=not has_room, is_ready=is_ready)  # last: what holds until the next change

    def _fetch_tokens(self, now: float) -> None:
        """Queue what fetches the tokens that are wanted: a request to go before all others of its host, or a callable
        for a function, or for telling that there will be none."""
        turns, wanted = self._turns(), [*self.scheduler.wanted]
        self.scheduler.wanted.clear()
        for bearer in wanted:
            if turns is None or not bearer.is_wanted(now):  # another one has been before
                continue
            login = bearer.login
            if not login.begin(now):
                self.callables.append(Call(tell, (turns, login), {}))
            elif login.request is None:
                self.callables.append(Call(fetch, (turns, login), {}))
            else:
                ticket = TokenFetch(turns, login)
                ticket.arrived_at = now
                self.scheduler.put_first(ticket, now)

    def tell_callers(self, login: Login) -> None:
        """Wake the threads that wait for a source's token."""
        for condition in self.awaiting.pop(login, ()):
            condition.notify_all()

    def _call_worker(self) -> None:
        """Call one more thread to a turn, unless all are in one."""
        if self.threads.turns < self.workers and (turns := self._turns()) is not None:
            self.is_unmanned = not self.threads.call(turns.run_turn, turns.break_down)

    def _set_alarm(self, now: float) -> None:
        wake, turns = self.scheduler.wakes_at(now), self._turns()
        self.is_unwatched = False
        if wake is not None and turns is not None:
            try:
                self._alarm.set(wake, turns.ring)
            except RuntimeError as error:
                self.is_unwatched, self.threads.why_none = True, str(error)

    # -- choosing -----------------------------------------------------------------------------------------------------

    def pick(self, now: float) -> Sending | Call | Carrier | None:
        """Choose the next work for a thread, and count it."""
        carrier = self.carrier
        if carrier.given and not carrier.is_carrying:  # first: until somebody carries these, nobody reads their answers
            carrier.is_carrying = True
            return carrier
        if carrier.for_others:  # before it is asked whether there is room: they are counted already
            return carrier.for_others.popleft()
        if self.is_full:
            return None
        self._admit_callers(now)
        # Requests are the carrier's to take. But where callables wait, too, this thread keeps the balance: running one
        # after the other, it would leave no room to the carrier.
        is_requests_turn = not self._is_callables_turn() if self.callables else not carrier.is_carrying
        if is_requests_turn:
            ticket = self._next_request(now)
            if ticket is not None:
                return Sending(ticket)
        if self.callables:  # also where it was a request's turn, and none may be sent
            self.on_callables += 1
            self._callable_next = False
            return self.callables.popleft()
        return None

    def take(self, now: float) -> list[Ticket]:
        """Take all requests that may be sent now, for the carrier, and leave to the others what cannot be carried."""
        for_others = self.carrier.for_others
        if for_others:
            self._call_worker()
        taken = []
        while not (self.is_full or self._is_for_others()):
            self._admit_callers(now)
            ticket = self._next_request(now)
            if ticket is None:
                break
            if ticket.is_light:
                taken.append(ticket)
            else:
                for_others.append(Sending(ticket))
        return taken

    def _admit_callers(self, now: float) -> None:
        """Give waiting callers their turn: before a request is asked for, which would take what they wait for."""
        if self.scheduler.callers:
            self.scheduler.admit(now, all_busy=False)

    def _next_request(self, now: float) -> Ticket | None:
        """Take a request that may be sent now, and count it."""
        ticket = self.scheduler.next(now)
        if ticket is not None:
            self.on_requests += 1
            self._callable_next = True
        return ticket

    @property
    def is_full(self) -> bool:
        """Whether as much is being done as there are workers."""
        return self.on_callables + self.on_requests >= self.workers

    def _is_for_others(self) -> bool:
        """Whether what is to be done next is not for the carrier."""
        if self.callables and self._is_callables_turn():
            return True
        # No thread can be called, so the carrier has to do it itself, when nothing is carried any more.
        return bool(self.carrier.for_others) and self.threads.turns == 1

    def _is_callables_turn(self) -> bool:
        fewer = self.on_callables - self.on_requests
        return fewer < 0 or (fewer == 0 and self._callable_next)

    # -- what follows from a send -------------------------------------------------------------------------------------

    def carry_out(self, ticket: Ticket, step: Step, now: float) -> None:
        """Do what a step says, and note in it what is to be told of it without the lock."""
        scheduler, counts = self.scheduler, self.counts
        self.on_requests -= 1
        counts.sent += step.sent
        if step.answer is not None:
            has_opened = scheduler.hear(ticket.host, step.answer, now)  # before the release, which may forget the host
            if has_opened is not None:
                step.circuit = ticket.host, has_opened
        if ticket.bearer is not None:
            self._note_login(ticket.bearer, step, now)
        was_refused = ticket.refused_until is not None
        # By the host that it was sent to: what follows may change it.
        scheduler.release(ticket.host, now, since=ticket.granted_at, failed=step.failed, was_refused=was_refused)
        if ticket.holds_place and not step.sent:
            ticket.holds_place = False
            scheduler.give_places(ticket.owner, 1, now)
        if step.pause is not None:
            pause = step.pause
            step.is_new_pause = scheduler.pause(pause.host, pause.until, now, refuse=pause.refuse)
        if step.outcome is not None:
            if ticket.obeys:
                counts.ended += 1
                counts.ok += step.outcome.ok
        elif self.is_given_up(ticket):
            if ticket.obeys:
                counts.ended += 1
            step.is_given_up = True
        elif step.again:
            counts.resent += 1
            scheduler.put_first(ticket, now)
        elif step.next_host is not None:
            counts.redirects += 1
            ticket.host, ticket.key = step.next_host, step.next_key
            if step.held is None:
                scheduler.put_first(ticket, now)
            else:
                self.hold(step.held, now)
        elif step.park_until is not None:
            counts.retries += 1
            ticket.host = ticket.trip.host
            scheduler.park(ticket, step.park_until)

    def _note_login(self, bearer: Bearer, step: Step, now: float) -> None:
        """Take note of what a send says about the token that it was made with."""
        if step.is_refused:
            bearer.be_refused(now)
        elif step.outcome is not None:
            bearer.conclude(step.outcome.status, now)
        elif step.park_until is not None:
            bearer.begin_attempt()

    def carry_out_all(self, ended: list[tuple[Ticket, Step]], now: float) -> None:
        """Do what several steps say."""
        for ticket, step in ended:
            self.carry_out(ticket, step, now)

    def is_given_up(self, ticket: Ticket) -> bool:
        """Whether a request that was sent and has not ended is not to be sent again."""
        return self.is_cancelling or ticket.owner.is_over or (self.is_closing and ticket.owner.needs_receipts)

    def hold(self, sorting: Sorting, now: float) -> list[Ticket]:
        """Hold the requests that wait for a robots.txt, and queue what fetches it, which is returned.

        Whoever calls this looks afterwards, without the lock, whether it has come in between: see `held.see_to`.
        """
        for ticket, site in sorting.held:
            self.scheduler.hold(ticket, site.name)
        turns = self._turns()
        fetches: list[Ticket] = [] if turns is None else [RobotsFetch(turns, fetch) for fetch in sorting.fetches]
        for ticket in fetches:
            ticket.arrived_at = now
            self.scheduler.put_first(ticket, now)
        return fetches

    # -- ending -------------------------------------------------------------------------------------------------------

    def take_out(self, is_unwanted: Callable[[Ticket], bool], now: float) -> list[Ticket]:
        """Remove requests that are not being sent, and count them as ended; that is still to be told."""
        gone = self.scheduler.discard(is_unwanted, now)
        self.counts.ended += sum(ticket.obeys for ticket in gone)
        self._alarm.look_again()  # it may be waiting for one of these
        return gone

    def take_back(self, tickets: set[Ticket], now: float) -> None:
        """Remove requests that have just been queued: they are not taken after all."""
        self.scheduler.discard(tickets.__contains__, now)
        self.delays.look_at_feeders(now)

    def forget_forsaken(self, now: float) -> None:
        """Remove the requests of owners that were forsaken. Calls no thread: see `Turns.forsake`."""
        self.scheduler.discard(lambda ticket: ticket.owner.is_forsaken, now)
        self._alarm.look_again()

    def close(self, now: float, *, cancel: bool, is_told: bool) -> tuple[list[Call], list[Ticket]]:
        """Take no more work; returns what is not to be run, and the requests that are not to be sent."""
        self.is_closing = True
        if is_told and self.closing_since is None:
            self.closing_since = now
        forgotten: list[Call] = []
        if cancel:
            # A thread that was called for a callable counts as running it, though it may not have begun yet:
            # whether that is cancelled must not depend on how fast a thread starts.
            waiting = [*self.callables]
            self.callables = deque(waiting[: self.threads.called])
            forgotten = waiting[self.threads.called :]
            self.is_cancelling = True
        gone = self.take_out(lambda ticket: cancel or ticket.is_cancelled() or ticket.owner.needs_receipts, now)
        return forgotten, gone

    def notice_drained(self) -> bool:
        """Whether the last work has just ended after `close`: the caller then calls `Turns.end` without the lock."""
        if self._has_drained or not (self.is_closing and self._is_drained()):
            return False
        self._has_drained = True
        self._alarm.end()
        return True

    def _is_drained(self) -> bool:
        # In a broken pool, what the scheduler has in flight may be a turn's that is no more.
        is_idle = self.scheduler.is_idle and not self.at_gate
        return not self.threads.turns and not self.callables and (is_idle or self.threads.broken is not None)

    # -- looking ------------------------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raise unless work is taken."""
        self._check_whole()
        if self.is_closing:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def check_manned(self) -> None:
        """Raise if work waits and no thread can do it, after `wake_for_work`: the pool is broken, or none could be
        started, as the interpreter is ending, or the system allows no more.

        What the waking met is what counts: the scheduler, asked again, may say otherwise, as a budget that processes
        share changes at any moment.
        """
        self._check_whole()
        if self.threads.turns == 0 and (self.is_unmanned or self.is_unwatched):
            raise RuntimeError(self.threads.why_none)

    def _check_whole(self) -> None:
        if self.threads.broken is not None:
            raise BrokenThreadPool(str(self.threads.broken)) from self._worker.failure

    def snapshot(self) -> dict[str, Any]:
        """Count the work now and so far; `PoolStatistics` names the fields."""
        counts, scheduler, now = self.counts, self.scheduler, self.clock.now()
        return {
            "active": self.on_callables + self.on_requests,
            "callables_queued": len(self.callables),
            "queued": scheduler.queued,
            "parked": scheduler.parked,
            "in_flight": scheduler.in_flight,
            "hosts": scheduler.host_count,
            "requests": counts.ended,
            "ok": counts.ok,
            "sent": counts.sent,
            "retries": counts.retries,
            "redirects": counts.redirects,
            "resent": counts.resent,
            "waits": self.delays.waits(now),
            "by_state": scheduler.survey(now),
        }
