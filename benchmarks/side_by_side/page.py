"""What the README quotes: the plot, and a table between two markers. Nothing there is written by hand."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.side_by_side.environment import ROOT
from benchmarks.side_by_side.plot import plot
from benchmarks.side_by_side.results import CPU, MEMORY, SPEED, Results
from benchmarks.side_by_side.targets import verdicts

README = ROOT / "README.md"
PLOT = ROOT / "docs" / "benchmarks.svg"
BEGIN, END = "<!-- figures of `make bench ARGS=--save` -->", "<!-- end of figures -->"
SMALL = "http"
COMMANDS = "commands"
COLUMNS = {"http": "HTTP", "https": "HTTPS", "delay": "50 ms, 256 at a time", "large": "1 MiB"}


def redraw(results: Results) -> None:
    """Write the plot and the README's part anew."""
    PLOT.write_text(drawing(results))
    README.write_text(quoting(README.read_text(), results))


def drawing(results: Results) -> str:
    return plot(results, rounds=_how(results))


def quoting(text: str, results: Results) -> str:
    """Return the page `text` with these results between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{figures(results)}\n{END}{after}"


def figures(results: Results) -> str:
    """Return the README's part: the plot, how it was measured, ratios, and the two tables."""
    parts = [
        f"![Requests a second of workerpool and its peers]({PLOT.relative_to(ROOT)})",
        f"{_how(results)}. {_machine(results)}. Ratios are of turns in the same round:",
        "\n".join(_ratios(results)),
        "\n".join(_libraries(results)),
        "\n".join(_commands(results)),
    ]
    return "\n\n".join(parts)


def _how(results: Results) -> str:
    rounds = max(len(row.turns) for case in results.cases.values() for row in case.rows.values())
    return f"Medians of {rounds} rounds in which the clients took turns, against nginx on the same machine"


def _machine(results: Results) -> str:
    names = [name for name in results.machine if name not in ("cores", "system")]
    versions = ", ".join(f"{name} {results.machine[name]}" for name in names)
    return f"{results.machine['cores']} cores, {results.machine['system']}, {versions}; {results.date}"


def _ratios(results: Results) -> Iterator[str]:
    for verdict in verdicts(results):
        yield f"- {verdict.sentence}: **{verdict.ratio.median:.2f} ×**"


def _libraries(results: Results) -> Iterator[str]:
    """Requests a second in each case, and the CPU time of a small request."""
    cases = {name: results.cases[name] for name in COLUMNS}
    labels = {key: row.label for case in cases.values() for key, row in case.rows.items()}
    yield f"| requests a second | {' | '.join(COLUMNS.values())} | CPU ms, HTTP |"
    yield f"|---|{'---:|' * (len(COLUMNS) + 1)}"
    for key, label in labels.items():
        cells = [f"{case.rows[key].median(SPEED):,.0f}" if key in case.rows else "" for case in cases.values()]
        row = cases[SMALL].rows.get(key)
        cpu = "" if row is None else f"{1000 * row.median(CPU):.3f}"
        yield f"| {label} | {' | '.join(cells)} | {cpu} |"


def _commands(results: Results) -> Iterator[str]:
    """The command lines, start and exit included."""
    case = results.cases[COMMANDS]
    requests = {turn.requests for row in case.rows.values() for turn in row.turns}
    yield f"| {' or '.join(f'{count:,}' for count in sorted(requests))} URLs from a file | seconds | CPU s | MiB |"
    yield "|---|---:|---:|---:|"
    for row in case.rows.values():
        (count,) = {turn.requests for turn in row.turns}
        seconds, cpu = count / row.median(SPEED), count * row.median(CPU)
        yield f"| {row.label} | {seconds:.2f} | {cpu:.2f} | {row.median(MEMORY) / 2**20:.0f} |"
