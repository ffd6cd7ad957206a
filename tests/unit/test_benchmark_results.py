"""What the benchmark makes of its turns, and that the documentation quotes what was kept, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.side_by_side import page, targets
from benchmarks.side_by_side.cases import CASES
from benchmarks.side_by_side.results import CPU, FILE, MEMORY, SPEED, CaseResult, Results, Row, Turn, load
from benchmarks.side_by_side.table import table
from benchmarks.side_by_side.targets import TARGETS, Target, verdicts

SAVE = "run `make bench ARGS=--save`, or with ARGS=--redraw draw it again"
KEPT = load(FILE)


@pytest.mark.parametrize(("file", "part"), page.parts(KEPT).items(), ids=lambda value: getattr(value, "name", ""))
def test_a_page_quotes_the_results_that_were_kept(file: Path, part: str) -> None:
    assert file.read_text() == page.quoting(file.read_text(), part), SAVE


def test_the_plot_is_drawn_from_the_results_that_were_kept() -> None:
    assert page.PLOT.read_text() == page.drawing(KEPT), SAVE


def test_the_results_that_were_kept_answer_every_target() -> None:
    assert [verdict.target for verdict in verdicts(KEPT)] == list(TARGETS)


def test_the_results_that_were_kept_tell_no_path_and_no_address() -> None:
    text = FILE.read_text()
    assert "/" not in text
    assert "127.0.0.1" not in text


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="substring not found"):
        page.quoting("a page", "figures")


def test_every_target_compares_clients_of_its_case() -> None:
    clients = {case.name: {client.name for client in case.clients} for case in CASES}
    for target in TARGETS:
        assert {target.ours, target.peer} <= clients[target.case]


def rows(*turns: tuple[float, float]) -> Row:
    """A row of turns of 100 requests: seconds and CPU seconds of each, 1 MiB of memory."""
    return Row(label="it", turns=[Turn(requests=100, seconds=wall, cpu=cpu, peak=2**20) for wall, cpu in turns])


def test_a_ratio_is_the_median_of_the_rounds_and_not_that_of_the_medians() -> None:
    ours, peer = rows((1, 1), (2, 1), (4, 1)), rows((3, 1), (4, 1), (4, 1))
    ratio = ours.ratio(SPEED, peer)
    assert (ratio.median, ratio.least, ratio.most) == (2.0, 1.0, 3.0)
    assert (ours.median(SPEED), peer.median(SPEED)) == (50.0, 25.0)
    assert ours.median(CPU) == 0.01


def test_turns_of_different_lengths_are_compared_by_the_request() -> None:
    long = Row(label="it", turns=[Turn(requests=1000, seconds=2.0, cpu=1.0)])
    assert long.ratio(SPEED, rows((1, 1))).median == 5.0
    assert long.ratio(CPU, rows((1, 1))).median == 0.1


@pytest.mark.parametrize(
    ("ours", "bound", "at_most", "met"),
    [(1.0, 2.0, False, True), (1.01, 2.0, False, False), (0.5, 4.0, True, True), (0.4, 4.0, True, False)],
)
def test_a_target_is_met_from_its_bound_on(
    monkeypatch: pytest.MonkeyPatch, ours: float, bound: float, at_most: bool, met: bool
) -> None:
    aim = Target(case="c", ours="ours", peer="peer", metric=SPEED, bound=bound, at_most=at_most)
    monkeypatch.setattr(targets, "TARGETS", (aim,))
    case = CaseResult(title="a case", rows={"ours": rows((ours, 1)), "peer": rows((2.0, 1))})
    results = Results(date="2026-01-01", machine={}, cases={"c": case})
    assert [verdict.is_met for verdict in verdicts(results)] == [met]


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    case = CaseResult(title="a case", rows={"a": rows((1, 0.5)), "b": rows((2, 0.5))}, left_out=["c: not installed"])
    case.rows["a"].instructions = 12_345
    case.rows["b"].turns[0] = Turn(requests=7, seconds=0.25, cpu=0.125)
    results = Results(date="2026-01-01", machine={"cores": "2"}, cases={"http": case}, notes=["no valgrind"])
    results.save(tmp_path / "results.json")
    assert load(tmp_path / "results.json") == results


def test_the_table_says_who_was_left_out_and_what_was_not_counted() -> None:
    case = CaseResult(title="a case", rows={"workerpool": rows((1, 1))}, left_out=["httpx: not installed"])
    said = table(Results(date="2026-01-01", machine={"cores": "2"}, cases={"http": case}, notes=["no valgrind"]))
    assert "left out: httpx: not installed" in said
    assert "no valgrind" in said


def test_memory_is_shown_where_it_is_known() -> None:
    assert rows((1, 1)).median(MEMORY) == 2**20
    assert Row(label="it", turns=[Turn(requests=1, seconds=1, cpu=1)]).median(MEMORY) == 0
