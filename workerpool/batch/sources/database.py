"""A database by its URL as SQLAlchemy has it: what may be said of it, what connects to it, and what a query answers.

No password is in anything that this says or is called: the login's is hidden, and the URL's parameters are. Rows come
through a server-side cursor where there is one, some at a time. One thread at a time; the library is imported when a
database is named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote, quote_plus

from workerpool.errors import OptionError, SourceError
from workerpool.extras import load
from workerpool.redact import HIDDEN, printable, redact

ROWS = 1000
"""Rows that are fetched at a time."""

_URL = re.compile(r"([A-Za-z][\w.-]*)(\+\w+)?://")
_KINDS = (
    "postgresql", "mysql", "mariadb", "sqlite", "duckdb", "oracle", "mssql", "snowflake", "redshift", "bigquery",
    "clickhouse", "trino", "cockroachdb",
)  # fmt: skip
_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
_ARTICLES = {"source": "a source", "output": "an output"}
_OF_FILES = ("sqlite", "duckdb")
_IN_MEMORY = (None, "", ":memory:")
_SAID = 500
"""Characters of what a database says that are repeated."""


def is_database(name: str) -> bool:
    """Whether a source's name is a database's URL, and no other one."""
    found = _URL.match(name)
    return found is not None and (found[2] is not None or found[1].lower() in _KINDS)


class Database:
    """A database by its URL. `name`: what it is called, with no secret in it, and the same from any directory.

    `part`: what it is to us, ``source`` or ``output``. Raises `OptionError` where SQLAlchemy or the database's driver
    is missing, or the URL is none; it shows nothing of a URL that cannot be parsed.
    """

    def __init__(self, url: str, part: str = "source") -> None:
        self._part = part
        self._library = load("sqlalchemy", "sql", f"a database as {_ARTICLES[part]}")
        self._url = self._parsed(url)
        self.name: str = self._shown()

    def ask(self, query: str) -> Answer:
        """Have a query answered; raises `SourceError` saying what the database said."""
        engine = self.engine()
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(engine.connect())
                options = connection.execution_options(yield_per=ROWS, stream_results=True, no_parameters=True)
                result = options.exec_driver_sql(query)
            except Exception as error:  # a driver's, of whatever kind
                raise self.failed("cannot be asked", error) from None
            if not result.returns_rows:
                raise SourceError(f"{self.name}: the query gives no rows: write one that does, as select … order by …")
            return Answer(self, [*map(str, result.keys())], result, stack.pop_all())

    def failed(self, what: str, error: Exception) -> SourceError:
        """Return the error that says what the database or its driver has said, without the password."""
        return SourceError(f"{self.name} {what}: {self.reason(error)}")

    def reason(self, error: Exception) -> str:
        """Return what the database or its driver has said, on one line and without the password."""
        said = " ".join(str(getattr(error, "orig", None) or error).split()) or type(error).__name__
        for secret in self._secrets():
            said = said.replace(secret, HIDDEN)
        return printable(redact(said))[:_SAID]

    @property
    def kind(self) -> str:
        """What database it is, whatever the driver: ``postgresql``, ``mysql``."""
        return str(self._url.get_backend_name())

    @property
    def database(self) -> str:
        """Which one of the server's, or the path of a file."""
        return str(self._url.database or "")

    def _parsed(self, url: str) -> Any:
        try:
            found = self._library.make_url(url)
        except Exception:  # a port that is no number is a ValueError, other parts have errors of their own
            raise OptionError(
                f"{_ARTICLES[self._part]} is no database's URL: write postgresql+psycopg://user@host/database, or "
                "sqlite:////path/to/file.db, with characters such as @ and % in a password written as %40 and %25"
            ) from None
        is_file = found.get_backend_name() in _OF_FILES and found.database not in _IN_MEMORY
        if is_file and not found.database.startswith(("file:", "md:")):  # SQLite's own URLs, and DuckDB's service
            return found.set(database=os.path.abspath(found.database))
        return found

    def _shown(self) -> str:
        """The URL with its password hidden, and any parameters: drivers take passwords and whole logins there."""
        shown = self._url.set(query={}).render_as_string(hide_password=True)
        shown = shown if self._url.password is None else redact(shown)
        return f"{shown}?{HIDDEN}" if self._url.query else shown

    def engine(self, **settings: Any) -> Any:
        """Return what connects, when it is asked to; raises `OptionError` for a driver that is missing."""
        given = (
            {"check_same_thread": False} if self.kind == "sqlite" else {}
        )  # it is used by one thread after the other
        try:
            return self._library.create_engine(
                self._dialed(), poolclass=self._library.pool.NullPool, connect_args=given, **settings
            )
        except (self._library.exc.NoSuchModuleError, ImportError) as error:
            missing = getattr(error, "name", None) or f"SQLAlchemy's dialect for {self._url.drivername}"
            raise OptionError(
                f"{self.name} needs {missing}, which is not installed: install the driver of that database, or name "
                "another one, as in postgresql+psycopg://"
            ) from None
        except Exception as error:  # an argument in the URL that the driver does not know
            raise self.failed("cannot be asked", error) from None

    def _dialed(self) -> Any:
        """The URL with the driver of our extras where none is named, as SQLAlchemy's own choice changes."""
        return self._url.set(drivername=_DRIVERS.get(self._url.drivername, self._url.drivername))

    def _secrets(self) -> Iterator[str]:
        """What must not be repeated, as it is and as it may be written in a URL; the longest come first."""
        secrets = [str(self._url.password)] if self._url.password else []
        for values in self._url.query.values():
            secrets += [values] if isinstance(values, str) else values
        written = {way for secret in secrets for way in (secret, quote(secret, safe=""), quote_plus(secret))}
        yield from sorted((one for one in written if len(one) > 2), key=len, reverse=True)


class Answer:
    """The rows of a query, which may be iterated once. Closing it, also in the middle, ends the query."""

    def __init__(self, database: Database, columns: Sequence[str], result: Any, stack: ExitStack) -> None:
        self.columns = columns
        self._database = database
        self._result = result
        self._stack = stack

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield rows; raises `SourceError`, naming the last good one, where they break off."""
        count = 0
        while rows := self._fetch(count):
            count += len(rows)
            yield from rows

    def _fetch(self, count: int) -> Sequence[tuple[Any, ...]]:
        try:
            rows: Sequence[tuple[Any, ...]] = self._result.fetchmany(ROWS)
            return rows
        except Exception as error:  # a driver's, of whatever kind, or of a value that Python has no object for
            raise self._database.failed(f"breaks off after row {count:,}", error) from None

    def close(self) -> None:
        try:
            self._stack.close()
        except Exception:
            return  # the connection is broken, and so closed
