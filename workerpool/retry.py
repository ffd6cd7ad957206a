"""The retry verdict: after an attempt that failed, is there another one, and when? The only user of tenacity.

tenacity's strategies are the policy; they are called here one by one, in their order of meaning (retry? stop? how
long?), on a `RetryCallState` filled from the pool's own clock, so that a wait can park a request. tenacity's own loop
would sleep in the worker. A first attempt that succeeds meets none of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import tenacity

from workerpool.config import RetryPolicy
from workerpool.endings import is_good
from workerpool.errors import RequestError
from workerpool.limits import PAUSING_STATUSES, retry_after  # layer: sibling, because hosts ask for pauses
from workerpool.model import Request

if TYPE_CHECKING:
    from requests import Response

TOO_MANY_REQUESTS = 429
"""Pauses its host also without ``Retry-After``: while the refused request backs off, at least the first backoff."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows a failed attempt.

    `wait`: seconds until the next attempt, None for no further one. `why_not`: why there is none, where that needs
    saying. `pause`: seconds for which the host wants to be left alone, None if it said nothing; `refuse`: the pause is
    longer than the policy waits for, so the host's requests end unsent meanwhile.
    """

    wait: float | None = None
    why_not: str = ""
    pause: float | None = None
    refuse: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt as the policy sees it. Times are seconds on the pool's clock.

    `number`: of the attempt, from 1. `exception`: requests' own where there is one, as users' strategies expect.
    """

    request: Request
    number: int
    started_at: float
    ended_at: float
    response: Response | None = None
    error: RequestError | None = None
    exception: BaseException | None = None


class Retries:
    """A `RetryPolicy` made ready to judge. Stateless between calls: any thread."""

    def __init__(self, policy: RetryPolicy, *, learns: bool = False) -> None:
        self._policy = policy
        # What a host takes is learned: a refusal slows it, and pauses it only if it asks for that.
        self._learns = learns
        self._stop = policy.stop or tenacity.stop_after_attempt(policy.attempts)
        self._wait = policy.wait or tenacity.wait_random_exponential(multiplier=policy.backoff, max=policy.backoff_max)
        self._retrying = tenacity.Retrying()

    def needs_verdict(self, status: int) -> bool:
        """Whether a response with this status has to be judged at all: the fast way out for most responses."""
        return not is_good(status) or self._policy.retry is not None

    def judge(self, failure: Failure, wall_time: float) -> Verdict:
        """Say what follows `failure`; `wall_time` is in seconds since the epoch, for dates in headers."""
        policy = self._policy
        status = None if failure.response is None else failure.response.status_code
        asked = None if failure.response is None else retry_after(failure.response.headers, wall_time)
        pause = asked if status in PAUSING_STATUSES else None
        if pause is not None and pause > policy.retry_after_max:
            return Verdict(why_not="the host asked for a longer pause than allowed", pause=pause, refuse=True)
        state = self._state(failure)
        why_not = self._reason_to_end(failure, state)
        if why_not is not None:
            return Verdict(why_not=why_not, pause=pause)
        wait = max(float(self._wait(state)), asked or 0.0)
        if asked is not None and asked > policy.retry_after_max:
            return Verdict(why_not=f"Retry-After asks for {asked:.0f} s")
        if policy.total is not None and failure.ended_at + wait - failure.started_at > policy.total:
            return Verdict(why_not=f"no time left: the total is {policy.total:g} s", pause=pause)
        if pause is None and status == TOO_MANY_REQUESTS and not self._learns:
            # It is about the host, not this request: the others would be refused, too. Never as short as a draw near
            # zero, after which the host has had no time to admit more, and attempts would burn.
            pause = max(wait, policy.backoff)
        return Verdict(wait=wait, pause=pause)

    def _reason_to_end(self, failure: Failure, state: tenacity.RetryCallState) -> str | None:
        """Why there is no further attempt, "" where that goes without saying, None if there is one."""
        if self._policy.retry is not None:
            if not self._policy.retry(state):
                return ""
        elif not self._is_worth_retrying(failure):
            return ""
        elif not self.may_repeat(failure.request):
            return f"not retried, as {failure.request.method.upper()} is not idempotent"
        if not self._stop(state):
            return None
        return "no attempts left" if failure.number > 1 else ""

    def _is_worth_retrying(self, failure: Failure) -> bool:
        if failure.response is not None:
            return failure.response.status_code in self._policy.statuses
        return failure.error is not None and failure.error.retry_helps

    def may_repeat(self, request: Request) -> bool:
        """Whether it may be sent again after it was sent."""
        return self._policy.may_repeat(request.method, request.headers or (), request.idempotent)

    def _state(self, failure: Failure) -> tenacity.RetryCallState:
        state = tenacity.RetryCallState(self._retrying, None, (failure.request,), {})
        state.attempt_number = failure.number
        state.start_time = failure.started_at
        state.outcome_timestamp = failure.ended_at
        state.outcome = tenacity.Future(failure.number)
        exception = failure.exception or failure.error
        if failure.response is not None:
            state.outcome.set_result(failure.response)
        else:
            state.outcome.set_exception(exception)
        return state
