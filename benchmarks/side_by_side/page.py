"""What the documentation quotes: the plot, and tables between two markers. Nothing there is written by hand."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from benchmarks.side_by_side.environment import ROOT
from benchmarks.side_by_side.plot import plot
from benchmarks.side_by_side.results import CPU, MEMORY, SPEED, Results
from benchmarks.side_by_side.targets import verdicts

PLOT = ROOT / "docs" / "benchmarks.svg"
BEGIN, END = "<!-- figures: `make bench ARGS=--save` writes what follows -->", "<!-- end of figures -->"
SMALL, COMMANDS = "http", "commands"
COLUMNS = {"http": "HTTP", "https": "HTTPS", "delay": "50 ms, 256 at once", "large": "1 MiB"}


def redraw(results: Results) -> None:
    """Write the plot, and the parts of the pages between the markers, anew."""
    PLOT.write_text(drawing(results))
    for page, part in parts(results).items():
        page.write_text(quoting(page.read_text(), part))


def drawing(results: Results) -> str:
    return plot(results, how=_how(results))


def parts(results: Results) -> dict[Path, str]:
    """Return what each page says between the markers."""
    tables = [_machine(results), _libraries(results), _commands(results)]
    return {
        ROOT / "README.md": "\n".join(_ratios(results)),
        ROOT / "docs" / "reference" / "benchmarks.md": "\n\n".join("\n".join(lines) for lines in tables),
    }


def quoting(text: str, part: str) -> str:
    """Return the page `text` with `part` between its markers; raises `ValueError` if they are not there."""
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return f"{text[:begin]}\n{part}\n{text[end:]}"


def _how(results: Results) -> str:
    rounds = max(len(row.turns) for case in results.cases.values() for row in case.rows.values())
    return f"Medians of {rounds} rounds, in which the clients took turns; the server is on the same machine"


def _ratios(results: Results) -> Iterator[str]:
    """Ours beside the peers that matter most, as one table."""
    yield "| | | ratio |"
    yield "|---|---|---:|"
    for verdict in verdicts(results):
        yield f"| {verdict.title} | {verdict.what} | {verdict.ratio.median:.2f} |"


def _machine(results: Results) -> Iterator[str]:
    versions = [f"{name} {value}" for name, value in results.machine.items() if name not in ("cores", "system")]
    machine = f"{results.machine['cores']} cores, {results.machine['system']}, {', '.join(versions)}"
    yield textwrap.fill(f"{_how(results)}. {results.date}; {machine}.", 120)


def _libraries(results: Results) -> Iterator[str]:
    """Requests a second in each case, and what a small request costs."""
    cases = {name: results.cases[name] for name in COLUMNS}
    labels = {key: row.label for case in cases.values() for key, row in case.rows.items()}
    yield f"| requests a second | {' | '.join(COLUMNS.values())} | CPU ms, HTTP | instructions, HTTP |"
    yield f"|---|{'---:|' * (len(COLUMNS) + 2)}"
    for key, label in labels.items():
        cells = [f"{case.rows[key].median(SPEED):,.0f}" if key in case.rows else "" for case in cases.values()]
        small = cases[SMALL].rows[key]
        counted = "" if small.instructions is None else f"{small.instructions:,}"
        yield f"| {label} | {' | '.join(cells)} | {1000 * small.median(CPU):.3f} | {counted} |"


def _commands(results: Results) -> Iterator[str]:
    """The command lines, start and exit included."""
    case = results.cases[COMMANDS]
    (requests,) = {turn.requests for row in case.rows.values() for turn in row.turns}
    yield f"| {requests:,} URLs from a file | seconds | CPU s | MiB at most |"
    yield "|---|---:|---:|---:|"
    for row in case.rows.values():
        seconds, cpu = requests / row.median(SPEED), requests * row.median(CPU)
        yield f"| {row.label} | {seconds:.2f} | {cpu:.2f} | {row.median(MEMORY) / 2**20:.0f} |"
