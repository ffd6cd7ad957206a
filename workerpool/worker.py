"""One request's way through a worker thread: send it, look at what came, and say what happens next.

A worker decides nothing about other requests and touches no shared state: it returns a `Step`, which the crew carries
out under its lock. Called on worker threads only; one request is on one thread at a time, so a `Trip` needs no lock.
"""

from __future__ import annotations

import http
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from workerpool import events
from workerpool.clock import LEAST, Clock
from workerpool.config import RetryPolicy, Timeout
from workerpool.errors import (
    BadBody,
    Cancelled,
    CircuitOpen,
    ConnectionLost,
    HostPaused,
    RequestError,
    StatusError,
    TooLarge,
    TransportError,
    UnexpectedError,
)
from workerpool.limits import Answer
from workerpool.model import Attempt, Outcome, Request, Timings, maker
from workerpool.redact import printable, redact
from workerpool.retry import Failure, Retries, Verdict, answer_of, history, told_before
from workerpool.tickets import Ticket
from workerpool.transport import Carried, Exchange, Transport

if TYPE_CHECKING:
    from requests import Response

    from workerpool.gate import Gate, Sorted
    from workerpool.limits import Limiter

NO_TIME = Timings()

new_attempt, new_outcome, new_timings = maker(Attempt), maker(Outcome), maker(Timings)

END_OF_TIME = 253_402_300_799.0
"""The last second since the epoch that has a date: of the year 9999."""

LONGEST_PHRASE = 100
"""Characters of a status line's own words that are repeated in an error."""


@dataclass(slots=True)
class Trip:
    """Where a request stands between its sends. Times are seconds on the pool's clock, sums are seconds."""

    exchange: Exchange
    ready_at: float  # since when it could have been sent: its arrival, or the end of what came before
    sent_at: float | None = None  # the first send of all
    began: float = 0.0  # the current send
    attempt_began: float | None = None  # seconds since the epoch, the current attempt's first send
    attempt_elapsed: float = 0.0
    attempt_spent: Timings = NO_TIME
    attempts: tuple[Attempt, ...] = ()
    response: Response | None = None  # of the last attempt, should there be no further one
    parked: float = 0.0
    was_resent: bool = False  # the current attempt has had its free send
    pace: Limiter | None = None  # of the request's own site, where it goes back to for another attempt
    key: str | None = None  # and what it counts against there


@dataclass(frozen=True, slots=True)
class Pause:
    """A host wants to be left alone until a time on the pool's clock, and why; see `Scheduler.pause`."""

    host: str
    until: float
    refuse: bool
    reason: str


@dataclass(slots=True)  # not frozen, as one is made for each send, and frozen ones cost four times as much
class Step:
    """What follows a send. Exactly one of `outcome`, `park_until`, `next_host` and `again` is set.

    `next_host`: the lane where it goes on, at its front, after a redirect. `again`: it goes back to the front of its
    lane, as the socket that it was sent over was dead. `host`: the lane it returns to when parked. `sent`: whether
    anything was sent. `answer`: what came of the send, for what learns from it; None if nothing does. `failed`: no
    answer has come. `next_key`: with `next_host`, the key that it counts against there; `held`: it is held instead
    until a robots.txt has come.

    The crew notes in it whether `pause` began one (`is_new_pause`), whether the request is given up instead of going on
    (`is_given_up`), and what `Scheduler.hear` says of the host that it was sent to (`circuit`, `sent_to`).
    """

    outcome: Outcome | None = None
    park_until: float | None = None
    host: str = ""
    next_host: str | None = None
    again: bool = False
    pause: Pause | None = None
    sent: bool = True
    answer: Answer | None = None
    failed: bool = False
    next_key: str | None = None
    held: Sorted | None = None
    is_new_pause: bool = False
    is_given_up: bool = False
    circuit: bool | None = None
    sent_to: str = ""


class Worker:
    """Takes requests one send further. One object for all threads; each thread has its own session."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        retries: Retries,
        policy: RetryPolicy,
        timeout: Timeout,
        host_of: Callable[[str], str],
        *,
        key_of: Callable[[Request], str | None] | None = None,
        listens: bool = False,
        gate: Gate | None = None,
    ) -> None:
        self._transport = transport
        self._key_of = key_of
        self._listens = listens  # whether anybody learns from answers
        self._gate = gate  # asked where redirects lead; None if nobody obeys robots.txt
        self._carrying: Any = transport if hasattr(transport, "begin") else None
        self._clock = clock
        self._retries = retries
        self._policy = policy
        self._timeout = timeout
        self._host_of = host_of
        self._local = threading.local()
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
    def can_carry(self) -> bool:
        """Whether the transport has a `begin`: users' own may lack it."""
        return self._carrying is not None

    # -- one step -----------------------------------------------------------------------------------------------------

    def step(self, ticket: Ticket, carried: Carried | None = None) -> Step:
        """Send the request once and say what follows. Raises nothing.

        `carried`: what `begin` has begun of it, and this thread is to go on with.
        """
        try:
            return self._step(ticket, _trip(ticket), carried)
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
            trip = _trip(ticket)
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
            trip = _trip(ticket)
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
        trip = _trip(ticket)
        before = history([attempt.error for attempt in trip.attempts])
        error = Cancelled(f"given up, as {why}" + (f" (after {before})" if before else ""))
        return self._outcome(ticket, trip, trip.response, error, self._clock.now())

    def refuse(self, ticket: Ticket, error: RequestError) -> Outcome:
        """End a request that is not in flight with `error`: it must not be sent, or not where a redirect led."""
        outcome = self._end(ticket, _trip(ticket), None, error, self._clock.now()).outcome
        assert outcome is not None
        return outcome

    def fail(self, ticket: Ticket, failed: RequestError, response: Response | None = None) -> Outcome:
        """End a request, in flight or not, because code of ours or of a user's has failed. What was sent is told of."""
        trip = _trip(ticket)
        if trip.attempt_began is not None:
            if trip.ready_at <= trip.began:  # the send that this came of has not been added yet
                self._add_send(ticket, trip)
            self._note_attempt(trip, response, failed)
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
        now = trip.began = self._clock.now()
        if trip.sent_at is None:
            trip.sent_at = now
        if trip.attempt_began is None:
            trip.attempt_began = self._clock.time()
        trip.exchange.host = ticket.host
        return self._time_left(ticket, trip, now)

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
                next_host = self._host_of(exchange.url)
                next_key = None if self._key_of is None else self._key_of(replace(ticket.request, url=exchange.url))
                self._add_send(ticket, trip)
                held = None
                if self._gate is not None and ticket.obeys:
                    way = self._gate.sort([ticket])
                    if way.refused:
                        return self._end(ticket, trip, None, way.refused[0][1], trip.ready_at)
                    held = way if way.held else None
                if events.is_on("request.redirected"):
                    self._log("request.redirected", ticket, url=exchange.url, status=response.status_code)
                ticket.go_on(trip.attempts)
                return Step(next_host=next_host, next_key=next_key, held=held)
        self._add_send(ticket, trip)
        if not self._retries.needs_verdict(response.status_code):
            return self._end(ticket, trip, response, None, trip.ready_at)
        return self._judge(ticket, trip, response, None)

    def _fail(self, ticket: Ticket, trip: Trip, error: RequestError) -> Step:
        self._add_send(ticket, trip)
        if isinstance(error, ConnectionLost) and error.stale and self._may_resend(ticket.request, trip):
            trip.was_resent = trip.exchange.fresh = True
            if events.is_on("request.resent"):
                self._log("request.resent", ticket)
            ticket.go_on(trip.attempts)
            return Step(again=True)
        is_hosts = isinstance(error, TransportError) and not isinstance(error, (BadBody, TooLarge))
        answer = self._answer(ticket, trip, None) if self._listens and is_hosts else None
        step = self._judge(ticket, trip, None, error)
        step.answer = answer
        step.failed = is_hosts
        return step

    def _time_left(self, ticket: Ticket, trip: Trip, now: float) -> Timeout:
        """What is left of the time for the attempt, and for the request in all, as the total of the next send."""
        timeout, request = self._timeout, ticket.request
        if request.timeout is None and not trip.attempt_elapsed and self._policy.total is None:
            return timeout
        if request.timeout is not None:
            timeout = Timeout.of(request.timeout, total=timeout.total)
        total = timeout.total
        if total is not None and trip.attempt_elapsed:
            total = max(LEAST, total - trip.attempt_elapsed)
        if self._policy.total is not None and trip.sent_at is not None:
            left = max(LEAST, trip.sent_at + ticket.excused + self._policy.total - now)
            total = left if total is None else min(total, left)
        return timeout if total == timeout.total else replace(timeout, total=total)

    def _may_resend(self, request: Request, trip: Trip) -> bool:
        """Whether what was sent over a dead socket goes again at once: once an attempt, and only if that is safe."""
        return not trip.was_resent and self._retries.may_repeat(request) and self._transport.can_repeat(trip.exchange)

    def _add_send(self, ticket: Ticket, trip: Trip) -> None:
        """Add what a send took, and what it waited before, to its attempt."""
        now, began = self._clock.now(), trip.began
        waited = began - trip.ready_at if began > trip.ready_at else 0.0
        slot = min(waited, ticket.slot_wait) if ticket.slot_wait else 0.0
        trip.attempt_elapsed += now - began
        trip.ready_at = now
        trace = trip.exchange.trace
        queued = waited - slot + trace.place
        spent = new_timings(queued, slot, 0.0, trace.dns, trace.connect, trace.tls, trace.first_byte, trace.body)
        trip.attempt_spent = spent if trip.attempt_spent is NO_TIME else trip.attempt_spent + spent

    def _judge(self, ticket: Ticket, trip: Trip, response: Response | None, error: RequestError | None) -> Step:
        now = self._clock.now()
        if error is None and response is not None and response.status_code >= 400:
            error = _status_error(response)
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
        pause = self._pause(ticket, verdict, response, now)
        if error is not None and events.is_on("attempt.failed"):
            self._log("attempt.failed", ticket, reason=error.reason, error=str(error))
        if verdict.wait is not None and not self._transport.can_repeat(trip.exchange):
            why_not = "not retried, as its body is an iterator that can be read only once: give bytes or a file"
            verdict = Verdict(why_not=why_not, pause=verdict.pause, refuse=verdict.refuse)
        if verdict.wait is None:
            if error is not None and pause is not None and pause.refuse:
                error = self._paused_error(pause.until)
            return replace(self._end(ticket, trip, response, error, now, verdict.why_not), pause=pause)
        self._note_attempt(trip, response, error)
        trip.response = response
        if response is not None and ticket.request.stream:
            response.close()  # its socket is not to be held meanwhile
        if events.is_on("request.parked"):
            reason = error.reason if error is not None else "the retry rule"
            self._log("request.parked", ticket, wait=verdict.wait, reason=reason)
        trip.exchange.restart()
        ticket.pace, ticket.key = trip.pace, trip.key
        trip.parked += verdict.wait
        trip.ready_at = now + verdict.wait
        ticket.go_on(trip.attempts)
        return Step(park_until=trip.ready_at, host=self._host_of(trip.exchange.url), pause=pause)

    def _pause(self, ticket: Ticket, verdict: Verdict, response: Response | None, now: float) -> Pause | None:
        if verdict.pause is None:
            return None
        status = "" if response is None else f"HTTP {response.status_code}"
        return Pause(ticket.host, now + verdict.pause, verdict.refuse, status)

    def _paused_error(self, until: float) -> HostPaused:
        wait = until - self._clock.now()
        until = self._clock.time() + wait
        return HostPaused(
            f"the host asked for a pause of {wait:.0f} s, until {_utc(until)}; "
            f"at most {self._policy.retry_after_max:g} s are waited for",
            until=until,
        )

    def _circuit_error(self, host: str, until: float) -> CircuitOpen:
        wait = until - self._clock.now()
        until = self._clock.time() + wait
        return CircuitOpen(
            f"{host} keeps failing, so nothing is sent to it for {wait:.0f} s, until {_utc(until)}", until=until
        )

    def _refuse(self, ticket: Ticket, trip: Trip, until: float) -> Step:
        error = self._circuit_error(ticket.host, until) if ticket.is_circuit_open else self._paused_error(until)
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
            self._note_attempt(trip, response, error)
            if error is not None and (before or why):
                told = [told_before(str(error), [attempt.error for attempt in before])] if before else []
                _explain(error, "; ".join([*told, why] if why else told))
        return Step(self._outcome(ticket, trip, response, error, now))

    def _note_attempt(self, trip: Trip, response: Response | None, error: RequestError | None) -> None:
        status = None if response is None else response.status_code
        sentence = None if error is None else str(error)
        began, hops, trace = trip.attempt_began or 0.0, len(trip.exchange.history), trip.exchange.trace
        spent = trip.attempt_spent
        attempt = new_attempt(  # by position, as keywords would double its time
            began, trip.attempt_elapsed, status, sentence, hops, trace.reused, trace.resumed, trace.fast_path, spent
        )
        trip.attempts = (*trip.attempts, attempt)
        trip.attempt_began = None
        trip.attempt_elapsed = 0.0
        trip.attempt_spent = NO_TIME
        trip.was_resent = False

    def _outcome(
        self, ticket: Ticket, trip: Trip, response: Response | None, error: RequestError | None, now: float
    ) -> Outcome:
        elapsed = 0.0 if trip.sent_at is None else now - trip.sent_at
        if error is not None:
            error.key = redact(ticket.request.label)
            error.attempts = len(trip.attempts)
        outcome = new_outcome(ticket.request, response, error, trip.attempts, elapsed, _sum_up(ticket, now))
        if error is not None and events.is_on("request.failed"):
            self._log("request.failed", ticket, reason=error.reason, error=str(error))
        elif error is None and events.is_on("request.ended"):
            self._log("request.ended", ticket, status=outcome.status, elapsed=elapsed)
        return outcome

    def _log(self, event: str, ticket: Ticket, **fields: Any) -> None:
        trip: Trip = ticket.trip
        attempt = len(trip.attempts) + (trip.attempt_began is not None)
        events.emit(event, key=ticket.request.label, host=ticket.host, attempt=attempt, **fields)


def _trip(ticket: Ticket) -> Trip:
    """The request's trip, which begins here if this is its first step."""
    trip: Trip | None = ticket.trip
    if trip is None:
        request = ticket.request
        trip = ticket.trip = Trip(Exchange(request, request.url), ticket.arrived_at, attempts=request.earlier)
        trip.pace, trip.key = ticket.pace, ticket.key
    return trip


def _sum_up(ticket: Ticket, now: float) -> Timings:
    trip: Trip = ticket.trip
    if trip.sent_at is None:
        return Timings(queued=max(0.0, now - trip.ready_at))
    attempts = trip.attempts[len(ticket.request.earlier) :] if ticket.request.earlier else trip.attempts
    if len(attempts) == 1 and not trip.parked:
        return attempts[0].timings
    parked = trip.parked - max(0.0, trip.ready_at - now)  # it may have been given up before its time
    return sum((attempt.timings for attempt in attempts), Timings(parked=parked))


def _status_error(response: Response) -> StatusError:
    try:
        phrase = response.reason or http.HTTPStatus(response.status_code).phrase
    except ValueError:
        phrase = ""
    phrase = printable(phrase[:LONGEST_PHRASE])  # a server may have written anything there
    return StatusError(f"HTTP {response.status_code} {phrase}".rstrip(), status=response.status_code)


def _explain(error: RequestError, more: str) -> None:
    error.args = (f"{error.args[0]} ({more})", *error.args[1:])


def _utc(wall_time: float) -> str:
    return datetime.fromtimestamp(min(wall_time, END_OF_TIME), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
