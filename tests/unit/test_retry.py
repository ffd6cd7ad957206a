"""Verdicts: whether a failed attempt is followed by another one, and when."""

from __future__ import annotations

import email.utils
from typing import Any

import pytest
import requests
import tenacity

from workerpool import Request, RetryPolicy
from workerpool.errors import ConnectionLost, InvalidRequest, RequestError
from workerpool.limits import retry_after
from workerpool.retry import Failure, Retries, Verdict

NOW = 1_700_000_000.0  # seconds since the epoch


def response(status: int = 503, **headers: str) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return made


def judge(
    policy: RetryPolicy | None = None,
    answer: requests.Response | None = None,
    error: RequestError | None = None,
    *,
    request: Request | None = None,
    number: int = 1,
    started_at: float = 0.0,
    ended_at: float = 1.0,
    learns: bool = False,
) -> Verdict:
    failure = Failure(
        request=request or Request("http://a.test/"),
        number=number,
        started_at=started_at,
        ended_at=ended_at,
        response=answer if error is not None or answer is not None else response(),
        error=error,
        exception=error.__cause__ if error is not None else None,
    )
    return Retries(policy or RetryPolicy(), learns=learns).judge(failure, NOW)


def date(seconds_from_now: float) -> str:
    return email.utils.formatdate(NOW + seconds_from_now, usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("3600", 3600),
        ("0", None),
        ("-5", None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        (date(30), 30),
        (date(-30), None),
        (date(0), None),
        ("Mon, 99 Foo 2023 25:61:00 GMT", None),
        (str(int(NOW) + 60), 60),
        (str(int(NOW) - 60), None),
        ("7, 8", None),
    ],
)
def test_retry_after_is_read_as_seconds_from_now(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}, NOW) == seconds


def test_a_date_is_compared_with_the_servers_own_clock() -> None:
    """A machine whose clock is an hour wrong waits as long as one whose clock is right."""
    assert retry_after({"Retry-After": date(3630), "Date": date(3600)}, NOW) == 30


@pytest.mark.parametrize("value", ["1700000060000", "9" * 15, "9" * 30, "1e300"])
def test_an_absurd_retry_after_is_no_crash(value: str) -> None:
    verdict = judge(answer=response(429, Retry_After=value))
    assert verdict.wait is None or verdict.wait <= 120


def test_backoff_is_full_jitter_between_zero_and_a_doubling_bound() -> None:
    policy = RetryPolicy(attempts=99, backoff=0.5, backoff_max=30)
    for number, bound in ((1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (20, 30.0)):
        waits = [judge(policy, number=number).wait for _ in range(400)]
        assert all(wait is not None and 0 <= wait <= bound for wait in waits)
        assert max(waits) > 0.8 * bound  # type: ignore[type-var, operator]
        assert min(waits) < 0.2 * bound  # type: ignore[type-var, operator]


def test_a_wait_is_never_shorter_than_retry_after() -> None:
    verdict = judge(answer=response(503, Retry_After="20"))
    assert verdict.pause == 20
    assert verdict.wait is not None
    assert 20 <= verdict.wait <= 20.5


@pytest.mark.parametrize(("status", "pauses"), [(429, True), (503, True), (500, False), (408, False)])
def test_only_429_and_503_speak_for_the_whole_host(status: int, pauses: bool) -> None:
    verdict = judge(answer=response(status, Retry_After="20"))
    assert verdict.wait is not None
    assert verdict.wait >= 20
    assert (verdict.pause == 20) is pauses


def test_a_pause_beyond_the_cap_refuses_the_host() -> None:
    verdict = judge(answer=response(429, Retry_After="3600"))
    assert (verdict.wait, verdict.pause, verdict.refuse) == (None, 3600, True)
    assert "longer pause than allowed" in verdict.why_not


def test_a_longer_wait_than_allowed_that_is_no_pause_ends_its_own_request_only() -> None:
    verdict = judge(answer=response(500, Retry_After="3600"))
    assert (verdict.wait, verdict.pause, verdict.refuse) == (None, None, False)
    assert "3600 s" in verdict.why_not


def test_a_verdict_is_needed_of_failing_statuses_only_unless_the_policy_looks_at_every_response() -> None:
    assert [Retries(RetryPolicy()).needs_verdict(status) for status in (200, 399, 400, 404)] == [
        False,
        False,
        True,
        True,
    ]
    assert Retries(RetryPolicy(retry=tenacity.retry_never)).needs_verdict(200)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_a_retry_may_mend_is_retried(status: int) -> None:
    assert judge(answer=response(status)).wait is not None


def test_a_wait_as_long_as_the_cap_is_waited_for() -> None:
    policy = RetryPolicy(retry_after_max=60)
    assert judge(policy, response(429, Retry_After="60")).wait == pytest.approx(60, abs=1)
    assert judge(policy, response(500, Retry_After="60")).wait == pytest.approx(60, abs=1)


def test_a_refusal_without_a_time_pauses_its_host_while_it_backs_off_and_at_least_for_the_first_backoff() -> None:
    assert judge(RetryPolicy(backoff=2, wait=lambda state: 0.1), response(429)).pause == 2
    assert judge(RetryPolicy(backoff=2, wait=lambda state: 7), response(429)).pause == 7
    assert judge(RetryPolicy(backoff=2, wait=lambda state: 7), response(429, Retry_After="3")).pause == 3
    assert judge(RetryPolicy(), response(503)).pause is None
    assert judge(RetryPolicy(wait=lambda state: 7), response(429), learns=True) == Verdict(wait=7)


@pytest.mark.parametrize("policy", [RetryPolicy(attempts=1), RetryPolicy(total=15)])
def test_a_host_that_asks_for_a_pause_gets_it_though_the_request_ends(policy: RetryPolicy) -> None:
    verdict = judge(policy, response(503, Retry_After="20"))
    assert (verdict.wait, verdict.pause) == (None, 20)


def test_why_attempts_ended_is_said_where_there_were_several() -> None:
    assert judge(RetryPolicy(attempts=1)).why_not == ""
    assert judge(RetryPolicy(attempts=2), number=2).why_not == "no attempts left"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422, 501, 505])
def test_a_status_that_a_retry_cannot_mend_is_not(status: int) -> None:
    assert judge(answer=response(status)).wait is None


def test_a_lost_connection_is_retried_and_an_invalid_request_is_not() -> None:
    assert judge(error=ConnectionLost("gone")).wait is not None
    assert judge(error=InvalidRequest("no")).wait is None


@pytest.mark.parametrize(
    ("request_", "retried"),
    [
        (Request("u", "GET"), True),
        (Request("u", "head"), True),
        (Request("u", "PUT"), True),
        (Request("u", "DELETE"), True),
        (Request("u", "OPTIONS"), True),
        (Request("u", "POST"), False),
        (Request("u", "PATCH"), False),
        (Request("u", "POST", idempotent=True), True),
        (Request("u", "GET", idempotent=False), False),
        (Request("u", "POST", headers={"idempotency-key": "7"}), True),
    ],
)
def test_only_what_may_be_repeated_is_repeated(request_: Request, retried: bool) -> None:
    verdict = judge(request=request_)
    assert (verdict.wait is not None) is retried
    assert retried or "idempotent" in verdict.why_not


def test_methods_and_statuses_of_ones_own_replace_the_defaults() -> None:
    policy = RetryPolicy(methods=["post"], statuses=[418])
    assert judge(policy, response(418), request=Request("u", "POST")).wait is not None
    assert judge(policy, response(503), request=Request("u", "POST")).wait is None
    assert judge(policy, response(418), request=Request("u", "GET")).wait is None


def test_attempts_are_bounded() -> None:
    policy = RetryPolicy(attempts=3)
    assert [judge(policy, number=number).wait is not None for number in (1, 2, 3)] == [True, True, False]


def test_the_total_time_bounds_when_an_attempt_may_begin() -> None:
    policy = RetryPolicy(total=10, wait=lambda state: 5)
    assert judge(policy, started_at=100, ended_at=105).wait == 5
    late = judge(policy, started_at=100, ended_at=105.1)
    assert late.wait is None
    assert "10 s" in late.why_not
    assert judge(RetryPolicy(total=None, wait=lambda state: 5), ended_at=1e6).wait == 5


def test_a_users_tenacity_strategies_are_the_policy() -> None:
    seen: list[tenacity.RetryCallState] = []

    def wait(state: tenacity.RetryCallState) -> float:
        seen.append(state)
        return 3.0

    policy = RetryPolicy(
        retry=tenacity.retry_if_result(lambda response: response.status_code == 404)
        | tenacity.retry_if_exception_type(requests.ConnectionError),
        stop=tenacity.stop_after_delay(60) | tenacity.stop_after_attempt(5),
        wait=tenacity.wait_fixed(2) + wait,
    )
    assert judge(policy, response(404), request=Request("u", "POST"), started_at=10, ended_at=14).wait == 5
    assert judge(policy, response(503)).wait is None
    assert judge(policy, response(404), number=5).wait is None
    assert judge(policy, response(404), ended_at=61).wait is None
    lost = ConnectionLost("gone")
    lost.__cause__ = requests.ConnectionError("gone")
    assert judge(policy, error=lost).wait == 5
    assert (seen[0].attempt_number, seen[0].start_time, seen[0].seconds_since_start) == (1, 10, 4)
    assert (seen[0].args, seen[0].kwargs) == ((Request("u", "POST"),), {})
    assert seen[0].retry_object is not None
    assert seen[0].outcome is not None
    assert seen[0].outcome.attempt_number == 1
    assert seen[0].outcome.result().status_code == 404


def test_a_strategy_that_waits_less_than_nothing_waits_not_at_all() -> None:
    assert judge(RetryPolicy(wait=lambda state: -3)).wait == 0


def test_judging_leaves_no_state_behind() -> None:
    retries: Any = Retries(RetryPolicy())
    failure = Failure(Request("u"), 1, 0.0, 1.0, response=response())
    first, before = retries.judge(failure, NOW), dict(vars(retries))
    assert retries.judge(failure, NOW).wait is not None
    assert first.wait is not None
    assert vars(retries) == before
