"""The command line's words: what may be said, its help, and the check of what was said. No work is done here."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from workerpool.agent import version
from workerpool.cli.completion import CompletionSettings, add_completion
from workerpool.cli.doctor_arguments import DoctorSettings, add_doctor
from workerpool.cli.flags import add, pool_of, said_of, save_of, warnings_for
from workerpool.cli.infer_arguments import InferSettings, add_infer
from workerpool.cli.looking_arguments import LookSettings, add_looking
from workerpool.cli.plan_arguments import PlanSettings, add_plan
from workerpool.cli.report_arguments import ReportSettings, add_report
from workerpool.cli.template_arguments import template_of
from workerpool.config import Options
from workerpool.errors import OptionError
from workerpool.options import (
    BODIES,
    BUDGETS,
    CLUSTER,
    DEADLINE,
    DEDUPE,
    EACH,
    FAILING,
    INPUT_FORMAT,
    JOB,
    MESSAGES,
    OUTPUT,
    PAGES,
    PROCESSES,
    QUERY,
    REACH,
    REDIS,
    SCHEMA,
    SHARED,
    TEMPLATE,
    TRUST,
    WORKERS,
)
from workerpool.options.credentials import with_password
from workerpool.options.words import in_flags
from workerpool.paging import Pages
from workerpool.pool import options_of
from workerpool.saving import Save

if TYPE_CHECKING:
    from workerpool.batch.template.template import Template

_DESCRIPTION = """\
Fetch every URL of SOURCE within the budgets that you set, retry what is worth
retrying, and write one record for each to OUTPUT, as the answers come.
"""

EXIT_CODES = """\
  0 all ok · 1 finished, some requests failed · 2 bad usage or input
  3 another run holds the job · 4 stopped at the deadline: run it again
  5 the output could not be written
  130, 143, 129: interrupted (INT, TERM, HUP). The first signal finishes what
  is being sent and writes it, a second one stops at once. 0 and 1 of a job are
  about the whole run, not only about what was done this time.
"""
"""Of `run`, as its help has them."""

_EPILOG = (
    """\
sources:
  .txt      a URL a line
  .csv      a line of column names, then rows; commas, semicolons or tabs
  .jsonl    a JSON object a line
  .parquet  typed columns, with the extra [parquet]
  Texts may be packed: .gz, .bz2, .xz, .zst (with the extra [zstd]). A name
  with *, ? or [ stands for the files that match it, ** for directories too;
  - is standard input, s3://bucket/urls.csv an object at a URL, with the extra
  [s3], or [remote] for others. Columns or fields: url, and if you like
  method, headers and params (JSON objects), body (text) or json, key (a label;
  the URL by default), and sha256 (of the answer's body). Others are left
  alone. A line that is no request gets a record that says why.
  Any other table needs --template: its columns are put into a URL, headers, a
  body. A database's SQLAlchemy URL needs --query; the rows are its answer's.

secrets:
  --auth, --proxy, --header and the passwords in URLs may name what they hold:
  env:NAME, file:PATH, keyring:SERVICE/USER, netrc:HOST. Nobody reads that in
  the list of processes, and no job keeps it.
    -o postgresql://me:env:DB_PASSWORD@host/shop --header 'X-Key: file:key'

records:
  key url method status ok error attempts elapsed bytes final_url started_at
  and, with --include: headers, body (body_base64 where it is not UTF-8);
  with --bodies: file, sha256; with --pages: page;
  of a job, where they are true: unchanged, skipped

examples:
  workerpool run urls.txt -o results.jsonl --rate 50/s
  workerpool run api.csv -o - --host-rate 2/s --include body | jq .body
  workerpool run items.csv -o items.jsonl --include body \\
      --template "https://api.example.com/items/{id}{?lang}"
  zcat urls.gz | workerpool run - -o results.csv --deadline 50m --no-progress

jobs:
  With --job DIR what was done is kept in DIR. Whatever ends a run, a signal,
  a crash, --deadline: the same command goes on with it, and OUTPUT, called
  OUTPUT.partial until then, ends with exactly one record for each input.
  After a finished run the next one starts anew. See also: workerpool status,
  jobs and reconcile.

exit status:
"""
    + EXIT_CODES
)


GROUPS = {
    "output": OUTPUT,
    "pages": PAGES,
    "rows": (INPUT_FORMAT, QUERY, *(option for option in TEMPLATE if option.flag)),
    "schema": SCHEMA,
    "bodies": BODIES,
    "job": JOB,
    "budgets": (*BUDGETS, SHARED, REDIS, WORKERS),
    "course": (DEDUPE, PROCESSES, CLUSTER, *FAILING, *EACH, DEADLINE),
    "reach": (*TRUST, *REACH),
    "messages": MESSAGES,
}
"""The options of `workerpool run`, as its help has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What `workerpool run` was told, checked. Durations are seconds.

    `pool`: what was said for the pool, by its arguments; `options`: what it makes of that. `job`: the arguments of a
    `Job`, None for a run that is not kept. `warnings`: sentences about secrets that were said.
    """

    sources: tuple[str, ...] = field(repr=False)  # URLs may hold passwords
    output: str = field(repr=False)
    pool: dict[str, Any] = field(repr=False)
    options: Options
    job: dict[str, Any] | None = field(repr=False)
    format: str | None = None
    include: frozenset[str] = frozenset()
    save: Save | None = None
    ordered: bool = False
    overwrite: bool = False
    schema: str | None = None
    upsert: bool = False
    rejects: str | None = None
    template: Template | None = None
    query: str | None = None
    input_format: str | None = None
    dedupe: bool = False
    pages: Pages | None = None
    processes: int = 1
    cluster: str | None = None
    deadline: float | None = None
    quiet: bool = False
    no_progress: bool = False
    log_format: str | None = None
    metrics: str | None = None
    metrics_file: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def has_progress(self) -> bool:
        return not (self.quiet or self.no_progress or self.log_format == "json")


Settings = (
    RunSettings | DoctorSettings | InferSettings | PlanSettings | LookSettings | CompletionSettings | ReportSettings
)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the list of all options before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Read the arguments; raises `OptionError` for a value that cannot work, `SystemExit` as argparse does."""
    parser = make_parser()
    said = parser.parse_args(argv)
    if said.command is None:
        parser.error("say what to do: run, plan, status, report, reconcile, jobs, infer or doctor")
    settings_of: Callable[[argparse.Namespace], Settings] = said.settings_of
    try:
        return settings_of(said)
    except OptionError as error:
        raise OptionError(in_flags(str(error))) from error


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
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a .txt, .csv, .jsonl or .parquet file, a pattern, a database's URL, or -",
    )
    for title, options in GROUPS.items():
        add(run.add_argument_group(title), options)
    run.set_defaults(settings_of=settings_of)
    add_plan(commands, _HelpFormatter)
    add_looking(commands, _HelpFormatter)
    add_report(commands, _HelpFormatter)
    add_doctor(commands, _HelpFormatter)
    add_infer(commands, _HelpFormatter)
    add_completion(commands, _HelpFormatter)
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Texts as they are written, and room for the longest option."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


def settings_of(said: argparse.Namespace) -> RunSettings:
    """Check what was said; raises `OptionError` naming the option, its value, and what would do."""
    from workerpool.batch.record import (
        check_alone,
        check_include,
        check_save,
    )  # which the other commands can do without

    batch = said_of(said, (*OUTPUT, *SCHEMA, INPUT_FORMAT, QUERY, DEDUPE))
    batch.update(_pages_of(said))
    if (template := template_of(said)) is not None:
        batch["template"] = template
    check_include(batch.get("include", ()))
    batch.update(save_of(said))
    check_save(batch.get("save"), batch.get("include", ()))
    job = said_of(said, JOB)
    if "save" in batch and "pages" in batch:
        raise OptionError("--bodies with --pages: what follows a page stands in its body, so leave one of the two out")
    if "directory" not in job:
        for option in JOB:
            if option.target in job:
                raise OptionError(f"{option.word} needs --job DIR, where what was done is kept")
        check_alone(batch.get("pages"), batch)
        if "dedupe" in batch and "ordered" in batch:
            raise OptionError("--dedupe with --ordered needs --job DIR, where answers wait until it is their turn")
    pool, of_run = pool_of(said), said_of(said, (PROCESSES, CLUSTER, DEADLINE, *MESSAGES))
    if "metrics" in of_run:
        from workerpool.metrics.metrics import address_of

        address_of(of_run["metrics"])
    options, sources = options_of(**pool), tuple(with_password(source, "SOURCE") for source in said.sources)
    if "processes" in of_run:
        from workerpool.processes.options import check_processes

        check_processes(of_run["processes"], options.workers)
    if (cluster := of_run.get("cluster")) is not None:
        from workerpool.cluster.line import local_workers
        from workerpool.cluster.making import check_alone as check_alone_on_cluster
        from workerpool.cluster.making import check_saving
        from workerpool.cluster.options import check_cluster

        check_alone_on_cluster(of_run.get("processes", 1))
        check_cluster({**pool}, options, is_local=local_workers(cluster) is not None)
        check_saving(cluster, batch.get("save") is not None)
    return RunSettings(
        sources=sources,
        pool=pool,
        options=options,
        job={"sources": sources, **batch, **job} if job else None,
        warnings=warnings_for(said),
        **batch,
        **of_run,
    )


def _pages_of(said: argparse.Namespace) -> dict[str, Any]:
    """What was said of pages, as the argument of a job; raises `OptionError`."""
    found = said_of(said, PAGES)
    most = found.pop("max_pages", None)
    if most is not None:
        if not found:
            raise OptionError("--max-pages says how many pages to fetch: give --pages HOW with it")
        found["pages"] = replace(found["pages"], max_pages=most)
    return found
