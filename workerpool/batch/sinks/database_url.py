"""The URL of a PostgreSQL output: what to connect to, which table, and what may be said of it. No password is said."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from workerpool.errors import OptionError
from workerpool.extras import load
from workerpool.redact import HIDDEN, printable, redact

TABLE = "results"
_PARTIAL = "_partial"
_LONGEST = 63 - len(_PARTIAL)  # PostgreSQL cuts longer names off, and two tables would become one
_CONNECT_TIMEOUT = "10"  # seconds
_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database and a table in it, whose name may have a schema before it."""

    where: str
    table: tuple[str, ...]
    conninfo: str = field(repr=False)
    secret: str = field(repr=False)

    @property
    def name(self) -> str:
        return f"the table {'.'.join(self.table)} of {self.where}"

    @property
    def partial_name(self) -> str:
        return f"the table {'.'.join(self.partial)} of {self.where}"

    @property
    def partial(self) -> tuple[str, ...]:
        return (*self.table[:-1], self.table[-1] + _PARTIAL)

    def reason(self, error: Exception) -> str:
        """Return what the server or the library said, on one line and without the password."""
        text = " ".join(str(error).split()) or type(error).__name__
        if self.secret:
            text = text.replace(self.secret, HIDDEN)
        return printable(redact(text))


def database_of(url: str) -> DatabaseUrl:
    """Take a URL apart; raises `OptionError`, which shows nothing of a URL that cannot be parsed."""
    psycopg = load("psycopg", "postgres", "a PostgreSQL output")
    said = load("psycopg.conninfo", "postgres", "a PostgreSQL output")
    base, _, query = url.partition("?")
    parameters = [text.partition("=") for text in query.split("&") if text]
    wanted = [unquote(value) for name, _, value in parameters if name == "table"]
    others = "&".join(f"{name}={value}" for name, _, value in parameters if name != "table")
    try:
        settings = said.conninfo_to_dict(f"{base}?{others}" if others else base)
    except psycopg.Error:
        raise OptionError(
            "the output postgresql://… is no URL: write postgresql://user@host/database?table=name, "
            "with characters such as @ and % in a password written as %40 and %25"
        ) from None
    settings.setdefault("connect_timeout", _CONNECT_TIMEOUT)
    settings.setdefault("application_name", "workerpool")
    table = table_of(wanted[-1] if wanted else TABLE)
    where = f"postgresql://{settings.get('host', 'localhost')}/{settings.get('dbname', '')}"
    return DatabaseUrl(where, table, said.make_conninfo(**settings), str(settings.get("password") or ""))


def table_of(text: str) -> tuple[str, ...]:
    """Take apart the name of a table, with its schema or without; raises `OptionError`."""
    names = tuple(text.split("."))
    if len(names) > 2 or not all(_NAME.fullmatch(name) for name in names):
        raise OptionError(f"the table {text!r} is no name: write table=results or table=schema.results")
    if len(names[-1].encode()) > _LONGEST:
        raise OptionError(f"the table {text!r} has too long a name: {_LONGEST} bytes would do")
    return names
