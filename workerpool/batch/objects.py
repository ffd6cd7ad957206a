"""Objects at URLs that fsspec knows, such as ``s3://bucket/urls.csv``: who has them, and what went wrong with them.

Where credentials come from is fsspec's matter: the environment, a profile, the machine. Its errors, which have the many
names of the libraries behind it, are those of a file here, and hold no secret. Any thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from workerpool.errors import OptionError
from workerpool.extras import load
from workerpool.redact import printable, redact

_SAID = 500
"""Characters of what a library says that are repeated."""


def files_of(url: str, purpose: str, refusal: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and what the object is called in it; raises `OptionError`.

    `purpose` is what it is needed for, `refusal` the beginning of the sentence where the URL cannot work.
    """
    library = load("fsspec", "remote", purpose)
    try:
        # Its own, as it has transactions; and without what it remembers of directories, as others write there.
        files, path = library.core.url_to_fs(url, skip_instance_cache=True, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise OptionError(f"{refusal}: {reason_of(error)}") from None
    return files, path


@contextmanager
def asking() -> Iterator[None]:
    """Make an error of whatever library is behind fsspec that of a file."""
    try:
        yield
    except (OSError, GeneratorExit):
        raise
    except Exception as error:
        raise OSError(reason_of(error)) from None


def reason_of(error: Exception) -> str:
    """Return what a library has said, on one line and without secrets."""
    return printable(redact(" ".join(str(error).split()) or type(error).__name__))[:_SAID]
