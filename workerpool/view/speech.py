"""Lines on standard error. Any thread; a terminal that has gone is no error."""

from __future__ import annotations

import sys

from workerpool.redact import redact


def speak(text: str) -> None:
    """Write a line to standard error, without secrets.

    Nothing is raised where it cannot be written: a run whose terminal was closed still has to end well. Nor does it
    go to standard output instead, as `print` would have it where standard error was closed from the start.
    """
    try:
        if sys.stderr is not None:
            print(redact(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        pass
