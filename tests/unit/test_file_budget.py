"""A budget in a file: what its members, here all in one process, have together, whatever becomes of any of it."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.config import Budgets
from workerpool.errors import BudgetError, OptionError
from workerpool.limits.file import FileBudget, budget_path
from workerpool.limits.file import claims as claims_module
from workerpool.limits.file import history as history_module
from workerpool.limits.file import mapped as mapped_module
from workerpool.limits.file import members as members_module
from workerpool.limits.file import state as state_module
from workerpool.limits.file.machine import Machine
from workerpool.limits.file.records import Record, space_of
from workerpool.rate import Rate
from workerpool.testing import ManualClock

HOST = "http://a.test:80"
OTHER = "http://b.test:80"


class Trial:
    """A file, a clock, and a machine whose processes may be declared dead; `open` is a member of its own each time.

    `sockets`: whether the member's sockets are told by `tidy`.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path / "trial.budget")
        self.clock = ManualClock(1000.0, epoch=0.0)
        self.machine = Fake()
        self.members: list[FileBudget] = []

    def open(self, pid: int | None = None, *, sockets: bool = True, **budgets: object) -> FileBudget:
        for option in ("rate", "host_rate"):
            if option in budgets:
                budgets[option] = Rate.of(budgets[option])  # type: ignore[arg-type]
        self.machine.own = pid or os.getpid()
        terms = Budgets(**budgets)  # type: ignore[arg-type]
        self.members.append(FileBudget(self.path, terms, self.clock, self.machine, serves_sockets=sockets))
        return self.members[-1]

    def close(self) -> None:
        """Leave with all members, also those that a test has left to themselves: each has the file open."""
        for member in self.members:
            with suppress(BudgetError):  # one that was declared dead need not agree with those that came since
                member.leave()

    def take(self, budget: FileBudget, host: str = HOST, weight: int = 1) -> bool:
        now = self.clock.now()
        taken = budget.try_take(host, weight, now, since=None)
        if taken is None and budget.next_at(host, weight, now) <= now:  # to ask in vain may have changed something
            taken = budget.try_take(host, weight, now, since=None)
        return taken is not None

    def waits(self, budget: FileBudget, host: str = HOST) -> float:
        """For how long a member waits that has asked in vain."""
        assert not self.take(budget, host)
        return budget.next_at(host, 1, self.clock.now()) - self.clock.now()

    def take_all(self, budget: FileBudget, host: str = HOST, most: int = 100) -> int:
        return sum(itertools.takewhile(bool, (self.take(budget, host) for _ in range(most))))

    def end(self, budget: FileBudget, times: int = 1, host: str = HOST) -> None:
        for _ in range(times):
            budget.give_back(host, self.clock.now())


class Fake(Machine):
    """A machine that boots, and whose processes die, as it is told."""

    def __init__(self) -> None:
        self.name = b"boot one"
        self.dead: set[int] = set()
        self.own = os.getpid()

    def boot(self) -> bytes:
        return self.name

    def started_at(self, pid: int) -> int | None:
        return None if pid in self.dead else 7

    def pid(self) -> int:
        return self.own


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    with closing(Trial(tmp_path)) as made:
        yield made


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
    members = [trial.open(rate=rate) for _ in range(2)]
    late = run(trial, members, 3.0, lambda who: (0.0001, 0.002)[who])
    assert sum(late) >= 0.98 * 3 * rate
    assert late[0] == pytest.approx(late[1], rel=0.1)
    members.append(trial.open(rate=rate))
    counts = run(trial, members, 3.0, lambda who: (0.0001, 0.002, 0.003)[who])
    assert sum(counts) >= 0.98 * 3 * rate
    assert max(counts) - min(counts) <= 0.1 * max(counts) + 2


def test_a_member_that_is_gone_delays_the_others_by_no_slot(trial: Trial) -> None:
    members = [trial.open(rate=50) for _ in range(2)]
    run(trial, members, 1.0, lambda who: 0.001)
    alone = run(trial, members[:1], 4.0, lambda who: 0.001)
    assert alone[0] >= 0.98 * 200


@pytest.mark.timeout(20)
def test_a_look_waits_for_nobody_who_holds_the_file(trial: Trial) -> None:
    """The garbage collector may end one pool's stream on a thread that is inside another one's budget."""
    first, second = trial.open(rate="10/s"), trial.open(rate="10/s")
    assert trial.take(first)
    assert not trial.take(second)
    with first._lock, first._table.locked():
        assert second.next_at(OTHER, 1, trial.clock.now()) <= trial.clock.now()
        assert second.next_at(None, 1, trial.clock.now()) == pytest.approx(trial.clock.now() + 0.1)
        assert second.next_at(HOST, 1, trial.clock.now()) == pytest.approx(trial.clock.now() + 0.1)


# -- places -----------------------------------------------------------------------------------------------------------


def test_members_hold_no_more_places_than_there_are(trial: Trial) -> None:
    members = [trial.open(host_connections=3, max_connections=5) for _ in range(2)]
    assert sum(trial.take_all(member) for member in members) == 3
    assert sum(trial.take_all(member, OTHER) for member in members) == 2


def test_a_place_is_kept_for_the_next_send_until_its_turn_is_over(trial: Trial) -> None:
    first, second = trial.open(host_connections=1), trial.open(host_connections=1)
    assert trial.take(first)
    asked: dict[str | None, int] = {}
    turns = 0
    while not asked:
        trial.end(first)
        trial.clock.advance(0.1)
        assert not trial.take(second)
        asked = first.tidy({HOST: 1})
        turns += 1
        assert trial.take(first) is not bool(asked)
    assert turns == 10
    assert asked == {HOST: 1}
    assert not trial.take(second)  # its socket is still open
    assert first.tidy({}) == {}
    assert trial.take(second)
    assert not trial.take(first)


def test_places_that_were_not_used_lately_go_to_whoever_waits(trial: Trial) -> None:
    first, second = trial.open(host_connections=4), trial.open(host_connections=4)
    assert trial.take_all(first, most=2) == 2
    trial.end(first, 2)
    idle = 2
    assert trial.take_all(second) == 2
    for _ in range(12):
        idle -= first.tidy({HOST: idle}).get(HOST, 0)
        first.tidy({HOST: idle})
        trial.clock.advance(0.1)
        trial.take(second)
        second.tidy({HOST: second._table.accounts[HOST].in_flight})
    assert idle == 0
    assert second._table.accounts[HOST].in_flight == 4


def test_a_place_that_is_used_now_and_then_stays_where_it_is(trial: Trial) -> None:
    first, second = trial.open(host_connections=2), trial.open(host_connections=2)
    assert trial.take(first)
    assert trial.take(second)
    for _ in range(20):
        trial.end(first)
        assert first.tidy({HOST: 1}) == {}
        trial.clock.advance(0.4)
        assert not trial.take(second)
        second.tidy({HOST: 1})
        assert trial.take(first)


def test_a_place_without_a_socket_is_given_back(trial: Trial) -> None:
    first, second = trial.open(host_connections=1), trial.open(host_connections=1)
    assert trial.take(first)
    trial.end(first)
    first.tidy({})
    assert not first._table.held
    assert trial.take(second)


def test_where_nobody_counts_sockets_a_place_goes_with_its_send(trial: Trial) -> None:
    first, second = (trial.open(host_connections=1, sockets=False) for _ in range(2))
    for _ in range(3):
        assert trial.take(first)
        assert not trial.take(second)
        trial.end(first)
        assert trial.take(second)
        trial.end(second)


def test_who_holds_more_than_its_share_gives_up_what_others_wait_for(trial: Trial) -> None:
    first, second = trial.open(host_connections=6), trial.open(host_connections=6)
    assert trial.take_all(first) == 6
    trial.end(first, 6)
    idle, busy = 6, 0
    for _ in range(40):
        trial.end(first, trial.take_all(first))
        idle -= first.tidy({HOST: idle}).get(HOST, 0)
        first.tidy({HOST: idle})
        busy += trial.take_all(second)
        second.tidy({HOST: busy})
        assert idle + busy <= 6
        trial.clock.advance(0.1)
    assert (idle, busy) == (3, 3)


def test_a_place_goes_to_who_has_waited_longest(trial: Trial) -> None:
    holder, first, second = (trial.open(host_connections=1) for _ in range(3))
    assert trial.take(holder)
    assert not trial.take(first)
    trial.clock.advance(0.05)
    assert not trial.take(second)
    trial.end(holder)
    holder.tidy({})
    assert not trial.take(second)
    assert not trial.take(holder)
    assert trial.take(first)


def test_who_waited_and_went_keeps_nobody_waiting(trial: Trial) -> None:
    holder, first, second = (trial.open(host_connections=1) for _ in range(3))
    assert trial.take(holder)
    assert not trial.take(first)
    trial.clock.advance(0.01)
    trial.end(holder)
    holder.tidy({})
    assert not trial.take(second)
    trial.clock.advance(0.4)
    assert trial.take(second)


def test_a_send_that_has_a_place_takes_only_slots(trial: Trial) -> None:
    budget = trial.open(rate="10/s", host_connections=1)
    assert trial.take(budget)
    trial.clock.advance(0.1)
    now = trial.clock.now()
    assert budget.try_take(HOST, 1, now, since=None) is None
    assert budget.try_take(HOST, 1, now, since=None, has_place=True) is not None
    assert budget.try_take(HOST, 1, now, since=None, has_place=True) is None


def test_a_socket_without_a_send_takes_a_place_that_is_free(trial: Trial) -> None:
    first, second = trial.open(host_connections=2), trial.open(host_connections=2)
    assert first.allows(HOST, 1)
    assert first.allows(None, 1)
    assert first.allows(HOST, 2)
    assert not first.allows(HOST, 3)
    assert not trial.take(second)


def test_a_forked_child_has_none_of_its_parents_places(trial: Trial) -> None:
    budget = trial.open(max_connections=2)
    assert trial.take_all(budget) == 2
    budget.start_anew()
    assert not budget.allows(None, 1)


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


# -- the file ---------------------------------------------------------------------------------------------------------


def test_a_write_torn_at_any_byte_leaves_the_record_as_it_was_or_as_it_should_be() -> None:
    record = Record(0, 24)
    before = bytearray(space_of(24))
    for payload in (b"first", b"second record"):
        record.write(before, payload)  # type: ignore[arg-type]
    after = bytearray(before)
    record.write(after, b"third")  # type: ignore[arg-type]
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    seen = set()
    for at in range(len(before) + 1):
        for torn in (after[:at] + before[at:], before[:at] + after[at:]):
            found = Record(0, 24)
            found.look(torn)  # type: ignore[arg-type]
            assert found.payload in (b"second record", b"third")
            seen.add(bytes(found.payload))
            found.write(torn, b"fourth")  # type: ignore[arg-type]
            again = Record(0, 24)
            again.look(torn)  # type: ignore[arg-type]
            assert again.payload == b"fourth"
    assert changed
    assert len(seen) == 2


def test_a_write_of_a_whole_account_torn_at_any_byte_never_gives_a_burst(trial: Trial) -> None:
    budget = trial.open(rate="1/min", host_rate="1/min")
    assert trial.take(budget)
    trial.clock.advance(60)
    before = Path(trial.path).read_bytes()
    assert trial.take(budget)
    after = Path(trial.path).read_bytes()
    changed = [at for at in range(len(before)) if before[at] != after[at]]
    budget.leave()
    for at in [*changed, changed[-1] + 1]:
        Path(trial.path).write_bytes(after[:at] + before[at:])
        os.chmod(trial.path, 0o600)
        found = trial.open(rate="1/min", host_rate="1/min")
        assert trial.take_all(found) <= 1
        found.leave()


def test_a_record_with_both_copies_broken_begins_as_if_just_used(trial: Trial) -> None:
    budget = trial.open(host_rate="1/min", burst=3)
    assert trial.take_all(budget) == 3
    where = budget._table.accounts[HOST].state._record
    budget.leave()
    with open(trial.path, "r+b") as file:
        file.seek(where.offset)
        file.write(b"\xa5" * (where.end - where.offset))
    found = trial.open(host_rate="1/min", burst=3)
    assert trial.waits(found) == pytest.approx(60)


def test_broken_claims_are_entered_again_before_anything_is_taken(trial: Trial) -> None:
    first, second = trial.open(host_connections=1), trial.open(host_connections=1)
    assert trial.take(first)
    where = first._table.accounts[HOST].claims._record
    with open(trial.path, "r+b") as file:
        file.seek(where.offset)
        file.write(b"\xa5" * (where.end - where.offset))
    assert not trial.take(second, HOST)
    first.tidy({HOST: 1})
    trial.clock.advance(1.1)
    assert not trial.take(second, HOST)


def test_a_broken_header_is_mended(trial: Trial) -> None:
    first = trial.open(host_connections=1)
    assert trial.take(first)
    with open(trial.path, "r+b") as file:
        file.seek(mapped_module._HEADER_AT)
        file.write(b"\xa5" * space_of(12))
    second = trial.open(host_connections=1)
    assert not trial.take(second)
    trial.end(first)
    first.tidy({})
    assert trial.take(second)


def test_thousands_of_hosts_find_room_and_are_forgotten_when_they_rest(trial: Trial) -> None:
    budget = trial.open(host_rate="1/s", max_connections=10_000)
    small = os.path.getsize(trial.path)
    hosts = [f"http://h{number}.test:80" for number in range(3000)]
    assert all(trial.take(budget, host) for host in hosts)
    assert not any(trial.take(budget, host) for host in hosts)
    grown = os.path.getsize(trial.path)
    assert small < grown < 20e6
    for host in hosts:
        budget.give_back(host, trial.clock.now())
    budget.tidy({})
    trial.clock.advance(2)
    for number in range(3000):
        assert trial.take(budget, f"http://other{number}.test:80")
    assert os.path.getsize(trial.path) <= 2 * grown


def test_a_member_finds_its_hosts_in_a_file_that_another_one_made_grow(trial: Trial) -> None:
    first, second = (trial.open(host_rate="1/s", max_connections=10_000) for _ in range(2))
    assert trial.take(second)
    for number in range(2000):
        assert trial.take(first, f"http://h{number}.test")
    assert second.try_take("http://h1999.test", 1, trial.clock.now(), since=None) is None
    assert trial.waits(second) == pytest.approx(1)


def test_hosts_without_room_share_an_account(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_module, "_MOST_SEGMENTS", 1)
    budget = trial.open(host_rate="1/s", max_connections=10_000)
    taken = sum(trial.take(budget, f"http://h{number}.test") for number in range(400))
    assert 64 < taken <= 129
    trial.clock.advance(1)
    assert trial.take(budget, "http://h399.test") != trial.take(budget, "http://h398.test")


@pytest.fixture
def one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with a single slot for all hosts, beside the one that they share."""
    for name in ("_FIRST_SEGMENT", "_MOST_SEGMENTS", "PROBES"):
        monkeypatch.setattr(mapped_module, name, 1)


def test_an_account_that_was_forgotten_is_not_taken_for_the_one_in_its_slot(trial: Trial, one_slot: None) -> None:
    budget = trial.open(host_rate="1/s")
    assert trial.take(budget, HOST)
    trial.end(budget, host=HOST)
    budget.tidy({})
    trial.clock.advance(2)
    assert trial.take(budget, OTHER)
    assert trial.take(budget, HOST)
    trial.clock.advance(0.1)
    for member in (budget, trial.open(host_rate="1/s")):
        assert not trial.take(member, OTHER)
        assert not trial.take(member, HOST)


def test_an_account_is_not_forgotten_before_it_rests(trial: Trial, one_slot: None) -> None:
    budget = trial.open(host_rate="1/s")
    assert trial.take(budget, HOST)
    trial.end(budget, host=HOST)
    budget.tidy({})
    assert trial.take(budget, OTHER)
    assert not trial.take(budget, HOST)


def test_an_account_is_not_forgotten_while_anybody_holds_something_of_it(trial: Trial, one_slot: None) -> None:
    first, second = trial.open(host_connections=1), trial.open(host_connections=1)
    assert trial.take(first, HOST)
    trial.clock.advance(10)
    assert trial.take(second, OTHER)
    assert trial.take(first, OTHER) is False
    assert not trial.take(second, HOST)


def test_a_full_disk_makes_hosts_share_an_account_and_ends_nothing(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = trial.open(host_rate="1/s", max_connections=10_000)

    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert sum(trial.take(budget, f"http://h{number}.test") for number in range(400)) <= 129
    with pytest.raises(BudgetError, match="no space left"):
        FileBudget(trial.path + "2", Budgets(), trial.clock)


def test_a_file_that_was_removed_is_made_again_with_what_is_held(trial: Trial) -> None:
    first, second = trial.open(host_connections=1), trial.open(host_connections=1)
    assert trial.take(first)
    os.unlink(trial.path)
    late = trial.open(host_connections=1)
    for budget in (second, first):
        trial.clock.advance(1.1)
        budget.tidy({HOST: 1})
    trial.clock.advance(1.1)
    assert not trial.take(late)
    assert not trial.take(second)
    trial.end(first)
    first.tidy({})
    assert trial.take(late)


def test_a_file_that_is_removed_while_it_is_opened_is_not_used(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = mapped_module.flock
    removals = iter([True, True])

    def remove_first(descriptor: int, operation: int) -> None:
        if next(removals, False):
            os.unlink(trial.path)
        lock(descriptor, operation)

    monkeypatch.setattr(mapped_module, "flock", remove_first)
    budget = trial.open()
    assert budget._table.file is not None
    assert budget._table.file.is_in_place()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"something else entirely, and longer than a header", "no budget's file"),
        (b"workerpool budget 7\n" + bytes(100), "another version"),
    ],
)
def test_a_strange_file_is_left_alone(trial: Trial, content: bytes, says: str) -> None:
    Path(trial.path).write_bytes(content)
    os.chmod(trial.path, 0o600)
    with pytest.raises(BudgetError, match=says) as caught:
        trial.open()
    assert trial.path in str(caught.value)
    assert Path(trial.path).read_bytes() == content


@pytest.mark.parametrize("length", [0, 1, 19, 5000])
def test_a_file_that_a_killed_process_was_making_is_made(trial: Trial, length: int) -> None:
    whole = trial.open(rate="1/s")
    whole.leave()
    start = Path(trial.path).read_bytes()[:length]
    Path(trial.path).write_bytes(start if length > 20 else start[:length])
    os.chmod(trial.path, 0o600)
    assert trial.take(trial.open(rate="1/s"))


def test_a_file_that_others_may_read_is_refused(trial: Trial) -> None:
    Path(trial.path).write_bytes(b"")
    os.chmod(trial.path, 0o644)
    with pytest.raises(BudgetError, match="not safe"):
        trial.open()


def test_a_link_is_refused(trial: Trial, tmp_path: Path) -> None:
    os.symlink(tmp_path / "elsewhere", trial.path)
    with pytest.raises(BudgetError, match=r"trial\.budget cannot be used"):
        trial.open()
    assert not (tmp_path / "elsewhere").exists()


def test_every_part_has_the_size_that_it_is_given_in_the_file() -> None:
    assert claims_module._CLAIM.size == mapped_module.CLAIM_SIZE
    assert members_module._MEMBER.size == mapped_module.MEMBER_SIZE
    assert state_module._STATE.size == mapped_module.STATE_SIZE
    window = history_module._WINDOW.size + history_module._MOST_PARTS * history_module._PART.size
    assert history_module._NOTED.size + history_module.MOST_QUOTAS * window == mapped_module.HISTORY_SIZE


def test_a_file_is_its_owners_alone(trial: Trial) -> None:
    trial.open()
    assert stat.S_IMODE(os.stat(trial.path).st_mode) == 0o600


def test_the_129th_member_is_told_that_there_are_too_many(trial: Trial) -> None:
    members = [trial.open() for _ in range(128)]
    with pytest.raises(BudgetError, match="128 pools already"):
        trial.open()
    members.pop().leave()
    trial.open()


def test_a_budget_has_room_for_two_quotas(trial: Trial) -> None:
    with pytest.raises(OptionError, match="has 3 quotas"):
        trial.open(rate="10/s and 100/min and 1000/h and 5000/d")
    first = trial.open(rate="10/s and 1000/h and 5000/d")
    with pytest.raises(BudgetError, match="3 different windows"):
        trial.open(rate="10/s and 100/min")
    assert trial.take(first)


@pytest.mark.parametrize("boot", [b"boot one", b"boot two"])
def test_what_a_dead_member_named_keeps_nobody_out(trial: Trial, boot: bytes) -> None:
    trial.open(pid=1, rate="10/s and 1000/h and 5000/d")
    living = trial.open(pid=2, rate="10/s")
    trial.machine.dead, trial.machine.name = {1}, boot
    late = trial.open(pid=3, rate="10/s and 100/min")
    assert trial.take(late)
    trial.clock.advance(1)
    assert trial.take(living)


def test_a_machine_that_does_not_tell_its_boots_apart_has_no_budgets(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workerpool.limits.file.machine.BOOT_ID", "/nowhere/boot_id")
    with pytest.raises(OptionError, match="needs Linux"):
        FileBudget(trial.path, Budgets(), trial.clock)


# -- where it is ------------------------------------------------------------------------------------------------------


def test_the_run_directory_of_the_environment_is_used(tmp_path: Path) -> None:
    path = budget_path("github", {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert path == str(tmp_path / "workerpool" / "github.budget")
    assert stat.S_IMODE(os.stat(tmp_path / "workerpool").st_mode) == 0o700


def test_without_a_run_directory_the_temporary_one_has_the_users_own(tmp_path: Path) -> None:
    if os.path.exists(f"/run/user/{os.getuid()}"):
        pytest.skip("this user has a run directory")
    path = budget_path("a", {"TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": "/nowhere"})
    assert path == str(tmp_path / f"workerpool-{os.getuid()}" / "a.budget")


@pytest.mark.parametrize("kind", ["link", "open", "file"])
def test_a_directory_that_may_be_somebody_elses_is_refused(tmp_path: Path, kind: str) -> None:
    there = tmp_path / "workerpool"
    if kind == "link":
        (tmp_path / "real").mkdir(mode=0o700)
        there.symlink_to(tmp_path / "real")
    elif kind == "open":
        there.mkdir()
        there.chmod(0o777)
    else:
        there.write_bytes(b"")
    with pytest.raises(BudgetError, match="not safe"):
        budget_path("a", {"XDG_RUNTIME_DIR": str(tmp_path)})


@pytest.mark.parametrize("name", ["", "../etc", "a/b", ".hidden", "a b", "x" * 65, None])
def test_a_name_that_cannot_be_a_files_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="no name for a budget"):
        budget_path(name, {})
