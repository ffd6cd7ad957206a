"""When a token is fetched and who waits for it, by numbers and times alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.clock import NEVER
from workerpool.credentials.logins import AHEAD, LONGEST_REST, MOST_EXCUSED, Bearer, Login
from workerpool.credentials.logins import IN_VAIN as IN_A_ROW
from workerpool.credentials.sources import BearerToken, Token
from workerpool.errors import TokenFailed
from workerpool.model import origin

HELPS, IN_VAIN = TokenFailed("later", retry_helps=True), TokenFailed("never")


def a_login() -> Login:
    return Login(BearerToken(lambda: "unused"), origin)


def a_bearer(login: Login) -> Bearer:
    bearer = Bearer(login)
    bearer.take()
    return bearer


def fetched(login: Login, now: float, life: float | None = None) -> None:
    assert login.begin(now)
    login.succeed(Token("abc", life), now)


def test_nobody_may_go_without_a_token_and_the_first_wants_one() -> None:
    login = a_login()
    assert (login.is_wanted(0, 1.0), login.waits_until(0, 1.0)) == (True, NEVER)
    login.begin(1.0)
    assert (login.is_wanted(0, 1.0), login.waits_until(0, 1.0)) == (False, NEVER), "one fetch at a time"


def test_a_token_is_renewed_while_it_is_still_good() -> None:
    login = a_login()
    fetched(login, 0.0, 3600.0)
    early = 3600.0 - AHEAD
    assert not login.is_wanted(0, early - 1)
    assert login.is_wanted(0, early)
    assert login.waits_until(0, early) <= early
    login.begin(early)
    login.fail(HELPS, early)
    assert login.waits_until(0, early) <= early, "the old one is still good"
    assert not login.is_wanted(0, early)
    assert login.is_wanted(0, early + 1), "and is renewed a little later"
    assert login.waits_until(0, 3600.0) == NEVER


def test_a_token_that_has_ended_when_it_comes_is_tried() -> None:
    login = a_login()
    login.begin(0.0)
    login.succeed(Token("abc", 5), 100.0)
    assert login.waits_until(0, 100.0) <= 100.0
    assert login.is_wanted(0, 101.0)


def test_many_refusals_of_one_token_are_one() -> None:
    login = a_login()
    fetched(login, 0.0)
    bearers = [a_bearer(login) for _ in range(3)]
    bearers[0].be_refused(0.0)
    assert login.waits_until(0, 1.0) == NEVER, "nobody is sent with a token that was refused"
    fetched(login, 1.0)
    bearers[1].be_refused(0.0)
    assert [bearer.waits_until(1.0) <= 1.0 for bearer in bearers] == [True] * 3
    assert not any(bearer.is_wanted(1.0) for bearer in bearers)


def test_a_request_goes_again_once() -> None:
    login = a_login()
    fetched(login, 0.0)
    bearer = a_bearer(login)
    assert bearer.may_go_again()
    bearer.be_refused(0.0)
    fetched(login, 0.0)
    bearer.take()
    assert not bearer.may_go_again()


def test_a_request_whose_new_token_others_have_used_up_goes_again_a_few_times() -> None:
    login = a_login()
    fetched(login, 0.0)
    late, others = a_bearer(login), a_bearer(login)
    late.be_refused(0.0)
    for _ in range(MOST_EXCUSED):
        fetched(login, 0.0)
        late.take()
        others.take()
        assert not late.may_go_again(), "who knows whether this token is good"
        others.conclude(200, 0.0)
        assert late.may_go_again()
        late.be_refused(0.0)
        login.note_renewed(login.issued.number if login.issued else 0, 0.0, is_refused=False)
    fetched(login, 0.0)
    late.take()
    others.take()
    others.conclude(200, 0.0)
    assert not late.may_go_again(), "something else must be wrong"
    late.begin_attempt()
    assert late.may_go_again()


def test_a_request_that_is_refused_with_tokens_that_are_good_for_others_costs_few_renewals() -> None:
    login, renewals = a_login(), 0
    fetched(login, 0.0)
    for _ in range(10):
        forbidden, other = a_bearer(login), a_bearer(login)
        while forbidden.may_go_again():
            forbidden.be_refused(0.0)
            if not forbidden.is_wanted(0.0):  # not for now
                break
            fetched(login, 0.0)
            renewals += 1
            forbidden.take()
            other.take()
            other.conclude(200, 0.0)
        else:
            forbidden.conclude(401, 0.0)
    assert renewals <= IN_A_ROW + 1


def test_a_request_that_is_refused_where_renewals_were_in_vain_does_not_wait_for_more_of_them() -> None:
    login = a_login()
    fetched(login, 0.0)
    forbidden = a_bearer(login)
    for number in range(IN_A_ROW):
        login.note_renewed(number + 1, 0.0, is_refused=True)
    forbidden.be_refused(0.0)
    fetched(login, 10.0)
    forbidden.take()
    a_bearer(login).conclude(200, 10.0)
    assert not forbidden.may_go_again()


def test_a_text_is_no_token_that_may_be_renewed() -> None:
    login = Login(BearerToken("abc"), origin)
    bearer = a_bearer(login)
    assert bearer.header == "Bearer abc"
    assert not bearer.may_go_again()
    assert not bearer.is_wanted(1e9)


def test_what_has_left_its_origin_neither_waits_nor_shows_a_token() -> None:
    login = a_login()
    fetched(login, 0.0)
    bearer = a_bearer(login)
    bearer.has_left = True
    assert (bearer.header, bearer.may_go_again(), bearer.is_wanted(9.0)) == (None, False, False)
    assert Bearer(a_login()).waits_until(0.0) == NEVER
    assert bearer.waits_until(0.0) <= 0.0


def test_a_source_that_fails_is_asked_after_1_2_4_seconds_and_at_last_every_minute() -> None:
    login, now, rests = a_login(), 0.0, list[float]()
    for _ in range(9):
        assert login.is_wanted(0, now)
        assert login.begin(now)
        login.fail(HELPS, now)
        assert not login.is_wanted(0, now)
        rests.append(login.waits_until(0, now) - now)
        now += rests[-1]
    assert rests == [1, 2, 4, 8, 16, 32, LONGEST_REST, LONGEST_REST, LONGEST_REST]


def test_who_comes_while_a_source_says_no_is_told_at_once() -> None:
    login = a_login()
    login.begin(0.0)
    login.fail(IN_VAIN, 0.0)
    assert login.waits_until(0, 0.5) == NEVER
    assert login.is_wanted(0, 0.5)
    assert not login.begin(0.5), "it is not asked again so soon"
    login.give_up()
    assert login.begin(1.0)
    assert str(login.failure()) == "never"
    assert not login.failure().retry_helps


def refused_twice(login: Login, now: float) -> float:
    """Refuse a request with the token that there is, and with the next one; returns when that was fetched."""
    bearer = a_bearer(login)
    bearer.be_refused(0.0)
    now = max(now, bearer.waits_until(now)) if bearer.waits_until(now) < NEVER else now
    fetched(login, now)
    bearer.take()
    bearer.conclude(401, now)
    return now


def test_renewals_that_help_nobody_become_seldom_and_stop_nobody_else() -> None:
    login, now, times = a_login(), 0.0, list[float]()
    fetched(login, now)
    for _ in range(7):
        now = refused_twice(login, now)
        times.append(now)
    assert times == [0, 0, 0, 1, 3, 7, 15]
    a_bearer(login).be_refused(0.0)
    assert login.waits_until(0, now) <= now, "others are sent with the token that there is"
    helped = a_bearer(login)
    helped.be_refused(0.0)
    fetched(login, 100.0)
    helped.take()
    helped.conclude(200, 100.0)
    a_bearer(login).be_refused(0.0)
    assert login.waits_until(0, 100.0) == NEVER, "a renewal has helped: a 401 is the token's doing again"


@given(st.lists(st.sampled_from(["refuse", "begin", "bring", "fail", "wait"]), max_size=60))
def test_whatever_happens_a_request_is_sent_or_someone_fetches_or_a_time_comes(events: list[str]) -> None:
    login, now = a_login(), 0.0
    for event in events:
        if event == "refuse" and login.issued is not None:
            a_bearer(login).be_refused(0.0)
        elif event == "begin" and login.is_wanted(0, now):
            login.begin(now)
        elif event == "bring" and login.is_fetching:
            login.succeed(Token("abc", 10), now)
        elif event == "fail" and login.is_fetching:
            login.fail(HELPS, now)
        elif event == "wait":
            now += 3.0
        until = login.waits_until(0, now)
        if until == NEVER:
            assert login.is_fetching or login.is_wanted(0, now)
        elif until > now:
            assert login.is_wanted(0, until)


@pytest.mark.parametrize("worth", [1, 2])
def test_a_function_is_called_as_often_as_there_are_attempts(worth: int) -> None:
    login = a_login()
    login.begin(0.0)
    login.fail(HELPS, 0.0)
    assert login.is_worth_waiting(worth) is (worth > 1)
