"""How much of a stream's window a host may hold, and what is read past it."""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool import intake as module
from workerpool.clock import NEVER
from workerpool.intake import Intake, Item
from workerpool.model import Request

WINDOW = 1000


def make(
    hosts: Iterable[str],
    *,
    window: int = WINDOW,
    share: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Intake:
    def as_item(number: int, host: str) -> Item:
        return number, Request(f"http://{host}/{number}"), host

    return Intake(iter(hosts), window // 4 if share is None else share, window, as_item, clock)


def admitted(intake: Intake) -> Iterator[str]:
    while (item := intake.next()) is not None:
        yield item[2]


def test_one_host_alone_holds_its_share_and_no_more() -> None:
    assert Counter(admitted(make(["a"] * WINDOW))) == {"a": WINDOW // 4}


@pytest.mark.parametrize("dead", [4, 15, 20])
def test_hosts_that_come_one_after_the_other_and_do_not_answer_leave_room_for_others(dead: int) -> None:
    intake = make([f"dead {number}" for number in range(dead) for _ in range(WINDOW)] + ["well"] * 10)
    intake.read_on(dead * WINDOW)
    held = Counter(admitted(intake))
    assert held.total() < WINDOW
    assert held["well"] > 0
    assert all(held[f"dead {number}"] > 0 for number in range(dead))


@pytest.mark.parametrize("dead", [4, 15, 100])
def test_hosts_that_come_in_turn_and_do_not_answer_leave_room_for_others(dead: int) -> None:
    intake = make([*[f"dead {number % dead}" for number in range(10 * WINDOW)], *["well"] * 10])
    intake.read_on(10 * WINDOW)
    held = Counter(admitted(intake))
    assert held.total() < WINDOW
    assert held["well"] > 0


def test_hosts_in_turn_hold_equal_parts_and_nearly_all_of_the_window() -> None:
    intake = make([f"host {number % 50}" for number in range(50 * WINDOW)])
    held = Counter(admitted(intake))
    assert max(held.values()) - min(held.values()) <= 1
    assert 900 < held.total() < WINDOW


@pytest.mark.parametrize(("window", "share"), [(1, 1), (2, 2), (10, 10), (20, 12), (50, 12)])
def test_a_host_in_a_small_window_holds_as_much_of_it_as_it_was_given(window: int, share: int) -> None:
    assert len([*admitted(make(["a"] * 100, window=window, share=share))]) == share


@given(
    source=st.lists(st.integers(0, 5), max_size=60),
    window=st.integers(1, 12),
    ends=st.lists(st.integers(0, 100), max_size=200),
    ahead=st.integers(0, 30),
)
def test_whatever_ends_in_whatever_order_everything_read_is_admitted_once_and_in_order_of_its_host(
    source: list[int], window: int, ends: list[int], ahead: int
) -> None:
    names = [f"host {number}" for number in source]
    intake = make(names, window=window, share=max(1, window // 4))
    order = iter(ends)
    seen: dict[str, list[int]] = {}
    held: list[Item] = []
    while True:
        intake.read_on(ahead)
        while len(held) < window and (item := intake.next()) is not None:
            held.append(item)
            seen.setdefault(item[2], []).append(item[0])
        if not held:
            break
        _, _, host = held.pop(next(order, 0) % len(held))
        intake.ended(host)
    assert intake.is_done
    for host, numbers in seen.items():
        assert numbers == [number for number, name in enumerate(names) if name == host]
    assert sum(map(len, seen.values())) == len(names)


def test_a_host_that_holds_more_than_others_now_leave_it_gets_none_of_its_backlog() -> None:
    intake = make(["a"] * 400 + [f"host {number % 30}" for number in range(10 * WINDOW)])
    intake.read_on(10 * WINDOW)
    held = Counter(admitted(intake))
    assert held["a"] == 250
    for _ in range(10):
        intake.ended("a")
    assert "a" not in [*admitted(intake)]


def test_a_host_of_which_nothing_is_in_the_window_has_room_for_one() -> None:
    """Else the request whose turn it is in an ordered stream might never be admitted."""
    intake = make(["a", "b", "b", "c"], window=2, share=1)
    intake.read_on(4)
    assert [*admitted(intake)] == ["a", "b", "c"]


def test_a_request_is_stuck_since_something_of_its_host_has_last_ended() -> None:
    now = 100.0
    intake = make(["a"] * 300 + ["b"] * 10, clock=lambda: now)
    assert intake.stuck_since == NEVER
    assert [*admitted(intake)] == ["a"] * 250
    now = 101.0
    assert intake.stuck_since == 100.0
    intake.ended("a")
    assert intake.stuck_since == 101.0
    now = 102.0
    assert [*admitted(intake)] == ["a"]
    assert intake.stuck_since == 102.0


class Unpicklable:
    """Raises what nobody expects of it."""

    def __reduce__(self) -> str:
        raise LookupError("not to be taken apart")


class FullDisk:
    """A file that takes only the first bytes."""

    def __init__(self, *, raises: bool) -> None:
        self.raises = raises

    def seek(self, offset: int) -> None:
        pass

    def write(self, data: bytes) -> int:
        if self.raises:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(data) // 2

    def close(self) -> None:
        pass


def passed_over(request: Request) -> list[Item | None]:
    """What comes of a source whose second request has no room, and is to be written down."""
    source = iter([Request("http://a/1"), request, Request("http://b/3")])
    intake = Intake(source, 1, 1, lambda number, each: (number, each, each.url[7:8]), time.monotonic)
    intake._in_memory = 0
    try:
        first = intake.next()
        intake.read_on(100)
        passed = [intake.next(), intake.next()]
        intake.ended("a")
        return [first, *passed, intake.next()]
    finally:
        intake.close()


def test_what_cannot_be_written_down_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    odd, plain = Request("http://a/2", data=Unpicklable()), Request("http://a/2")
    got = [passed_over(odd)]
    for raises in (True, False):
        monkeypatch.setattr(module.tempfile, "TemporaryFile", lambda raises=raises, **_: FullDisk(raises=raises))
        got.append(passed_over(plain))
    for first, *passed, last in got:
        assert passed == [None, None]
        assert [item[1].url for item in (first, last) if item is not None] == ["http://a/1", "http://a/2"]


def test_a_backlog_on_the_disk_takes_no_more_room_the_longer_the_stream_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One host waits all the time, and of the other as many come as go."""
    monkeypatch.setattr(module, "PART", 4096)
    intake = make((("slow", "quick")[number % 2] for number in range(8_000)), window=4, share=1)
    intake._in_memory, intake._at_most = 10, 200
    seen: dict[str, list[int]] = {"slow": [], "quick": []}
    files = longest = 0
    while len(seen["quick"]) < 2_000:
        intake.read_on(20)
        item = intake.next()
        if item is None:
            intake.ended("slow")
            continue
        seen[item[2]].append(item[0])
        if item[2] == "quick":
            intake.ended("quick")
        files = max(files, len(intake._spill._parts))
        longest = max(longest, *(len(backlog.places) for backlog in intake._backlog.values()), 0)
    assert seen["slow"] == [*range(0, 2 * len(seen["slow"]), 2)]
    assert seen["quick"] == [*range(1, 2 * len(seen["quick"]), 2)]
    assert 1 < files <= 20
    assert longest <= 400
    intake.close()
