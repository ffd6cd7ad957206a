"""One account's leases, each by itself: told the time, and what a server has answered, without any server."""

from __future__ import annotations

import pytest

from tests.redis_budgets import EPOCH
from workerpool.clock import LONG_AGO
from workerpool.limits.bucket import LATENESS
from workerpool.limits.redis.leased import FIRST_PLACES, PLACES_ALONE, Leased
from workerpool.limits.redis.terms import SECOND, Ask, Lease, Terms
from workerpool.limits.redis.times import Times

NOW = 1000.0
"""Here; on the server's clock it is `EPOCH`."""
TICK = 0.1
SLOT = 0.01
"""Seconds from one slot to the next, of the rate that is meant where nothing else is said."""
LONG = 1 << 50


@pytest.fixture
def times() -> Times:
    times = Times()
    times.note(EPOCH, NOW, NOW)
    return times


def leased(*, interval: float = SLOT, burst: int = 1, places: int = 100, quota: int = 0) -> Leased:
    quotas = ((quota, 60 * SECOND),) if quota else ()
    return Leased("pool", Terms(round(interval * 1e9), burst, places, quotas), NOW)


def lease(*slots: float, interval: float = SLOT, burst: int = 1, places: int = 100, **said: int) -> Lease:
    """What the server answers: slots at so many seconds after `NOW`, and as many places as anybody wants."""
    return Lease(
        round(interval * 1e9), burst, places, said.get("until", 0), said.get("held", 50), said.get("most", LONG),
        said.get("flying", LONG), bool(said.get("is_short")), said.get("again_at", 0), said.get("left", -1),
        tuple(there(after) for after in slots),
    )  # fmt: skip


def there(after: float) -> int:
    return EPOCH + round(after * SECOND)


def ready(account: Leased, weight: int = 1, after: float = 0.0, news: float = 9.0, *, has_place: bool = False) -> float:
    """Seconds after `NOW` when it is worth asking again; leases may come after `news`."""
    return account.ready_at(weight, NOW + after, NOW + news, has_place=has_place) - NOW


def take(account: Leased, weight: int = 1, after: float = 0.0, *, has_place: bool = False) -> float | None:
    """Seconds after `NOW` of the slot that somebody takes who has not waited."""
    at = account.take(weight, NOW + after, None, has_place=has_place)
    return None if at is None else at - NOW


def ask(account: Leased, times: Times, after: float = 0.0, *, leaves: bool = False) -> Ask:
    return account.ask(NOW + after, TICK, times, leaves=leaves)


def want(account: Leased, weight: int = 1, after: float = 0.0, *, has_place: bool = False) -> None:
    account.note_want(weight, NOW + after, has_place=has_place)


def slots(account: Leased) -> list[float]:
    return [round(at - NOW, 6) for at in account.next_slots(99)]


# -- when there is something to be had --------------------------------------------------------------------------------


def test_without_slots_the_next_ones_may_come_with_the_news(times: Times) -> None:
    account = leased()
    account.take_in(lease(), 1, times)
    assert ready(account) == 9.0
    account.take_in(lease(again_at=there(20.0)), 1, times)
    assert ready(account) == pytest.approx(20.0)
    account.take_in(lease(again_at=there(5.0)), 1, times)
    assert ready(account) == 9.0
    account.take_in(lease(), 1, times)
    assert ready(account, news=2.0) == 2.0


def test_with_slots_it_is_the_one_that_completes_the_weight(times: Times) -> None:
    account = leased(burst=3)
    account.take_in(lease(0.5, 1.0, 2.0, 3.0, burst=3), 1, times)
    assert ready(account) == pytest.approx(0.5)
    assert ready(account, 2) == pytest.approx(1.0)
    assert ready(account, 3) == pytest.approx(2.0)
    assert ready(account, 4) == pytest.approx(2.0)  # more than the burst never comes together
    account.take_in(lease(burst=3), 1, times)
    assert ready(account) == pytest.approx(0.5)


def test_what_weighs_more_than_a_quota_waits_for_as_much_as_the_quota_is(times: Times) -> None:
    account = leased(burst=5, quota=2)
    account.take_in(lease(0.5, 1.0, 2.0, burst=5), 1, times)
    assert ready(account, 5) == pytest.approx(1.0)


def test_of_several_quotas_the_smallest_counts(times: Times) -> None:
    account = Leased("pool", Terms(round(SLOT * 1e9), 9, 9, ((5, 60 * SECOND), (2, SECOND), (7, SECOND * 3600))), NOW)
    account.take_in(lease(0.5, 1.0, 2.0, burst=9), 1, times)
    assert ready(account, 9) == pytest.approx(1.0)


def test_a_place_is_waited_for_no_longer_than_a_slot(times: Times) -> None:
    account = leased()
    account.take_in(lease(20.0, held=0), 1, times)
    assert ready(account) == pytest.approx(20.0)
    assert ready(account, news=30.0) == 30.0


def test_before_its_first_answer_an_account_has_nothing(times: Times) -> None:
    account = leased()
    assert (ready(account), account.has_place) == (9.0, False)
    assert ready(leased(interval=0)) == 9.0
    account = leased(interval=5.0)
    want(account)
    assert ask(account, times, 1.0).want == 2


def test_slots_that_come_too_close_are_still_taken_one_by_one(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, 0.001), 1, times)
    assert ready(account) <= 0
    assert take(account) == 0.0
    assert ready(account) == pytest.approx(SLOT)


def test_the_bucket_goes_by_what_the_server_says_of_the_rate_and_the_burst(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, 0.0, 0.0, interval=1.0, burst=2), 1, times)
    take(account)
    assert ready(account) <= 0
    take(account)
    assert ready(account) == pytest.approx(1.0)
    assert account.interval == 1.0


def test_nobody_sends_before_a_pause_is_over(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, until=there(3.0)), 1, times)
    assert ready(account) == pytest.approx(3.0)
    assert ready(account, after=3.0) <= 3.0 - SLOT


def test_the_longer_pause_holds_whoever_has_said_it(times: Times) -> None:
    account = leased()
    account.pause(NOW + 5.0)
    account.pause(NOW + 2.0)
    account.take_in(lease(until=there(3.0)), 1, times)
    assert account.until == NOW + 5.0
    account.take_in(lease(until=there(7.0)), 1, times)
    assert account.until == pytest.approx(NOW + 7.0)
    account.take_in(lease(until=0), 1, times)
    assert account.until == pytest.approx(NOW + 7.0)


def test_without_a_rate_only_places_count(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0), 1, times)
    assert ready(account) == LONG_AGO - NOW
    assert take(account) is None
    assert take(account) is None
    assert account.in_flight == 2


def test_a_rate_that_is_not_said_any_more_holds_no_more(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0), 1, times)
    account.take_in(lease(interval=0), 1, times)
    assert (account.interval, slots(account)) == (0.0, [])
    assert ready(account) == LONG_AGO - NOW


@pytest.mark.parametrize("limits", [{"held": 2}, {"most": 2}, {"flying": 2}])
def test_the_strictest_of_what_is_said_of_places_holds(times: Times, limits: dict[str, int]) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, **limits), 1, times)
    for _ in range(2):
        assert account.has_place
        take(account)
    assert not account.has_place
    assert ready(account) == 9.0
    assert ready(account, has_place=True) == LONG_AGO - NOW


def test_a_send_over_a_place_that_it_has_needs_no_other_one(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, held=0), 1, times)
    assert take(account, has_place=True) == 0.0
    assert account.in_flight == 0


def test_a_place_that_comes_back_is_free_and_none_comes_back_twice(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, held=1), 1, times)
    take(account)
    account.give_back()
    account.give_back()
    assert (account.in_flight, account.has_place) == (0, True)
    assert ask(account, times).ended == 1


# -- the slots that are taken -----------------------------------------------------------------------------------------


def test_who_has_waited_gets_the_slot_that_came_meanwhile(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, 0.01, 0.02), 1, times)
    assert account.take(1, NOW + 0.004, NOW, has_place=False) == pytest.approx(NOW)
    assert account.take(1, NOW + 0.018, NOW + 0.005, has_place=False) == pytest.approx(NOW + SLOT)


def test_a_slot_that_came_before_its_taker_did_counts_from_when_that_came(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, 0.01), 1, times)
    assert take(account, after=0.006) == pytest.approx(0.006)


def test_a_slot_is_never_used_before_its_time(times: Times) -> None:
    account = leased(burst=2)
    account.take_in(lease(0.0, 0.008, burst=2), 1, times)
    assert account.take(2, NOW + 0.009, NOW, has_place=False) == pytest.approx(NOW + 0.008)


def test_a_slot_that_is_taken_early_counts_as_taken_now(times: Times) -> None:
    account = leased(burst=2)
    account.take_in(lease(0.5, burst=2), 1, times)
    assert take(account) == 0.0
    account = leased(burst=2)
    account.take_in(lease(0.0, 0.5, 0.6, burst=2), 1, times)
    assert take(account, 3) == 0.0
    account.take_in(lease(0.1, burst=2), 1, times)
    assert ready(account) == pytest.approx(0.1)


def test_what_weighs_more_than_there_is_is_paid_with_the_next_slots(times: Times) -> None:
    account = leased(burst=1)
    account.take_in(lease(0.0), 1, times)
    assert take(account, 4) == 0.0
    assert not account.is_idle
    assert ask(account, times, 1.0).want >= 3
    account.take_in(lease(1.0, 1.1), 1, times)
    assert slots(account) == []
    take(account, 2)
    account.take_in(lease(2.0, 2.1, 2.2, 2.3), 1, times)
    assert slots(account) == [2.3]


def test_who_owes_slots_is_not_idle(times: Times) -> None:
    account = leased()
    account.take_in(lease(held=0), 1, times)
    take(account, 1, has_place=True)
    for after in range(60):
        asked = ask(account, times, 1.0 + after)
    assert (asked.demand, asked.want) == (0, 1)
    assert not account.is_idle


def test_new_slots_stand_in_their_order_among_those_that_are_there(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.2, 0.4), 1, times)
    account.take_in(lease(0.1, 0.3), 1, times)
    assert slots(account) == [0.1, 0.2, 0.3, 0.4]
    assert account.next_slots(2) == [pytest.approx(NOW + 0.1), pytest.approx(NOW + 0.2)]


def test_after_a_clock_was_set_nothing_is_leased_and_nothing_is_owed(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, 0.1), 1, times)
    take(account, 5)
    account.take_in(lease(0.5, 0.6), 1, times)
    account.forget_slots()
    account.take_in(lease(1.0), 1, times)
    assert slots(account) == [1.0]


# -- slots that nobody has used in time -------------------------------------------------------------------------------


def late(account: Leased, times: Times, after: float) -> int:
    """How many slots the account says it has not used."""
    return ask(account, times, after).unused


def test_a_slot_may_be_used_a_little_late_and_one_is_kept_for_whoever_comes_next(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, 0.01, 0.02), 1, times)
    ready(account, after=0.01 + 0.9 * LATENESS)
    assert slots(account) == [0.0, 0.01, 0.02]
    ready(account, after=0.01 + 1.1 * LATENESS)
    assert slots(account) == [0.01, 0.02]
    ready(account, after=5.0)
    assert slots(account) == [0.02]
    assert late(account, times, 5.0) == 2


def test_where_there_is_not_enough_for_all_none_is_kept(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, 0.01, is_short=True), 1, times)
    ready(account, after=0.9 * LATENESS)
    assert slots(account) == [0.0, 0.01]
    ready(account, after=0.001 + LATENESS)
    assert slots(account) == [0.01]
    ready(account, after=0.5)
    assert slots(account) == []
    assert late(account, times, 0.5) == 2


@pytest.mark.parametrize(
    ("members", "is_short", "kept"),
    [(1, False, 6), (2, False, 3), (9, False, 1), (1, True, 5), (2, True, 2), (6, True, 0)],
)
def test_of_a_burst_each_member_saves_its_part(times: Times, members: int, is_short: bool, kept: int) -> None:
    account = leased(burst=6)
    account.take_in(lease(*(0.01 * number for number in range(9)), burst=6, is_short=is_short), members, times)
    ready(account, after=1.0)
    assert len(slots(account)) == kept


def test_of_a_burst_no_less_is_saved_because_something_light_waits(times: Times) -> None:
    account = leased(burst=6)
    account.take_in(lease(*(0.01 * number for number in range(1, 9)), burst=6), 1, times)
    want(account, 2)
    ready(account, after=1.0)
    assert len(slots(account)) == 6


def test_what_is_heavy_and_waits_keeps_its_slots_until_the_last_one_comes(times: Times) -> None:
    account = leased(burst=4)
    account.take_in(lease(0.0, 0.01, 0.02, burst=4, is_short=True), 9, times)
    want(account, 4)
    ready(account, after=1.0)
    assert len(slots(account)) == 3
    account = leased(burst=4)
    account.take_in(lease(0.0, 0.01, 0.02, burst=4, is_short=True), 9, times)
    want(account, 2, after=-1.0)
    ready(account, after=1.0)
    assert len(slots(account)) == 1


def test_what_weighs_more_than_the_burst_keeps_no_more_than_that(times: Times) -> None:
    account = leased(burst=3)
    account.take_in(lease(0.0, 0.01, 0.02, 0.03, burst=3, is_short=True), 9, times)
    want(account, 7)
    ready(account, after=1.0)
    assert len(slots(account)) == 2


def test_of_a_quota_nothing_is_kept_for_its_next_window(times: Times) -> None:
    account = leased(quota=100, burst=2)
    account.take_in(lease(0.0, 0.01, 0.02, burst=2), 1, times)
    ready(account, after=0.9 * LATENESS)
    assert len(slots(account)) == 3
    ready(account, after=1.0)
    assert slots(account) == []
    account = leased(quota=100, burst=9)
    account.take_in(lease(0.0, 0.01, 0.02, burst=9), 1, times)
    ready(account, after=0.02 + 1.1 * LATENESS)
    assert slots(account) == []


def test_of_a_quota_what_is_heavy_keeps_its_slots_for_as_long_as_a_burst_takes(times: Times) -> None:
    account = leased(quota=100, burst=4)
    account.take_in(lease(0.0, 0.01, 0.02, burst=4), 1, times)
    want(account, 4)
    ready(account, after=4 * SLOT + 0.9 * LATENESS)
    assert len(slots(account)) == 3
    ready(account, after=4 * SLOT + 1.1 * LATENESS)
    assert slots(account) == []


# -- what is told and asked for ---------------------------------------------------------------------------------------


def test_who_wants_nothing_asks_for_nothing(times: Times) -> None:
    account = leased()
    assert account.is_idle
    assert ask(account, times, 1.0) == Ask("pool")


def test_who_waits_alone_for_a_slot_asks_for_the_whole_rate(times: Times) -> None:
    account = leased()
    want(account)
    assert not account.is_idle
    asked = ask(account, times, 1.0)
    assert asked.demand == 100_000  # in 1,000 seconds
    assert asked.want == 26  # two and a half ticks ahead, and one


def test_who_waits_among_others_begins_with_a_few_slots_in_a_tick(times: Times) -> None:
    account = leased()
    account.take_in(lease(), 2, times)
    want(account)
    assert ask(account, times, 1.0).demand == 40_000
    account = leased()
    account.take_in(lease(), 10, times)
    want(account)
    assert ask(account, times, 1.0).demand == 10_000  # which is its share already


def test_of_a_slow_rate_the_next_slot_is_asked_for(times: Times) -> None:
    account = leased(interval=10.0)
    want(account)
    asked = ask(account, times, 1.0)
    assert (asked.demand, asked.want) == (100, 2)


def use(account: Leased, times: Times, count: int, begin: float, *, lost: int = 0, waits: float = 0.001) -> None:
    """Let `count` slots be used, one after the other; then somebody waits for the next one, after a while."""
    account.take_in(lease(*(begin + SLOT * number for number in range(count))), 2, times)
    for number in range(count):
        take(account, after=begin + SLOT * number)
    account.take_in(lease(*[begin] * lost, is_short=True), 2, times)
    then = begin + SLOT * (count - 1) + waits
    assert ready(account, after=then) > then
    want(account, after=then)


def wanting(times: Times) -> Leased:
    """Of two members, one that has asked for a demand of 40 slots a second a second ago."""
    account = leased()
    account.take_in(lease(), 2, times)
    want(account)
    assert ask(account, times).demand == 40_000
    return account


def test_who_uses_all_and_is_behind_asks_for_twice_as_much_up_to_the_whole_rate(times: Times) -> None:
    account = wanting(times)
    use(account, times, 10, 0.5)
    assert ask(account, times, 1.0).demand == 80_000
    use(account, times, 10, 1.5)
    assert ask(account, times, 2.0).demand == 100_000


def test_who_has_used_more_than_it_asked_for_asks_for_twice_of_that(times: Times) -> None:
    account = wanting(times)
    use(account, times, 45, 0.0)
    assert ask(account, times, 1.0).demand == 90_000


def test_who_has_lost_more_than_a_tenth_of_its_slots_asks_for_less(times: Times) -> None:
    account = wanting(times)
    use(account, times, 18, 0.5, lost=2)
    assert ask(account, times, 1.0).demand == 80_000
    account = wanting(times)
    use(account, times, 18, 0.5, lost=3)
    assert ask(account, times, 1.0).demand == 28_000  # and not for less than seven tenths


def test_who_sends_what_it_has_without_waiting_for_more_asks_for_a_bit_more_than_it_uses(times: Times) -> None:
    account = wanting(times)
    use(account, times, 30, 0.5, waits=0.003)
    assert ask(account, times, 1.0).demand == 34_500
    use(account, times, 10, 1.5, waits=0.003)
    assert ask(account, times, 2.0).demand == 24_150


def test_who_waits_for_a_slot_though_others_have_them_all_asks_for_as_much_as_before(times: Times) -> None:
    account = wanting(times)
    want(account)
    assert ask(account, times, 1.0).demand == 40_000


def test_who_waits_for_a_place_asks_for_as_many_slots_as_before(times: Times) -> None:
    account = wanting(times)
    account.take_in(lease(0.0, held=0), 2, times)
    want(account)
    assert ask(account, times, 1.0).demand == 40_000
    assert ask(account, times, 2.0).demand == 28_000  # now it waits for nothing


def test_who_has_used_nothing_for_long_wants_nothing_any_more(times: Times) -> None:
    account = wanting(times)
    demands = [ask(account, times, 1.0 + number).demand for number in range(14)]
    assert demands[0] == 28_000
    assert demands[10] == pytest.approx(791, abs=2)
    assert demands[11] == pytest.approx(553, abs=2)
    assert demands[12] == 0  # less than one in twenty ticks
    account.take_in(lease(held=0), 2, times)
    assert account.is_idle


def test_who_may_want_slots_again_is_not_idle(times: Times) -> None:
    account = wanting(times)
    account.take_in(lease(held=0), 2, times)
    ask(account, times, 1.0)
    assert not account.is_idle


def test_as_many_slots_are_kept_as_will_be_used_and_the_last_ones_are_given_back(times: Times) -> None:
    account = wanting(times)
    account.take_in(lease(*(2.0 + SLOT * number for number in range(20))), 2, times)
    asked = ask(account, times, 1.0)
    assert asked.demand == 28_000
    assert slots(account) == [2.0 + SLOT * number for number in range(8)]  # 28 a second for 0.25 seconds, and one
    assert asked.back == tuple(there(2.0 + SLOT * number) for number in range(19, 7, -1))
    assert (asked.unused, asked.want) == (12, 0)


def test_a_slot_that_comes_at_once_is_not_given_back(times: Times) -> None:
    account = wanting(times)
    account.take_in(lease(1.001, 1.0015, 1.003, is_short=True), 2, times)
    asked = ask(account, times, 1.0, leaves=True)
    assert asked.back == (there(1.003),)


def test_who_has_some_of_its_slots_asks_for_the_rest(times: Times) -> None:
    account = wanting(times)
    account.take_in(lease(2.0, 2.1, 2.2), 2, times)
    assert ask(account, times, 1.0).want == 5
    account = leased()
    account.take_in(lease(1.001, 1.001, is_short=True), 1, times)
    assert ask(account, times, 1.0).want == 0


def test_what_is_heavy_and_waits_is_asked_for_in_whole(times: Times) -> None:
    account = leased(interval=10.0)
    account.take_in(lease(interval=10.0), 2, times)
    want(account)
    assert ask(account, times).want == 1
    want(account, 7)
    want(account, 1)
    assert ask(account, times, 1.0).want == 7
    want(account)
    assert ask(account, times, 2.0).want == 1
    assert ask(account, times, 3.0).want == 0
    account.take_in(lease(interval=10.0, burst=3), 2, times)
    want(account, 2)
    assert ask(account, times, 4.0).want == 3  # as many as the burst may save


def test_who_leaves_gives_all_back_and_wants_nothing(times: Times) -> None:
    account = wanting(times)
    account.take_in(lease(2.0, 2.1, held=5), 2, times)
    want(account)
    asked = ask(account, times, 1.0, leaves=True)
    assert (asked.back, asked.held, asked.wish) == ((there(2.1), there(2.0)), 0, 0)


def test_it_is_told_when_the_last_slot_was_used_and_how_many_sends_have_ended(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0), 1, times)
    assert ask(account, times, 0.005).used_at == 0
    take(account, after=0.2)
    take(account, after=0.25)
    account.give_back()
    account.give_back()
    asked = ask(account, times, 1.0)
    assert abs(asked.used_at - there(0.25)) <= 1
    assert asked.ended == 2
    assert ask(account, times, 2.0).ended == 0


def test_a_pause_is_told_once_by_how_long_it_lasts_from_now_on(times: Times) -> None:
    account = leased()
    assert not account.is_urgent
    account.pause(NOW + 3.0)
    assert account.is_urgent
    assert not account.is_idle
    assert ask(account, times, 1.0).pause == 2 * SECOND
    assert not account.is_urgent
    assert ask(account, times, 1.5).pause == 0
    account.pause(NOW + 3.0)
    assert not account.is_urgent
    account.pause(NOW + 4.0)
    assert ask(account, times, 9.0).pause == 0


def test_nothing_is_wanted_of_what_is_there(times: Times) -> None:
    account = leased(burst=2)
    account.take_in(lease(0.0, 0.0, burst=2), 1, times)
    want(account, 2)
    assert ask(account, times).demand == 0
    take(account, 2)
    account.take_in(lease(2.0, 2.0, burst=2), 1, times)
    want(account, 2, after=1.9)
    assert ask(account, times, 1.9).demand == 100_000


def test_what_was_told_in_a_call_that_failed_is_told_again(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, 0.01, 0.02, 0.03, 5.0, is_short=True), 1, times)
    take(account)
    account.give_back()
    account.pause(NOW + 9.0)
    first = ask(account, times, 1.0)
    assert (first.unused, first.ended, first.pause) == (3, 1, 8 * SECOND)
    account.note_unheard(first)
    again = ask(account, times, 2.0)
    assert (again.unused, again.ended, again.pause) == (3, 1, 7 * SECOND)
    account.note_unheard(Ask("pool"))
    assert not account.is_urgent


def test_what_was_told_in_a_call_that_failed_adds_to_what_has_come_since(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, 0.01, is_short=True), 1, times)
    flying(account, 1)
    account.give_back()
    assert ready(account, after=0.4) == 9.0
    account.pause(NOW + 9.0)
    account.note_unheard(Ask("pool", ended=2, unused=4))
    assert account.is_urgent
    asked = ask(account, times, 0.5)
    assert (asked.unused, asked.ended) == (5, 3)


# -- places -----------------------------------------------------------------------------------------------------------


def flying(account: Leased, count: int) -> None:
    for _ in range(count):
        take(account, has_place=False)


def test_who_lacks_places_asks_for_a_few_and_then_for_twice_as_many_up_to_all(times: Times) -> None:
    account = leased(interval=0, places=50)
    wishes = []
    for held in (0, 8, 16, 32):
        account.take_in(lease(interval=0, places=50, held=held), 1, times)
        flying(account, held - account.in_flight)
        want(account)
        asked = ask(account, times)
        assert asked.held == held
        wishes.append(asked.wish)
    assert wishes == [FIRST_PLACES, 16, 32, 50]
    assert not account.is_idle


def test_who_has_more_places_than_there_are_now_wishes_for_no_more(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, places=2, held=5), 1, times)
    flying(account, 5)
    want(account)
    assert ask(account, times).wish == 5


def test_without_a_rate_no_slots_are_asked_for(times: Times) -> None:
    account = leased(interval=0)
    want(account)
    assert ask(account, times).want == 0


def test_as_many_places_are_kept_as_were_used_at_once(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, held=1), 1, times)
    for count in (3, 1):
        flying(account, count)
        for _ in range(count):
            account.give_back()
    assert ask(account, times).wish == 3


def test_a_wish_for_places_says_it_once(times: Times) -> None:
    account = leased(interval=0)
    want(account)
    assert ask(account, times).wish == FIRST_PLACES
    assert ask(account, times).wish == 0
    want(account, has_place=True)
    assert ask(account, times).wish == 0


def test_places_that_are_not_used_any_more_are_given_back_little_by_little(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, held=10), 1, times)
    flying(account, 10)
    for _ in range(10):
        account.give_back()
    assert [ask(account, times).held for _ in range(13)] == [10, 8, 7, 6, 5, 4, 3, 3, 2, 2, 2, 1, 1]
    assert [ask(account, times).held for _ in range(20)][-1] == 0


def test_places_that_have_just_come_are_kept_for_a_while(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, held=10), 1, times)
    assert [ask(account, times).held for _ in range(3)] == [8, 7, 6]
    account.take_in(lease(interval=0, held=10, most=3), 1, times)
    asked = ask(account, times)
    assert (asked.held, asked.wish) == (3, 5)
    account = leased(interval=0)
    account.take_in(lease(interval=0, held=10, most=3), 1, times)
    assert ask(account, times).wish == 3


def test_the_last_places_are_given_back_too_though_each_answer_says_that_they_may_be_kept(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, held=8), 1, times)
    held: list[int] = []
    while not held or held[-1]:
        held.append(ask(account, times).held)
        account.take_in(lease(interval=0, held=held[-1]), 1, times)
        assert len(held) < 30
    assert held[:6] == [7, 6, 5, 4, 3, 3]
    assert account.is_idle


def test_places_beyond_what_is_used_go_to_those_that_wait(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, held=10), 1, times)
    flying(account, 10)
    for _ in range(5):
        account.give_back()
    account.take_in(lease(interval=0, held=10, most=2), 1, times)
    assert not account.has_place
    assert ask(account, times).held == 5
    account.sockets = 7
    account.take_in(lease(interval=0, held=10, most=2), 1, times)
    assert ask(account, times).held == 7


def test_places_that_sends_or_sockets_have_are_told_where_the_server_has_forgotten_them(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, held=3), 1, times)
    flying(account, 3)
    account.take_in(lease(interval=0, held=0), 1, times)
    asked = ask(account, times)
    assert (asked.held, asked.wish) == (3, 3)
    account.sockets = 4
    asked = ask(account, times)
    assert (asked.held, asked.wish) == (4, 4)
    asked = ask(account, times, leaves=True)
    assert (asked.held, asked.wish) == (4, 0)


def test_sockets_beyond_the_places_that_it_has_are_refused_and_wished_for(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, held=2), 1, times)
    assert account.allows(2)
    assert ask(account, times).wish == 2
    assert not account.allows(3)
    assert ask(account, times).wish == FIRST_PLACES


def test_idle_sockets_are_too_many_where_others_wait_or_its_places_have_gone(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, held=9), 1, times)
    flying(account, 3)
    account.sockets = 6
    assert account.surplus() == 0
    account.take_in(lease(interval=0, held=9, most=4), 1, times)
    assert account.surplus() == 2
    account.take_in(lease(interval=0, held=5), 1, times)
    assert account.surplus() == 1
    account.take_in(lease(interval=0, held=0), 1, times)
    assert account.surplus() == 3


def test_an_account_is_idle_when_nothing_is_left_of_it(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, held=1), 1, times)
    assert not account.is_idle
    account.take_in(lease(interval=0, held=0), 1, times)
    assert account.is_idle
    account.sockets = 1
    assert not account.is_idle
    account.sockets = 0
    take(account)
    assert not account.is_idle
    account.give_back()
    assert account.is_idle
    want(account)
    assert not account.is_idle


def test_an_account_with_slots_that_come_or_were_used_or_lost_is_not_idle(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, 0.001, held=0, is_short=True), 1, times)
    assert not account.is_idle
    take(account, has_place=True)
    ready(account, after=1.0)
    assert slots(account) == []
    assert not account.is_idle  # both are to be told
    for after in range(60):
        ask(account, times, 1.0 + after)
    assert account.is_idle
    account.note_unheard(Ask("pool", unused=1))
    assert not account.is_idle


# -- without the server -----------------------------------------------------------------------------------------------


def alone(
    account: Leased, times: Times, after: float, members: int = 3, rank: int = 0, since: float = 0.0
) -> list[float]:
    """The slots that there are after going on alone, for members whose server has been away `since` then."""
    account.go_alone(NOW + after, members, rank, NOW + since, times)
    return [round(at - NOW, 5) for at in account.next_slots(99)]


def every(slot: float, begin: float, count: int) -> list[object]:
    return [pytest.approx(begin + slot * number, abs=2e-5) for number in range(count)]


@pytest.mark.parametrize(("rank", "first"), [(0, 1.03), (1, 1.01), (2, 1.02)])
def test_members_take_turns_on_one_grid_by_the_servers_clock(times: Times, rank: int, first: float) -> None:
    account = leased()
    account.begin_alone(3, NOW + 1.0, 0.4)
    assert EPOCH * 1000 // 10_000_000 % 3 == 2  # so the grid's slot at `NOW` is that of the third of them
    assert alone(account, times, 0.0, rank=rank) == []
    found = alone(account, times, 0.8, rank=rank)
    assert found == every(3 * SLOT, first, 2)
    assert alone(account, times, 1.0, rank=rank) == every(3 * SLOT, first, 8 if rank == 0 else 9)
    assert alone(account, times, 1.0, rank=rank) == every(3 * SLOT, first, 8 if rank == 0 else 9)
    assert alone(account, times, 1.01, rank=rank) == every(3 * SLOT, first, 9)


def test_the_grid_of_a_slow_rate_is_the_same_for_all_too(times: Times) -> None:
    account = leased(interval=10.0)
    account.begin_alone(1, NOW, 0.4)
    assert alone(account, times, 9.9, members=1) == every(10.0, 10.0, 1)


def test_slots_of_ones_own_are_taken_no_faster_than_the_rate_says(times: Times) -> None:
    account = leased()
    account.begin_alone(1, NOW, 0.4)
    alone(account, times, 0.1, members=1)
    first = take(account, after=0.2)
    assert first is not None
    assert ready(account, after=0.2, has_place=True) == pytest.approx(first + SLOT)
    take(account, after=0.3)
    assert ready(account, after=0.3, has_place=True) == pytest.approx(0.3 + SLOT)


def test_who_was_stopped_for_a_while_takes_none_of_the_slots_that_have_passed(times: Times) -> None:
    account = leased()
    account.begin_alone(3, NOW + 1.0, 0.4)
    assert alone(account, times, 5.0) == every(3 * SLOT, 5.02, 9)


def test_slots_that_nobody_has_leased_are_not_given_back(times: Times) -> None:
    account = leased()
    account.begin_alone(1, NOW, 0.4)
    alone(account, times, 0.0, members=1)
    assert ask(account, times, leaves=True).back == ()
    assert slots(account) == []


def test_of_a_quota_a_fair_share_of_what_is_surely_left_is_used(times: Times) -> None:
    account = leased(quota=100)
    account.take_in(lease(left=61), 2, times)
    account.begin_alone(2, NOW, 0.35)  # in which the others may have leased 35
    for after in range(20):
        alone(account, times, after * 0.01, members=2)
    taken = len(account.next_slots(99))
    alone(account, times, 0.3, members=2)
    assert taken == len(account.next_slots(99)) == 12


def test_of_a_quota_that_may_be_used_up_nothing_is_used(times: Times) -> None:
    account = leased(quota=100)
    for left in (0, 10, 36):
        account.take_in(lease(left=left), 2, times)
        account.begin_alone(2, NOW, 0.35)
        assert alone(account, times, 1.0, members=2) == []
    account.take_in(lease(left=10), 1, times)
    account.begin_alone(1, NOW, 0.35)
    assert alone(account, times, 1.0, members=1) == []
    account.take_in(lease(left=38), 2, times)
    account.begin_alone(2, NOW, 0.35)
    assert len(alone(account, times, 1.0, members=2)) == 1


def test_a_quota_that_was_said_of_before_says_nothing_where_there_is_none_any_more(times: Times) -> None:
    account = leased()
    account.take_in(lease(left=0), 2, times)
    account.take_in(lease(left=-1), 2, times)
    account.begin_alone(2, NOW, 0.35)
    assert len(alone(account, times, 0.0, members=2)) > 5


def test_places_alone_are_a_fair_share_once_the_others_have_shrunk_to_theirs(times: Times) -> None:
    account = leased(interval=0, places=7)
    account.take_in(lease(interval=0, places=7, held=1, most=2, flying=0), 3, times)
    account.begin_alone(3, NOW, 0.4)
    assert (account.held, account.most) == (1, 2)
    assert account.has_place
    alone(account, times, PLACES_ALONE - 0.001)
    assert account.held == 1
    alone(account, times, PLACES_ALONE)
    assert account.held == 2
    account.sockets = 4
    alone(account, times, PLACES_ALONE)
    assert account.held == 4
    account.sockets = 0
    alone(account, times, PLACES_ALONE)
    assert account.held == 2
    account.held = 9
    flying(account, 2)
    account.most = account._flying = 5
    flying(account, 3)
    alone(account, times, PLACES_ALONE)
    assert account.held == 5


def test_with_fewer_places_than_members_everyone_keeps_to_what_it_has(times: Times) -> None:
    account = leased(interval=0, places=2)
    account.take_in(lease(interval=0, places=2, held=1, most=0), 3, times)
    account.begin_alone(3, NOW, 0.4)
    alone(account, times, PLACES_ALONE + 1)
    assert (account.held, account.most, account.has_place) == (1, 1, True)


def test_alone_nobody_is_short_of_anything_and_a_slot_is_kept(times: Times) -> None:
    account = leased()
    account.take_in(lease(0.0, 0.001, is_short=True), 2, times)
    account.begin_alone(2, NOW + 9.0, 0.4)
    ready(account, after=1.0)
    assert len(slots(account)) == 1


def test_without_a_rate_there_are_no_slots_alone(times: Times) -> None:
    account = leased(interval=0)
    account.take_in(lease(interval=0, left=5), 2, times)
    account.begin_alone(2, NOW, 0.4)
    assert alone(account, times, 1.0, members=2) == []
