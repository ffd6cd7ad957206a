"""The crew: what may be asked of those who do a pool's work. Any thread asks; `workerpool.crew.turns` does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from workerpool.crew.delays import Feeder
from workerpool.crew.held import free, see_to
from workerpool.crew.threads import Call
from workerpool.crew.turns import Turns
from workerpool.gate import Sorting
from workerpool.tickets import Owner, Ticket


class Crew:
    """Takes work, says how it stands, and ends."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._dispatcher = turns.dispatcher

    # -- giving work --------------------------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Queue a callable; raises `RuntimeError` after shutdown, as executors do."""
        dispatcher, work = self._dispatcher, Call(fn, args, kwargs)
        with dispatcher.lock:
            dispatcher.check_open()
            dispatcher.callables.append(work)
            try:
                now = dispatcher.clock.now()
                dispatcher.wake_for_work(now)
                dispatcher.check_manned()
            except RuntimeError:
                if work in dispatcher.callables:
                    dispatcher.callables.remove(work)
                raise
        return work.future

    def add(self, tickets: Iterable[Ticket]) -> None:
        """Queue requests; raises `RuntimeError`, and takes none, after shutdown, and if no thread can be started."""
        dispatcher, scheduler, gate = self._dispatcher, self._dispatcher.scheduler, self._turns.gate
        tickets, logins = [*tickets], self._turns.logins
        for ticket in tickets:
            if logins.source is not None or ticket.request.auth is not None:
                ticket.bearer = logins.bearer(ticket.request)
        sorting = Sorting(tickets) if gate is None else gate.sort(tickets)
        try:
            with dispatcher.lock:
                dispatcher.check_open()
                now = dispatcher.before_change()
                for ticket in sorting.allowed:
                    ticket.arrived_at = now
                    scheduler.add(ticket, now)
                for ticket, _ in sorting.held:
                    ticket.arrived_at = now
                fetches = dispatcher.hold(sorting, now)
                dispatcher.wake_for_work(now)
                try:
                    dispatcher.check_manned()
                except RuntimeError:
                    dispatcher.take_back({*sorting.allowed, *fetches, *(ticket for ticket, _ in sorting.held)}, now)
                    raise
                dispatcher.counts.ended += len(sorting.refused)
        except RuntimeError:
            if gate is not None:
                gate.forget(sorting.fetches)
                for fetch in sorting.fetches:
                    free(self._turns, gate, fetch.site)  # others may be held for it by now
            raise
        if gate is not None and (sorting.held or sorting.refused):
            see_to(self._turns, gate, sorting)

    def give_up(self, owner: Owner) -> None:
        """End the requests of an owner that are not being sent: it was told to end."""
        with self._turns.change() as now:
            gone = self._dispatcher.take_out(lambda ticket: ticket.owner is owner, now)
        self._turns.deliver_cancelled(gone, "the batch was told to end")

    def resume(self, owner: Owner) -> None:
        """Send an owner's requests again: it is not full any more."""
        with self._turns.change() as now:
            self._dispatcher.scheduler.resume(owner, now)

    def acknowledge(self, owner: Owner, places: int) -> None:
        """Take the receipt for so many sends of an owner that needs receipts: as many more may follow."""
        with self._turns.change() as now:
            self._dispatcher.scheduler.give_places(owner, places, now)

    def urge(self, ticket: Ticket) -> None:
        """Send a request that its full owner awaits, if it was put aside."""
        with self._turns.change() as now:
            self._dispatcher.scheduler.urge(ticket, now)

    def forsake(self, owner: Owner, *, has_requests: bool) -> None:
        """Forget an owner that is over and its requests, at once if the lock is free, or when a thread next looks.

        Never waits for the lock: the garbage collector may end a stream in the middle of any line, also of one that
        holds it.
        """
        self._turns.forsake(has_requests=has_requests)

    # -- looking ------------------------------------------------------------------------------------------------------

    def attend(self, feeder: Feeder) -> None:
        """Look at what a stream does from now on, where nothing is queued."""
        self._dispatcher.delays.feeders.append(feeder)

    def leave_off(self, feeder: Feeder) -> None:
        """Look at it no more. Takes no lock: see `forsake`."""
        self._dispatcher.delays.feeders.remove(feeder)

    def look_again(self) -> None:
        """Note what holds the pool up: a feeder's thread has turned to something else. Costs nothing unless nothing is
        queued."""
        dispatcher = self._dispatcher
        if dispatcher.delays.watches_feeders:
            with dispatcher.lock:
                dispatcher.delays.look_at_feeders(dispatcher.before_change())

    def needs_more_hosts(self) -> bool:
        """Whether workers will soon be idle, with what may be sent to the hosts that are known."""
        dispatcher = self._dispatcher
        with dispatcher.lock:
            return dispatcher.scheduler.needs_more_hosts(dispatcher.clock.now())

    def snapshot(self) -> dict[str, Any]:
        """Count the work now and so far; `PoolStatistics` names the fields."""
        with self._dispatcher.lock:
            return self._dispatcher.snapshot()

    @property
    def broken(self) -> BaseException | None:
        """What made the pool unusable: a session or an initializer that failed."""
        return self._dispatcher.threads.broken

    @property
    def is_closing(self) -> bool:
        """Whether `close` was called."""
        return self._dispatcher.is_closing

    # -- ending -------------------------------------------------------------------------------------------------------

    def close(self, *, cancel: bool, is_told: bool = True) -> None:
        """Take no more work; with `cancel`, end what is not running. `is_told`: whether the end is logged.

        Requests whose owner needs receipts are ended in any case: the receipts may never come.
        """
        with self._turns.change() as now:
            forgotten, gone = self._dispatcher.close(now, cancel=cancel, is_told=is_told)
        for work in forgotten:
            work.future.cancel()
            work.future.set_running_or_notify_cancel()
        self._turns.deliver_cancelled(gone, "the pool was shut down")

    def join(self) -> None:
        """Wait, after `close`, until all work has ended, what was open is closed, and every thread has ended."""
        dispatcher = self._dispatcher
        with dispatcher.lock:
            while not dispatcher.is_closed:
                dispatcher.closed.wait()
        dispatcher.threads.shutdown(wait=True)
