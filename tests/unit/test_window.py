"""When more of a source is handed out: in batches, and past a host that does not answer."""

from __future__ import annotations

from workerpool.clock import NEVER
from workerpool.intake import Item
from workerpool.model import Request
from workerpool.window import PATIENCE, Window


class Reading:
    """A window of 80 over these hosts' requests, of which 40 may be one host's: batches of 5."""

    def __init__(self, *hosts: str) -> None:
        self.now = 100.0
        self.window = Window(iter(hosts), 80, 40, self._as_item, lambda: self.now)

    @staticmethod
    def _as_item(number: int, host: str) -> Item:
        return number, Request(f"http://{host}/{number}"), host

    def hand_out(self) -> int:
        """Hand out all that may be; returns how many."""
        return sum(1 for _ in iter(self.window.next, None)) if self.window.is_open else 0

    def end(self, host: str, requests: int) -> None:
        for _ in range(requests):
            self.window.ended(host)
            self.window.told()


def test_a_full_window_is_filled_again_when_a_batch_has_ended() -> None:
    reading = Reading(*"ab" * 60)
    handed_out = reading.hand_out()
    reading.end("a", 4)
    assert reading.hand_out() == 0
    reading.end("a", 1)
    assert 0 < reading.hand_out() < handed_out


def test_the_last_of_a_batch_are_not_waited_for_where_no_more_are_under_way() -> None:
    reading = Reading(*"a" * 60)
    assert reading.hand_out() == 40
    reading.window.read_on()
    assert reading.window.is_open, "reading on is for more than a batch"
    assert reading.hand_out() == 0
    reading.end("a", 35)
    assert reading.hand_out() == 20


def test_an_outcome_takes_room_of_the_window_until_it_is_told() -> None:
    reading = Reading(*(f"host {number}" for number in range(100)))
    assert reading.hand_out() == 80
    assert reading.window.is_full
    for number in range(10):
        reading.window.ended(f"host {number}")
    assert (reading.window.unanswered, reading.window.outstanding) == (70, 80)
    assert reading.hand_out() == 0
    reading.window.told()
    assert not reading.window.is_full


def test_a_host_without_outcomes_is_stuck_after_a_while_unless_the_window_is_full() -> None:
    reading = Reading(*"a" * 60, *(f"host {number}" for number in range(100)))
    assert reading.window.stuck_at == NEVER
    assert reading.hand_out() == 40
    assert reading.window.stuck_at == 100.0 + PATIENCE
    assert not reading.window.is_stuck
    reading.now = 101.0
    assert reading.window.is_stuck
    reading.window.read_on()
    assert reading.window.stuck_at == 101.0 + PATIENCE
    assert reading.hand_out() == 40
    assert reading.window.stuck_at == NEVER
