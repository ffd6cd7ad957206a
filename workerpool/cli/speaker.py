"""What is said on standard error, in words or as log events. Any thread; a terminal that has gone is no error."""

from __future__ import annotations

import os
import sys

from workerpool import events
from workerpool.options.words import in_flags
from workerpool.view.speech import speak
from workerpool.wording import wrapped


def put_out(text: str, what: str) -> bool:
    """Print `text` to standard output; where that fails, say so of `what` on standard error, and return False."""
    try:
        if sys.stdout is None:
            raise OSError("standard output is closed")
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except (OSError, ValueError) as error:
        speak(f"workerpool: {what} cannot be written: {error}")
        return False
    return True


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class Speaker:
    """Says things as the options want them said."""

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self._is_quiet = quiet
        self._as_json = as_json

    def say(self, text: str) -> None:
        """Say something that a person may want to know."""
        if not (self._is_quiet or self._as_json):
            speak(text)

    def tell(self, *sentences: str) -> None:
        """Say sentences, one after the other."""
        self.say(_folded(" ".join(sentences)))

    def note(self, sentence: str) -> None:
        """Say that something was left out."""
        events.emit("run.noted", note=sentence)
        self.tell(f"workerpool: {sentence}")

    def error(self, sentence: str) -> None:
        """Say what ended the run; this is said also if quiet."""
        sentence = in_flags(sentence)
        events.emit("run.failed", error=sentence)
        if not self._as_json:
            speak(_folded(f"workerpool: {sentence}"))

    def last_word(self, sentence: str, *, is_well: bool) -> None:
        """Say in one line how it ended; if that was not well, this is said also if quiet."""
        if not (self._as_json or (self._is_quiet and is_well)):
            speak(_folded(f"workerpool: {sentence}"))


class LogStream:
    """Standard error as it is at each moment: a live display puts itself in its place, so that lines go above it."""

    def write(self, text: str) -> int:
        return 0 if sys.stderr is None else sys.stderr.write(text)

    def flush(self) -> None:
        if sys.stderr is not None:
            sys.stderr.flush()

    def isatty(self) -> bool:
        return is_terminal() and "NO_COLOR" not in os.environ


def _folded(text: str) -> str:
    """Fold a message for a terminal; in a file it stays one line, to be searched for."""
    if not is_terminal():
        return text
    return "\n".join(wrapped(text))
