"""What is shown of a run while it goes on: lines, pictures of a terminal's size, and who gets which."""

from __future__ import annotations

import importlib.util
import io
import json
import queue
import sys
import types
from dataclasses import replace
from typing import Any

import pytest

from workerpool import Live, Moment
from workerpool.batch.progress import HISTORY, Failed, Pace
from workerpool.saving import Download
from workerpool.statistics import Hosts, HostState, HostWait, PoolStatistics, Waits
from workerpool.view.lines import BLOCKS, clock, plain_line, sparkline
from workerpool.view.live import LiveProgress, PlainProgress, make_progress

POOL = {"sent", "in_flight", "parked", "downloads", "budget_away", "bytes_saved"}


def moment(**changes: Any) -> Moment:
    """A moment with these fields, of itself or of its pool's statistics."""
    pool = PoolStatistics(**{name: value for name, value in changes.items() if name in POOL})
    return Moment(**{"pool": pool, **{name: value for name, value in changes.items() if name not in POOL}})


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


def drawn(moment: Moment, width: int = 80, height: int = 24, **more: Any) -> list[str]:
    """The lines of its picture on a terminal of that size."""
    console_of = pytest.importorskip("rich.console").Console
    from workerpool.view.picture import Picture

    console = console_of(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(Picture(moment, **{"title": "crawl.job: run 1", **more}))
    text: str = console.file.getvalue()
    return text.splitlines()


def of_downloads(*downloads: Download) -> list[str]:
    return [line for line in drawn(moment(downloads=downloads), 100, 40) if " MB" in line or "more" in line]


def download(label: str = "https://a.test/files/big.bin?token=1", **changes: Any) -> Download:
    fields: dict[str, Any] = {"received": 30_000_000, "there": 10_000_000, "total": 100_000_000, "began": 0.0}
    return Download(label, **{**fields, **changes})


@pytest.fixture
def ten_o_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let downloads be ten seconds old."""
    monkeypatch.setattr("workerpool.view.picture.time", types.SimpleNamespace(monotonic=lambda: 10.0))


@pytest.mark.usefixtures("ten_o_clock")
def test_a_download_has_a_bar_with_its_name_how_far_it_is_and_how_fast() -> None:
    (line,) = of_downloads(download())
    assert line.startswith("big.bin ")
    assert line.rstrip().endswith("30.0 MB of 100.0 MB  2.0 MB/s")


@pytest.mark.usefixtures("ten_o_clock")
def test_a_download_of_unknown_length_says_what_is_there() -> None:
    (line,) = of_downloads(download(total=None))
    assert "30.0 MB  2.0 MB/s" in line


@pytest.mark.usefixtures("ten_o_clock")
def test_only_so_many_downloads_have_a_bar_and_none_that_has_just_begun() -> None:
    from workerpool.view.picture import MOST_BARS

    lines = of_downloads(*(download(f"https://a.test/{number}") for number in range(20)))
    assert len(lines) == MOST_BARS + 1
    assert "and 12 downloads more" in lines[-1]
    assert of_downloads(download(began=9.5)) == []


def test_a_line_says_for_how_long_the_server_of_a_budget_was_away() -> None:
    assert "12.0 s without the budget's server" in plain_line(moment(done=5, budget_away=12.0))
    assert "budget" not in plain_line(moment(done=5))


def test_a_line_says_the_bytes_of_bodies_in_files() -> None:
    time = Clock()
    pace = Pace(time)
    time.now += 10
    now = moment(done=5, ok=5, sent=5, bytes_saved=50_000_000)
    assert "50.0 MB, 5.0 MB/s" in plain_line(pace.look(now))


# -- pictures ---------------------------------------------------------------------------------------------------------

BUSY = Moment(
    done=2_134, ok=1_930, failed=204, total=20_000, allowed=200.0, rate=198.4, elapsed=11.0, left=90.0,
    history=(50.0, 100.0, 200.0),
    failures=(
        Failed(0.0, "http://c.test/3", "404 Not Found"), Failed(0.0, "http://c.test/\x1b[31m2", "timeout"),
        *(Failed(0.0, f"http://d.test/{number}", "503 Service Unavailable") for number in range(3)),
    ),
    pool=PoolStatistics(
        workers=16, in_flight=9, queued=400, parked=3, sent=2_200, retries=39, sockets_open=24, sockets_idle=15,
        sockets_opened=24, sockets_reused=2_376, waits=Waits(rate=9.5, hosts=(HostWait("pause", "http://a", 2.0),)),
        downloads=(download(),),
        by_state=Hosts(
            running=9, limited=1, paused=1, broken=1,
            some=(
                HostState("http://a.test", "broken", 185, 0, 22.5),
                HostState("https://b.test:8443", "paused", 7, 1, 3.0),
                HostState("http://c.test", "limited", 70, 0, 1.5),
                HostState("http://d.test", "running", 70, 6),
            ),
        ),
    ),
)  # fmt: skip


def test_a_picture_says_how_far_how_fast_and_what_is_held_up() -> None:
    lines = [" ".join(line.split()) for line in drawn(BUSY)]
    assert lines[0] == "crawl.job: run 1 0:11 · 1:30 left"
    assert lines[1].endswith("2,134 of 20,000 11%")
    assert lines[2:7] == [
        "requests 1,930 ok · 204 failed · 39 retries",
        "rate 198.4/s of 200.0/s ▂▄█",
        "work 9 in flight, 16 workers · 400 queued · 3 parked",
        "sockets 24 open, 15 idle · 24 opened, 99.0% reused",
        "hosts 9 running · 1 limited · 1 paused · 1 broken",
    ]
    assert lines[7:10] == [
        "a.test broken, 22.5 s 185 queued",
        "b.test:8443 paused, 3.0 s 7 queued",
        "c.test limited, 1.5 s 70 queued",
    ]
    assert lines[10].startswith("failed ")
    assert lines[10].endswith(" 404 Not Found http://c.test/3")


def test_what_a_server_wrote_does_nothing_to_the_terminal() -> None:
    assert "http://c.test/?[31m2" in "\n".join(drawn(BUSY))


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("height", [1, 3, 8, 14, 24, 60])
def test_a_picture_is_never_wider_or_higher_than_the_terminal(width: int, height: int) -> None:
    lines = drawn(BUSY, width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) <= max(2, height - 1)
    assert lines[0].startswith("crawl.job")


def test_a_picture_among_other_lines_takes_only_some() -> None:
    assert len(drawn(BUSY, 80, 60, most=8)) == 7


def test_colors_are_left_out_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    console_of = pytest.importorskip("rich.console").Console
    from workerpool.view.picture import Picture

    def written() -> str:
        console = console_of(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
        console.print(Picture(BUSY))
        return str(console.file.getvalue())

    assert "\x1b[31m" in written()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in written()


def test_a_sparkline_is_full_at_the_budget_and_ends_with_the_latest() -> None:
    assert sparkline((0.0, 25.0, 100.0, 200.0), 200.0, 10) == "▁▁▄█"
    assert sparkline((1.0, 2.0), None, 10) == "▄█"
    assert sparkline(tuple(map(float, range(100))), None, 5)[-1] == BLOCKS[-1]
    assert len(sparkline(tuple(map(float, range(100))), None, 5)) == 5
    assert sparkline((0.0, 0.0), None, 5) == ""


def test_the_history_has_one_rate_for_each_second_however_often_one_looks() -> None:
    time = Clock()
    pace, now = Pace(time), moment()
    for tick in range(1, 41):  # four times a second, 100 sends in each
        time.now += 0.25
        now = pace.look(moment(sent=25 * tick))
    assert now.history == (100.0,) * 10
    time.now += 5
    assert pace.look(moment(sent=1_500)).history[-6:] == (100.0, *(100.0,) * 5)
    time.now += 10_000
    assert len(pace.look(moment(sent=1_500)).history) == HISTORY


def test_the_time_left_is_never_less_than_the_budget_allows() -> None:
    time = Clock()
    pace = Pace(time)
    time.now += 10
    assert pace.look(moment(done=1_000, total=2_000)).left == pytest.approx(10.0)
    assert pace.look(moment(done=1_000, total=2_000, allowed=20.0)).left == pytest.approx(50.0)
    assert pace.look(moment(done=1_000, total=2_000, allowed=2_000.0)).left == pytest.approx(10.0)


def test_a_moment_goes_to_another_process_as_json() -> None:
    assert Moment.from_json(json.loads(json.dumps(BUSY.as_json()))) == BUSY


@pytest.mark.parametrize("said", [None, {}, [], {"pool": {}}, {**Moment().as_json(), "later": 1}])
def test_what_is_no_moment_is_refused(said: Any) -> None:
    with pytest.raises((TypeError, KeyError, AttributeError)):
        Moment.from_json(said)


# -- from Python ------------------------------------------------------------------------------------------------------


def test_a_job_of_a_program_is_shown_as_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Clock()
    monkeypatch.setattr("workerpool.view.live.time", types.SimpleNamespace(monotonic=time))
    with Live() as live:
        for _ in range(41):
            live(BUSY)
            time.now += 0.5
    assert capsys.readouterr().err.splitlines() == [plain_line(BUSY)] * 2  # after 5 s, and 10 s later


def test_and_as_a_picture_that_changes_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    shown: list[dict[str, str]] = []
    handle = types.SimpleNamespace(update=lambda data, raw: shown.append(data))
    notebook = types.ModuleType("IPython")
    notebook.get_ipython = type("ZMQInteractiveShell", (), {})  # type: ignore[attr-defined]
    notebook.display = types.ModuleType("IPython.display")  # type: ignore[attr-defined]
    notebook.display.display = lambda *args, **kwargs: handle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", notebook.display)  # type: ignore[attr-defined]
    with Live("crawl") as live:
        live(BUSY)
        live(replace(BUSY, done=3_000))
    assert "3,000 of 20,000" in shown[1]["text/plain"]
    assert shown[1]["text/html"].startswith("<pre>")
    assert "<span style=" in shown[1]["text/html"]
