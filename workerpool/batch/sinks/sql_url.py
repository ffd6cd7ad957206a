"""The URL of an output that SQLAlchemy writes: a database, and which table of it. No password is said."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote

from workerpool.batch.sinks.database_url import TABLE, table_of
from workerpool.batch.sources.database import Database
from workerpool.errors import OptionError

FILES = ("sqlite", "duckdb")
"""The databases that are files."""


@dataclass(frozen=True, slots=True)
class SqlUrl:
    """A database and a table in it, whose name may have a schema before it."""

    database: Database = field(repr=False)
    table: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"the table {'.'.join(self.table)} of {self.database.name}"

    @property
    def partial_name(self) -> str:
        return f"the table {'.'.join(self.table)}_partial of {self.database.name}"

    @property
    def kind(self) -> str:
        return self.database.kind

    @property
    def schema(self) -> str | None:
        return self.table[0] if len(self.table) > 1 else None

    @property
    def file(self) -> str | None:
        """The path of a database that is a file."""
        return self.database.database if self.kind in FILES else None


def sql_of(output: str) -> SqlUrl:
    """Take a URL apart; raises `OptionError`, which shows nothing of a URL that cannot be parsed."""
    base, _, query = output.partition("?")
    parameters = [text for text in query.split("&") if text]
    wanted = [unquote(text.partition("=")[2]) for text in parameters if text.startswith("table=")]
    others = "&".join(text for text in parameters if not text.startswith("table="))
    database = Database(f"{base}?{others}" if others else base, "output")
    url = SqlUrl(database, table_of(wanted[-1] if wanted else TABLE))
    if url.file is not None and (url.file in ("", ":memory:") or url.file.startswith(("file:", "md:"))):
        raise OptionError(f"{database.name} is no file, as an output: write {url.kind}:////path/to/file.db?table=name")
    return url
