"""The command line: arguments, exit codes, signals and what is said on the terminal. No rules of fetching are here."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from workerpool.batch.codes import INTERRUPTED, NOT_WRITTEN, USAGE
from workerpool.errors import WorkerPoolError
from workerpool.view.speech import speak

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit code. `argv` None takes the process's arguments, and owns it."""
    try:
        code = _carry_out(argv)
        _flush_stdout()
    except SystemExit as end:  # --help, --version, and what argparse refuses
        code = end.code if isinstance(end.code, int) else USAGE
        _flush_stdout()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except WorkerPoolError as error:
        from workerpool.options.words import in_flags

        speak(f"workerpool: {in_flags(str(error))}")
        code = USAGE
    if argv is None and code == NOT_WRITTEN:
        # The interpreter would wait for requests in flight, whose results have nowhere to go.
        os._exit(code)
    return code


def _carry_out(argv: Sequence[str] | None) -> int:
    from workerpool.cli.arguments import RunSettings, parse
    from workerpool.cli.completion import CompletionSettings, print_completion
    from workerpool.cli.doctor_arguments import DoctorSettings
    from workerpool.cli.infer_arguments import InferSettings
    from workerpool.cli.plan_arguments import PlanSettings
    from workerpool.cli.report_arguments import ReportSettings

    try:
        settings = parse(argv)
    except BrokenPipeError:  # of --help, whose reader has gone: not every release of argparse forgives that
        raise SystemExit(0) from None
    if isinstance(settings, RunSettings):
        from workerpool.cli.run import run

        return run(settings, owns_process=argv is None)
    if isinstance(settings, DoctorSettings):
        from workerpool.cli.doctor import doctor

        return doctor(settings, owns_process=argv is None)
    if isinstance(settings, InferSettings):
        from workerpool.cli.infer import infer

        return infer(settings)
    if isinstance(settings, PlanSettings):
        from workerpool.cli.plan import plan

        return plan(settings)
    if isinstance(settings, ReportSettings):
        from workerpool.cli.report import report

        return report(settings)
    if isinstance(settings, CompletionSettings):
        return print_completion(settings)
    from workerpool.cli.looking import look

    return look(settings)


def _flush_stdout() -> None:
    """Write out what --help said now: the reader of a pipe may have gone, and at exit that would be a traceback."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
