"""What a budget's file keeps of an account, read by others: its record, its quotas, its rate and pause."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workerpool.clock import LONG_AGO
from workerpool.errors import BudgetError
from workerpool.limits.file.history import MOST_QUOTAS, PARTS, History, joined
from workerpool.limits.file.records import Record, space_of
from workerpool.limits.file.state import KEY_SIZE, REMEMBERED, State
from workerpool.limits.file.times import Times
from workerpool.limits.windows import Window
from workerpool.rate import Rate
from workerpool.testing import ManualClock

HOUR, DAY = Rate(4, 3600), Rate(9, 86400)
KEY = b"k" * KEY_SIZE
AT, SIZE = 64, 1600
NOW = 5000.0


@pytest.fixture
def file() -> Iterator[mmap.mmap]:
    with mmap.mmap(-1, 2 * 4096) as made:
        yield made


def times(now: float = NOW, date: float = 9e8, boot: bytes = b"boot one") -> Times:
    return Times(ManualClock(now, epoch=date - now), boot)


def a_history(*quotas: Rate, at: Times | None = None) -> History:
    made = History(at or times())
    made.move(Record(AT, SIZE))
    made.agree(quotas)
    return made


def a_state(at: Times | None = None, interval: float = 0.5, burst: int = 3) -> State:
    made = State(KEY, at or times())
    made.move(Record(AT, SIZE))
    made.agree(interval, burst)
    return made


# -- a record ---------------------------------------------------------------------------------------------------------


def test_a_record_says_whether_it_was_never_written_or_holds_something_or_is_damaged(file: mmap.mmap) -> None:
    writer, reader = Record(AT, SIZE), Record(AT, SIZE)
    assert not reader.look(file)
    assert (reader.state, reader.payload) == ("blank", b"")
    for payload in (b"one", b"two", b"three"):
        writer.write(file, payload)
        assert reader.look(file)
        assert (reader.state, reader.payload) == (writer.state, writer.payload) == ("whole", payload)
        assert not reader.look(file), "nothing was written since"
    file[AT : AT + space_of(SIZE)] = b"x" * space_of(SIZE)
    assert reader.look(file)
    assert (reader.state, reader.payload) == ("broken", b"")
    file[AT : AT + space_of(SIZE)] = bytes(space_of(SIZE))
    assert reader.look(file)
    assert (reader.state, reader.payload) == ("blank", b"")


def test_each_write_leaves_the_one_before_as_it_was(file: mmap.mmap) -> None:
    """So that a reader that looks in the middle of one finds the other."""
    record = Record(AT, SIZE)
    for number in range(6):
        record.write(file, b"%d" % number * 100)
        assert (file[:].count(b"%d" % number * 100), number == 0 or file[:].count(b"%d" % (number - 1) * 100)) == (1, 1)


@pytest.mark.parametrize("at", range(28))
def test_a_head_that_is_damaged_anywhere_leaves_what_the_other_one_says(file: mmap.mmap, at: int) -> None:
    record = Record(AT, SIZE)
    record.write(file, b"one")
    record.write(file, b"two!")
    file[AT + at] ^= 1
    reader = Record(AT, SIZE)
    assert reader.look(file)
    assert (reader.state, reader.payload) == ("whole", b"two!" if at >= 14 else b"one")


# -- quotas -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 119.0, 121.0, 2000.0]), st.integers(1, 3)), max_size=40))
@settings(max_examples=40)
def test_whoever_counts_a_quota_finds_it_as_it_would_be_in_memory(wishes: list[tuple[float, int]]) -> None:
    now, plain = NOW, [Window(HOUR, PARTS), Window(DAY, PARTS)]
    members = [a_history(HOUR, DAY), a_history(HOUR, DAY)]
    with mmap.mmap(-1, 2 * 4096) as file:
        for turn, (gap, weight) in enumerate(wishes):
            member = members[turn % 2]
            assert member.look(file)
            now = max(now + gap, member.next_at(weight))
            assert [member.next_at(each) for each in (1, 2, 9)] == pytest.approx(
                [max(window.next_at(each) for window in plain) for each in (1, 2, 9)]
            )
            assert member.rests_at == pytest.approx(max(window.rests_at for window in plain))
            member.take(file, weight, now)
            for window in plain:
                window.take(now, weight)


@pytest.mark.parametrize("ago", [[1.0], [200.0, 130.0, 100.0, 1.0]])
@pytest.mark.parametrize("passed", [60.0, 130.0, 3500.0])
def test_a_reboot_leaves_of_a_quota_what_was_left_less_what_has_passed(
    file: mmap.mmap, ago: list[float], passed: float
) -> None:
    member, plain, now = a_history(HOUR), Window(HOUR, PARTS), 30.0
    for each in ago:
        member.take(file, 1, NOW - each)
        plain.take(now - passed - each, 1)
    booted = a_history(HOUR, at=times(now, 9e8 + passed, b"boot two"))
    assert booted.look(file)
    for _ in range(2):
        assert [booted.next_at(weight) for weight in range(1, 5)] == pytest.approx(
            [plain.next_at(weight) for weight in range(1, 5)]
        )
        booted.take(file, 1, now)
        plain.take(now, 1)


def test_a_quota_of_other_members_is_kept_for_them_as_long_as_there_is_room(file: mmap.mmap) -> None:
    minute = Rate(5, 60)
    first, second = a_history(HOUR), a_history(DAY)
    first.take(file, 4, NOW)
    second.look(file)
    second.take(file, 9, NOW)
    first.look(file)
    assert first.next_at(1) == pytest.approx(NOW + 3600, abs=1)
    third = a_history(minute)
    third.look(file)
    third.take(file, 5, NOW)
    assert third.next_at(1) == pytest.approx(NOW + 60, abs=1)
    assert MOST_QUOTAS == 2, "there is room for one besides"
    last = a_history(HOUR), a_history(DAY)
    assert [each.look(file) for each in last] == [True, True]
    assert [each.next_at(1) for each in last] == pytest.approx([LONG_AGO, NOW + 86400], abs=1)


def test_of_a_new_quota_nothing_is_known_and_of_one_that_comes_back_everything(file: mmap.mmap) -> None:
    member = a_history(HOUR)
    member.take(file, 4, NOW)
    member.look(file)
    member.agree((DAY,))
    assert member.next_at(1) == LONG_AGO
    member.agree((HOUR,))
    assert member.next_at(1) > NOW
    member.agree((HOUR,))
    assert member.next_at(1) > NOW


def test_a_damaged_history_takes_every_quota_for_used_up(file: mmap.mmap) -> None:
    member, reader = a_history(HOUR, DAY), a_history(HOUR)
    member.begin(file, NOW, used_up_at=NOW)
    assert reader.look(file)
    assert [each.next_at(1) for each in (member, reader)] == pytest.approx([NOW + 86400, NOW + 3600], abs=1)
    member.begin(file, NOW, used_up_at=NOW - 3700)
    assert reader.look(file)
    assert [each.next_at(1) for each in (member, reader)] == pytest.approx([NOW + 82700, LONG_AGO], abs=1)
    member.begin(file, NOW, used_up_at=LONG_AGO)
    assert reader.look(file)
    assert [each.next_at(1) for each in (member, reader)] == [LONG_AGO, LONG_AGO]


def test_without_quotas_nothing_is_written_where_nothing_was(file: mmap.mmap) -> None:
    member, counting = a_history(), a_history(HOUR)
    member.begin(file, NOW, used_up_at=NOW)
    assert not any(file[:])
    assert (bool(member), bool(counting), member.rests_at) == (False, True, LONG_AGO)
    counting.take(file, 4, NOW)
    assert member.look(file)
    member.begin(file, NOW, used_up_at=NOW)
    assert counting.look(file)
    assert counting.next_at(1) == LONG_AGO


def test_of_several_quotas_for_a_window_the_strictest_holds() -> None:
    assert joined([(HOUR, DAY), (), (Rate(3, 3600),), (Rate(5, 3600),)], "x") == (Rate(3, 3600), DAY)
    assert joined([(DAY,), (HOUR,)], "x") == (HOUR, DAY)
    with pytest.raises(BudgetError, match="in 3 different windows"):
        joined([(HOUR, DAY), (Rate(1, 60),)], "x")


# -- rate and pause ---------------------------------------------------------------------------------------------------


def test_another_member_reads_the_rate_and_the_pause_as_they_were_written(file: mmap.mmap) -> None:
    writer, reader = a_state(), a_state()
    writer.begin(file, NOW)
    assert writer.next_at(1) == LONG_AGO
    for _ in range(4):
        writer.take(NOW, 1, None)
    writer.counts_until = NOW + 9
    writer.write(file, NOW)
    assert reader.look(file)
    assert reader.next_at(1) == writer.next_at(1) == NOW + 1.0
    assert reader.rests_at == NOW + 9
    writer.counts_until = LONG_AGO
    assert writer.rests_at == NOW + 2.0, "when the burst is there again"
    writer.not_before = NOW + 7
    assert writer.rests_at == NOW + 7
    writer.pause(NOW + 20)
    writer.pause(NOW + 10)
    writer.write(file, NOW)
    assert reader.look(file)
    assert (reader.next_at(1), reader.places, reader.ended) == (NOW + 20, 1, 0)
    assert reader.rests_at == NOW + 20 + REMEMBERED


def test_without_a_rate_only_the_pause_counts(file: mmap.mmap) -> None:
    state = a_state()
    for _ in range(4):
        state.take(NOW, 1, None)
    state.agree(0.0, 1)
    assert state.next_at(1) == LONG_AGO
    state.pause(NOW + 5)
    assert state.next_at(1) == NOW + 5


def test_an_account_that_moves_to_a_new_place_knows_nothing_of_the_old_one(file: mmap.mmap) -> None:
    state = a_state()
    state.begin(file, NOW)
    state.pause(NOW + 5)
    state.write(file, NOW)
    assert not state.is_broken
    state.move(Record(AT, SIZE))
    assert (state.not_before, state.places) == (LONG_AGO, 0)
    file[AT : AT + 28] = b"x" * 28
    assert not state.look(file)
    assert state.is_broken


def test_a_state_of_another_account_is_not_its_own(file: mmap.mmap) -> None:
    a_state().begin(file, NOW)
    other = State(b"o" * KEY_SIZE, times())
    other.move(Record(AT, SIZE))
    assert not other.look(file)


def test_a_host_that_starts_anew_has_one_place_more_after_each_round_until_it_has_all() -> None:
    state, places = a_state(), list[int]()
    state.pause(NOW)
    while state.places:
        places.append(state.places)
        state.grow(4)
    assert places == [1, 2, 2, 3, 3, 3]


def test_a_state_of_which_nothing_is_known_is_as_if_just_used_up(file: mmap.mmap) -> None:
    state = a_state()
    state.pause(NOW + 50)
    state.begin(file, NOW, used_up_at=NOW, not_before=NOW + 1)
    assert (state.not_before, state.places) == (NOW + 1, 0)
    assert state.next_at(1) == NOW + 1
    assert [state.take(NOW + 1, 1, None) for _ in range(3)] == [NOW + 1, NOW + 1, NOW + 1.5]


def test_a_reboot_leaves_of_a_pause_what_was_left_less_what_has_passed(file: mmap.mmap) -> None:
    state = a_state()
    state.begin(file, NOW)
    for _ in range(3):
        state.take(NOW, 1, None)
    state.pause(NOW + 100)
    state.counts_until = NOW + 200
    state.write(file, NOW)
    booted = a_state(times(30.0, 9e8 + 60, b"boot two"))
    assert booted.look(file)
    assert booted.next_at(1) == 30.0 + 40
    assert (booted.counts_until, booted.places) == (30.0 + 140, 1)
    assert booted._bucket.empty_at == 30.0 + 1.5 - 60
