"""`python -m benchmarks.side_by_side`: arguments, and what is done with the results."""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import nginx
from benchmarks.side_by_side import instructions, page, results, servers
from benchmarks.side_by_side.cases import CASES, Case, only
from benchmarks.side_by_side.machine import machine
from benchmarks.side_by_side.measuring import measure
from benchmarks.side_by_side.results import Results
from benchmarks.side_by_side.table import table
from benchmarks.side_by_side.turns import TurnFailed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.show or options.redraw:
        saved = results.load(results.FILE)
        if options.redraw:
            page.redraw(saved)
        else:
            print(table(saved), end="")
        return 0
    if options.count:
        return count_kept()
    if options.save and (options.cases or options.clients):
        parser.error("--save keeps one whole run: leave out --cases and --clients")
    try:
        measured = run(options)
    except (nginx.NginxFailed, TurnFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(table(measured), end="")
    if options.json is not None:
        measured.save(options.json)
    if options.save:
        measured.save(results.FILE)
        page.redraw(results.load(results.FILE))
    return 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.side_by_side", description="Measure the pool beside its peers, in one run."
    )
    add = parser.add_argument
    names = [case.name for case in CASES]
    add("--cases", type=_names_among(names), metavar="NAMES", help=f"some of {','.join(names)}")
    clients = [client.name for case in CASES for client in case.clients]
    add("--clients", type=_names_among(clients), metavar="NAMES", help=f"some of {','.join(dict.fromkeys(clients))}")
    add("--rounds", type=_count, default=5, metavar="N", help="turns of every client (5)")
    add("--seconds", type=float, default=2.0, metavar="S", help="of a turn, about (2.0)")
    add("--requests", type=_count, metavar="N", help="in each turn of a command line (10000)")
    add("--instructions", action="store_true", help="count them too, by valgrind; takes a quarter of an hour more")
    add("--json", type=Path, metavar="FILE", help="write the results there")
    add("--save", action="store_true", help="keep the results, and draw the plot and the README's table from them")
    add("--count", action="store_true", help="measure nothing: count the instructions of the clients that were kept")
    add("--show", action="store_true", help="measure nothing: print the results that were kept")
    add("--redraw", action="store_true", help="measure nothing: draw the plot and the README's table again")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return int(text)


def _names_among(known: Sequence[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        said = text.split(",")
        if unknown := [name for name in said if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(dict.fromkeys(known))}")
        return said

    return names


def run(options: argparse.Namespace) -> Results:
    """Measure what the options ask for."""
    measured = Results(date=datetime.datetime.now(datetime.UTC).date().isoformat(), machine=machine())
    counting = options.instructions and instructions.valgrind() is not None
    with tempfile.TemporaryDirectory() as folder, servers.running(Path(folder)) as running:
        cases = chosen(options)
        for case in cases:
            measured.cases[case.name] = measure(case, running, rounds=options.rounds, seconds=options.seconds, say=say)
        for case in cases:
            if counting and case.name in instructions.CASES:
                instructions.count(case, measured.cases[case.name], running, say)
    say("")
    if options.instructions and not counting:
        measured.notes.append(instructions.MISSING)
    return measured


def count_kept() -> int:
    """Count instructions for the results that were kept: a figure that does not hang on when it was taken."""
    if instructions.valgrind() is None:
        print(instructions.MISSING, file=sys.stderr)
        return 1
    kept = results.load(results.FILE)
    with tempfile.TemporaryDirectory() as folder, servers.running(Path(folder)) as running:
        for case in CASES:
            if case.name in instructions.CASES and case.name in kept.cases:
                instructions.count(case, kept.cases[case.name], running, say)
    kept.save(results.FILE)
    page.redraw(kept)
    return 0


def chosen(options: argparse.Namespace) -> list[Case]:
    """Return the cases that the options leave, with what they leave of them."""
    cases = [case for case in CASES if options.cases is None or case.name in options.cases]
    if options.clients is not None:
        cases = [only(case, options.clients) for case in cases]
    if options.requests is not None:
        cases = [case if case.requests is None else replace(case, requests=options.requests) for case in cases]
    return [case for case in cases if case.clients]


def say(text: str) -> None:
    """Show what is going on, on one line of a terminal; an empty text takes it away."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
