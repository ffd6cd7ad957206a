"""Progress: what a line says, when lines come, and which display a terminal gets."""

from __future__ import annotations

import importlib.util
import io
import queue
import sys
from dataclasses import replace
from typing import Any

import pytest

from workerpool.batch.progress import Moment, Pace
from workerpool.cli.progress import LiveProgress, PlainProgress, clock, make_progress, plain_line


def moment(**changes: Any) -> Moment:
    fields: dict[str, Any] = {"done": 0, "ok": 0, "failed": 0, "sent": 0, "in_flight": 0, "parked": 0}
    return Moment(**{**fields, **changes})


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_says_how_far_how_well_how_fast_and_how_long() -> None:
    time = Clock()
    pace = Pace(time)
    time.now += 10
    now = moment(done=500, ok=480, failed=20, sent=550, in_flight=16, parked=3)
    assert plain_line(pace.look(replace(now, total=1_500))) == (
        "0:10  500 of 1,500  33%  0:20 left · 480 ok · 20 failed · 55.0/s · 16 in flight · 3 parked"
    )
    assert plain_line(pace.look(now)) == ("0:10  500 done · 480 ok · 20 failed · 55.0/s · 16 in flight · 3 parked")


def test_while_draining_no_time_left_is_promised() -> None:
    time = Clock()
    pace = Pace(time)
    time.now += 10
    now = moment(done=500, ok=480, cancelled=20, sent=550, is_draining=True, total=1_500)
    assert plain_line(pace.look(now)).endswith(
        "33% · 480 ok · 0 failed · 55.0/s · 0 in flight · 20 cancelled · draining"
    )


def test_the_rate_is_that_of_the_last_seconds() -> None:
    time = Clock()
    pace = Pace(time)
    for second in range(60):
        time.now += 1
        now = pace.look(moment(sent=1_000 if second > 30 else 0))
    assert now.rate == 0.0


def test_no_time_left_is_told_where_it_cannot_be() -> None:
    time = Clock()
    pace = Pace(time)
    time.now += 1
    assert pace.look(moment(done=50, total=100)).left is None
    time.now += 59
    assert pace.look(moment(done=50)).left is None
    assert pace.look(moment(done=100, total=100)).left is None
    assert pace.look(moment(done=150, total=100)).left is None
    assert Pace(time).look(moment(done=0, total=100)).left is None
    pace = Pace(time)
    time.now += 60
    assert pace.look(moment(done=50, total=100)).left == pytest.approx(60.0)


def test_plain_lines_come_by_themselves_until_stopped() -> None:
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    shown = PlainProgress(lambda: moment(done=3, total=10), lines.put, first=0.01, then=0.01)
    shown.start()
    assert "3 of 10" in lines.get(timeout=10)
    assert "3 of 10" in lines.get(timeout=10)
    shown.stop()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("term", "has_rich", "to_terminal", "kind"),
    [
        ("xterm", True, False, LiveProgress),
        ("dumb", True, False, PlainProgress),
        ("xterm", False, False, PlainProgress),
        ("xterm", True, True, PlainProgress),
    ],
)
def test_a_live_display_needs_a_capable_terminal_rich_and_no_results_on_it(
    monkeypatch: pytest.MonkeyPatch, term: str, has_rich: bool, to_terminal: bool, kind: type
) -> None:
    if has_rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys, "stderr", _Terminal())
    assert type(make_progress(moment, to_terminal=to_terminal)) is kind


def test_clocks_read_like_clocks() -> None:
    assert [clock(seconds) for seconds in (0, 7.4, 59.6, 750, 3_723)] == ["0:00", "0:07", "1:00", "12:30", "1:02:03"]
