"""`workerpool report`: reads what a job has kept, or a file of records, and writes a page, Markdown or JSON.

The report goes to a file, or to standard output. The main thread does everything.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from workerpool.batch.codes import NOT_WRITTEN, OK
from workerpool.cli.report_arguments import FORMATS, ReportSettings
from workerpool.cli.speaker import put_out
from workerpool.errors import OptionError
from workerpool.report.markdown import as_markdown
from workerpool.report.page import as_html
from workerpool.report.reading import tell
from workerpool.report.report import Report, make_report
from workerpool.view.speech import speak

STDOUT = "-"


def report(settings: ReportSettings) -> int:
    """Carry out `workerpool report` and return its exit code; raises `WorkerPoolError` where nothing can be told."""
    format = _format(settings)
    against = None if settings.against is None else tell(settings.against)
    text = _text(make_report(tell(settings.path), against), format)
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


def _text(made: Report, format: str) -> str:
    if format == "html":
        return as_html(made)
    return as_markdown(made) if format == "md" else json.dumps(made.as_json(), indent=2) + "\n"


def _write(path: str, text: str) -> bool:
    """Put `text` in the place of what was at `path`, whole or not at all."""
    beside = f"{path}.new"
    try:
        with open(beside, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(beside)
        speak(f"workerpool: the report {path} cannot be written: {error.strerror or error}")
        return False
    return True
