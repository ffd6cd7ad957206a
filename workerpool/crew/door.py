"""Leave for threads that send by themselves: each waits here, on its own thread, for what the scheduler gives."""

from __future__ import annotations

from typing import Any

from workerpool import events
from workerpool.clock import NEVER
from workerpool.crew.held import hear
from workerpool.crew.turns import Turns, tell_of_circuit
from workerpool.errors import SlotTimeout
from workerpool.gate import Gate
from workerpool.limits import Answer, Limiter
from workerpool.model import Outcome
from workerpool.robots import Site
from workerpool.tickets import Caller


class Door:
    """What `pool.session` asks of a crew. Made for one send, as it keeps the pool alive."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._dispatcher = turns.dispatcher

    def enter(
        self,
        host: str,
        max_wait: float | None = None,
        *,
        key: str | None = None,
        has_place: bool = False,
        is_retry: bool = False,
    ) -> Caller:
        """Wait for leave to send to `host` from a thread of one's own, slots included; call `exit` afterwards.

        `key`, `has_place`, `is_retry`: as for a `Caller`. If the host wants no request, now or later, the caller that
        this returns `is_refused`, and nothing is taken. Raises `SlotTimeout`, nothing taken, after `max_wait` seconds.
        """
        dispatcher = self._dispatcher
        scheduler, clock = dispatcher.scheduler, dispatcher.clock
        changed = dispatcher.lock.condition()
        now = clock.now()
        caller = Caller(host, changed.notify, key=key, has_place=has_place, is_retry=is_retry, since=now)
        with dispatcher.lock:
            gives_up_at = NEVER if max_wait is None else clock.now() + max_wait
            scheduler.enter(caller, now)
            try:
                while True:
                    now = dispatcher.before_change()
                    dispatcher.wake_for_work(now)  # which admits callers
                    if caller.admitted:
                        break
                    if caller.is_refused:
                        scheduler.withdraw(caller, now)
                        return caller
                    if now >= gives_up_at:
                        raise SlotTimeout(f"no leave to send to {host} within {max_wait:.3g} s: a budget is spent")
                    until = min(caller.wakes_at, gives_up_at)
                    clock.wait(changed, None if until == NEVER else until - now)
            except BaseException:
                scheduler.withdraw(caller, clock.now())
                dispatcher.wake_for_work(clock.now())
                raise
            dispatcher.counts.sent += 1
        return caller

    def exit(self, caller: Caller, answer: Answer | None = None) -> None:
        """Give back the place taken by `enter`; `answer` is what came of the send, where something learns from it."""
        circuit = None
        scheduler = self._dispatcher.scheduler
        with self._turns.change() as now:
            if answer is not None:
                circuit = scheduler.hear(caller.host, answer, now)
            scheduler.withdraw(caller, now)
        if circuit is not None:
            tell_of_circuit(caller.host, circuit)

    def refusal(self, host: str) -> tuple[float, bool] | None:
        """Until when `host` gets no request at all, and whether its circuit breaker says so; None if it gets them."""
        with self._dispatcher.lock:
            return self._dispatcher.scheduler.refusal(host, self._dispatcher.clock.now())

    def pause(self, host: str, until: float, *, refuse: bool, reason: str) -> None:
        """Keep everyone from sending to `host`; see `Scheduler.pause`."""
        with self._turns.change() as now:
            is_new = self._dispatcher.scheduler.pause(host, until, now, refuse=refuse)
        if is_new:
            events.emit("host.paused", host=host, wait=until - now, reason=reason)

    def keep_pace(self, host: str, pace: Limiter) -> None:
        """Let `pace` give slots to all that is sent to `host`, beside its budget."""
        with self._dispatcher.lock:
            self._dispatcher.scheduler.keep_pace(host, pace, self._dispatcher.clock.now())

    @property
    def session(self) -> Any:
        """The calling worker thread's session."""
        return self._turns.worker.session

    @property
    def gate(self) -> Gate | None:
        """What robots.txt is asked by; None if nobody obeys it."""
        return self._turns.gate

    def hear_robots(self, gate: Gate, site: Site, outcome: Outcome) -> None:
        """Take what came of the fetch of a robots.txt, and let the requests go that waited for it."""
        hear(self._turns, gate, site, outcome)
