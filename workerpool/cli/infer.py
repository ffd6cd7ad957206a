"""`workerpool infer`: reads samples, and writes the schema that they suggest."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from workerpool.batch.codes import NOT_WRITTEN, OK
from workerpool.batch.schemas.draft import draft_text
from workerpool.batch.schemas.inference import infer as infer_schema
from workerpool.batch.schemas.inference import samples_in
from workerpool.batch.sinks.sentences import reason_of, why_not
from workerpool.cli.infer_arguments import InferSettings
from workerpool.cli.speaker import put_out
from workerpool.errors import OptionError
from workerpool.view.speech import speak

_STDIN = "-"


def infer(settings: InferSettings) -> int:
    """Carry out the command, and return its exit code."""
    output = settings.output
    if output is not None and os.path.lexists(output):
        raise OptionError(f"{output} is there already, perhaps corrected by hand: name another file, or remove it")
    text = draft_text(infer_schema(_samples(settings.samples)))
    if output is None:
        return OK if put_out(text.rstrip("\n"), "the schema") else NOT_WRITTEN
    try:
        with open(output, "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        speak(f"workerpool: {output} cannot be written: {why_not(output, error)}")
        return NOT_WRITTEN
    return OK


def _samples(names: tuple[str, ...]) -> Iterator[Any]:
    for name in names:
        yield from samples_in(_read(name), "standard input" if name == _STDIN else name)


def _read(name: str) -> str:
    if name == _STDIN and sys.stdin is None:
        raise OptionError("standard input is closed: give a file, or pipe the answers in")
    try:
        if name == _STDIN:
            return sys.stdin.read()
        with open(name, encoding="utf-8-sig") as file:
            return file.read()
    except OSError as error:
        raise OptionError(f"the sample {name} cannot be read: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"the sample {name} is no text in UTF-8: give JSON, unpacked") from error
