"""Leave for threads that send by themselves: what `pool.session` does inside a callable given to `submit()`.

The callable owns its thread, so here, and only here, waiting blocks it: for a place, for the slots, for a backoff.
Budgets, pauses and the retry verdict are the same as for the pool's own requests. Called on worker threads.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from workerpool.clock import LEAST, Clock
from workerpool.config import Options
from workerpool.credentials import TOKEN_SOURCE, UNAUTHORIZED, Bearer, TokenSource
from workerpool.crew import Door, Turns
from workerpool.endings import circuit_error, paused_error
from workerpool.errors import Cancelled, ConnectionLost, RequestError, StatusError
from workerpool.gate import Gate, disallowed
from workerpool.limits import Answer, answer_of
from workerpool.model import Outcome, Request
from workerpool.retry import Failure, Retries
from workerpool.robots import Allowed, Disallowed, Site, Unknown
from workerpool.tickets import Caller
from workerpool.transport import Send, is_repeatable, rewind, translate

if TYPE_CHECKING:
    from requests import PreparedRequest, Response


class CrewGovernor:
    """Waits for leave at a crew's door. Holds what is behind it weakly: a worker thread holds its session, and must not
    hold the pool."""

    def __init__(self, clock: Clock, retries: Retries, options: Options) -> None:
        self._clock = clock
        self._retries = retries
        self._policy = options.retry
        self._host_of = options.host_of
        self._key_of = options.key_of
        self._listens = options.listens
        self._turns: weakref.ref[Turns] | None = None
        self._local = threading.local()  # `fetches`: whether this thread is at a robots.txt just now

    def serve(self, turns: Turns) -> None:
        """Name whom to ask: made after the transport, which needs the governor."""
        self._turns = weakref.ref(turns)

    def __call__(self, request: PreparedRequest, send: Send, *, has_place: bool) -> Response:
        """Send when leave is given, and again while the policy says so. Raises what `send` raises.

        Raises `HostPaused` without sending while the host refuses requests, and `RobotsDisallowed`.
        """
        turns = self._turns() if self._turns is not None else None
        if turns is None:
            raise RuntimeError("this session belongs to a pool that is gone")
        door = Door(turns)
        host = self._host_of(request.url or "")
        if door.gate is not None and not has_place and not door.is_fetching:
            self._check_robots(door, door.gate, request, host)
        if has_place:
            door.exit(door.enter(host, self._policy.total, key=self._key(request), has_place=True))
            return send(host, fresh=False, left=None)
        return self._send_with_retries(door, host, request, send)

    def _send_with_retries(self, door: Door, host: str, request: PreparedRequest, send: Send) -> Response:
        bearer = self._bearer(door, request)
        started_at = self._clock.now()
        until = None if self._policy.total is None else started_at + self._policy.total
        number = 0
        fresh = False  # whether the last send met a dead socket: the next one goes over a new one, at once
        is_renewed = False  # whether its token was refused: it goes again with another one
        while True:
            if bearer is not None:
                door.await_token(bearer, self._left(until))
                request.headers["Authorization"] = bearer.header or ""
            if not (fresh or is_renewed):
                number += 1
            is_renewed = False
            response, error = self._send_once(
                door, host, request, send, fresh, until, is_retry=number > 1 and not fresh
            )
            if error is not None and not fresh and self._was_in_vain(request, error):
                fresh = True
                rewind(request)
                continue
            fresh = False
            if response is not None and bearer is not None:
                if self._goes_again(bearer, request, response):
                    door.renounce(bearer)
                    response.close()
                    rewind(request)
                    is_renewed = True
                    continue
                door.conclude(bearer, response.status_code)
            if response is not None and not self._retries.needs_verdict(response.status_code):
                return response
            failure = Failure(
                request=_described(request),
                number=number,
                started_at=started_at,
                ended_at=self._clock.now(),
                response=response,
                error=None if error is None else translate(error, request.url or ""),
                exception=error,
            )
            verdict = self._retries.judge(failure, self._clock.time())
            if verdict.pause is not None:
                reason = "" if response is None else f"HTTP {response.status_code}"
                door.pause(host, self._clock.now() + verdict.pause, refuse=verdict.refuse, reason=reason)
            if verdict.wait is None or not is_repeatable(request):
                if error is not None:
                    raise error
                assert response is not None
                return response
            if response is not None:
                response.close()  # its socket is not to be held meanwhile
            self._sleep(verdict.wait)
            rewind(request)
            if bearer is not None:
                bearer.begin_attempt()

    def _bearer(self, door: Door, request: PreparedRequest) -> Bearer | None:
        """How a request says who sends it, if that is by a token that this pool fetches."""
        source = getattr(request, TOKEN_SOURCE, None)
        if not isinstance(source, TokenSource) or not source.covers(request.url or ""):
            return None
        return door.bearer_for(source)

    def _goes_again(self, bearer: Bearer, request: PreparedRequest, response: Response) -> bool:
        return response.status_code == UNAUTHORIZED and bearer.may_go_again() and is_repeatable(request)

    def _sleep(self, seconds: float) -> None:
        waking = threading.Condition()  # guards nothing: the clock waits by one
        until = self._clock.now() + seconds
        with waking:
            while (left := until - self._clock.now()) > 0:
                self._clock.wait(waking, left)

    def _send_once(
        self,
        door: Door,
        host: str,
        request: PreparedRequest,
        send: Send,
        fresh: bool,
        until: float | None,
        *,
        is_retry: bool,
    ) -> tuple[Response | None, Exception | None]:
        caller = self._enter(door, host, request, until, is_retry=is_retry)
        began = self._clock.now()
        response: Response | None = None
        try:
            response = send(host, fresh=fresh, left=self._left(until))
            return response, None
        except Exception as error:
            return None, error
        finally:
            door.exit(caller, self._answer(caller, response, began) if self._listens else None)

    def _enter(self, door: Door, host: str, request: PreparedRequest, until: float | None, *, is_retry: bool) -> Caller:
        """Wait for leave; raises at once, also while it waits, if the host wants no request."""
        while True:
            self._check_refusal(door, host)
            caller = door.enter(host, self._left(until), key=self._key(request), is_retry=is_retry)
            if not caller.is_refused:
                return caller

    def _answer(self, caller: Caller, response: Response | None, began: float) -> Answer:
        return answer_of(response, began, self._clock.now(), self._clock.time(), in_flight=caller.in_flight)

    def _key(self, request: PreparedRequest) -> str | None:
        return None if self._key_of is None else self._key_of(_described(request))

    def _left(self, until: float | None) -> float | None:
        return None if until is None else max(LEAST, until - self._clock.now())

    def _was_in_vain(self, request: PreparedRequest, error: Exception) -> bool:
        """Whether a request met a socket that its server had closed, and may go again as if nothing had happened."""
        ours = translate(error, request.url or "")
        if not (isinstance(ours, ConnectionLost) and ours.stale):
            return False
        return is_repeatable(request) and self._policy.may_repeat(request.method or "GET", request.headers)

    def _check_robots(self, door: Door, gate: Gate, request: PreparedRequest, host: str) -> None:
        """Raise `RobotsDisallowed` for what must not be sent, once that is known.

        What is not known this thread fetches by itself, even if somebody is at it: that one may need a worker, and all
        of them may be waiting here.
        """
        if getattr(self._local, "fetches", False):
            return
        described = _described(request)
        verdict = gate.look(described)
        if isinstance(verdict, Unknown):
            self._fetch_robots(door, gate, verdict.site, described)
            verdict = gate.look(described)
        if isinstance(verdict, Disallowed):
            raise disallowed(verdict)
        if isinstance(verdict, Allowed) and verdict.pace is not None:
            door.keep_pace(host, verdict.pace)

    def _fetch_robots(self, door: Door, gate: Gate, site: Site, request: Request) -> None:
        fetch = gate.request_for(site, request)
        response: Response | None = None
        error: RequestError | None = Cancelled("given up")
        self._local.fetches = True
        try:
            response = door.session.get(fetch.url, headers=fetch.headers, stream=True)
            status = response.status_code
            error = StatusError(f"HTTP {status}", status=status) if status >= 400 else None
        except Exception as failed:
            error = failed if isinstance(failed, RequestError) else translate(failed, fetch.url)
        finally:
            self._local.fetches = False
            door.hear_robots(gate, site, Outcome(fetch, response, error))

    def _check_refusal(self, door: Door, host: str) -> None:
        refused = door.refusal(host)
        if refused is None:
            return
        until, is_circuit_open = refused
        wait, wall_time = until - self._clock.now(), self._clock.time()
        if is_circuit_open:
            raise circuit_error(host, wait, wall_time)
        raise paused_error(wait, wall_time, self._policy.retry_after_max)


def _described(request: PreparedRequest) -> Request:
    return Request(request.url or "", request.method or "GET", headers=dict(request.headers))
