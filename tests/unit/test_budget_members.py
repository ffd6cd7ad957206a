"""Who uses a budget in a file: what a member says of itself, what the machine says of it, and what they agree on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.budgets import HOST, OTHER, Fake, Trial
from workerpool.clock import NEVER
from workerpool.config import Budgets
from workerpool.errors import BudgetError, OptionError
from workerpool.limits.file import FileBudget
from workerpool.limits.file import machine as machine_module
from workerpool.limits.file.machine import Machine
from workerpool.limits.file.members import GOODBYE, SILENCE, Member, Terms
from workerpool.rate import Rate

# -- the machine ------------------------------------------------------------------------------------------------------


def test_a_boot_is_told_by_the_first_half_of_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "boot_id"
    monkeypatch.setattr(machine_module, "BOOT_ID", str(there))
    there.write_text("01234567-89ab-cdef-0123-456789abcdef\n")
    assert Machine().boot() == bytes.fromhex("0123456789abcdef")
    there.write_text("unknown\n")
    with pytest.raises(OptionError):
        Machine().boot()


def test_a_process_is_known_by_when_it_has_started_until_it_has_ended() -> None:
    """Seconds since the boot: the clock that tells these may be read before and after it."""
    ticks = os.sysconf("SC_CLK_TCK")
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started_at = Machine().started_at(process.pid)
        assert started_at is not None
        assert before - 0.1 <= started_at / ticks <= time.clock_gettime(time.CLOCK_BOOTTIME) + 0.1
        assert Machine().lives(process.pid, started_at)
        assert not Machine().lives(process.pid, started_at + 1)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Machine().started_at(process.pid) is None, "nobody has waited for it yet"
    assert Machine().started_at(process.pid) is None
    assert not Machine().lives(process.pid, started_at)


def test_a_processs_name_is_not_taken_for_what_is_said_of_it() -> None:
    own = Path("/proc/self/comm")
    started_at, name = Machine().started_at(os.getpid()), own.read_text()
    try:
        own.write_text("a) Z 1 (b")
        assert Machine().started_at(os.getpid()) == started_at
    finally:
        own.write_text(name)


def test_a_process_that_cannot_be_looked_at_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(machine_module, "open", refuse, raising=False)
    assert Machine().lives(os.getpid(), 1)


def test_where_processes_have_no_spaces_of_their_own_all_are_of_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Machine().pid_space() == os.stat("/proc/self/ns/pid").st_ino

    def refuse(path: str) -> None:
        raise FileNotFoundError(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", refuse)
        space = Machine().pid_space()
    assert space == 0


# -- what they say, and agree on --------------------------------------------------------------------------------------


def test_a_member_is_read_as_it_was_written() -> None:
    terms = Terms(0.5, 0.25, 3, 64, 6, (Rate(4, 3600), Rate(9, 86400)), (Rate(5, 60),))
    member = Member(4001, 7, 2**32 - 1, b"boot one", 2**40, 12.5, NEVER, terms)
    assert Member.unpacked(member.packed()) == member


@pytest.mark.parametrize("option", ["burst", "max_connections", "host_connections"])
@pytest.mark.parametrize("number", [2**32, sys.maxsize, 10**30])
def test_a_number_that_no_process_could_use_up_limits_nobody(trial: Trial, option: str, number: int) -> None:
    limits = {"burst": 20, "max_connections": 20, "host_connections": 20}
    first = trial.open(rate="1/min", **(limits | {option: number}))
    assert trial.take_all(first) == 20
    second = trial.open(rate="1/min", **(limits | {option: number}))
    assert not trial.take(second)
    for _ in range(20):
        trial.end(first)
    first.tidy({})
    trial.clock.advance(20 * 60)
    assert trial.take_all(second) == 20


@pytest.mark.parametrize("in_all", [True, False])
def test_of_each_term_the_strictest_holds(in_all: bool) -> None:
    """A burst is a rate's: who names none lets the others have theirs."""

    def terms(interval: float, burst: int, connections: int, *quotas: Rate) -> Terms:
        if in_all:
            return Terms(interval, 0.0, burst, connections, 9, quotas)
        return Terms(0.0, interval, burst, 99, connections, (), quotas)

    hour, day = Rate(4, 3600), Rate(9, 86400)
    assert Terms.strictest([terms(0.1, 5, 8, hour), terms(0.5, 7, 6, day), terms(0.0, 1, 7)], "") == terms(
        0.5, 5, 6, hour, day
    )


@pytest.mark.parametrize("option", ["rate", "host_rate"])
def test_who_does_not_agree_with_the_others_is_told_of_which_file(trial: Trial, option: str) -> None:
    trial.open(**{option: "10/s and 1000/h and 5000/d"})
    with pytest.raises(BudgetError) as caught:
        trial.open(**{option: "10/s and 100/min"})
    assert trial.path in str(caught.value)


# -- who lives --------------------------------------------------------------------------------------------------------


def test_a_dead_members_place_is_free_for_the_next_one_once_its_servers_know(trial: Trial) -> None:
    trial.open(pid=4001)
    lost, _ = trial.open(pid=4002), trial.open(pid=4003)
    assert lost._table.members.place == 1
    trial.machine.dead.add(4002)
    assert trial.open(pid=4004)._table.members.place == 3, "it was found dead just now"
    trial.clock.advance(GOODBYE)
    assert trial.open(pid=4005)._table.members.place == 1


def test_a_member_of_another_boot_makes_room_at_once(trial: Trial) -> None:
    trial.open(pid=4001)
    trial.open(pid=4002)
    trial.machine = Fake()
    trial.machine.name = b"boot two"
    assert [trial.open(pid=pid)._table.members.place for pid in (4003, 4004)] == [0, 1]


def test_who_was_found_dead_at_a_time_that_has_not_come_is_from_another_clock(trial: Trial) -> None:
    trial.open(pid=4001)
    watcher = trial.open(pid=4002)
    trial.machine.dead.add(4001)
    with watcher._table.locked():
        members = watcher._table.members
        assert members.bury(trial.clock.now() + 50)
        assert members.bury(trial.clock.now())
        assert not members.bury(trial.clock.now())
    assert members.is_alone


def test_a_member_that_cannot_be_seen_shows_once_a_second_that_it_lives(trial: Trial) -> None:
    trial.machine.pid_space = lambda: 1  # type: ignore[method-assign]
    shy = trial.open(host_connections=1)
    assert trial.take(shy)
    there = Fake()
    there.pid_space = lambda: 2  # type: ignore[method-assign]
    watcher = FileBudget(trial.path, Budgets(host_connections=1), trial.clock, there)
    trial.members.append(watcher)
    known = watcher._table.members.tenures
    for _ in range(5):
        trial.clock.advance(SILENCE / 4)
        shy.tidy({HOST: 1})
        watcher.tidy({})
        assert not trial.take(watcher)
    assert watcher._table.members.tenures == known, "nobody was dropped, and has entered again"
    trial.clock.advance(SILENCE / 2)
    watcher.tidy({})
    assert not watcher._table.members.is_alone
    trial.clock.advance(SILENCE / 2)
    watcher.tidy({})
    assert watcher._table.members.is_alone


def test_who_was_dropped_enters_again_with_all_that_it_holds_before_it_takes_more(trial: Trial) -> None:
    first, second = (trial.open(pid=pid, host_connections=1) for pid in (4001, 4002))
    assert trial.take(first)
    trial.machine.dead.add(4001)
    for _ in range(3):
        assert second.try_take(HOST, 1, trial.clock.now(), since=None) is None  # who waits sees who is dead
        trial.clock.advance(GOODBYE / 2)
    assert second._table.members.is_alone
    trial.machine.dead.clear()
    assert trial.take(first, OTHER)
    assert not trial.take(second)


def test_who_was_dropped_and_leaves_takes_nobody_elses_entry_out(trial: Trial) -> None:
    first, watcher = trial.open(pid=4001), trial.open(pid=4002)
    trial.machine.dead.add(4001)
    for _ in range(2):
        with watcher._table.locked():
            watcher._table.bury(trial.clock.now())
        trial.clock.advance(GOODBYE)
    heir = trial.open(pid=4003, host_connections=1)
    assert heir._table.members.place == first._table.members.place
    assert trial.take(heir)
    first.leave()
    assert not trial.take(trial.open(pid=4004, host_connections=1))


def test_who_was_found_dead_leaves_though_it_does_not_agree_with_those_that_came_since(trial: Trial) -> None:
    first, watcher = trial.open(pid=4001, rate="1/s and 9/h and 99/d"), trial.open(pid=4002)
    trial.machine.dead.add(4001)
    with watcher._table.locked():
        watcher._table.bury(trial.clock.now())
    trial.open(pid=4003, rate="1/s and 9/min")
    file = first._table.file
    assert file is not None
    first.leave()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.descriptor)
    watcher.tidy({})
    assert len(watcher._table.members.tenures) == 2


def test_who_has_left_can_do_nothing_more(trial: Trial) -> None:
    budget = trial.open()
    assert trial.take(budget)
    budget.leave()
    budget.leave()
    budget.give_back(HOST, trial.clock.now())
    assert budget.tidy({}) == {}
    with pytest.raises(BudgetError):
        trial.take(budget)
    assert trial.open()._table.members.is_alone


def test_a_forked_child_has_nothing_of_its_parents(trial: Trial) -> None:
    budget = trial.open(host_connections=2)
    assert trial.take_all(budget) == 2
    file = budget._table.file
    assert file is not None
    budget.start_anew()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.descriptor)
    budget.give_back(HOST, trial.clock.now())
    assert not trial.take(budget), "the parent has both"
    budget.give_back(HOST, trial.clock.now())
    assert not trial.take(budget)
    assert trial.take(budget, OTHER)
