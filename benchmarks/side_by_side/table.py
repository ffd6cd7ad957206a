"""Results as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.side_by_side.results import CPU, MEMORY, SPEED, CaseResult, Results, Row
from benchmarks.side_by_side.targets import verdicts

LABEL = 32
HEAD = f"{'':{LABEL}}{'req/s':>9}{'CPU ms':>9}{'MiB':>7}{'k instr.':>10}{'workerpool is':>16}"


def table(results: Results) -> str:
    """Return the whole table: a block for each case, then the targets."""
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    blocks = [HEAD, *("\n".join(_block(case)) for case in results.cases.values()), "\n".join(_targets(results))]
    return "\n\n".join([f"{results.date}: {machine}", *(block for block in blocks if block), *results.notes]) + "\n"


def _block(case: CaseResult) -> Iterator[str]:
    """The rows of a case, each with how many times as fast as it the first one is: ours, where it was measured."""
    yield case.title
    reference = next((name for name in case.rows if name in ("workerpool", "workerpool-cli")), None)
    for name, row in case.rows.items():
        faster = None if reference in (None, name) else case.rows[str(reference)].ratio(SPEED, row).median
        yield _line(row, faster)
    for reason in case.left_out:
        yield f"  left out: {reason}"


def _line(row: Row, faster: float | None) -> str:
    memory = row.median(MEMORY) / 2**20
    return (
        f"  {row.label:{LABEL - 2}}{row.median(SPEED):>9,.0f}{1000 * row.median(CPU):>9.3f}"
        f"{f'{memory:.1f}' if memory else '':>7}"
        f"{'' if row.instructions is None else f'{row.instructions / 1000:,.0f}':>10}"
        f"{'' if faster is None else f'{faster:.2f} × as fast':>16}"
    ).rstrip()


def _targets(results: Results) -> Iterator[str]:
    found = verdicts(results)
    if found:
        yield f"{'Targets':66}{'wanted':>8}{'median':>8}  {'least–most':12}"
    for verdict in found:
        ratio, target = verdict.ratio, verdict.target
        wanted = f"{'≤' if target.at_most else '≥'} {target.bound:g}"
        spread = f"{ratio.least:.2f}–{ratio.most:.2f}"
        what = f"{target.case}: {verdict.what}"
        met = "met" if verdict.is_met else "missed"
        yield f"  {what:64}{wanted:>8}{ratio.median:>8.2f}  {spread:12}{met}"
