"""The URL of an SQL output: what SQLAlchemy connects to, which table, and what may be said of it. No password is said."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

from workerpool.batch.sinks.database_url import TABLE, table_of
from workerpool.errors import OptionError
from workerpool.extras import load
from workerpool.redact import HIDDEN, printable, redact

FILES = ("sqlite", "duckdb")
"""The databases that are files."""

_DRIVERS = {
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
    "postgresql": "postgresql+psycopg",
}
"""The driver of our extras where a URL names none: SQLAlchemy's own choice changes."""

_IN_MEMORY = (None, "", ":memory:")
_SAID = 500
"""Characters of what a database says that are repeated."""

_URL = re.compile(r"([A-Za-z][\w.-]*)(\+\w+)?://")
_KINDS = (
    *("mysql", "mariadb", "sqlite", "duckdb", "oracle", "mssql", "snowflake", "redshift", "bigquery", "clickhouse"),
    *("trino", "cockroachdb"),
)


def is_sql(output: str) -> bool:
    """Whether an output's name is a URL that SQLAlchemy has: of one of its databases, or with a driver after a plus."""
    found = _URL.match(output)
    return found is not None and (found[2] is not None or found[1].lower() in _KINDS)


@dataclass(frozen=True, slots=True)
class SqlUrl:
    """A database and a table in it, whose name may have a schema before it."""

    where: str
    kind: str
    table: tuple[str, ...]
    url: Any = field(repr=False)

    @property
    def name(self) -> str:
        return f"the table {'.'.join(self.table)} of {self.where}"

    @property
    def partial_name(self) -> str:
        return f"{self.name.replace(' of ', '_partial of ', 1)}"

    @property
    def schema(self) -> str | None:
        return self.table[0] if len(self.table) > 1 else None

    @property
    def file(self) -> str | None:
        """The path of a database that is a file."""
        return str(self.url.database) if self.kind in FILES else None

    def reason(self, error: Exception) -> str:
        """Return what the database or its driver said, on one line and without the password."""
        said = " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__
        for secret in self._secrets():
            said = said.replace(secret, HIDDEN)
        return printable(redact(said))[:_SAID]

    def _secrets(self) -> Iterator[str]:
        """What must not be repeated, as it is and as it may be written in a URL; the longest come first."""
        secrets = [str(self.url.password)] if self.url.password else []
        for values in self.url.query.values():
            secrets += [values] if isinstance(values, str) else values
        written = {way for secret in secrets for way in (secret, quote(secret, safe=""), quote_plus(secret))}
        yield from sorted((one for one in written if len(one) > 2), key=len, reverse=True)


def sql_of(output: str) -> SqlUrl:
    """Take a URL apart; raises `OptionError`, which shows nothing of a URL that cannot be parsed."""
    library = load("sqlalchemy", "sql", "this database as an output")
    try:
        url = library.make_url(output)
    except Exception:  # a port that is no number is a ValueError, other parts have errors of their own
        raise OptionError(
            "the output is no database's URL: write mysql+pymysql://user@host/database?table=name, with characters "
            "such as @ and % in a password written as %40 and %25"
        ) from None
    wanted = url.query.get("table", TABLE)
    url = url.difference_update_query(["table"])
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    kind = url.get_backend_name()
    if kind in FILES:
        url = _on_disk(url)
    where = url.set(query={}, username=None, password=None).render_as_string()
    return SqlUrl(redact(where), kind, table_of(wanted if isinstance(wanted, str) else wanted[-1]), url)


def _on_disk(url: Any) -> Any:
    """Have the path of a file absolute; raises `OptionError` for a database that ends with its process."""
    if url.database in _IN_MEMORY or url.database.startswith(("file:", "md:")):
        raise OptionError(
            f"the output {url.drivername}:// names no file: write {url.drivername}:////path/to/file.db?table=name"
        )
    return url.set(database=os.path.abspath(url.database))
