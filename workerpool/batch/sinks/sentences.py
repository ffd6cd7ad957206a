"""What went wrong with an output, in words: the system's reasons, and what of the records is safe. Pure functions."""

from __future__ import annotations

import os

from workerpool.errors import OptionError, SinkError


def reason_of(error: Exception) -> str:
    """Return the system's own words for `error`, to follow a colon."""
    number = getattr(error, "errno", None)
    reason = os.strerror(number) if number else str(error)
    return f"{reason[:1].lower()}{reason[1:]}"


def why_not(path: str, error: Exception) -> str:
    """Say why nothing can be made at `path`, and what would do."""
    if isinstance(error, FileNotFoundError):
        return f"the directory {os.path.dirname(path) or '.'} does not exist: make it first"
    if isinstance(error, IsADirectoryError):
        return "it is a directory: name a file in it"
    return reason_of(error)


def records_before(number: int, place: str = "") -> str:
    """Say how many records are safe, and in which `place` if that is not the output itself."""
    if number == 0:
        return "no record was written"
    where = f", in {place}" if place else ""
    return f"the {number:,} records before are whole{where}" if number > 1 else f"the 1 record before is whole{where}"


def gone(partial: str, what: str) -> SinkError:
    """Return the error for an unfinished output that is not what was confirmed."""
    return SinkError(f"{partial} {what}: put it back as it was, or give restart=True, which fetches everything again")


def write_error(name: str, reason: str, records: int, place: str = "") -> SinkError:
    """Return the error for an output that takes no more."""
    return SinkError(f"{name} cannot be written: {reason}; {records_before(records, place)}", records=records)


def not_taken(name: str, reason: str) -> OptionError:
    """Return the error for a table that rows cannot be merged into."""
    return OptionError(
        f"{name} does not take these rows: {reason}; change the schema or the table, or name another one with ?table="
    )


def null_is_refused(name: str, column: str) -> OptionError:
    """Return the error for a table with a column that may not be null, and that a row may leave out."""
    return OptionError(
        f"{name} does not take these rows: its column {column} may not be null, and is no column of the schema that is "
        "required; declare it so, or allow null there"
    )


def is_there_already(name: str) -> OptionError:
    """Return the error for a table whose rows may not be replaced."""
    return OptionError(
        f"{name} is there already: give overwrite=True to replace its rows, or name another one with ?table="
    )


def column_is_missing(name: str, column: str) -> OptionError:
    """Return the error for a table that has no such column."""
    return OptionError(f"{name} has no column {column}: drop the table, or name another one with ?table=")
