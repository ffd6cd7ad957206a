"""What the user named as sources: which files those are, what is in each, and whether that can be looked at.

A name with ``*``, ``?`` or ``[`` in it that is no file's own is a pattern, and stands for the files that match it, by
name. Looks up names and kinds of files, and opens none. Any thread.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from workerpool.batch.sources.base import STDIN
from workerpool.batch.sources.formats import ENDINGS, FORMATS, NAMES
from workerpool.batch.sources.opened import Source
from workerpool.batch.sources.packed import packing_named
from workerpool.batch.sources.remote import RemoteSource, matching
from workerpool.errors import OptionError, SourceError
from workerpool.redact import redact


def sources_named(paths: Sequence[str], format: str | None) -> list[Source]:
    """Return the sources that `paths` stand for, in their order; `format` is what is in all of them, if given.

    Raises `OptionError` for one that is named twice, as its requests would have each identity twice, and `SourceError`
    for a name that does not say what is in the file, or a pattern that no file matches.
    """
    if format is not None and format not in FORMATS:
        raise OptionError(f"the input format {format!r} is unknown: write {', '.join(NAMES)}")
    if paths.count(STDIN) > 1:
        raise OptionError("'-' is given twice, and standard input can be read once")
    sources: list[Source] = []
    seen: dict[str, Source] = {}
    for path in paths:
        for source in (_source(one, format) for one in _expanded(path)):
            same = seen.setdefault(_identity(source.path), source)
            if same is not source:
                other = "" if same.path == source.path else f", once as {same.name}"
                raise OptionError(f"{source.name} is given twice{other}: name each file once, patterns included")
            sources.append(source)
    return sources


def _identity(path: str) -> str:
    try:
        return path if path == STDIN or is_remote(path) else os.path.realpath(path)
    except (OSError, ValueError):
        return path


def _expanded(path: str) -> Iterator[str]:
    if is_remote(path):
        yield from matching(path) if "*" in path or "[" in path else [path]  # a URL may have a ? of its own
        return
    if not glob.has_magic(path) or os.path.lexists(path):
        yield path
        return
    try:
        found = sorted(name for name in glob.iglob(path, recursive=True) if not os.path.isdir(name))
    except ValueError:  # a NUL byte
        found = []
    if not found:
        raise SourceError(f"no file matches {redact(path)}: look at the pattern")
    yield from dict.fromkeys(found)  # ** may find a file in more ways than one


def _source(path: str, format: str | None) -> Source:
    name = "standard input" if path == STDIN else redact(path)
    if path.lower().startswith(("http://", "https://")) and not os.path.lexists(path):
        raise SourceError(
            f"{name} is a page to fetch, not a list of them: put it into a file, a URL a line, or pipe it in"
        )
    packing = packing_named(path)
    ending = Path(path.lower().removesuffix(packing.ending if packing else "")).suffix[1:]
    found = FORMATS.get(format or (NAMES[0] if path == STDIN else ending))
    if found is None:
        raise SourceError(f"{name}: its name does not say what is in it: end it in {ENDINGS}, or give input_format=")
    if not found.is_text and packing is not None:
        raise SourceError(f"{name}: Parquet is packed inside: unpack the file, and name it .parquet")
    if not found.is_text and path == STDIN:
        raise SourceError("Parquet is read from its end, so it cannot come from standard input: give a file")
    return RemoteSource(path, found) if is_remote(path) else Source(path, found, name)


def is_remote(path: str) -> bool:
    """Whether a source is an object at a URL that fsspec knows. Who names a page means to have it fetched."""
    return "://" in path and not path.lower().startswith(("http://", "https://")) and not os.path.lexists(path)
