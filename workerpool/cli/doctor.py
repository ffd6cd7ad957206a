"""`workerpool doctor`: examines a server, and prints what was found as text or JSON.

The findings go to standard output; what is being done goes to standard error, and only to a terminal. The main thread
does everything, so that an interrupt ends it at once, with what was found so far.
"""

from __future__ import annotations

import json
import os
import sys
import warnings

from workerpool.agent import version
from workerpool.batch.codes import FAILED, INTERRUPTED, NOT_WRITTEN, OK
from workerpool.cli.doctor_arguments import DoctorSettings
from workerpool.cli.speaker import is_terminal, put_out
from workerpool.doctor import Examiner, as_text
from workerpool.wording import WIDTH


def doctor(settings: DoctorSettings, *, owns_process: bool = False) -> int:
    """Carry out `workerpool doctor` and return its exit code.

    `owns_process` allows it to end the process itself after an interrupt: the interpreter would wait for the request
    in flight, which nobody wants any more.
    """
    if settings.examiner.get("verify") is False:  # it was asked for
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
    line = _Line()
    examiner = Examiner(settings.url, tell=line.show, user_agent=f"workerpool-doctor/{version()}", **settings.examiner)
    code = OK
    try:
        examiner.examine()
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        line.clear()
    found = examiner.examination(interrupted=code == INTERRUPTED)
    if code == OK and found.failure is not None:
        code = FAILED
    text = json.dumps(found.as_json(), indent=2) if settings.as_json else as_text(found)
    if not put_out(text, "the findings"):
        code = NOT_WRITTEN
    if owns_process and code in (INTERRUPTED, NOT_WRITTEN):
        os._exit(code)
    return code


class _Line:
    """The one line on a terminal that says what is being done."""

    def __init__(self) -> None:
        self._is_shown = is_terminal() and os.environ.get("TERM", "") != "dumb"
        self._width = 0

    def show(self, words: str) -> None:
        if self._is_shown:
            self._put(words[: WIDTH - 1])

    def clear(self) -> None:
        if self._is_shown and self._width:
            self._width += 2  # what the terminal shows of Ctrl-C
            self._put("")

    def _put(self, words: str) -> None:
        try:
            sys.stderr.write(f"\r{words:<{self._width}}" if words else f"\r{'':<{self._width}}\r")
            sys.stderr.flush()
        except (OSError, ValueError):
            self._is_shown = False
        self._width = len(words)
