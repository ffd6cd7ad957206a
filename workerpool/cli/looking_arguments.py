"""The words of the commands that look at jobs, `status`, `top`, `reconcile` and `jobs`: options and help."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

from workerpool.cli.flags import add, said_of
from workerpool.options import AS_JSON, RECONCILE, TOP

_STATUS = """\
Say how the job in DIR is: which run it is at, whether a process holds it, what
has become of its inputs, how its last execution ended, and what to do next.
It only reads, also while a run is going on.
"""

_STATUS_END = """\
exit status:
  0 it was looked at · 2 there is no job, or it cannot be read
  5 the answer could not be written
"""

_TOP = """\
Watch the run of the job in DIR until it ends: how far it is, its rate and its
budget, its hosts, its sockets and its last failures. On a terminal it has the
screen, and Ctrl-C leaves it, while the run goes on; elsewhere it prints a line
every 10 s. Any number may watch: the run is not disturbed.
"""

_TOP_END = """\
exit status:
  0 the run has ended, or no run holds the job · 2 there is no job
  5 the view could not be written · 130 left by Ctrl-C
"""

_RECONCILE = """\
Prove that every input has exactly one outcome: read the sources, the ledger and
the output of the job in DIR again, in full, and compare them. While it goes on,
no run of the job can begin.
"""

_RECONCILE_END = """\
exit status:
  0 proven · 1 not proven: something is missing, twice or changed, or the run is
  not finished · 2 there is no job, or its ledger cannot be read
  3 a run holds the job · 5 the answer could not be written
"""

_JOBS = """\
List the jobs in each DIR, and in the directories one or two levels below it, a
line for each: name, state, inputs by what has become of them, and since when.
"""

_JOBS_END = """\
exit status:
  0 they were listed · 2 bad usage · 5 the list could not be written
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookSettings:
    """What a command that looks at jobs was told: `command` is its name. `output`: of `reconcile`, None as noted.
    `once`: of `top`.
    """

    command: str
    directories: tuple[str, ...]
    as_json: bool = False
    output: str | None = field(default=None, repr=False)  # a database's URL may hold a password
    once: bool = False


def add_looking(commands: Any, formatter: Any) -> None:
    """Add the commands to the parser's."""
    status = _add(commands, formatter, "status", "DIR [--json]", "say how a job is", _STATUS, _STATUS_END)
    status.add_argument("directory", metavar="DIR", help="that was given to run --job")
    top = _add(commands, formatter, "top", "DIR [--once]", "watch a job's run", _TOP, _TOP_END)
    top.add_argument("directory", metavar="DIR", help="that was given to run --job")
    reconcile = _add(
        commands,
        formatter,
        "reconcile",
        "DIR [options]",
        "prove that every input of a job has one outcome",
        _RECONCILE,
        _RECONCILE_END,
    )
    reconcile.add_argument("directory", metavar="DIR", help="that was given to run --job")
    jobs = _add(commands, formatter, "jobs", "[DIR...] [--json]", "list the jobs below a directory", _JOBS, _JOBS_END)
    jobs.add_argument("directories", metavar="DIR", nargs="*", help="where to look; default: here")
    for parser, options in ((status, (AS_JSON,)), (top, TOP), (reconcile, RECONCILE), (jobs, (AS_JSON,))):
        add(parser, options)
        parser.set_defaults(settings_of=settings_of)


def _add(
    commands: Any, formatter: Any, name: str, usage: str, help: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        usage=f"%(prog)s {usage}",
        help=help,
        description=description,
        epilog=epilog,
        formatter_class=formatter,
        allow_abbrev=False,
    )
    return parser


def settings_of(said: argparse.Namespace) -> LookSettings:
    """What was said."""
    named = (said.directories or ["."]) if said.command == "jobs" else [said.directory]
    return LookSettings(command=said.command, directories=tuple(named), **said_of(said, (*RECONCILE, *TOP)))
