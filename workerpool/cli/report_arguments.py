"""The words of `workerpool report`: its options, its help, and the check of what was said. No work is done here."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

from workerpool.cli.flags import add, said_of
from workerpool.options import REPORT
from workerpool.options.credentials import with_password

_DESCRIPTION = """\
Tell how a run went: what came of its requests, how long they took, what held it
up, and what failed. PATH is the directory of a job, whose runs keep what a
report needs, also while one goes on; or the output of a run without a job, of
whose records less can be told. The page is one file, which asks nothing of the
network.
"""

_EPILOG = """\
examples:
  workerpool report crawl.job -o report.html
  workerpool report crawl.job -o today.html --against /backup/crawl.job
  workerpool report results.jsonl --format md

exit status:
  0 there is a report · 2 bad usage, or nothing to report on
  5 it could not be written
"""

FORMATS = {".html": "html", ".htm": "html", ".md": "md", ".json": "json"}
"""The format that the ending of a file's name means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """What `workerpool report` was told. `output`: None is standard output. `against`: what to compare with."""

    path: str = field(repr=False)  # which may be a URL with a password
    output: str | None = None
    format: str | None = None
    against: str | None = field(default=None, repr=False)


def add_report(commands: Any, formatter: Any) -> None:
    """Add the command to the parser's."""
    report = commands.add_parser(
        "report",
        usage="%(prog)s PATH [-o FILE] [options]",
        help="tell how a run went, as a page, Markdown or JSON",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=formatter,
        allow_abbrev=False,
    )
    report.add_argument("path", metavar="PATH", help="a job's directory, or the output of a run")
    add(report, REPORT)
    report.set_defaults(settings_of=settings_of)


def settings_of(said: argparse.Namespace) -> ReportSettings:
    """What was said; raises `OptionError` for a secret's place that holds none."""
    return ReportSettings(**{"path": with_password(said.path, "PATH"), **said_of(said, REPORT)})
