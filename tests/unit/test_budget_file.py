"""The file of a budget: torn, broken, full, removed, somebody else's; and where it is."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_NB, flock
from itertools import pairwise
from pathlib import Path

import pytest

from tests.budgets import HOST, OTHER, Trial
from workerpool.config import Budgets
from workerpool.errors import BudgetError, OptionError
from workerpool.limits.file import FileBudget, budget_path
from workerpool.limits.file import claims as claims_module
from workerpool.limits.file import history as history_module
from workerpool.limits.file import mapped as mapped_module
from workerpool.limits.file import members as members_module
from workerpool.limits.file import place as place_module
from workerpool.limits.file import state as state_module
from workerpool.limits.file import table as table_module
from workerpool.limits.file.machine import Machine
from workerpool.limits.file.mapped import BudgetFile
from workerpool.limits.file.members import Members, Terms
from workerpool.limits.file.records import Record, space_of


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


def test_a_file_grows_by_a_segment_twice_as_large_until_there_is_no_more(trial: Trial, three_slots: None) -> None:
    budget = trial.open(host_rate="1/s", max_connections=99)
    sizes, taken = [], 0
    for number in range(10):
        taken += trial.take(budget, f"http://{number}.test")
        sizes.append(os.path.getsize(trial.path) - mapped_module._SEGMENTS_AT)
    assert [*dict.fromkeys(sizes)] == [mapped_module._SLOT_SIZE, 3 * mapped_module._SLOT_SIZE]
    assert taken == 3 + 1, "a slot for each, and one that the others share"


def test_a_host_may_be_in_any_of_as_many_slots_as_are_tried(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_SEGMENT", "PROBES"):
        monkeypatch.setattr(mapped_module, name, 16)
    budget = trial.open()
    file = budget._table.file
    assert file is not None
    file.segments = 2
    ends = [mapped_module._end_of(segments) for segments in range(3)]
    seen = set()
    for number in range(32):
        places = [slot.state.offset for slot in file.slots_of(number.to_bytes(8, "little") * 2)]
        assert len(set(places[:16])) == len(set(places[16:])) == 16
        assert all(ends[0] <= place < ends[1] for place in places[:16])
        assert all(ends[1] <= place < ends[2] for place in places[16:])
        seen.update(places)
    assert len(seen) == 16 + 32


def test_thousands_of_hosts_find_room_and_are_forgotten_when_they_rest(trial: Trial) -> None:
    budget = trial.open(host_rate="1/s", max_connections=10_000)
    small = os.path.getsize(trial.path)
    hosts = [f"http://h{number}.test:80" for number in range(1200)]
    assert all(trial.take(budget, host) for host in hosts)
    assert not any(trial.take(budget, host) for host in hosts)
    grown = os.path.getsize(trial.path)
    assert small < grown < 20e6
    for host in hosts:
        budget.give_back(host, trial.clock.now())
    budget.tidy({})
    trial.clock.advance(2)
    for number in range(1200):
        assert trial.take(budget, f"http://other{number}.test:80")
    assert os.path.getsize(trial.path) <= 2 * grown


def test_a_member_finds_its_hosts_in_a_file_that_another_one_made_grow(trial: Trial, three_slots: None) -> None:
    first, second = (trial.open(host_rate="1/s", max_connections=99, host_connections=9) for _ in range(2))
    assert trial.take(second)
    for number in range(6):
        trial.take(first, f"http://{number}.test")
    for number in range(6):
        assert not trial.take(second, f"http://{number}.test")
    assert trial.waits(second) == pytest.approx(1)


def pause_in_second_segment(trial: Trial, budget: FileBudget) -> None:
    """Pause `OTHER`, while the only slot of the first segment is that of `HOST`, which rests a second later."""
    assert trial.take(budget, HOST)
    trial.end(budget, host=HOST)
    budget.tidy({})
    budget.pause(OTHER, trial.clock.now() + 600, trial.clock.now())


def test_who_leaves_keeps_what_another_one_has_made_the_file_grow_by(trial: Trial, three_slots: None) -> None:
    first, second = (trial.open(host_rate="1/s") for _ in range(2))
    pause_in_second_segment(trial, second)
    first.leave()
    trial.clock.advance(1)
    assert not trial.take(trial.open(host_rate="1/s"), OTHER)
    assert not trial.take(second, OTHER)


def test_who_joins_while_another_one_makes_the_file_grow_keeps_what_it_grew_by(
    trial: Trial, three_slots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trial.open(host_rate="1/s")

    def made(file: BudgetFile, machine: Machine, terms: Terms) -> Members:
        """Made when the file is open, and before it is locked again."""
        pause_in_second_segment(trial, first)
        return Members(file, machine, terms)

    with monkeypatch.context() as patched:
        patched.setattr(table_module, "Members", made)
        late = trial.open(host_rate="1/s")
    trial.clock.advance(1)
    for member in (trial.open(host_rate="1/s"), late, first):
        assert not trial.take(member, OTHER)


@pytest.mark.parametrize("who", ["who has seen it grow", "who has not", "who comes", "who leaves"])
def test_a_header_that_is_mended_knows_of_all_that_the_file_has(trial: Trial, three_slots: None, who: str) -> None:
    """Or an account would be made anew that there is."""
    first, second, third = (trial.open(host_connections=1) for _ in range(3))
    assert trial.take(third, "http://first.test")
    assert trial.take(first, HOST)
    trial.end(third, host="http://first.test")
    third.tidy({})
    header = Record(mapped_module._HEADER_AT, 12)
    with open(trial.path, "r+b") as file:
        file.seek(header.offset)
        file.write(b"\xa5" * (header.end - header.offset))
    if who == "who has seen it grow":
        assert trial.take(first, "http://first.test")
        trial.end(first, host="http://first.test")
        first.tidy({HOST: 1})
    elif who == "who leaves":
        second.leave()
    member = second if who == "who has not" else trial.open(host_connections=1)
    assert not trial.take(member, HOST)
    assert member._table.file is not None
    assert header.look(member._table.file.map)
    assert header.state == "whole"


def test_hosts_without_room_share_an_account(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_module, "_MOST_SEGMENTS", 1)
    budget = trial.open(host_rate="1/s", max_connections=10_000)
    taken = sum(trial.take(budget, f"http://h{number}.test") for number in range(400))
    assert 64 < taken <= 129
    trial.clock.advance(1)
    assert trial.take(budget, "http://h399.test") != trial.take(budget, "http://h398.test")


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
    before = descriptors()
    budget = trial.open()
    assert budget._table.file is not None
    assert budget._table.file.is_in_place()
    assert descriptors() - before == 2, "itself, and what maps it"


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


@pytest.mark.parametrize("start", [0, 1, 19, 5000])
@pytest.mark.parametrize("blank", [0, 1, 8000])
def test_a_file_that_a_killed_process_was_making_is_made(trial: Trial, start: int, blank: int) -> None:
    whole = trial.open(rate="1/s")
    whole.leave()
    size = os.path.getsize(trial.path)
    Path(trial.path).write_bytes(Path(trial.path).read_bytes()[:start] + bytes(blank))
    os.chmod(trial.path, 0o600)
    budget = trial.open(rate="1/s")
    assert trial.take(budget)
    assert Path(trial.path).read_bytes().startswith(b"workerpool budget 1\n\0")
    assert os.path.getsize(trial.path) == size
    budget.leave()
    assert not trial.take(trial.open(rate="1/s")), "it is not made anew"


@pytest.mark.parametrize("kind", ["pipe", "another user's", "0644", "0610"])
def test_a_file_that_others_may_use_is_refused(trial: Trial, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(trial.path, 0o600)
    else:
        Path(trial.path).write_bytes(b"")
        os.chmod(trial.path, int(kind, 8) if kind.isdigit() else 0o600)
    user = os.getuid() + (kind == "another user's")
    with monkeypatch.context() as patched:
        patched.setattr(os, "getuid", lambda: user)
        assert "not safe" in refused(trial)


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def refused(trial: Trial, **terms: object) -> str:
    try:
        trial.open(**terms)
    except BudgetError as error:
        return str(error)
    raise AssertionError("it is not refused")


@pytest.mark.parametrize("why", ["strange", "unsafe", "no space left", "3 different windows"])
def test_a_file_that_cannot_be_used_is_not_left_open(trial: Trial, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    if why == "strange":
        Path(trial.path).write_bytes(b"something else")
        os.chmod(trial.path, 0o600)
    elif why == "unsafe":
        Path(trial.path).write_bytes(b"")
        os.chmod(trial.path, 0o644)
    elif why == "no space left":
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    elif why == "3 different windows":
        trial.open(rate="10/s and 1000/h and 5000/d")
    before = descriptors()
    assert refused(trial, rate="10/s and 100/min")
    assert descriptors() == before


@pytest.mark.parametrize("leaves", [FileBudget.leave, FileBudget.start_anew])
def test_a_file_that_was_left_is_not_left_open(trial: Trial, leaves: Callable[[FileBudget], None]) -> None:
    budget = trial.open()
    file = budget._table.file
    assert file is not None
    leaves(budget)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file.descriptor)


def test_a_file_is_locked_by_one_at_a_time(trial: Trial) -> None:
    trial.open()
    file, other = (mapped_module.BudgetFile(trial.path) for _ in range(2))
    file.lock()
    with pytest.raises(BlockingIOError):
        flock(other.descriptor, LOCK_EX | LOCK_NB)
    file.unlock()
    flock(other.descriptor, LOCK_EX | LOCK_NB)
    for each in (file, other):
        each.close()


def test_a_link_is_refused(trial: Trial, tmp_path: Path) -> None:
    os.symlink(tmp_path / "elsewhere", trial.path)
    with pytest.raises(BudgetError, match=r"trial\.budget cannot be used"):
        trial.open()
    assert not (tmp_path / "elsewhere").exists()


def test_no_part_of_the_file_lies_in_another_one(trial: Trial) -> None:
    budget = trial.open()
    file = budget._table.file
    assert file is not None
    slots = [file.pool_slot(), file.spare_slot(), *file.slots_of(bytes(16))[: mapped_module.PROBES]]
    members = [file.member(index) for index in range(mapped_module.MEMBERS)]
    records = [
        file._header,
        *members,
        *(record for slot in slots for record in (slot.state, slot.claims, slot.history)),
    ]
    spans = sorted((record.offset, record.end) for record in records)
    assert spans[0][0] >= mapped_module._TOUCHED_END
    assert spans[-1][1] <= len(file.map)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


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


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert budget_path(tmp_path / "some.budget", {}) == str(tmp_path / "some.budget")


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "workerpool").mkdir()
    (tmp_path / "workerpool").chmod(mode)
    with pytest.raises(BudgetError, match="not safe"):
        budget_path("a", {"XDG_RUNTIME_DIR": str(tmp_path)})


def test_a_directory_that_others_may_only_pass_through_is_used(tmp_path: Path) -> None:
    (tmp_path / "workerpool").mkdir()
    (tmp_path / "workerpool").chmod(0o711)
    path = budget_path("a", {"XDG_RUNTIME_DIR": str(tmp_path)})
    assert path == str(tmp_path / "workerpool" / "a.budget")


def test_an_environment_that_names_no_run_directory_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_module, "_is_own", lambda run, user: False)
    path = budget_path("a", {"TMPDIR": str(tmp_path)})
    assert path == str(tmp_path / f"workerpool-{os.getuid()}" / "a.budget")


@pytest.mark.parametrize("kind", ["another user's", "file"])
def test_a_run_directory_that_cannot_be_ones_own_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    run = tmp_path / "run"
    if kind == "file":
        run.write_bytes(b"")
    else:
        run.mkdir()
    stat_of, found = os.stat, os.stat(run)
    owner = found.st_uid + (kind != "file")
    owned = os.stat_result([*found[:4], owner, *found[5:]])
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", lambda path: owned if path == str(run) else stat_of(path))
        path = budget_path("a", {"XDG_RUNTIME_DIR": str(run), "TMPDIR": str(tmp_path)})
    assert not path.startswith(str(run))


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
