"""What worker threads do: a turn of work, and for one of them at a time, carrying what needs no thread of its own.

A thread of the executor runs *turns*: it asks for work, does it, reports, and asks again, until there is none for now;
then it goes back to the executor. Each time it takes the lock once: the dispatcher carries out what the last work has
led to, and picks the next. What that is to be told is announced after the release, and so is anything else that may
take time: sending, users' code, delivering an outcome, logging.

Most requests need no thread of their own: they can be sent at once, over a socket that is idle, and their answers come
in one piece. One turn at a time, the *carrier's*, sends such requests one after the other and waits for all their
answers (`workerpool.crew.carrier`). While there is one, it alone asks for requests; one that it cannot carry it leaves
to the others. If all that was missing is a connection, they make one, send the request, and give the rest of it back.

The executor's threads hold a worker for life, and a turn while it lasts. So nothing that a worker leads to may lead
back here, save weakly: or a pool that is dropped would never end its threads.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool

from workerpool import events
from workerpool.clock import Clock
from workerpool.credentials import Logins
from workerpool.crew.carrier import Carrier, Sending
from workerpool.crew.dispatcher import Dispatcher
from workerpool.crew.held import see_to
from workerpool.crew.threads import Call
from workerpool.endings import GIVEN_UP
from workerpool.errors import UnexpectedError
from workerpool.gate import Gate
from workerpool.model import origin
from workerpool.redact import redact
from workerpool.scheduler import Scheduler
from workerpool.tickets import Ticket
from workerpool.trip import Step
from workerpool.worker import Worker

UNWATCHED = 0.1
"""Seconds after which a worker looks again that stays because no thread could be started to wait for a time."""


class Change:
    """A change to what a crew does, begun and ended under its lock: what has held requests up until then is looked at
    before, and threads and work are brought together after it. Gives the time. For all but each request's own way."""

    __slots__ = ("_now", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def __enter__(self) -> float:
        dispatcher = self._turns.dispatcher
        dispatcher.lock.acquire()
        try:
            now = self._now = dispatcher.before_change()
        except BaseException:
            dispatcher.lock.release()
            raise
        return now

    def __exit__(self, *exc_info: object) -> None:
        dispatcher = self._turns.dispatcher
        try:
            dispatcher.wake_for_work(self._now)
            closed = dispatcher.notice_drained()
        finally:
            dispatcher.lock.release()
        if closed:
            self._turns.end()


class Turns:
    """The turns of worker threads on a `ThreadPoolExecutor`. All that they know of each other is the dispatcher's.

    It is made with `on_closed`, which is called once, when the last work has ended after `Crew.close`.
    """

    def __init__(
        self,
        executor: ThreadPoolExecutor,
        workers: int,
        scheduler: Scheduler,
        worker: Worker,
        clock: Clock,
        on_closed: Callable[[], None],
        gate: Gate | None = None,
        logins: Logins | None = None,
    ) -> None:
        self.worker = worker
        self.logins = logins or Logins(None, origin)  # whose tokens requests show
        self.gate = gate  # None if nobody obeys robots.txt; never changed
        self._on_closed = on_closed
        self._can_carry = worker.can_carry and workers > 1
        self.forsaken: deque[bool] = deque()  # whether they have requests; appended to without the lock
        self.dispatcher = Dispatcher(self, executor, workers, scheduler, worker, clock)
        self._lost: dict[Ticket, Step | None] = {}  # what turns had in hand that defects of ours have ended

    def change(self) -> Change:
        """``with turns.change() as now:`` — change what the dispatcher knows, and have woken who is to do it."""
        return Change(self)

    # -- a turn -------------------------------------------------------------------------------------------------------

    def run_turn(self) -> None:
        """Work until there is nothing to do for now. The whole life of an executor's task."""
        dispatcher = self.dispatcher
        ticket: Ticket | None = None
        step: Step | None = None
        work: Sending | Call | Carrier | None = None
        has_arrived = True
        ran_callable = ends = False
        while True:
            dispatcher.lock.take_as_one_of_many()
            try:
                now = dispatcher.before_change()
                if has_arrived:
                    dispatcher.threads.called -= 1
                if ticket is not None and step is not None:
                    dispatcher.carry_out(ticket, step, now)
                if ran_callable:
                    dispatcher.on_callables -= 1
                work = dispatcher.pick(now)
                # A turn that still has an outcome to deliver does so before it ends, so that whoever waits for the
                # crew to be drained finds every outcome delivered.
                ends = work is None and (step is None or (step.outcome is None and not step.is_given_up))
                if ends:
                    dispatcher.threads.turns -= 1
                dispatcher.wake_for_work(now)  # after the picking: for what is left, and without this turn if it ends
                stays = ends and dispatcher.is_unwatched
                if stays:  # or else nobody would look when the time has come
                    dispatcher.threads.turns += 1
                    ends = False
                closed = ends and dispatcher.notice_drained()
            except BaseException:
                if ends:
                    dispatcher.threads.turns += 1  # `break_down` counts this turn out
                self._lose(ticket, step, work)
                raise
            finally:
                dispatcher.lock.release()
            if closed:
                self.end()
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

    def _send(self, sending: Sending) -> Step | None:
        """Take a request one step further; None if it is carried from now on, by this thread or another one."""
        ticket, carried = sending.ticket, sending.carried
        if carried is None and ticket.is_light and self._can_carry:
            begun = None if sending.found_none_idle else self.worker.begin(ticket, connects=False)
            if begun is None:
                begun = self.worker.begin(ticket, connects=True)
            if isinstance(begun, Step):
                return begun
            carried = begun
            if carried is not None and not carried.needs_thread:
                with self.dispatcher.lock:
                    if self.dispatcher.carrier.give(ticket, carried):
                        return None
        return self.worker.step(ticket, carried)

    def _carry(self, carrier: Carrier) -> None:
        """Carry what was given, and all that can be carried along, until nothing is left.

        Runs for hours at times, so no local may keep a request that has ended.
        """
        dispatcher = self.dispatcher
        ended: list[tuple[Ticket, Step]] = []
        taken: list[Ticket] = []
        goes_on = True
        try:
            while True:
                dispatcher.lock.take_as_one_of_many()
                try:
                    now = dispatcher.before_change()
                    ended = carrier.take_note()
                    dispatcher.carry_out_all(ended, now)
                    taken = dispatcher.take(now)
                    goes_on = carrier.stays(bool(taken))
                    dispatcher.wake_for_work(now)
                finally:
                    dispatcher.lock.release()
                ended.reverse()
                while ended:
                    self._announce(*ended.pop(), now)
                if not goes_on:
                    return
                carrier.set_out(taken)
                taken = []
                carrier.look_around()
        except BaseException:
            with dispatcher.lock:
                self._lost.update(dict.fromkeys(taken))
                self._lost.update(ended)
                if goes_on:
                    self._lost.update(carrier.break_off())
                for sending in carrier.for_others:
                    self._lost.pop(sending.ticket, None)
            raise

    def _announce(self, ticket: Ticket, step: Step, now: float) -> None:
        """Tell the outside, without the lock, what was carried out."""
        if step.is_new_pause and step.pause is not None:
            events.emit("host.paused", host=step.pause.host, wait=step.pause.until - now, reason=step.pause.reason)
        if step.circuit is not None:
            tell_of_circuit(*step.circuit)
        if step.outcome is not None:
            ticket.deliver(step.outcome)
        elif step.is_given_up:
            ticket.deliver(self.worker.cancel(ticket, GIVEN_UP))
        if step.held is not None and self.gate is not None:
            if step.is_given_up:
                self.gate.forget(step.held.fetches)
            see_to(self, self.gate, step.held)

    # -- the alarm's thread -------------------------------------------------------------------------------------------

    def ring(self) -> None:
        """What the alarm does, under the lock, when its time has come: call a worker, or at the interpreter's end be
        one."""
        dispatcher = self.dispatcher
        now = dispatcher.before_change()
        dispatcher.wake_for_work(now)
        if dispatcher.notice_drained():
            self._without_lock(self.end)
        elif dispatcher.threads.turns == 0 and dispatcher.is_unmanned:
            # No thread could be called, so the executor has ended with the interpreter.
            dispatcher.threads.turns += 1
            dispatcher.threads.called += 1
            self._without_lock(self.run_turn)

    def _without_lock(self, act: Callable[[], None]) -> None:
        self.dispatcher.lock.release()
        try:
            act()
        finally:
            self.dispatcher.lock.acquire()

    # -- ending -------------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Close what is open: all work has ended, and none will come. Without the lock.

        Whoever has seen the last work end does this: a worker, the alarm, or who called `Crew.close`.
        """
        dispatcher = self.dispatcher
        try:
            dispatcher.carrier.close()
            dispatcher.threads.shutdown(wait=False)
            self._on_closed()
        finally:
            with dispatcher.lock:
                dispatcher.is_closed = True
                dispatcher.closed.notify_all()
        if dispatcher.closing_since is not None:  # after the rest, as a handler of the log may wait for that
            counts, elapsed = dispatcher.counts, dispatcher.clock.now() - dispatcher.closing_since
            events.emit("pool.stopped", requests=counts.ended, sent=counts.sent, elapsed=elapsed)

    def deliver_cancelled(self, tickets: Iterable[Ticket], why: str) -> None:
        """Tell the ends of requests that are given up, and counted. Without the lock."""
        for ticket in tickets:
            ticket.deliver(self.worker.cancel(ticket, why))

    def forsake(self, *, has_requests: bool) -> None:
        """Forget an owner that has just been marked as forsaken; see `Crew.forsake`."""
        self.forsaken.append(has_requests)
        self.clear_out()

    def clear_out(self) -> None:
        """Forget the requests of the owners that were forsaken, if nobody holds the lock: who does, calls this next."""
        dispatcher = self.dispatcher
        while self.forsaken and dispatcher.lock.acquire(blocking=False):
            try:
                has_requests = False
                while self.forsaken:  # one by one: others may add to it meanwhile
                    has_requests |= self.forsaken.popleft()
                # No thread is called here: the executor's own locks may be held, by the line that was interrupted.
                now = dispatcher.before_change()
                if has_requests:
                    dispatcher.forget_forsaken(now)
                dispatcher.delays.look_at_feeders(now)
                closed = dispatcher.notice_drained()
            finally:
                dispatcher.lock.release()
            if closed:
                self.end()

    # -- defects of ours, and threads that cannot be set up -----------------------------------------------------------

    def _lose(self, ticket: Ticket | None, step: Step | None, work: Sending | Call | Carrier | None) -> None:
        """Leave to `break_down` what a turn has in hand that a defect of ours ends. Under the lock."""
        if ticket is not None:
            self._lost[ticket] = step
        if isinstance(work, Sending):
            self._lost[work.ticket] = None
        elif isinstance(work, Call):
            self.dispatcher.callables.append(work)
        elif work is not None:
            work.is_carrying = False  # another turn may be the carrier

    def break_down(self, error: BaseException, has_begun: bool) -> None:
        """End all work, as a turn has failed: there will be no worker to do it. A thread of its own."""
        if isinstance(error, BrokenThreadPool):
            error.__cause__ = self.worker.failure
        dispatcher = self.dispatcher
        with dispatcher.lock:
            dispatcher.threads.lose(error, has_begun=has_begun)
            callables, dispatcher.callables = dispatcher.callables, deque()
            left, self._lost = self._lost, {}
            now = dispatcher.clock.now()
            left.update(dict.fromkeys(dispatcher.scheduler.discard(lambda ticket: True, now)))
            try:
                dispatcher.wake_for_work(now)  # others go on with what has been sent, if there are any
            except Exception:
                pass  # the same defect, perhaps: what is left ends all the same
            if not dispatcher.threads.turns:
                left.update(dict.fromkeys(dispatcher.carrier.take_all()))
            closed = dispatcher.notice_drained()
        events.emit("worker.failed", error=repr(error))
        if closed:
            self.end()
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
            ticket.deliver(self.worker.fail(ticket, failed))


def tell_of_circuit(host: str, has_opened: bool) -> None:
    """Log what became of a host's circuit breaker."""
    events.emit("circuit.opened" if has_opened else "circuit.closed", host=host)
