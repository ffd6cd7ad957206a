"""The options of a run that is kept in a job: what may be said, its help, and the check of what was said."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workerpool.config import parse_duration
from workerpool.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """What was said about the job, checked. Durations are seconds; names are those of `batch.job.job.Job`."""

    directory: str
    retry_rounds: int
    retry_failed: bool
    restart: bool
    wait_lock: float
    conditional: bool | None
    only_changed: bool
    skip_recent: float | None
    unique_keys: bool
    idempotency_keys: bool
    at_least_once: bool


_NEED_JOB = (
    "retry_rounds", "retry_failed", "restart", "wait_lock", "conditional", "only_changed", "skip_recent",
    "unique_keys", "idempotency_keys", "at_least_once",
)  # fmt: skip


def add_job(add: Callable[..., Any]) -> None:
    add("--job", metavar="DIR", help="keep what was done there, so that the same command goes on with it; see below")
    add("--retry-failed", action="store_true", help="after a finished run, fetch only what has failed in it")
    add("--retry-rounds", metavar="N", help="rounds at the end for failures that may be tried again; default: 0")
    add("--restart", action="store_true", help="give up an unfinished run, and begin anew")
    add("--wait-lock", metavar="S", help="seconds, or 10m, to wait for another run of the job; default: 0")
    add("--skip-recent", metavar="AGE", help="do not fetch what was ok within 90s, 12h, 24h; default: fetch all")
    add(
        "--conditional",
        action=argparse.BooleanOptionalAction,
        help="ask servers only for what has changed since the last run; default: unless bodies are included",
    )
    add("--only-changed", action="store_true", help="leave out of OUTPUT what has not changed since the last run")
    add("--unique-keys", action="store_true", help="refuse an input whose key another one had before, unsent")
    add(
        "--idempotency-keys",
        action="store_true",
        help="send an Idempotency-Key with POST and PATCH, the same after a crash, and so retry them",
    )
    add("--at-least-once", action="store_true", help="allow -o -, where a crash may repeat some records")


def job_settings_of(said: argparse.Namespace) -> JobSettings | None:
    """Check what was said about the job, None if there is none; raises `OptionError`."""
    if said.job is None:
        for name in _NEED_JOB:
            if getattr(said, name) not in (None, False):
                raise OptionError(f"--{name.replace('_', '-')} needs --job DIR, where what was done is kept")
        return None
    if not said.job:
        raise OptionError("--job='' must name a directory")
    return JobSettings(
        directory=said.job,
        retry_rounds=_rounds(said.retry_rounds),
        retry_failed=said.retry_failed,
        restart=said.restart,
        wait_lock=0.0 if said.wait_lock in (None, "0") else parse_duration(said.wait_lock, "--wait-lock"),
        conditional=said.conditional,
        only_changed=said.only_changed,
        skip_recent=None if said.skip_recent is None else parse_duration(said.skip_recent, "--skip-recent"),
        unique_keys=said.unique_keys,
        idempotency_keys=said.idempotency_keys,
        at_least_once=said.at_least_once,
    )


def _rounds(said: str | None) -> int:
    if said is None:
        return 0
    if not said.isdecimal():
        raise OptionError(f"--retry-rounds={said!r} must be a whole number, 0 or more")
    return int(said)
