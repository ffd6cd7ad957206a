"""Writes what is made of the command line's parser and shipped with the package: the manual page, and the completions
for shells. `make docs` does; a test tells whether it would.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from workerpool.cli.arguments import EXIT_CODES, make_parser
from workerpool.cli.completion import SCRIPTS, SHARE

FILES = {"SOURCE", "OUTPUT", "FILE", "SAMPLE", "PATH"}
"""What stands for a file's name in the help."""


def manual() -> str:
    """The manual page, in roff."""
    parser = make_parser()
    told = {
        "project_name": "workerpool",
        "date": "for Unix",  # a page that is made anew is to differ only where the program does
        "manual_title": "User Commands",
        "description": "fetch large batches of HTTP requests, within budgets, with one result for each",
    }
    page = str(Manpage(parser, told, format="single-commands-section"))
    codes = EXIT_CODES.replace("\\", "\\e").replace("-", "\\-")
    told_of_run = "Of run; what the others exit with, their \\-\\-help says."
    return f"{page.rstrip()}\n.SH EXIT STATUS\n{told_of_run}\n.nf\n{codes}.fi\n"


def completion(shell: str) -> str:
    """What completes words in a shell."""
    parser = make_parser()
    for action in _actions(parser):
        if action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return shtab.complete(parser, shell).rstrip() + "\n"


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def written() -> dict[Path, str]:
    """The files' texts as they have to be."""
    return {SHARE / "workerpool.1": manual()} | {SHARE / name: completion(shell) for shell, name in SCRIPTS.items()}


if __name__ == "__main__":
    SHARE.mkdir(exist_ok=True)
    for path, text in written().items():
        path.write_text(text)
