"""`workerpool report`: reads what a job has kept, or a file of records, and writes a page, Markdown or JSON.

The report goes to a file, which is replaced, or to standard output. The main thread does everything.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from workerpool.batch.codes import NOT_WRITTEN, OK
from workerpool.batch.job.schema import FILE as LEDGER
from workerpool.batch.sinks.place import is_one_file
from workerpool.cli.report_arguments import FORMATS, ReportSettings
from workerpool.cli.speaker import put_out
from workerpool.errors import OptionError
from workerpool.report.markdown import as_markdown
from workerpool.report.page import as_html
from workerpool.report.reading import Told, tell
from workerpool.report.report import Report, make_report
from workerpool.view.speech import speak

STDOUT = "-"


def report(settings: ReportSettings) -> int:
    """Carry out `workerpool report` and return its exit code; raises `WorkerPoolError` where nothing can be told."""
    format = _format(settings)
    _check_apart(settings.output, settings.path, settings.against)
    told, against = tell(settings.path), None if settings.against is None else tell(settings.against)
    _check_apart(settings.output, _output_of(told), _output_of(against))
    text = _text(make_report(told, against), format)
    if settings.output in (None, STDOUT):
        return OK if put_out(text.removesuffix("\n"), "the report") else NOT_WRITTEN
    return OK if _write(str(settings.output), text) else NOT_WRITTEN


def _format(settings: ReportSettings) -> str:
    """The format that was said, or that the file's name means; for standard output, Markdown."""
    if settings.format is not None:
        return settings.format
    if settings.output in (None, STDOUT):
        return "md"
    found = FORMATS.get(Path(str(settings.output)).suffix.lower())
    if found is None:
        raise OptionError(
            f"--output={settings.output}: end its name in {', '.join(FORMATS)}, or say --format html, md or json"
        )
    return found


def _check_apart(output: str | None, *records: str | None) -> None:
    """Raise `OptionError` if the report would take the place of `records` that it is made of."""
    if output in (None, STDOUT):
        return
    for file in records:
        if file is not None and any(is_one_file(str(output), each) for each in (file, os.path.join(file, LEDGER))):
            raise OptionError(f"--output={output} holds the records that the report is made of: name another file")


def _output_of(told: Told | None) -> str | None:
    """The output of a job."""
    return None if told is None or told.status is None else told.status.output


def _text(made: Report, format: str) -> str:
    if format == "html":
        return as_html(made)
    return as_markdown(made) if format == "md" else json.dumps(made.as_json(), indent=2) + "\n"


def _write(path: str, text: str) -> bool:
    """Put `text` in the place of the file at `path`, whole or not at all; a device or a pipe gets it as it is."""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            _write_to(path, text)
        else:
            _replace(os.path.realpath(path), text)  # what a link leads to: the link stays
    except OSError as error:
        speak(f"workerpool: the report {path} cannot be written: {error.strerror or error}")
        return False
    return True


def _replace(path: str, text: str) -> None:
    beside = f"{path}.{os.getpid()}.new"
    try:
        _write_to(beside, text)
        if os.path.exists(path):
            shutil.copymode(path, beside)
        os.replace(beside, path)
    except OSError:
        with suppress(OSError):
            os.unlink(beside)
        raise


def _write_to(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
