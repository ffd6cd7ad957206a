"""The crew: which work a worker thread does next, and who wakes it.

A thread of the executor runs *turns*: it asks for work, does it, reports, and asks again, until there is none for now;
then it goes back to the executor. Work is a request that the scheduler allows to be sent, or a callable from
`submit()`. With both waiting, the kind of which fewer are being done is served next, so neither starves the other.

Most requests need no thread of their own: they can be sent at once, over a socket that is idle, and their answers come
in one piece. One turn at a time, the *carrier's*, sends such requests one after the other and waits for all their
answers (`workerpool.crew.carrier`). While there is one, it alone asks the scheduler; a request that it cannot carry it
leaves to the others. If all that was missing is a connection, they make one, send the request, and give the rest of it
back. As many requests and callables as there are workers are being done at once, carried or not.

What becomes possible only later (a slot, a backoff, a pause) is watched by the alarm (`workerpool.crew.alarm`), which
calls a worker when the time comes.

One lock, `_lock`, guards everything here and in the scheduler. It is never held while sending, calling users' code,
delivering an outcome or logging.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from dataclasses import dataclass
from typing import Any

from workerpool import events
from workerpool.clock import NEVER, Clock
from workerpool.crew.alarm import Alarm
from workerpool.crew.carrier import Carrier, Sending
from workerpool.crew.locking import ChoreLock
from workerpool.crew.threads import Call, Threads
from workerpool.delays import Delays, Feeder
from workerpool.errors import SlotTimeout, UnexpectedError
from workerpool.gate import Gate, Sorted
from workerpool.limits import Answer, Limiter
from workerpool.model import Outcome
from workerpool.redact import redact
from workerpool.robots import Site
from workerpool.scheduler import Scheduler
from workerpool.tickets import Caller, Owner, Ticket
from workerpool.transport import Carried
from workerpool.trip import Step
from workerpool.worker import Worker

GIVEN_UP = "its pool or its stream was told to end"

UNWATCHED = 0.1
"""Seconds after which a worker looks again that stays because no thread could be started to wait for a time."""


@dataclass(slots=True)
class Counts:
    """What the crew has done so far."""

    ended: int = 0
    ok: int = 0
    sent: int = 0
    retries: int = 0
    redirects: int = 0
    resent: int = 0


class _Change:
    """A change to what a crew does, begun and ended under its lock: what has held requests up until then is looked at
    before, and threads and work are brought together after it. Gives the time. For all but each request's own way."""

    __slots__ = ("_crew", "_now")

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def __enter__(self) -> float:
        self._crew._lock.acquire()
        try:
            now = self._now = self._crew._before_change()
        except BaseException:
            self._crew._lock.release()
            raise
        return now

    def __exit__(self, *exc_info: object) -> None:
        crew = self._crew
        try:
            crew._settle(self._now)
            closed = crew._notice_drained()
        finally:
            crew._lock.release()
        if closed:
            crew._end()


class Crew:
    """Worker threads on a `ThreadPoolExecutor`, doing what the scheduler allows and what was submitted."""

    def __init__(
        self,
        executor: ThreadPoolExecutor,
        workers: int,
        scheduler: Scheduler,
        worker: Worker,
        clock: Clock,
        on_closed: Callable[[], None],
        gate: Gate | None = None,
    ) -> None:
        self._workers = workers
        self._scheduler = scheduler
        self._worker = worker
        self._can_carry = worker.can_carry and workers > 1
        self._clock = clock
        self._on_closed = on_closed  # called once, when the last work has ended after `close`
        self.gate = gate  # None if nobody obeys robots.txt; never changed
        if gate is not None:
            gate.serve(self.hear_robots)
        self._forsaken: deque[bool] = deque()  # whether they have requests; appended to without the lock
        # Guards every field below, and besides: the scheduler with all that is in it (an owner's `room` and `queued`,
        # and tickets that wait), what the carrier and the others have for each other, the alarm, and the meter in
        # `delays`. Not `delays.feeders`.
        self._lock = ChoreLock(self._forsaken, self._clear_out)
        self._callables: deque[Call] = deque()
        self._threads = Threads(executor, workers)
        self._on_callables = 0  # callables that are being run
        self._on_requests = 0  # requests that are being sent: carried, left to the others, or on a thread of their own
        self._carrier = Carrier(worker)
        self._callable_next = True  # breaks a tie between the two kinds
        self._at_gate = 0  # requests that were held, and are being looked at
        self._counts = Counts()
        self._closing = False
        self._cancelling = False  # closing, and what is not being sent is given up
        self._is_closed = False
        self._lost: dict[Ticket, Step | None] = {}  # what turns had in hand that defects of ours have ended
        self._is_unwatched = False  # something waits for a time, and the alarm's thread could not be started
        self._drained = self._lock.condition()
        self._alarm = Alarm(self._lock, clock)
        self.delays = Delays(scheduler, clock.now())

    # -- giving work --------------------------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Queue a callable; raises `RuntimeError` after shutdown, as executors do."""
        work = Call(fn, args, kwargs)
        with self._lock:
            self._check_open()
            self._callables.append(work)
            try:
                now = self._clock.now()
                self._settle(now)
                self._check_manned(now)
            except RuntimeError:
                if work in self._callables:
                    self._callables.remove(work)
                raise
        return work.future

    def add(self, tickets: Iterable[Ticket]) -> None:
        """Queue requests; raises `RuntimeError`, and takes none, after shutdown, and if no thread can be started."""
        way = Sorted([*tickets]) if self.gate is None else self.gate.sort(tickets)
        try:
            with self._lock:
                self._check_open()
                now = self._before_change()
                for ticket in way.allowed:
                    ticket.arrived_at = now
                    self._scheduler.add(ticket, now)
                for ticket, _ in way.held:
                    ticket.arrived_at = now
                self._hold(way, now)
                self._settle(now)
                try:
                    self._check_manned(now)
                except RuntimeError:
                    self._take_back(way, now)
                    raise
                self._counts.ended += len(way.refused)
        except RuntimeError:
            if self.gate is not None:
                self.gate.forget(way.fetches)
                for fetch in way.fetches:
                    self._free(fetch.site)  # others may be held for it by now
            raise
        if way.held or way.refused:
            self._see_to(way)

    def _take_back(self, way: Sorted, now: float) -> None:
        """Take requests out again that have just been queued. Under the lock."""
        queued = {*way.allowed, *way.fetches, *(ticket for ticket, _ in way.held)}
        self._scheduler.discard(queued.__contains__, now)
        self.delays.look_at_feeders(now)

    def give_up(self, owner: Owner) -> None:
        """End the requests of an owner that are not being sent: it was told to end."""
        with _Change(self) as now:
            gone = self._take_out(lambda ticket: ticket.owner is owner, now)
        self._deliver_cancelled(gone, "the batch was told to end")

    def resume(self, owner: Owner) -> None:
        """Send an owner's requests again: it is not full any more."""
        with _Change(self) as now:
            self._scheduler.resume(owner, now)

    def settle(self, owner: Owner, places: int) -> None:
        """Take the receipt for so many sends of an owner that needs receipts: as many more may follow."""
        with _Change(self) as now:
            self._scheduler.give_places(owner, places, now)

    def urge(self, ticket: Ticket) -> None:
        """Send a request that its full owner awaits, if it was put aside."""
        with _Change(self) as now:
            self._scheduler.urge(ticket, now)

    def attend(self, feeder: Feeder) -> None:
        """Look at what a stream does from now on, where nothing is queued."""
        self.delays.feeders.append(feeder)

    def leave_off(self, feeder: Feeder) -> None:
        """Look at it no more. Takes no lock: see `forsake`."""
        self.delays.feeders.remove(feeder)

    def look_again(self) -> None:
        """Note what holds the pool up: a feeder's thread has turned to something else. Costs nothing unless nothing is
        queued."""
        if self.delays.watches_feeders:
            with self._lock:
                self.delays.look_at_feeders(self._before_change())

    def forsake(self, owner: Owner, *, has_requests: bool) -> None:
        """Forget an owner that is over and its requests, at once if the lock is free, or when a thread next looks.

        Never waits for the lock: the garbage collector may end a stream in the middle of any line, also of one that
        holds it.
        """
        self._forsaken.append(has_requests)
        self._clear_out()

    def needs_more_hosts(self) -> bool:
        """Whether workers will soon be idle, with what may be sent to the hosts that are known."""
        with self._lock:
            return self._scheduler.needs_more_hosts(self._clock.now())

    # -- robots.txt -------------------------------------------------------------------------------------------------

    def _hold(self, way: Sorted, now: float) -> None:
        """Hold the requests that wait for a robots.txt, and queue what fetches it. Under the lock; see `_see_to`."""
        for ticket, site in way.held:
            self._scheduler.hold(ticket, site.name)
        for fetch in way.fetches:
            fetch.arrived_at = now
            self._scheduler.put_first(fetch, now)

    def _see_to(self, way: Sorted) -> None:
        """Do the rest for requests that were sorted, without the lock: tell what must not be sent, and that nobody was
        held in vain, as the robots.txt may have come in between."""
        for ticket, error in way.refused:
            ticket.deliver(self._worker.refuse(ticket, error))
        for site in {site for _, site in way.held}:
            if self.gate is not None and not self.gate.awaits(site):
                self._free(site)

    def hear_robots(self, site: Site, outcome: Outcome) -> None:
        """Take what came of the fetch of a robots.txt, and let the requests go that waited for it."""
        assert self.gate is not None
        self.gate.learn(site, outcome)
        self._free(site)

    def _free(self, site: Site) -> None:
        """Sort the requests again that were held for a site. They count as waiting meanwhile."""
        assert self.gate is not None
        with self._lock:
            tickets = self._scheduler.free(site.name)
            self._at_gate += len(tickets)
        if not tickets:
            return
        way = self.gate.sort(tickets)
        with _Change(self) as now:
            self._at_gate -= len(tickets)
            waiting = [*way.allowed, *(ticket for ticket, _ in way.held)]
            if given_up := [ticket for ticket in waiting if self._is_given_up(ticket)]:
                way.leave_out(given_up)
            for ticket in way.allowed:
                if ticket.started:
                    self._scheduler.put_first(ticket, now)
                else:
                    self._scheduler.add(ticket, now)
            self._hold(way, now)
            self._counts.ended += len(way.refused) + len(given_up)
        self._deliver_cancelled(given_up, GIVEN_UP)
        self._see_to(way)

    # -- threads that send for themselves -----------------------------------------------------------------------------

    def enter(
        self,
        host: str,
        max_wait: float | None = None,
        *,
        key: str | None = None,
        has_place: bool = False,
        is_retry: bool = False,
    ) -> Caller:
        """Wait for leave to send to `host` from a thread of one's own, slots included; call `leave` afterwards.

        `key`, `has_place`, `is_retry`: as for a `Caller`. If the host wants no request, now or later, the caller that
        this returns `is_refused`, and nothing is taken. Raises `SlotTimeout`, nothing taken, after `max_wait` seconds.
        """
        changed = self._lock.condition()
        now = self._clock.now()
        caller = Caller(host, changed.notify, key=key, has_place=has_place, is_retry=is_retry, since=now)
        with self._lock:
            gives_up_at = NEVER if max_wait is None else self._clock.now() + max_wait
            self._scheduler.enter(caller, now)
            try:
                while True:
                    now = self._before_change()
                    self._settle(now)
                    if caller.admitted:
                        break
                    if caller.is_refused:
                        self._scheduler.withdraw(caller, now)
                        return caller
                    if now >= gives_up_at:
                        raise SlotTimeout(f"no leave to send to {host} within {max_wait:.3g} s: a budget is spent")
                    until = min(caller.wakes_at, gives_up_at)
                    self._clock.wait(changed, None if until == NEVER else until - now)
            except BaseException:
                self._scheduler.withdraw(caller, self._clock.now())
                self._settle(self._clock.now())
                raise
            self._counts.sent += 1
        return caller

    def keep_pace(self, host: str, pace: Limiter) -> None:
        """Let `pace` give slots to all that is sent to `host`, beside its budget."""
        with self._lock:
            self._scheduler.keep_pace(host, pace, self._clock.now())

    def leave(self, caller: Caller, answer: Answer | None = None) -> None:
        """Give back the place taken by `enter`; `answer` is what came of the send, where something learns from it."""
        circuit = None
        with _Change(self) as now:
            if answer is not None:
                circuit = self._scheduler.hear(caller.host, answer, now)
            self._scheduler.withdraw(caller, now)
        if circuit is not None:
            _tell_of_circuit(caller.host, circuit)

    def refusal(self, host: str) -> tuple[float, bool] | None:
        """Until when `host` gets no request at all, and whether its circuit breaker says so; None if it gets them."""
        with self._lock:
            return self._scheduler.refusal(host, self._clock.now())

    def pause(self, host: str, until: float, *, refuse: bool, reason: str) -> None:
        """Keep everyone from sending to `host`; see `Scheduler.pause`."""
        with _Change(self) as now:
            is_new = self._scheduler.pause(host, until, now, refuse=refuse)
        if is_new:
            events.emit("host.paused", host=host, wait=until - now, reason=reason)

    @property
    def session(self) -> Any:
        """The calling worker thread's session."""
        return self._worker.session

    # -- looking and ending -------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Count the work now and so far; `PoolStatistics` names the fields."""
        with self._lock:
            counts, scheduler = self._counts, self._scheduler
            return {
                "active": self._on_callables + self._on_requests,
                "callables_queued": len(self._callables),
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
                "waits": self.delays.waits(self._clock.now()),
            }

    @property
    def broken(self) -> BaseException | None:
        """What made the pool unusable: a session or an initializer that failed."""
        return self._threads.broken

    @property
    def is_closing(self) -> bool:
        """Whether `close` was called."""
        return self._closing

    def close(self, *, cancel: bool) -> None:
        """Take no more work; with `cancel`, end what is not running.

        Requests whose owner needs receipts are ended in any case: the receipts may never come.
        """
        forgotten: list[Call] = []
        with _Change(self) as now:
            self._closing = True
            if cancel:
                # A thread that was called for a callable counts as running it, though it may not have begun yet:
                # whether that is cancelled must not depend on how fast a thread starts.
                waiting = [*self._callables]
                self._callables = deque(waiting[: self._threads.called])
                forgotten = waiting[self._threads.called :]
                self._cancelling = True
            gone = self._take_out(lambda ticket: cancel or ticket.is_cancelled() or ticket.owner.needs_receipts, now)
        for work in forgotten:
            work.future.cancel()
            work.future.set_running_or_notify_cancel()
        self._deliver_cancelled(gone, "the pool was shut down")

    def join(self) -> None:
        """Wait, after `close`, until all work has ended and every thread with it."""
        with self._lock:
            while not self._is_closed:
                self._drained.wait()
        self._threads.shutdown(wait=True)

    # -- turns: the rest of this class runs on worker threads and the alarm ----------------------------------------

    def run_turn(self) -> None:
        """Work until there is nothing to do for now. The whole life of an executor's task."""
        ticket: Ticket | None = None
        step: Step | None = None
        work: Sending | Call | Carrier | None = None
        has_arrived = True
        ran_callable = ends = False
        while True:
            self._lock.take_as_one_of_many()
            try:
                now = self._before_change()
                if has_arrived:
                    self._threads.called -= 1
                if ticket is not None and step is not None:
                    self._carry_out(ticket, step, now)
                if ran_callable:
                    self._on_callables -= 1
                work = self._pick(now)
                # A turn that still has an outcome to deliver does so before it ends, so that whoever waits for the
                # crew to be drained finds every outcome delivered.
                ends = work is None and (step is None or (step.outcome is None and not step.is_given_up))
                if ends:
                    self._threads.turns -= 1
                self._settle(now)
                stays = ends and self._is_unwatched
                if stays:  # or else nobody would look when the time has come
                    self._threads.turns += 1
                    ends = False
                closed = ends and self._notice_drained()
            except BaseException:
                self._threads.turns += ends  # `_break` counts this turn out
                self._lose(ticket, step, work)
                raise
            finally:
                self._lock.release()
            if closed:
                self._end()
            if ticket is not None and step is not None:
                self._announce(ticket, step, now)
            ticket = step = None
            has_arrived = ran_callable = False
            if ends:
                return
            if stays:
                time.sleep(UNWATCHED)
            if isinstance(work, Sending):
                ticket, step = work.ticket, self._send(work)
            elif isinstance(work, Carrier):
                self._carry(work)
            elif work is not None:
                work.run()
                ran_callable = True
            work = None

    def _lose(self, ticket: Ticket | None, step: Step | None, work: Sending | Call | Carrier | None) -> None:
        """Leave to `_break` what a turn has in hand that a defect of ours ends. Under the lock."""
        if ticket is not None:
            self._lost[ticket] = step
        if isinstance(work, Sending):
            self._lost[work.ticket] = None
        elif isinstance(work, Call):
            self._callables.append(work)
        elif work is not None:
            work.is_carrying = False  # another turn may be the carrier

    def _send(self, sending: Sending) -> Step | None:
        """Take a request one step further; None if it is carried from now on, by this thread or another one."""
        ticket, carried = sending.ticket, sending.carried
        if carried is None and ticket.is_light and self._can_carry:
            begun = None if sending.found_none_idle else self._worker.begin(ticket, connects=False)
            if begun is None:
                begun = self._worker.begin(ticket, connects=True)
            if isinstance(begun, Step):
                return begun
            carried = begun
            if carried is not None and not carried.needs_thread and self._give(ticket, carried):
                return None
        return self._worker.step(ticket, carried)

    def _give(self, ticket: Ticket, carried: Carried) -> bool:
        with self._lock:
            return self._carrier.give(ticket, carried)

    # -- the carrier's turn -------------------------------------------------------------------------------------------

    def _carry(self, carrier: Carrier) -> None:
        """Carry what was given, and all that can be carried along, until nothing is left.

        Runs for hours at times, so no local may keep a request that has ended.
        """
        ended: list[tuple[Ticket, Step]] = []
        taken: list[Ticket] = []
        goes_on = True
        try:
            while True:
                self._lock.take_as_one_of_many()
                try:
                    now = self._before_change()
                    ended = carrier.take_note()
                    self._carry_out_all(ended, now)
                    taken = self._take(now)
                    goes_on = carrier.stays(bool(taken))
                    self._settle(now)
                finally:
                    self._lock.release()
                ended.reverse()
                while ended:
                    self._announce(*ended.pop(), now)
                if not goes_on:
                    return
                carrier.set_out(taken)
                taken = []
                carrier.look_around()
        except BaseException:
            with self._lock:
                self._lost.update(dict.fromkeys(taken))
                self._lost.update(ended)
                if goes_on:
                    self._lost.update(carrier.break_off())
                for sending in carrier.for_others:
                    self._lost.pop(sending.ticket, None)
            raise

    def _carry_out_all(self, ended: list[tuple[Ticket, Step]], now: float) -> None:
        for ticket, step in ended:
            self._carry_out(ticket, step, now)

    def _take(self, now: float) -> list[Ticket]:
        """Take all requests that may be sent now, and leave to the others what cannot be carried. Under the lock."""
        for_others = self._carrier.for_others
        if for_others:
            self._call_worker()
        taken = []
        while not (self._is_full or self._is_for_others()):
            self._admit_callers(now)
            ticket = self._next_request(now)
            if ticket is None:
                break
            if ticket.is_light:
                taken.append(ticket)
            else:
                for_others.append(Sending(ticket))
        return taken

    # -- under the lock: choosing, and what follows -------------------------------------------------------------------

    def _pick(self, now: float) -> Sending | Call | Carrier | None:
        """Choose the next work for this thread, and count it."""
        carrier = self._carrier
        if carrier.given and not carrier.is_carrying:
            carrier.is_carrying = True
            return carrier
        if carrier.for_others:
            return carrier.for_others.popleft()
        if self._is_full:
            return None
        self._admit_callers(now)
        # Requests are the carrier's to take. But where callables wait, too, this thread keeps the balance: running one
        # after the other, it would leave no room to the carrier.
        is_requests_turn = not self._is_callables_turn() if self._callables else not carrier.is_carrying
        if is_requests_turn:
            ticket = self._next_request(now)
            if ticket is not None:
                return Sending(ticket)
        if self._callables:
            self._on_callables += 1
            self._callable_next = False
            return self._callables.popleft()
        return None

    def _admit_callers(self, now: float) -> None:
        """Give waiting callers their turn, before a request is asked for."""
        if self._scheduler.callers:
            self._scheduler.admit(now, all_busy=False)

    def _next_request(self, now: float) -> Ticket | None:
        """Take a request that may be sent now, and count it."""
        ticket = self._scheduler.next(now)
        if ticket is not None:
            self._on_requests += 1
            self._callable_next = True
        return ticket

    @property
    def _is_full(self) -> bool:
        """Whether as much is being done as there are workers."""
        return self._on_callables + self._on_requests >= self._workers

    def _is_for_others(self) -> bool:
        """Whether what is to be done next is not for the carrier."""
        if self._callables and self._is_callables_turn():
            return True
        # No thread can be called, so the carrier has to do it itself, when nothing is carried any more.
        return bool(self._carrier.for_others) and self._threads.turns == 1

    def _is_callables_turn(self) -> bool:
        fewer = self._on_callables - self._on_requests
        return fewer < 0 or (fewer == 0 and self._callable_next)

    def _carry_out(self, ticket: Ticket, step: Step, now: float) -> None:
        """Do what a step says, and note in it what `_announce` is to tell. Under the lock."""
        self._on_requests -= 1
        self._counts.sent += step.sent
        if step.answer is not None:
            step.sent_to = ticket.host
            step.circuit = self._scheduler.hear(ticket.host, step.answer, now)
        was_refused = ticket.refused_until is not None
        self._scheduler.release(ticket.host, now, since=ticket.granted_at, failed=step.failed, was_refused=was_refused)
        if ticket.holds_place and not step.sent:
            ticket.holds_place = False
            self._scheduler.give_places(ticket.owner, 1, now)
        if step.pause is not None:
            pause = step.pause
            step.is_new_pause = self._scheduler.pause(pause.host, pause.until, now, refuse=pause.refuse)
        if step.outcome is not None:
            self._counts.ended += ticket.obeys
            self._counts.ok += ticket.obeys and step.outcome.ok
        elif self._is_given_up(ticket):
            self._counts.ended += ticket.obeys
            step.is_given_up = True
        elif step.again:
            self._counts.resent += 1
            self._scheduler.put_first(ticket, now)
        elif step.next_host is not None:
            self._counts.redirects += 1
            ticket.host, ticket.key = step.next_host, step.next_key
            if step.held is None:
                self._scheduler.put_first(ticket, now)
            else:
                self._hold(step.held, now)
        elif step.park_until is not None:
            self._counts.retries += 1
            ticket.host = ticket.trip.host
            self._scheduler.park(ticket, step.park_until)

    def _is_given_up(self, ticket: Ticket) -> bool:
        """Whether a request that was sent and has not ended is not to be sent again."""
        return self._cancelling or ticket.owner.is_over or (self._closing and ticket.owner.needs_receipts)

    def _announce(self, ticket: Ticket, step: Step, now: float) -> None:
        """Tell the outside, without the lock, what was carried out."""
        if step.is_new_pause and step.pause is not None:
            events.emit("host.paused", host=step.pause.host, wait=step.pause.until - now, reason=step.pause.reason)
        if step.circuit is not None:
            _tell_of_circuit(step.sent_to, step.circuit)
        if step.outcome is not None:
            ticket.deliver(step.outcome)
        elif step.is_given_up:
            ticket.deliver(self._worker.cancel(ticket, GIVEN_UP))
        if step.held is not None and self.gate is not None:
            if step.is_given_up:
                self.gate.forget(step.held.fetches)
            self._see_to(step.held)

    # -- waking: all of it under the lock ---------------------------------------------------------------------------

    def _before_change(self) -> float:
        """The time, for a change that begins now; what has held requests up until then is looked at first."""
        now = self._clock.now()
        self.delays.look(now)
        return now

    def _settle(self, now: float) -> None:
        """Bring threads and work together after any change: the one place that wakes anybody.

        Wakes at most one worker. It settles again when it has picked its work, and so wakes the next one if there is
        more: a batch of arrivals starts threads in a chain, and a single one starts a single thread.
        """
        if self._scheduler.callers:
            self._scheduler.admit(now, all_busy=self._is_full)
        has_room = not self._is_full  # or else whoever finishes first looks for more
        is_ready = has_room and self._scheduler.has_ready(now)
        carrier = self._carrier
        for_others = len(carrier.for_others) + has_room * len(self._callables)
        if (is_ready and not carrier.is_carrying) or self._threads.called < for_others:
            self._call_worker()
        if is_ready and carrier.is_carrying:
            # Or the carrier would find that the next work is not its own, sleep, and be woken by this line again.
            if not self._is_for_others():
                carrier.call()
        elif has_room and not is_ready:
            self._set_alarm(now)
        self.delays.note(now, is_full=not has_room, is_ready=is_ready)

    def _call_worker(self) -> None:
        self._threads.call(self.run_turn, self._break)

    def _break(self, error: BaseException, has_begun: bool) -> None:
        """End all work: there will be no worker to do it."""
        if isinstance(error, BrokenThreadPool):
            error.__cause__ = self._worker.failure
        with self._lock:
            self._threads.lose(error, has_begun=has_begun)
            callables, self._callables = self._callables, deque()
            left, self._lost = self._lost, {}
            now = self._clock.now()
            left.update(dict.fromkeys(self._scheduler.discard(lambda ticket: True, now)))
            try:
                self._settle(now)  # others go on with what has been sent, if there are any
            except Exception:
                pass  # the same defect, perhaps: what is left ends all the same
            if not self._threads.turns:
                left.update(dict.fromkeys(self._carrier.take_all()))
            closed = self._notice_drained()
        events.emit("worker.failed", error=repr(error))
        if closed:
            self._end()
        for work in callables:
            if work.future.set_running_or_notify_cancel():
                work.future.set_exception(error)
        for ticket, step in left.items():
            if step is not None and step.outcome is not None:
                ticket.deliver(step.outcome)
                continue
            why = "its worker has failed" if has_begun else "no worker could be started"
            failed = UnexpectedError(redact(f"{why}: {error.__cause__ or error}"))
            failed.__cause__ = error
            ticket.deliver(self._worker.fail(ticket, failed))

    def _set_alarm(self, now: float) -> None:
        wake = self._scheduler.wakes_at(now)
        self._is_unwatched = False
        if wake is not None:
            try:
                self._alarm.set(wake, self._ring)
            except RuntimeError as error:
                self._is_unwatched, self._threads.why_none = True, str(error)

    def _ring(self) -> None:
        """What the alarm does when its time has come: call a worker, or at the interpreter's end be one."""
        now = self._before_change()
        self._settle(now)
        if self._notice_drained():
            self._without_lock(self._end)
        elif self._threads.turns == 0 and self._scheduler.has_ready(now):
            # No thread could be called, so the executor has ended with the interpreter.
            self._threads.turns += 1
            self._threads.called += 1
            self._without_lock(self.run_turn)

    def _without_lock(self, act: Callable[[], None]) -> None:
        self._lock.release()
        try:
            act()
        finally:
            self._lock.acquire()

    def _clear_out(self) -> None:
        """Forget the requests of the owners that were forsaken, if nobody holds the lock: who does, calls this next."""
        while self._forsaken and self._lock.acquire(blocking=False):
            try:
                has_requests = False
                while self._forsaken:  # one by one: others may add to it meanwhile
                    has_requests |= self._forsaken.popleft()
                # No thread is called here: the executor's own locks may be held, by the line that was interrupted.
                now = self._before_change()
                if has_requests:
                    self._scheduler.discard(lambda ticket: ticket.owner.is_forsaken, now)
                    self._alarm.look_again()
                self.delays.look_at_feeders(now)
                closed = self._notice_drained()
            finally:
                self._lock.release()
            if closed:
                self._end()

    # -- small things under the lock --------------------------------------------------------------------------------

    def _take_out(self, is_unwanted: Callable[[Ticket], bool], now: float) -> list[Ticket]:
        """Remove requests that are not being sent, and count them as ended; `_deliver_cancelled` tells that."""
        gone = self._scheduler.discard(is_unwanted, now)
        self._counts.ended += sum(ticket.obeys for ticket in gone)
        self._alarm.look_again()  # it may be waiting for one of these
        return gone

    def _check_open(self) -> None:
        self._check_whole()
        if self._closing:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _check_whole(self) -> None:
        if self._threads.broken is not None:
            raise BrokenThreadPool(str(self._threads.broken)) from self._worker.failure

    def _check_manned(self, now: float) -> None:
        """Raise if work waits and no thread can do it: the pool is broken, or none could be started, as the interpreter
        is ending, or the system allows no more."""
        self._check_whole()
        if self._threads.turns == 0 and (self._callables or self._is_unwatched or self._scheduler.has_ready(now)):
            raise RuntimeError(self._threads.why_none)

    def _is_drained(self) -> bool:
        # In a broken pool, what the scheduler has in flight may be a turn's that is no more.
        is_idle = self._scheduler.is_idle and not self._at_gate
        return not self._threads.turns and not self._callables and (is_idle or self._threads.broken is not None)

    def _notice_drained(self) -> bool:
        """Whether the last work has just ended after `close`: the caller then calls `_end` without the lock."""
        if self._is_closed or not (self._closing and self._is_drained()):
            return False
        self._is_closed = True
        self._alarm.end()
        self._drained.notify_all()
        return True

    # -- without the lock ---------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Close what is open: all work has ended, and none will come."""
        self._carrier.close()
        self._threads.shutdown(wait=False)
        self._on_closed()

    def _deliver_cancelled(self, tickets: Iterable[Ticket], why: str) -> None:
        """Tell the ends of requests that are given up, and counted."""
        for ticket in tickets:
            ticket.deliver(self._worker.cancel(ticket, why))


def _tell_of_circuit(host: str, has_opened: bool) -> None:
    events.emit("circuit.opened" if has_opened else "circuit.closed", host=host)
