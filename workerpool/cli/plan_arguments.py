"""The words of `workerpool plan`: its options, its help, and the check of what was said. No work is done here."""

from __future__ import annotations

import argparse
import copy
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from workerpool.cli.flags import add, pool_of, said_of
from workerpool.cli.template_arguments import template_of
from workerpool.errors import OptionError
from workerpool.options import FAILING, INPUT_FORMAT, LIMITS, PLAN, QUERY, TEMPLATE
from workerpool.options.credentials import with_password
from workerpool.pool import options_of

if TYPE_CHECKING:
    from workerpool.batch.template.template import Template
    from workerpool.plan import Setting

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
    """What `workerpool plan` was told, checked. `settings`: what was said of a pool, and then what it is compared with.

    `latency`: seconds.
    """

    sources: tuple[str, ...] = field(repr=False)  # URLs may hold passwords
    settings: tuple[Setting, ...]
    template: Template | None = None
    query: str | None = None
    input_format: str | None = None
    records: str | None = field(default=None, repr=False)
    latency: float = 0.2
    as_json: bool = False


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
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="a .txt, .csv, .jsonl or .parquet file, a pattern, a database's URL, or -",
    )
    add(plan.add_argument_group("plan"), PLAN)
    add(plan.add_argument_group("budgets"), LIMITS)
    add(plan.add_argument_group("failures"), FAILING)
    plan.set_defaults(settings_of=settings_of)


def settings_of(said: argparse.Namespace) -> PlanSettings:
    """Check what was said; raises `OptionError` naming the option, its value, and what would do."""
    found = said_of(said, [option for option in PLAN if option not in TEMPLATE])
    if not said.sources and "records" not in found:
        raise OptionError("SOURCE is missing: name a file of requests, or a job's directory by --from")
    if not said.sources:
        for option in (INPUT_FORMAT, QUERY, *TEMPLATE):
            if hasattr(said, option.flag):
                raise OptionError(
                    f"{option.word} without SOURCE: those of the job in --from are read as its run has read them; name "
                    f"the SOURCE that is to be planned, or leave {option.word} out"
                )
    if "latency" in found and "records" in found:
        raise OptionError("--latency with --from: how long answers take is in the records; leave out one of the two")
    pool = pool_of(said)
    compared = [(text.strip(), _changed(said, text)) for text in found.pop("compare", ())]
    keys = [given["limit_by"] for given in (pool, *(other for _, other in compared)) if "limit_by" in given]
    if any(limit_by != keys[0] for limit_by in keys):  # the sources are read once for all settings
        raise OptionError("--compare counts by another --limit-by: make a plan for each of the two")
    return PlanSettings(
        sources=tuple(with_password(source, "SOURCE") for source in said.sources),
        template=template_of(said),
        settings=tuple(_setting(given, label) for label, given in (("", pool), *compared)),
        **found,
    )


class _Parser(argparse.ArgumentParser):
    """Reads what `--compare` says."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def _changed(said: argparse.Namespace, text: str) -> dict[str, Any]:
    """What was said for a pool, changed by the options in `text`; raises `OptionError`."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    add(parser, (*LIMITS, *FAILING))
    try:
        pool = pool_of(parser.parse_args(shlex.split(text), copy.copy(said)))
        options_of(**pool)
    except ValueError as error:  # OptionError is one, and shlex's
        raise OptionError(f"--compare={text!r}: {error}: write budgets as for run, as in '--workers 32'") from error
    return pool


def _setting(pool: dict[str, Any], label: str) -> Setting:
    from workerpool.plan import Setting  # which the other commands can do without

    return Setting(
        options=options_of(**pool), label=label, has_connections=isinstance(pool.get("max_connections"), int)
    )
