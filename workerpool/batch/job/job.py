"""A `Job`: a durable batch in a directory. What one execution of it does is decided in `opening`. One thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, closing
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from workerpool import events
from workerpool.batch.job.apart import Apart
from workerpool.batch.job.ledger import Ledger
from workerpool.batch.job.lock import JobLock
from workerpool.batch.job.opening import Opening, OpenJob, sink_of
from workerpool.batch.progress import Moment
from workerpool.batch.record import check_alone, check_include, check_save, needs_bodies
from workerpool.batch.result import RunResult
from workerpool.batch.run import PROGRESS_EVERY, Run
from workerpool.batch.schemas.options import check_typed
from workerpool.batch.schemas.schema import Schema, schema_option
from workerpool.batch.sinks import STDOUT
from workerpool.batch.sinks.callback import Receive
from workerpool.batch.sources.base import Sources
from workerpool.batch.sources.choice import sources_for
from workerpool.batch.sources.given import Given, GivenRequests
from workerpool.batch.sources.query import QueryRows
from workerpool.batch.template.making import making_of
from workerpool.batch.template.template import Template
from workerpool.checks import check_callable, check_count, check_flag, check_seconds
from workerpool.cluster import make_pool
from workerpool.cluster.making import check_saving
from workerpool.errors import OptionError
from workerpool.history import Limits
from workerpool.model import Outcome
from workerpool.paging import Pages, check_pages
from workerpool.pool import options_of
from workerpool.saving import Save

_FLAGS = (
    "ordered", "overwrite", "retry_failed", "restart", "only_changed", "dedupe", "unique_keys", "idempotency_keys",
    "at_least_once", "upsert",
)  # fmt: skip


def _log(sentence: str) -> None:
    events.emit("run.noted", note=sentence)


def _limits(options: dict[str, Any]) -> Limits:
    """What a run had to keep to, by the options of its pool."""
    of_pool = {name: value for name, value in options.items() if name not in ("processes", "cluster")}
    return Limits.of(options_of(**of_pool), processes=options.get("processes"))


def _ignore(outcome: Outcome) -> None:
    """Nobody observes."""


@dataclass(frozen=True, slots=True, repr=False)
class Job:
    """A batch whose state is kept in `directory`, so that a run of it can be ended at any instruction and continued.

    `sources`: names of files, ``-`` for standard input, or a database's URL with `query`, SQL that gives rows in one
    order; `template`: makes the requests of their rows. Or `requests`, an iterable of URLs and `Request`s, or a
    function that makes one, which has to give the same in the same order whenever the run goes on. `output`: a path, a
    database's URL, or ``-``; or a function that is called with lists of records. `input_format`, `format`, `include`,
    `ordered`, `overwrite`: as for `workerpool run`. `window`: requests in memory at once. `save`: the files that bodies
    go to, which are told in the records as ``file``, with their ``sha256``.

    `retry_rounds`: further rounds, at the end of the run, for failures that may be tried again. `retry_failed`: go on
    with a finished run, and fetch what has failed in it. `restart`: give up an unfinished run and begin anew.
    `wait_lock`: seconds to wait for another run of the job to end.
    `conditional`: ask the server only for what has changed since it was fetched last; None does so unless bodies are
    recorded. `only_changed`: leave out of the output what has not. `skip_recent`: seconds for which an answer is good
    enough not to ask again. `dedupe`: fetch a URL that several inputs name once. `unique_keys`: refuse an
    input whose key another one had before, as an outcome, unsent. `idempotency_keys`: send an
    ``Idempotency-Key`` with requests whose method may not be repeated, so that they are. `at_least_once`: take an
    output that cannot be told what it has already: standard output, a function. `pages`: how the pages of an input
    follow each other (see `workerpool.paging`); each is a record of its own.
    `schema`: a `Schema`, or the name of its file: answers are JSON, and become its typed rows in place of records. What
    becomes no row goes to the file `rejects`, OUTPUT.rejects.jsonl if none is named, with its reason. `upsert`: put the
    rows into the table that is there, each in place of the one with the same key.

    `note` is told sentences about what is left out or goes on; they are logged by default.
    """

    directory: str | os.PathLike[str]
    sources: Sequence[str | os.PathLike[str]] = ()
    output: str | os.PathLike[str] | Receive = STDOUT
    _: KW_ONLY
    requests: Given | None = None
    template: Template | None = None
    query: str | None = None
    input_format: str | None = None
    format: str | None = None
    include: Collection[str] = ()
    save: Save | None = None
    ordered: bool = False
    overwrite: bool = False
    window: int | None = None
    retry_rounds: int = 0
    retry_failed: bool = False
    restart: bool = False
    wait_lock: float = 0.0
    conditional: bool | None = None
    only_changed: bool = False
    skip_recent: float | None = None
    dedupe: bool = False
    unique_keys: bool = False
    idempotency_keys: bool = False
    at_least_once: bool = False
    pages: Pages | None = None
    schema: Schema | str | os.PathLike[str] | None = None
    upsert: bool = False
    rejects: str | os.PathLike[str] | None = None
    note: Callable[[str], None] = field(default=_log, compare=False)
    typed: Schema | None = field(default=None, init=False, repr=False, compare=False)
    _given: GivenRequests | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises `OptionError` for an option that cannot work."""
        if isinstance(self.sources, (str, os.PathLike)):
            raise OptionError(f"sources={self.sources!r} must be a list of names: write [{self.sources!r}]")
        if (self.requests is None) == (not self.sources):
            raise OptionError(
                "sources= or requests=: a job reads either names of files or requests, so give one of the two"
            )
        if self.template is not None and not isinstance(self.template, Template):
            raise OptionError(f"template={self.template!r} must be a Template: write Template('https://…/{{id}}')")
        if self.requests is not None and (self.template is not None or self.query is not None):
            raise OptionError(
                "requests= are requests already: leave out template= and query=, or give "
                "requests=lambda: template.requests(rows)"
            )
        if self.requests is not None:
            object.__setattr__(self, "_given", GivenRequests(self.requests))
        if not isinstance(self.directory, (str, os.PathLike)):
            raise OptionError(f"directory={self.directory!r} must be a path")
        for name in _FLAGS:
            check_flag(name, getattr(self, name))
        if self.conditional is not None:
            check_flag("conditional", self.conditional)
        if self.query is not None and not isinstance(self.query, str):
            raise OptionError(f"query={self.query!r} must be a text, as in query='select id from items order by id'")
        check_callable("note", self.note, "a function of a sentence")
        check_include(self.include)
        check_save(self.save, self.include)
        object.__setattr__(self, "typed", schema_option(self.schema))
        check_typed(self)
        check_count("retry_rounds", self.retry_rounds, least=0)
        check_seconds("wait_lock", self.wait_lock)
        if self.skip_recent is not None:
            check_seconds("skip_recent", self.skip_recent)
        if self.window is not None:
            check_count("window", self.window)
        if self.pages is not None:
            check_pages(self.pages)
            check_alone(self.pages, {name: getattr(self, name) for name in self.__slots__})

    def __repr__(self) -> str:
        """Without sources and output, whose URLs may have passwords in them."""
        return f"<Job {os.fspath(self.directory)}>"

    def run(
        self,
        *,
        deadline: float | None = None,
        observe: Callable[[Outcome], None] | None = None,
        progress: Callable[[Moment], None] | None = None,
        progress_every: float = PROGRESS_EVERY,
        **options: Any,
    ) -> RunResult:
        """Carry out a run, or go on with one, with a pool of its own; returns how that ended.

        `deadline`: seconds after which what is not being sent is put off for the next time. `observe` is called with
        each outcome, once it is in the ledger, and `progress` every `progress_every` seconds, in another thread, with a
        `Moment` of the run; what they raise ends the run. `options` are those of `WorkerPool`, and
        `processes`, on how many to run it (see `ShardedPool`), or `cluster`, on which one (see `ClusterPool`). Raises
        what `open` raises.

        No signal handler is installed. The run has a thread of its own, which reads the sources and calls `observe`.
        Whatever is raised in this thread meanwhile, as `KeyboardInterrupt` at Ctrl-C or a host's time limit, drains the
        run, and is raised when everything is in its place; a second such thing is raised at once, and the run, which
        still holds the job, ends behind it.
        """
        if deadline is not None:
            check_seconds("deadline", deadline)
        check_seconds("progress_every", progress_every)
        check_saving(options.get("cluster"), self.save is not None)
        bodies = observe is not None or needs_bodies(self.include, self.pages, self.schema)
        with ExitStack() as stack:
            # The pool first, as an option that is refused leaves the job as it is; it ends before the job is let go.
            pool = stack.enter_context(make_pool(bodies=bodies, **options))
            opened = self.open()
            owned = ExitStack()
            owned.callback(opened.close)
            owned.enter_context(stack.pop_all())
        # Nobody knows how many pages there will be.
        is_counted = self.pages is None and (progress is not None or events.is_on("run.progress"))
        run = Run(
            pool,
            opened.books,
            sources=opened.names,
            total=opened.total if is_counted else None,
            deadline=deadline,
            observe=observe or _ignore,
            progress=progress,
            progress_every=progress_every,
            history=opened.history(_limits(options)),
        )
        result = Apart(run.execute, run.drain, owned).result()
        if result.error is not None:
            events.emit("run.failed", error=str(result.error))
        return result

    def open(self) -> OpenJob:
        """Take the lock, and make everything ready to fetch what is to be fetched; close what this returns.

        Raises `OptionError`, `SourceError`, `SinkError`, `JobError`, and `JobHeld` while another run holds the job.
        """
        sources = self._sources()
        self._check(sources)
        sources.check()
        sink = sink_of(self, sources.paths)  # refused before the directory is made
        directory = os.fspath(self.directory)
        with ExitStack() as stack:
            lock = JobLock(directory, self.wait_lock)
            stack.callback(lock.release)
            ledger = stack.enter_context(closing(Ledger(directory)))
            stack.callback(sink.close)
            opened = Opening(self, sources, sink, ledger, lock).open()
            if opened.told is not None:
                events.emit("run.continued", job=directory, run=opened.run, before=opened.before)
            stack.pop_all()  # from here on the books close sink and ledger, and who called lets go of the lock
        return opened

    def _sources(self) -> Sources:
        if self._given is not None:
            return self._given
        sources = sources_for(
            [os.fspath(source) for source in self.sources],
            format=self.input_format,
            query=self.query,
            making=making_of(self.template),
            note=self.note,
        )
        if isinstance(sources, QueryRows) and not sources.is_ordered:
            self.note(
                "the query has no 'order by': a run that goes on may be given its rows in another order, and is "
                "refused then; order them by what is unique"
            )
        return sources

    def _check(self, sources: Sources) -> None:
        if self.retry_failed and self.ordered:
            raise OptionError(
                "retry_failed=True with ordered=True: what has failed stands between the others there; leave out "
                "ordered=True, or use retry_rounds=, whose records come in their places"
            )
        if self.retry_failed and self.restart:
            raise OptionError("retry_failed=True and restart=True: the one goes on with a run, the other gives it up")
        if self.retry_rounds and not sources.can_be_read_again:
            raise OptionError(
                "retry_rounds= reads the sources again, and one of them can be read once: name files on a disk"
            )
