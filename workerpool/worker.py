"""One request's way through a worker thread: send it, look at what came, and say what happens next.

A worker decides nothing about other requests: it returns a `Step`, which the crew carries out under its lock. It asks
the gate where a redirect leads, and tells a ticket that it goes on. Called on worker threads only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workerpool import events
from workerpool.clock import Clock
from workerpool.config import Options, Timeout
from workerpool.credentials import UNAUTHORIZED
from workerpool.endings import circuit_error, explain, history, is_good, paused_error, status_error, told_before
from workerpool.errors import (
    BadBody,
    Cancelled,
    ConnectionLost,
    RequestError,
    TooLarge,
    TransportError,
    UnexpectedError,
)
from workerpool.limits import Answer, answer_of
from workerpool.model import Outcome, maker, origin
from workerpool.redact import redact
from workerpool.retry import Failure, Retries, Verdict
from workerpool.tickets import Ticket
from workerpool.transport import Carried, Exchange, Transport
from workerpool.trip import NO_TIME, Pause, Step, Trip, trip_of

new_outcome = maker(Outcome)


if TYPE_CHECKING:
    from requests import Response

    from workerpool.gate import Gate


class Worker:
    """Takes requests one send further. One object for all threads; each thread has its own session."""

    def __init__(
        self, transport: Transport, clock: Clock, retries: Retries, options: Options, gate: Gate | None
    ) -> None:
        self._transport = transport
        self._key_of = options.key_of
        self._listens = options.listens
        self._gate = gate  # asked where redirects lead; None if nobody obeys robots.txt
        self._carrying: Any = transport if hasattr(transport, "begin") else None
        self._clock = clock
        self._retries = retries
        self._policy = options.retry
        self._timeout = options.timeout
        self._host_of = options.host_of
        self._local = threading.local()
        self.attempts = options.retry.attempts  # of a function that is to fetch a token, too
        self.failure: BaseException | None = None  # why a thread could not be made a worker: the executor forgets it

    # -- the thread's session -----------------------------------------------------------------------------------------

    def start_thread(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        """Make this thread a worker: its session first, then the user's own initializer, which may set it up."""
        try:
            session = self._local.session = self._transport.open_session()
            if initializer is not None:
                initializer(*initargs)
            self._transport.settle_session(session)
        except BaseException as error:
            self.failure = error
            raise

    @property
    def session(self) -> Any | None:
        """This thread's session; None if it is not one of this pool's workers."""
        return getattr(self._local, "session", None)

    @property
    def is_fetching(self) -> bool:
        """Whether this thread is at a token just now: what it sends needs none."""
        return getattr(self._local, "is_fetching", False)

    @is_fetching.setter
    def is_fetching(self, is_fetching: bool) -> None:
        self._local.is_fetching = is_fetching

    @property
    def can_carry(self) -> bool:
        """Whether the transport has a `begin`: users' own may lack it."""
        return self._carrying is not None

    # -- one step -----------------------------------------------------------------------------------------------------

    def step(self, ticket: Ticket, carried: Carried | None = None) -> Step:
        """Send the request once and say what follows. Raises nothing.

        `carried`: what `begin` has begun of it, and this thread is to go on with.
        """
        try:
            return self._step(ticket, trip_of(ticket), carried)
        except BaseException as error:
            return self._break_off(ticket, error)

    def _step(self, ticket: Ticket, trip: Trip, carried: Carried | None) -> Step:
        if ticket.refused_until is not None:
            return self._refuse(ticket, trip, ticket.refused_until)
        session = self._own_session()
        if trip.sent_at is None and not ticket.is_light:
            try:
                ticket.before_send()
            except Exception as error:
                return self._hold_back(ticket, trip, error)
        try:
            if carried is None:
                response = self._transport.send(session, trip.exchange, self._depart(ticket, trip))
            else:
                response = self._carrying.finish(session, trip.exchange, carried)
        except RequestError as failed:
            return self._fail(ticket, trip, failed.with_traceback(None))  # that of its cause tells what happened
        return self._arrive(ticket, trip, session, response)

    def begin(self, ticket: Ticket, connects: bool) -> Carried | Step | None:
        """Send the request without waiting for its answer; a `Step` if it ended at once.

        `connects`: over a new connection, for which this waits; otherwise over one that is idle. None if there is none,
        or if the request cannot be sent like this at all: then it is for `step`. Raises nothing.
        """
        try:
            trip = trip_of(ticket)
            if ticket.refused_until is not None:
                return self._refuse(ticket, trip, ticket.refused_until)
            try:
                carried: Carried | None = self._carrying.begin(
                    self._own_session(), trip.exchange, self._depart(ticket, trip), connects=connects
                )
                return carried
            except RequestError as failed:
                return self._fail(ticket, trip, failed.with_traceback(None))
        except BaseException as error:
            return self._break_off(ticket, error)

    def go_on(self, ticket: Ticket, carried: Carried, is_late: bool) -> Step | None:
        """Look at what has come of the answer to a request that was begun; None if not all has. Raises nothing."""
        try:
            trip = trip_of(ticket)
            session = self._own_session()
            try:
                response = self._carrying.go_on(session, trip.exchange, carried, is_late=is_late)
            except RequestError as failed:
                return self._fail(ticket, trip, failed.with_traceback(None))
            return None if response is None else self._arrive(ticket, trip, session, response)
        except BaseException as error:
            return self._break_off(ticket, error)

    def cancel(self, ticket: Ticket, why: str) -> Outcome:
        """End a request that is not in flight, without sending it again; the last response that came is kept."""
        trip = trip_of(ticket)
        before = history(trip.attempts)
        error = Cancelled(f"given up, as {why}" + (f" (after {before})" if before else ""))
        return self._outcome(ticket, trip, trip.response, error, self._clock.now())

    def refuse(self, ticket: Ticket, error: RequestError) -> Outcome:
        """End a request that is not in flight with `error`: it must not be sent, or not where a redirect led."""
        outcome = self._end(ticket, trip_of(ticket), None, error, self._clock.now()).outcome
        assert outcome is not None
        return outcome

    def fail(self, ticket: Ticket, failed: RequestError, response: Response | None = None) -> Outcome:
        """End a request, in flight or not, because code of ours or of a user's has failed. What was sent is told of."""
        trip = trip_of(ticket)
        if trip.is_send_open:  # the one that this came of
            trip.add_send(ticket.slot_wait, self._clock.now())
        if trip.attempt_began is not None:
            _note_attempt(trip, response, failed)
        try:
            return self.refuse(ticket, failed)
        except Exception:  # of the log, say: it ends all the same
            return new_outcome(ticket.request, None, failed, trip.attempts, 0.0, NO_TIME)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _break_off(self, ticket: Ticket, error: BaseException, response: Response | None = None) -> Step:
        failed = UnexpectedError(redact(f"{type(error).__name__}: {error}"))
        failed.__cause__ = error
        return Step(self.fail(ticket, failed, response))

    def _own_session(self) -> Any:
        session = getattr(self._local, "session", None)
        if session is None:  # only where the interpreter is ending and another thread finishes the work
            self.start_thread(None, ())
            session = self.session
        return session

    def _depart(self, ticket: Ticket, trip: Trip) -> Timeout:
        """Note that the request is sent now; returns the time that this may take."""
        now = self._clock.now()
        if ticket.bearer is not None:
            trip.exchange.login = ticket.bearer.header
        trip.depart(ticket.host, now, self._clock.time())
        return trip.time_left(self._timeout, ticket.request.timeout, self._policy.total, ticket.excused, now)

    def _arrive(self, ticket: Ticket, trip: Trip, session: Any, response: Response) -> Step:
        answer = self._answer(ticket, trip, response) if self._listens else None
        try:
            step = self._look_at(ticket, trip, session, response)
        except BaseException as error:
            step = self._break_off(ticket, error, response)
        step.answer = answer
        return step

    def _answer(self, ticket: Ticket, trip: Trip, response: Response | None) -> Answer:
        """What this send says about the host's limits."""
        clock, latency = self._clock, trip.exchange.trace.first_byte
        sent_at, in_flight = ticket.granted_at, ticket.in_flight
        return answer_of(response, sent_at, clock.now(), clock.time(), latency=latency, in_flight=in_flight)

    def _look_at(self, ticket: Ticket, trip: Trip, session: Any, response: Response) -> Step:
        exchange = trip.exchange
        if 300 <= response.status_code < 400:
            try:
                follows = self._transport.follow(session, exchange, response)
            except RequestError as failed:
                return self._fail(ticket, trip, failed.with_traceback(None))
            if follows:
                if ticket.bearer is not None and origin(exchange.url) != origin(ticket.request.url):
                    ticket.bearer.has_left = True  # for good, even if it is led back
                next_host = self._host_of(exchange.url)
                next_key = None if self._key_of is None else self._key_of(replace(ticket.request, url=exchange.url))
                trip.add_send(ticket.slot_wait, self._clock.now())
                held = None
                if self._gate is not None and ticket.obeys:
                    sorting = self._gate.sort([ticket])
                    if sorting.refused:
                        return self._end(ticket, trip, None, sorting.refused[0][1], trip.ready_at)
                    held = sorting if sorting.held else None
                if events.is_on("request.redirected"):
                    self._log("request.redirected", ticket, url=exchange.url, status=response.status_code)
                ticket.note_underway(trip.attempts)
                return Step(next_host=next_host, next_key=next_key, held=held)
        trip.add_send(ticket.slot_wait, self._clock.now())
        if response.status_code == UNAUTHORIZED and self._may_go_again(ticket, exchange):
            if ticket.request.stream:
                response.close()  # its socket is not to be held meanwhile
            if events.is_on("token.refused"):
                self._log("token.refused", ticket)
            ticket.note_underway(trip.attempts)
            return Step(again=True, is_refused=True)
        if not self._retries.needs_verdict(response.status_code):
            return self._end(ticket, trip, response, None, trip.ready_at)
        return self._judge(ticket, trip, response, None)

    def _may_go_again(self, ticket: Ticket, exchange: Exchange) -> bool:
        """Whether what a server has refused (401) goes again with another token: once, at no cost of an attempt."""
        return ticket.bearer is not None and ticket.bearer.may_go_again() and self._transport.can_repeat(exchange)

    def _fail(self, ticket: Ticket, trip: Trip, error: RequestError) -> Step:
        trip.add_send(ticket.slot_wait, self._clock.now())
        if ticket.request.save is not None:  # a body that comes may take its time: it has a pace to keep to instead
            ticket.excused += trip.exchange.trace.body
        if isinstance(error, ConnectionLost) and error.stale and self._may_resend(trip):
            trip.was_resent = trip.exchange.fresh = True
            if events.is_on("request.resent"):
                self._log("request.resent", ticket)
            ticket.note_underway(trip.attempts)
            return Step(again=True)
        if isinstance(error, TransportError) and error.elsewhere and self._transport.can_repeat(trip.exchange):
            if events.is_on("request.resent"):
                self._log("request.resent", ticket)
            ticket.note_underway(trip.attempts)
            return Step(again=True)
        is_hosts = isinstance(error, TransportError) and not isinstance(error, (BadBody, TooLarge))
        answer = self._answer(ticket, trip, None) if self._listens and is_hosts else None
        step = self._judge(ticket, trip, None, error)
        step.answer = answer
        step.failed = is_hosts
        return step

    def _may_resend(self, trip: Trip) -> bool:
        """Whether what was sent over a dead socket goes again at once: once an attempt, and only if that is safe."""
        exchange = trip.exchange
        return not trip.was_resent and exchange.may_repeat(self._policy) and self._transport.can_repeat(exchange)

    def _judge(self, ticket: Ticket, trip: Trip, response: Response | None, error: RequestError | None) -> Step:
        now = self._clock.now()
        if error is None and response is not None and not is_good(response.status_code):
            error = status_error(response)
        failure = Failure(
            request=ticket.request,
            number=len(trip.attempts) + 1,
            started_at=trip.sent_at + ticket.excused if trip.sent_at is not None else now,
            ended_at=now,
            response=response,
            error=error,
            exception=error.__cause__ if error is not None else None,
        )
        verdict = self._retries.judge(failure, self._clock.time())
        # Its pause holds also if the request ends here, or cannot be sent again: others wait for the same host.
        pause = self._pause(ticket, verdict, response, now)
        if error is not None and events.is_on("attempt.failed"):
            self._log("attempt.failed", ticket, reason=error.reason, error=str(error))
        # Asked last, so that what says why it is not retried is the body only if nothing else is in the way.
        if verdict.wait is not None and not self._transport.can_repeat(trip.exchange):
            why_not = "not retried, as its body is an iterator that can be read only once: give bytes or a file"
            verdict = Verdict(why_not=why_not, pause=verdict.pause, refuse=verdict.refuse)
        if verdict.wait is not None and isinstance(error, TransportError) and error.rest:
            verdict = replace(verdict, wait=verdict.wait + error.rest)
        if verdict.wait is None:
            if error is not None and pause is not None and pause.refuse:
                error = paused_error(pause.until - now, self._clock.time(), self._policy.retry_after_max)
            return replace(self._end(ticket, trip, response, error, now, verdict.why_not), pause=pause)
        _note_attempt(trip, response, error)  # before the restart, which forgets the hops that it counts
        trip.response = response
        if response is not None and ticket.request.stream:
            response.close()  # its socket is not to be held meanwhile
        if events.is_on("request.parked"):
            reason = error.reason if error is not None else "the retry rule"
            self._log("request.parked", ticket, wait=verdict.wait, reason=reason)
        trip.exchange.restart()
        if ticket.bearer is not None:
            ticket.bearer.has_left = False
        ticket.pace, ticket.key = (
            trip.pace,
            trip.key,
        )  # its own URL's again; the crew sees to the host
        trip.parked += verdict.wait
        trip.ready_at = now + verdict.wait
        ticket.note_underway(trip.attempts)
        return Step(park_until=trip.ready_at, pause=pause)

    def _pause(self, ticket: Ticket, verdict: Verdict, response: Response | None, now: float) -> Pause | None:
        if verdict.pause is None:
            return None
        status = "" if response is None else f"HTTP {response.status_code}"
        return Pause(ticket.host, now + verdict.pause, verdict.refuse, status)

    def _refuse(self, ticket: Ticket, trip: Trip, until: float) -> Step:
        wait, wall_time = until - self._clock.now(), self._clock.time()
        if ticket.is_circuit_open:
            error: RequestError = circuit_error(ticket.host, wait, wall_time)
        else:
            error = paused_error(wait, wall_time, self._policy.retry_after_max)
        return replace(self._end(ticket, trip, None, error, self._clock.now()), sent=False)

    def _hold_back(self, ticket: Ticket, trip: Trip, cause: Exception) -> Step:
        """End a request that must not be sent, as what has to be done before could not be."""
        error = Cancelled(redact(f"not sent, as it could not be journalled before: {type(cause).__name__}: {cause}"))
        error.__cause__ = cause
        return Step(self._outcome(ticket, trip, None, error, self._clock.now()), sent=False)

    def _end(
        self,
        ticket: Ticket,
        trip: Trip,
        response: Response | None,
        error: RequestError | None,
        now: float,
        why: str = "",
    ) -> Step:
        if trip.attempt_began is not None:
            before = trip.attempts
            _note_attempt(trip, response, error)
            if error is not None and (before or why):
                told = [told_before(str(error), before)] if before else []
                explain(error, "; ".join([*told, why] if why else told))
        return Step(self._outcome(ticket, trip, response, error, now))

    def _outcome(
        self, ticket: Ticket, trip: Trip, response: Response | None, error: RequestError | None, now: float
    ) -> Outcome:
        elapsed = 0.0 if trip.sent_at is None else now - trip.sent_at
        if error is not None:
            error.key = redact(ticket.request.label)
            error.attempts = len(trip.attempts)
        outcome = new_outcome(
            ticket.request, response, error, trip.attempts, elapsed, trip.timings(ticket.request, now)
        )
        if error is not None:
            # Of a batch that is told to end, many are given up: who ends it says how many.
            self._tell("request.cancelled" if isinstance(error, Cancelled) else "request.failed", ticket, error)
        elif error is None and events.is_on("request.ended"):
            self._log("request.ended", ticket, status=outcome.status, elapsed=elapsed)
        return outcome

    def _tell(self, event: str, ticket: Ticket, error: RequestError) -> None:
        if events.is_on(event):
            self._log(event, ticket, reason=error.reason, error=str(error))

    def _log(self, event: str, ticket: Ticket, **fields: Any) -> None:
        trip: Trip = ticket.trip
        events.emit(event, key=ticket.request.label, host=ticket.host, attempt=trip.number, **fields)


def _note_attempt(trip: Trip, response: Response | None, error: RequestError | None) -> None:
    trip.note_attempt(None if response is None else response.status_code, None if error is None else str(error))
