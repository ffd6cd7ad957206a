"""The words of `workerpool plan`: its options, its help, and the check of what was said. No work is done here."""

from __future__ import annotations

import argparse
import copy
import shlex
from dataclasses import dataclass
from typing import Any, NoReturn

from workerpool.batch.sources.formats import NAMES
from workerpool.cli.budget_arguments import BudgetSettings, add_budgets, add_failing, budget_settings_of
from workerpool.config import parse_duration
from workerpool.errors import OptionError

LATENCY = "200ms"

_DESCRIPTION = """\
Say how long a batch will take, which budget binds it, and how many workers it
asks for. Nothing is sent: the sources are read, and with --from the records of
an earlier run, whose requests are sent again on a simulated clock.
"""

_EPILOG = """\
SOURCE is as for workerpool run. Without SOURCE, --from DIR takes those of the
job. What is no request is counted, and the first three are shown.

examples:
  workerpool plan urls.txt --rate 50/s --host-rate 10/s --latency 150ms
  workerpool plan urls.txt --from job/ --workers 32 \\
      --compare "--workers 64" --compare "--workers 64 --host-connections 12"

exit status:
  0 there is a plan · 2 bad usage, input or records · 5 it could not be written
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """What `workerpool plan` was told, checked. `latency`: seconds. `compared`: what was said, and what it comes to."""

    sources: tuple[str, ...]
    input_format: str | None
    records: str | None
    latency: float
    budgets: BudgetSettings
    compared: tuple[tuple[str, BudgetSettings], ...]
    as_json: bool


def add_plan(commands: Any, formatter: Any) -> None:
    """Add the command to the parser's."""
    plan = commands.add_parser(
        "plan",
        usage="%(prog)s SOURCE... [options]",
        help="say how long a batch will take, and what binds it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=formatter,
        allow_abbrev=False,
    )
    plan.add_argument(
        "sources", nargs="*", metavar="SOURCE", help="a .txt, .csv, .jsonl or .parquet file, a pattern, or -"
    )
    add = plan.add_argument_group("plan").add_argument
    add(
        "--input-format",
        choices=NAMES,
        help="of all SOURCEs; default: as named, txt for -",
    )
    add(
        "--from",
        dest="records",
        metavar="PATH",
        help="the job's directory, or the output, of an earlier run: simulate with its timings",
    )
    add(
        "--latency",
        metavar="DURATION",
        help=f"that an answer is assumed to take, without --from; default: {LATENCY}",
    )
    add(
        "--compare",
        metavar="OPTIONS",
        action="append",
        default=[],
        help='other budgets to compare with: those said, changed by OPTIONS, as in "--workers 32"; may be repeated',
    )
    add("--json", action="store_true", help="write one JSON object in place of text")
    add_budgets(plan.add_argument_group("budgets").add_argument)
    add_failing(plan.add_argument_group("failures").add_argument)


def plan_settings_of(said: argparse.Namespace) -> PlanSettings:
    """Check what was said; raises `OptionError` naming the option, its value, and what would do."""
    if not said.sources and said.records is None:
        raise OptionError("SOURCE is missing: name a file of requests, or a job's directory by --from")
    if said.latency is not None and said.records is not None:
        raise OptionError("--latency with --from: how long answers take is in the records; leave out one of the two")
    return PlanSettings(
        sources=tuple(said.sources),
        input_format=said.input_format,
        records=said.records,
        latency=parse_duration(said.latency or LATENCY, "--latency"),
        budgets=budget_settings_of(said),
        compared=tuple((text.strip(), _changed(said, text)) for text in said.compare),
        as_json=said.json,
    )


class _Parser(argparse.ArgumentParser):
    """Reads what `--compare` says."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def _changed(said: argparse.Namespace, text: str) -> BudgetSettings:
    """The budgets that were said, changed by the options in `text`."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_budgets(parser.add_argument)
    add_failing(parser.add_argument)
    try:
        # What the namespace has already, no default replaces.
        return budget_settings_of(parser.parse_args(shlex.split(text), copy.copy(said)))
    except ValueError as error:  # OptionError is one, and shlex's
        raise OptionError(f"--compare={text!r}: {error}: write budgets as for run, as in '--workers 32'") from error
