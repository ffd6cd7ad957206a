"""Writes what the documentation says of options, from their declaration, and lists the decisions: `make docs` does.

A test tells whether it would.

In Markdown it writes between a line ``<!-- options: NAME, ... -->``, or of metrics, and a line ``<!-- end -->``.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

from workerpool import Attempt, Job, Moment, Outcome, Request, RetryPolicy, Save, Template, WorkerPool
from workerpool.cli.arguments import GROUPS, make_parser
from workerpool.cli.flags import default_of
from workerpool.metrics import Metrics
from workerpool.options import DOCTOR, IN_PYTHON, JOB, PLAN, REPORT, REQUIRED, Option
from workerpool.options.words import meaning, plain

ROOT = Path(__file__).resolve().parent.parent


def table(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    lines = [(head, "means", "default"), ("---",) * 3, *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def of_flags(options: Iterable[Option]) -> str:
    """The table of what is said on the command line."""
    rows = []
    for option in options:
        words = " ".join(f"`{word}`" for word in re.findall(r"--?[a-z][\w-]*", option.flag)).replace("` `", "`, `")
        values = re.findall(r"[a-z]+(?:\|[a-z]+)+", option.flag)  # those of --format, say
        means = meaning(option, in_flags=True) + "".join(f" ({value.replace('|', ', ')})" for value in values)
        rows.append((words, means, default_of(option)))
    return table("option", rows)


def in_python(of: type) -> list[tuple[Option, str]]:
    """The arguments of a class in their order, with their defaults."""
    declared = {option.name: option for option in IN_PYTHON[of.__name__]}
    return [(declared[name], _default(declared[name], each)) for name, each in inspect.signature(of).parameters.items()]


def of_arguments(of: type) -> str:
    """The table of a class's arguments."""
    return table(
        "argument",
        [(f"`{option.name}`", meaning(option, in_flags=False), default) for option, default in in_python(of)],
    )


def docstring(of: type) -> str:
    """The same for a docstring."""
    return "\n".join(
        "\n".join(
            textwrap.wrap(
                f"`{option.name}`: {plain(meaning(option, in_flags=False))}.",
                120,
                initial_indent="    ",
                subsequent_indent="        ",
                break_on_hyphens=False,
                break_long_words=False,
            )
        )
        for option, _ in in_python(of)
    )


def _default(option: Option, parameter: inspect.Parameter) -> str:
    default = parameter.default
    if default is inspect.Parameter.empty:
        return REQUIRED
    if option.unless not in ("", REQUIRED):
        return option.unless
    if isinstance(default, str):
        return f'`"{default}"`'
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default is None or default == () else f"{default}"


def of_metrics() -> str:
    """The table of all metrics, from a run that has one of each."""
    metrics = Metrics()
    metrics.look_at(lambda: Moment(total=1, allowed=1.0))
    metrics.observe(Outcome(Request("http://a.test/"), attempts=(Attempt(0.0, 0.1, 200),)))
    metrics.end(0)
    rows = []
    for family in metrics.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        own = [*dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")]
        values = [*dict.fromkeys(sample.labels[label] for sample in family.samples for label in own)]
        labels = f"`{own[0]}`: {', '.join(values)}" if own else ""
        rows.append((f"`{name}`", family.type, family.documentation.rstrip("."), labels))
    lines = [("metric", "type", "means", "labels"), ("---",) * 4, *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def of_exit_codes() -> str:
    """The table of what commands exit with, from what their help says of it."""
    (commands,) = (action.choices for action in make_parser()._actions if action.dest == "command")
    rows = [
        (code, f"`{name}`", means)
        for name, parser in commands.items()
        for code, means in exit_codes(parser.epilog or "")
    ]
    rows.sort(key=lambda row: int(row[0].partition(",")[0]))  # and those of one code in the order of the commands
    lines = [("code", "of", "means"), ("---",) * 3, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def exit_codes(epilog: str) -> Iterable[tuple[str, str]]:
    """Read the end of a command's help: codes, parted by dots or on lines of their own, each with what it means."""
    said = epilog.partition("exit status:\n")[2]
    for each in re.split(r" · |\n  (?=\d)", said.removeprefix("  ")):
        if found := re.match(r"([\d, ]+):? (.*)", " ".join(each.split())):
            yield found[1], found[2].partition(". ")[0]


TABLES = {
    "docs/reference/exit-codes.md": {"exit codes": of_exit_codes()},
    "docs/reference/metrics.md": {"metrics": of_metrics()},
    "docs/reference/api.md": {
        kind.__name__: of_arguments(kind) for kind in (WorkerPool, RetryPolicy, Save, Template, Job)
    },
    "docs/reference/cli.md": {
        "run": of_flags(option for title, options in GROUPS.items() if title != "job" for option in options),
        "run --job": of_flags(JOB),
        "plan": of_flags(PLAN),
        "doctor": of_flags(DOCTOR),
        "report": of_flags(REPORT),
    },
}
"""What is written in place of what, by file and name."""

DOCSTRINGS = {
    WorkerPool: "whose first four arguments it shares.",
    RetryPolicy: "When a failed attempt is followed by another one, and when that comes.",
}
"""The classes whose arguments are written into their docstrings, below these words."""


DECISIONS = ROOT / "docs" / "design" / "decisions"


def decisions() -> str:
    """The page that leads to the decision records."""
    titles = {path.name: path.read_text().partition("\n")[0].removeprefix("# ") for path in DECISIONS.glob("0*.md")}
    lines = [f"- [{title}]({name})" for name, title in sorted(titles.items())]
    return "# Decisions\n\nWhy it is so, where that was not obvious.\n\n" + "\n".join(lines) + "\n"


def written() -> dict[Path, str]:
    """The files' texts as they have to be."""
    texts = {DECISIONS / "README.md": decisions()}
    for name, tables in TABLES.items():
        text = (ROOT / name).read_text()
        for title, rows in tables.items():
            between = re.compile(rf"(<!-- options: {title}, .*? -->\n).*?(\n<!-- end -->)", re.DOTALL)
            text, count = between.subn(lambda found, rows=rows: found[1] + rows + found[2], text)  # type: ignore[misc]
            assert count == 1, title
        texts[ROOT / name] = text
    for kind, above in DOCSTRINGS.items():
        path = Path(inspect.getfile(kind))
        head, first, rest = path.read_text().partition(f"{above}\n\n")
        below = re.search(r'\n(\n    Raises|    """)', rest)
        assert below is not None, kind
        texts[path] = head + first + docstring(kind) + rest[below.start() :]
    return texts


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text)
