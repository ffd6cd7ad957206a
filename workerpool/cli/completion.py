"""`workerpool completion`: print what completes words in a shell, which is a file of the package."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workerpool.batch.codes import NOT_WRITTEN, OK
from workerpool.cli.speaker import put_out

SHARE = Path(__file__).resolve().parent.parent / "share"
"""What is made of the parser, by tools/shipped.py."""

SCRIPTS = {"bash": "workerpool", "zsh": "_workerpool", "fish": "workerpool.fish"}
"""By shell."""

_DESCRIPTION = """\
Print what completes workerpool's commands and options in a shell. For this
session: eval "$(workerpool completion bash)"; for good, the same line goes into
~/.bashrc. zsh: into a file _workerpool in a directory of $fpath. fish: into
~/.config/fish/completions/workerpool.fish.
"""

_END = """\
exit status:
  0 it was printed · 2 bad usage · 5 it could not be written
"""


@dataclass(frozen=True, slots=True)
class CompletionSettings:
    """What the command was told."""

    shell: str


def add_completion(commands: Any, formatter: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "completion",
        usage="%(prog)s bash|zsh|fish",
        help="print what completes words in a shell",
        description=_DESCRIPTION,
        epilog=_END,
        formatter_class=formatter,
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=[*SCRIPTS], metavar="SHELL", help="bash, zsh or fish")
    parser.set_defaults(settings_of=settings_of)


def settings_of(said: argparse.Namespace) -> CompletionSettings:
    """What was said."""
    return CompletionSettings(said.shell)


def print_completion(settings: CompletionSettings) -> int:
    """Carry out the command, and return its exit code."""
    script = (SHARE / SCRIPTS[settings.shell]).read_text().rstrip("\n")
    return OK if put_out(script, "the script") else NOT_WRITTEN
