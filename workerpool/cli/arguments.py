"""The command line's words: what may be said, its help, and the check of what was said. No work is done here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from workerpool.agent import check_contact, version
from workerpool.batch.sinks.formats import ENDINGS, OF_FILES
from workerpool.cli.budget_arguments import BudgetSettings, add_budgets, add_failing, budget_settings_of, count
from workerpool.cli.connecting import add_connecting, cert_of, proxy_of, verify_of
from workerpool.cli.doctor_arguments import DoctorSettings, add_doctor, doctor_settings_of
from workerpool.cli.job_arguments import JobSettings, add_job, job_settings_of
from workerpool.cli.looking_arguments import LookSettings, add_looking, look_settings_of
from workerpool.cli.plan_arguments import PlanSettings, add_plan, plan_settings_of
from workerpool.config import GuardRules, parse_duration, parse_size
from workerpool.errors import OptionError

INCLUDABLE = ("body", "headers")

_DESCRIPTION = """\
Fetch every URL of SOURCE within the budgets that you set, retry what is worth
retrying, and write one record for each to OUTPUT, as the answers come.
"""

_EPILOG = """\
sources:
  .txt      a URL a line
  .csv      a line of column names, then rows; commas, semicolons or tabs
  .jsonl    a JSON object a line
  .parquet  typed columns, with the extra [parquet]
  Texts may be packed: .gz, .bz2, .xz, .zst (with the extra [zstd]). A name
  with *, ? or [ stands for the files that match it, ** for directories too;
  - is standard input. Columns or fields: url, and if you like method, headers
  and params (JSON objects), body (text) or json, and key (a label; the URL by
  default). Others are left alone. A line that is no request gets a record
  that says why.

records:
  key url method status ok error attempts elapsed bytes final_url started_at
  and, with --include: headers, body (body_base64 where it is not UTF-8);
  of a job, where they are true: unchanged, skipped

examples:
  workerpool run urls.txt -o results.jsonl --rate 50/s
  workerpool run api.csv -o - --host-rate 2/s --include body | jq .body
  zcat urls.gz | workerpool run - -o results.csv --deadline 50m --no-progress

jobs:
  With --job DIR what was done is kept in DIR. Whatever ends a run, a signal,
  a crash, --deadline: the same command goes on with it, and OUTPUT, called
  OUTPUT.partial until then, ends with exactly one record for each input.
  After a finished run the next one starts anew. See also: workerpool status,
  jobs and reconcile.

exit status:
  0 all ok · 1 finished, some requests failed · 2 bad usage or input
  3 another run holds the job · 4 stopped at the deadline: run it again
  5 the output could not be written
  130, 143, 129: interrupted (INT, TERM, HUP). The first signal finishes what
  is being sent and writes it, a second one stops at once. 0 and 1 of a job are
  about the whole run, not only about what was done this time.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What `workerpool run` was told, checked. Durations are seconds."""

    sources: tuple[str, ...]
    output: str
    format: str | None
    input_format: str | None
    include: frozenset[str]
    overwrite: bool
    dedupe: bool
    ordered: bool
    budgets: BudgetSettings
    processes: int
    timeout: float
    deadline: float | None
    max_body: int
    verify: bool | str
    cert: str | None
    proxy: str | None
    allow_hosts: tuple[str, ...] | None
    deny_private: bool
    trust_proxy: bool
    fast_path: bool
    robots: bool
    contact: str | None
    quiet: bool
    progress: bool
    log_format: str | None
    job: JobSettings | None


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the list of all options before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parse(argv: Sequence[str] | None = None) -> RunSettings | DoctorSettings | PlanSettings | LookSettings:
    """Read the arguments; raises `OptionError` for a value that cannot work, `SystemExit` as argparse does."""
    parser = make_parser()
    said = parser.parse_args(argv)
    if said.command is None:
        parser.error("say what to do: run, plan, status, reconcile, jobs or doctor")
    if said.command == "run":
        return settings_of(said)
    if said.command == "plan":
        return plan_settings_of(said)
    return doctor_settings_of(said) if said.command == "doctor" else look_settings_of(said)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser, also for tools that make shell completions of it."""
    parser = _Parser(
        prog="workerpool", description="Fetch large batches of HTTP requests, politely.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"workerpool {version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    run = commands.add_parser(
        "run",
        usage="%(prog)s SOURCE... -o OUTPUT [options]",
        help="fetch the URLs of a file and write their results",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    run.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a .txt, .csv, .jsonl or .parquet file, a pattern, or -"
    )
    _add_output(run.add_argument_group("output").add_argument)
    add_job(run.add_argument_group("job").add_argument)
    add_budgets(run.add_argument_group("budgets").add_argument)
    _add_course(run.add_argument_group("course").add_argument)
    reach = run.add_argument_group("reach")
    add_connecting(reach)
    _add_reach(reach.add_argument)
    _add_messages(run.add_argument_group("messages").add_argument)
    add_plan(commands, _HelpFormatter)
    add_looking(commands, _HelpFormatter)
    add_doctor(commands, _HelpFormatter)
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Texts as they are written, and room for the longest option."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


def _add_output(add: Callable[..., Any]) -> None:
    add(
        "-o",
        "--output",
        required=True,
        metavar="OUTPUT",
        help=f"a file that ends in {ENDINGS}, a postgresql:// URL, or - for standard output",
    )
    add(
        "--format",
        choices=OF_FILES,
        help="of OUTPUT; default: as it is named, jsonl for -",
    )
    add("--include", metavar="FIELDS", default="", help="add to records: body, headers, or body,headers")
    add("--ordered", action="store_true", help="write in the source's order; default: as they come")
    add("--overwrite", action="store_true", help="replace an OUTPUT that is there; else it is refused")


def _add_course(add: Callable[..., Any]) -> None:
    add(
        "--input-format",
        choices=("txt", "csv", "jsonl", "parquet"),
        help="of all SOURCEs; default: as named, txt for -",
    )
    add("--dedupe", action="store_true", help="fetch a URL that several inputs name once, and answer them all")
    add("--processes", metavar="N", default="1", help="that share the work, by host; default: %(default)s")
    add_failing(add)
    add("--timeout", metavar="S", default="30", help="seconds for each try in all; default: %(default)s")
    add("--max-body", metavar="SIZE", default="1GiB", help="of an answer, decompressed; default: %(default)s")
    add(
        "--deadline",
        metavar="DURATION",
        help="90s, 10m, 1h30m: when to finish what is being sent and stop; default: never",
    )


def _add_reach(add: Callable[..., Any]) -> None:
    add("--cert", metavar="FILE", help="a certificate of your own and its key, in PEM, for servers that ask for one")
    add(
        "--allow-host",
        metavar="HOST",
        action="append",
        help="go nowhere else, redirects included: example.com, *.example.com, example.com:8443; may be repeated",
    )
    add("--trust-proxy", action="store_true", help="with --deny-private: leave that to the proxy that is gone through")
    add("--deny-private", action="store_true", help="refuse private, loopback and other addresses that are not public")
    add("--robots", action="store_true", help="obey each site's robots.txt and its Crawl-delay; needs --contact")
    add(
        "--contact",
        metavar="ADDRESS",
        help="a page or a mail address for the User-Agent, so that a site's owner can ask you",
    )
    add("--no-fast-path", action="store_true", help="send all by requests' own code, to find out what is its doing")


def _add_messages(add: Callable[..., Any]) -> None:
    add("--quiet", action="store_true", help="say nothing but errors")
    add("--no-progress", action="store_true", help="no progress, but the summary at the end")
    add("--log-format", choices=("console", "json"), help="log events to stderr; json: and nothing else there")


def settings_of(said: argparse.Namespace) -> RunSettings:
    """Check what was said; raises `OptionError` naming the option, its value, and what would do."""
    if said.dedupe and said.ordered and said.job is None:
        raise OptionError("--dedupe with --ordered needs --job DIR, where answers wait until it is their turn")
    return RunSettings(
        sources=tuple(said.sources),
        output=said.output,
        format=said.format,
        input_format=said.input_format,
        include=_include(said.include),
        overwrite=said.overwrite,
        dedupe=said.dedupe,
        ordered=said.ordered,
        budgets=budget_settings_of(said),
        processes=_processes(said),
        timeout=parse_duration(said.timeout, "--timeout"),
        deadline=None if said.deadline is None else parse_duration(said.deadline, "--deadline"),
        max_body=parse_size(said.max_body, "--max-body"),
        verify=verify_of(said),
        cert=cert_of(said),
        proxy=proxy_of(said),
        allow_hosts=_hosts(said.allow_host),
        deny_private=said.deny_private,
        trust_proxy=said.trust_proxy,
        fast_path=not said.no_fast_path,
        robots=said.robots,
        contact=_contact(said),
        quiet=said.quiet,
        progress=not (said.quiet or said.no_progress or said.log_format == "json"),
        log_format=said.log_format,
        job=job_settings_of(said),
    )


def _processes(said: argparse.Namespace) -> int:
    processes, workers = count("--processes", said.processes), count("--workers", said.workers)
    if processes > workers:
        raise OptionError(
            f"--processes={processes} is more than --workers={workers}, the workers of all processes together: each "
            "needs one at least"
        )
    return processes


def _hosts(said: list[str] | None) -> tuple[str, ...] | None:
    if said is None:
        return None
    try:
        return GuardRules(allow_hosts=tuple(said)).allow_hosts
    except OptionError as error:
        raise OptionError(str(error).replace("allow_hosts", "--allow-host", 1)) from None


def _contact(said: argparse.Namespace) -> str | None:
    if said.robots and said.contact is None:
        raise OptionError(
            "--robots needs --contact ADDRESS, so that a site can say what is wrong instead of shutting you out: "
            "a page such as https://example.com/bot, or a mail address"
        )
    return None if said.contact is None else check_contact(said.contact, "--contact")


def _include(text: str) -> frozenset[str]:
    fields = frozenset(field.strip() for field in text.split(",") if field.strip())
    if unknown := sorted(fields.difference(INCLUDABLE)):
        raise OptionError(f"--include={text!r}: {unknown[0]!r} is unknown: write body, headers, or body,headers")
    return fields
