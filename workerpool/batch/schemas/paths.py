"""A schema's paths, with what is said of one that is none. Any thread."""

from __future__ import annotations

from workerpool import paths
from workerpool.errors import OptionError


def getter(path: str, what: str) -> paths.Get:
    """Compile `path`; raises `OptionError`, which begins with `what`. What this returns may raise `paths.errors()`."""
    try:
        return paths.getter(path, f"{what} {path!r}")
    except paths.NoPath as none:
        said = " ".join(str(none.args[0]).split("\n")[0].split())
        raise OptionError(f"{what} {path!r} is no JMESPath expression: {said}") from none.args[0]
