"""A directory with sources, a job and an output, and the command, run in this process. One thread, a test's."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from workerpool.cli import main

Row = dict[str, Any]


class Enough(Exception):
    """What ends a run before its time in these tests."""


class Place:
    """A directory with sources, a job and an output; commands run in this process."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.output = directory / "out.jsonl"
        self._capsys = capsys
        self.said = ""

    def write(self, *lines: str, name: str = "urls.txt") -> None:
        (self.directory / name).write_text("".join(f"{line}\n" for line in lines))

    def run(self, *words: str, source: str = "urls.txt", output: str = "out.jsonl") -> int:
        """Run the command; its exit code. What it says is in `said`."""
        argv = ["run", source, "-o", output, "--job", "a.job", "--no-progress", "--quiet", *words]
        return self.command(*argv)

    def command(self, *argv: str) -> int:
        code = main([*argv])
        self.said = self._capsys.readouterr().err
        return code

    def proven(self) -> bool:
        code = main(["reconcile", "a.job"])
        self.said = self._capsys.readouterr().out
        return code == 0

    def records(self) -> list[Row]:
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def by_url(self) -> dict[str, Row]:
        return {record["url"]: record for record in self.records()}

    def edit(self, statement: str, *values: Any) -> None:
        """Change the ledger behind everybody's back."""
        with closing(sqlite3.connect(self.directory / "a.job" / "ledger.sqlite")) as database, database:
            database.execute(statement, values)
