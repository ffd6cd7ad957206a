"""A budget in a file: what its members, here all in one process, have together, whatever becomes of any of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.budgets import HOST, OTHER, Fake, Trial
from workerpool.config import Budgets
from workerpool.limits.file import FileBudget
from workerpool.testing import ManualClock

# -- the rate ---------------------------------------------------------------------------------------------------------


def test_two_members_share_one_rate(trial: Trial) -> None:
    first, second = trial.open(rate="10/s"), trial.open(rate="10/s")
    assert trial.take(first, HOST)
    assert not trial.take(second, OTHER)
    trial.clock.advance(0.1)
    assert trial.take(second, OTHER)
    assert not trial.take(first, HOST)


def test_each_host_has_a_rate_of_its_own(trial: Trial) -> None:
    first, second = trial.open(host_rate="10/s"), trial.open(host_rate="10/s")
    assert trial.take(first, HOST)
    assert not trial.take(second, HOST)
    assert trial.take(second, OTHER)


def test_what_is_missing_for_a_send_leaves_the_rest_untaken(trial: Trial) -> None:
    budget = trial.open(rate="1000/s", host_rate="1/s", host_connections=2)
    assert trial.take(budget, HOST)
    trial.clock.advance(0.5)
    assert not trial.take(budget, HOST)
    assert trial.take(budget, OTHER)  # the pool's slot was not lost
    assert budget._table.pool.in_flight == 2


def test_the_strictest_rate_of_the_living_holds(trial: Trial) -> None:
    fast, slow = trial.open(rate="100/s", host_connections=99), trial.open(rate="1/s", host_connections=99)
    assert trial.take(fast)
    trial.clock.advance(0.5)
    assert not trial.take(fast)
    slow.leave()
    trial.clock.advance(0.5)
    for _ in range(10):
        assert trial.take(fast)
        trial.clock.advance(0.0101)


def test_the_strictest_number_of_sockets_of_the_living_holds(trial: Trial) -> None:
    many, few = trial.open(host_connections=6), trial.open(host_connections=2)
    assert trial.take_all(many) == 2
    few.leave()
    assert trial.take_all(many) == 4


def test_what_a_member_used_is_used_after_it_has_left(trial: Trial) -> None:
    first = trial.open(rate="1/min")
    assert trial.take(first)
    first.leave()
    trial.clock.advance(59.0)
    second = trial.open(rate="1/min")
    assert not trial.take(second)
    trial.clock.advance(1.0)
    assert trial.take(second)


@pytest.mark.parametrize("option", ["rate", "host_rate"])
def test_a_quota_holds_for_all_and_goes_on_after_them(trial: Trial, option: str) -> None:
    members = [trial.open(**{option: "100/s and 20/h"}, host_connections=99) for _ in range(2)]
    taken = 0
    for number in range(60):
        taken += trial.take(members[number % 2])
        trial.clock.advance(0.02)
    assert taken == 20
    for member in members:
        member.leave()
    late = trial.open(**{option: "100/s and 20/h"})
    assert 3590 < trial.waits(late) < 3610
    trial.clock.advance(3600 + 3600 / 30)
    assert trial.take(late)


def test_of_different_quotas_the_strictest_hold(trial: Trial) -> None:
    generous = trial.open(host_rate="100/s and 50/h", host_connections=99)
    strict = trial.open(host_rate="100/s and 10/h and 1000/d", host_connections=99)
    taken = 0
    for _ in range(30):
        taken += trial.take(generous)
        trial.clock.advance(0.02)
    assert taken == 10
    strict.leave()
    for _ in range(60):
        taken += trial.take(generous)
        trial.clock.advance(0.02)
    assert taken == 50


@given(st.lists(st.tuples(st.floats(0, 400), st.integers(0, 1), st.integers(1, 3)), max_size=80))
def test_no_window_of_a_quota_holds_more_than_it(
    tmp_path_factory: pytest.TempPathFactory, arrivals: list[tuple[float, int, int]]
) -> None:
    trial = Trial(tmp_path_factory.mktemp("quota"))
    members = [trial.open(host_rate="100/s and 10/h", burst=3, host_connections=99) for _ in range(2)]
    grants: list[tuple[float, int]] = []
    for gap, who, weight in arrivals:
        trial.clock.advance(gap)
        if trial.take(members[who], weight=weight):
            grants.append((trial.clock.now(), weight))
    trial.close()
    for i, (first, _) in enumerate(grants):
        assert sum(weight for last, weight in grants[i:] if last <= first + 3600) <= 10


def test_a_quota_goes_on_after_a_reboot(trial: Trial) -> None:
    first = trial.open(host_rate="100/s and 2/h")
    assert trial.take(first)
    trial.clock.advance(1)
    assert trial.take(first)
    trial.clock = ManualClock(5.0, epoch=1001.0 + 600 - 5)
    trial.machine.name = b"boot two"
    late = trial.open(host_rate="100/s and 2/h")
    assert 2990 < trial.waits(late) < 3001


def test_an_account_with_a_quota_is_not_forgotten_before_that_has_passed(trial: Trial, one_slot: None) -> None:
    budget = trial.open(host_rate="100/s and 1/h")
    assert trial.take(budget, HOST)
    trial.end(budget)
    budget.tidy({})
    trial.clock.advance(3000)
    assert trial.take(budget, OTHER)
    assert not trial.take(budget, HOST)


def test_a_quota_whose_history_is_broken_counts_as_used_up(trial: Trial) -> None:
    budget = trial.open(host_rate="100/s and 5/h")
    assert trial.take(budget)
    where = budget._table.accounts[HOST].history._record
    budget.leave()
    with open(trial.path, "r+b") as file:
        file.seek(where.offset)
        file.write(b"\xa5" * (where.end - where.offset))
    assert trial.waits(trial.open(host_rate="100/s and 5/h")) > 3000


def test_a_quota_that_counts_as_used_up_is_not_forgotten_before_it_has_passed(trial: Trial, one_slot: None) -> None:
    budget = trial.open(host_rate="100/s and 5/h")
    assert trial.take(budget, HOST)
    trial.end(budget)
    where = budget._table.accounts[HOST].history._record
    with open(trial.path, "r+b") as file:
        file.seek(where.offset)
        file.write(b"\xa5" * (where.end - where.offset))
    assert not trial.take(budget, HOST)
    budget.tidy({})
    trial.clock.advance(3000)
    assert trial.take(budget, OTHER)
    assert not trial.take(budget, HOST)


def test_a_request_heavier_than_the_strictest_burst_goes_by_itself(trial: Trial) -> None:
    generous, strict = trial.open(rate="10/s", burst=5), trial.open(rate="10/s")
    assert trial.take(generous, weight=5)
    assert trial.waits(strict) >= 0.499


arrivals = st.lists(st.tuples(st.floats(0, 2), st.integers(0, 2), st.integers(1, 3), st.booleans()), max_size=60)


@given(st.sampled_from([5, 50, 700, 3000]), st.integers(1, 3), arrivals)
def test_no_window_holds_more_than_the_burst_and_the_rate_over_all_members(
    tmp_path_factory: pytest.TempPathFactory, rate: int, burst: int, arrivals: list[tuple[float, int, int, bool]]
) -> None:
    trial = Trial(tmp_path_factory.mktemp("bound"))
    members = [trial.open(rate=rate, burst=burst, host_connections=99, max_connections=999) for _ in range(3)]
    grants: list[tuple[float, int]] = []
    now = trial.clock.now()
    for gap, member, weight, is_late in arrivals:
        now += gap / rate
        if is_late:
            now = max(now, members[member].next_at(HOST, 1, now)) + 0.004
        taken = members[member].try_take(HOST, min(weight, burst), now, since=now - 1 if is_late else None)
        if taken is not None:
            grants.append((taken, min(weight, burst)))
    trial.close()
    for i, (first, _) in enumerate(grants):
        held = 0
        for last, weight in grants[i:]:
            held += weight
            assert held <= burst + rate * (last - first) + 1e-6 * held


def run(trial: Trial, members: list[FileBudget], seconds: float, lateness: Callable[[int], float]) -> list[int]:
    """What each of some members, all hungry, gets in so many seconds, when each wakes late by what `lateness` says."""
    counts = [0] * len(members)
    until = trial.clock.now() + seconds
    wake = [trial.clock.now()] * len(members)
    while (now := min(wake)) < until:
        who = wake.index(now)
        if now > trial.clock.now():
            trial.clock.advance(now - trial.clock.now())
        now = trial.clock.now()
        while members[who].try_take(HOST, 1, now, since=now - 1) is not None:
            counts[who] += 1
            members[who].give_back(HOST, now)
        wake[who] = max(now + 1e-4, members[who].next_at(HOST, 1, now)) + lateness(who)
    return counts


@pytest.mark.parametrize("rate", [20, 50, 200, 2000])
def test_hungry_members_get_the_same_though_one_is_always_quicker(trial: Trial, rate: int) -> None:
    seconds = 3.0 if rate < 1000 else 1.0
    members = [trial.open(rate=rate) for _ in range(2)]
    late = run(trial, members, seconds, lambda who: (0.0001, 0.002)[who])
    assert sum(late) >= 0.98 * seconds * rate
    assert late[0] == pytest.approx(late[1], rel=0.1)
    members.append(trial.open(rate=rate))
    counts = run(trial, members, seconds, lambda who: (0.0001, 0.002, 0.003)[who])
    assert sum(counts) >= 0.98 * seconds * rate
    assert max(counts) - min(counts) <= 0.1 * max(counts) + 2


def test_a_member_that_is_gone_delays_the_others_by_no_slot(trial: Trial) -> None:
    members = [trial.open(rate=50) for _ in range(2)]
    run(trial, members, 1.0, lambda who: 0.001)
    alone = run(trial, members[:1], 4.0, lambda who: 0.001)
    assert alone[0] >= 0.98 * 200


def test_a_look_waits_for_nobody_who_holds_the_file(trial: Trial) -> None:
    """The garbage collector may end one pool's stream on a thread that is inside another one's budget."""
    first, second = trial.open(rate="10/s"), trial.open(rate="10/s")
    assert trial.take(first)
    assert not trial.take(second)
    with first._lock, first._table.locked():
        assert second.next_at(OTHER, 1, trial.clock.now()) <= trial.clock.now()
        assert second.next_at(None, 1, trial.clock.now()) == pytest.approx(trial.clock.now() + 0.1)
        assert second.next_at(HOST, 1, trial.clock.now()) == pytest.approx(trial.clock.now() + 0.1)


# -- pauses -----------------------------------------------------------------------------------------------------------


def test_a_pause_is_everyones_at_once(trial: Trial) -> None:
    first, second = trial.open(), trial.open()
    assert trial.take(second)
    trial.end(second)
    first.pause(HOST, trial.clock.now() + 30, trial.clock.now())
    assert trial.waits(second) == 30
    assert trial.take(second, OTHER)


def test_after_a_pause_all_members_together_start_with_one_request(trial: Trial) -> None:
    members = [trial.open(host_connections=4) for _ in range(3)]
    for member in members:
        member.tidy({})
    members[0].pause(HOST, trial.clock.now() + 5, trial.clock.now())
    trial.clock.advance(5)
    rounds = []
    for _ in range(5):
        taken = [trial.take_all(member) for member in members]
        rounds.append(sum(taken))
        for member, times in zip(members, taken, strict=True):
            trial.end(member, times)
            member.tidy({})
    assert rounds == [1, 2, 3, 4, 4]
    assert members[0]._table.accounts[HOST].state.places == 0  # it has started


def test_what_ends_during_a_pause_does_not_count_as_a_round(trial: Trial) -> None:
    budget = trial.open(host_connections=4)
    assert trial.take_all(budget) == 4
    budget.pause(HOST, trial.clock.now() + 5, trial.clock.now())
    trial.end(budget, 4)
    trial.clock.advance(5)
    assert trial.take_all(budget) == 1


# -- members that die, and the machine --------------------------------------------------------------------------------


def test_what_a_dead_member_held_is_free_once_its_servers_know(trial: Trial) -> None:
    lost = trial.open(pid=4001, host_connections=1)
    trial.machine.own = 4002
    assert trial.take(lost)
    second = trial.open(pid=4002, host_connections=1)
    assert not trial.take(second)
    trial.machine.dead.add(4001)
    trial.clock.advance(0.2)
    assert not trial.take(second)
    trial.clock.advance(0.2)
    assert not trial.take(second)
    trial.clock.advance(0.2)
    assert trial.take(second)


def test_a_recycled_process_number_is_not_mistaken(trial: Trial) -> None:
    lost = trial.open(pid=4001, host_connections=1)
    assert trial.take(lost)
    trial.machine.started_at = lambda pid: 8  # type: ignore[method-assign]
    second = trial.open(pid=4002, host_connections=1)
    assert not trial.take(second)
    trial.clock.advance(0.3)
    assert trial.take(second)


def test_a_member_whose_process_cannot_be_seen_is_dropped_when_it_is_silent(trial: Trial) -> None:
    trial.machine.pid_space = lambda: 1  # type: ignore[method-assign]
    lost = trial.open(host_connections=1)
    assert trial.take(lost)
    there = Fake()
    there.pid_space = lambda: 2  # type: ignore[method-assign]
    second = FileBudget(trial.path, Budgets(host_connections=1), trial.clock, there)
    for _ in range(5):
        trial.clock.advance(15)
        lost.tidy({HOST: 1})
        assert not trial.take(second)
    trial.clock.advance(61)
    second.tidy({})
    assert trial.take(second)


def test_a_member_that_was_dropped_by_mistake_enters_again_with_what_it_holds(trial: Trial) -> None:
    first, second = trial.open(pid=4001, host_connections=1), trial.open(pid=4002, host_connections=1)
    assert trial.take(first)
    trial.machine.dead.add(4001)
    for _ in range(2):
        trial.clock.advance(1.1)
        second.tidy({})
    trial.machine.dead.clear()
    trial.clock.advance(1.1)
    first.tidy({HOST: 1})
    assert not trial.take(second)


def test_what_was_held_before_a_reboot_is_free(trial: Trial) -> None:
    assert trial.take(trial.open(pid=4001, host_connections=1))
    trial.clock = ManualClock(5.0, epoch=0.0)
    trial.machine.name = b"boot two"
    assert trial.take(trial.open(pid=4002, host_connections=1))


def test_a_rate_and_a_pause_go_on_after_a_reboot_by_the_wall_clock(trial: Trial) -> None:
    first = trial.open(host_rate="1/min")
    assert trial.take(first)
    first.pause(OTHER, trial.clock.now() + 100, trial.clock.now())
    trial.clock = ManualClock(5.0, epoch=1000.0 + 20 - 5)  # twenty seconds later; this one counts from the boot
    trial.machine = Fake()
    trial.machine.name = b"boot two"
    second = trial.open(host_rate="1/min")
    assert trial.waits(second) == pytest.approx(40.0)
    assert trial.waits(second, OTHER) == pytest.approx(80.0)


def test_a_date_that_went_back_over_a_reboot_prolongs_nothing(trial: Trial) -> None:
    first = trial.open(host_rate="1/min")
    assert trial.take(first)
    trial.clock = ManualClock(5.0, epoch=-1e6)
    trial.machine.name = b"boot two"
    assert trial.waits(trial.open(host_rate="1/min")) == pytest.approx(60.0)


@pytest.mark.parametrize("jump", [-1e7, 1e7])
def test_a_jump_of_the_date_changes_nothing_while_the_machine_runs(trial: Trial, jump: float) -> None:
    first = trial.open(host_rate="1/min")
    assert trial.take(first)
    trial.clock = ManualClock(trial.clock.now() + 1, epoch=jump)
    assert trial.waits(trial.open(host_rate="1/min")) == pytest.approx(59.0)
    assert trial.waits(first) == pytest.approx(59.0)
