"""Leave for threads that send by themselves: each waits here, on its own thread, for what the scheduler gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workerpool import events
from workerpool.clock import NEVER
from workerpool.credentials import Bearer, Login, TokenSource
from workerpool.crew import held
from workerpool.crew.tokens import abandon, fetch, hear
from workerpool.crew.turns import Turns, tell_of_circuit
from workerpool.errors import RequestError, SlotTimeout, TokenFailed
from workerpool.gate import Gate
from workerpool.limits import Answer, Limiter
from workerpool.model import Outcome, Request
from workerpool.robots import Site
from workerpool.tickets import Caller
from workerpool.transport import translate
from workerpool.wording import duration

if TYPE_CHECKING:
    from requests import Response


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
                    if max_wait is not None and now >= gives_up_at:
                        raise SlotTimeout(f"no leave to send to {host} within {duration(max_wait)}: a budget is spent")
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

    # -- tokens -------------------------------------------------------------------------------------------------------

    def bearer_for(self, source: TokenSource) -> Bearer | None:
        """How a request says who sends it; None inside of what fetches a token."""
        return None if self._turns.worker.is_fetching else Bearer(self._turns.logins.login(source))

    def await_token(self, bearer: Bearer, max_wait: float | None) -> None:
        """Wait until there is a token, which this thread fetches itself unless another thread does.

        A request for one would need a worker, and all of them may be waiting here. Raises `TokenFailed`.
        """
        dispatcher, clock, login = self._dispatcher, self._dispatcher.clock, bearer.login
        condition = dispatcher.lock.condition()
        gives_up_at = NEVER if max_wait is None else clock.now() + max_wait
        has_asked = False
        while True:
            with dispatcher.lock:
                now = clock.now()
                until = bearer.waits_until(now)
                if until <= now:
                    bearer.take()
                    return
                if has_asked and login.fault is not None and not login.is_worth_waiting(self._turns.worker.attempts):
                    raise login.failure()
                if now >= gives_up_at:
                    raise TokenFailed(f"no token from {login.source.label} within {max_wait:.3g} s", retry_helps=True)
                if not login.may_fetch(now):
                    if until == NEVER and not login.is_fetching:
                        raise login.failure()
                    dispatcher.awaiting.setdefault(login, []).append(condition)
                    until = min(until, gives_up_at)
                    clock.wait(condition, None if until == NEVER else until - now)
                    continue
                login.begin(now, by_thread=True)
            self._fetch(login)
            has_asked = True

    def _fetch(self, login: Login) -> None:
        """Fetch a token on this thread."""
        if login.request is None:
            fetch(self._turns, login)
            return
        worker = self._turns.worker
        worker.is_fetching = True
        try:
            outcome = self._answer_to(login.request)
        except BaseException:
            abandon(self._turns, login)
            raise
        finally:
            worker.is_fetching = False
        hear(self._turns, login, outcome)

    def _answer_to(self, request: Request) -> Outcome:
        response: Response | None = None
        error: RequestError | None = None
        try:
            response = self.session.request(
                request.method,
                request.url,
                data=request.data,
                headers=request.headers,
                auth=request.auth,
                allow_redirects=False,
            )
        except Exception as failed:
            error = failed if isinstance(failed, RequestError) else translate(failed, request.url)
        return Outcome(request, response, error)

    def renounce(self, bearer: Bearer) -> None:
        """Note that a token was refused, and the request goes again."""
        with self._turns.change() as now:
            bearer.be_refused(now)

    def conclude(self, bearer: Bearer, status: int) -> None:
        """Note what came of a request that went again with another token."""
        with self._dispatcher.lock:
            bearer.conclude(status, self._dispatcher.clock.now())

    @property
    def is_fetching(self) -> bool:
        """Whether the calling thread is at a token just now: robots.txt is not asked about that."""
        return self._turns.worker.is_fetching

    # -- what a host wants --------------------------------------------------------------------------------------------

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
        held.hear(self._turns, gate, site, outcome)
