"""Libraries that only some options use: imported when one of those is asked for, or missed with what would do."""

from __future__ import annotations

import importlib
from typing import Any

from workerpool.errors import OptionError


def load(module: str, extra: str, purpose: str) -> Any:
    """Import `module`, which `purpose` needs and the extra `extra` brings; raises `OptionError` if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise OptionError(
            f"{purpose} needs {library}, which is not installed: pip install 'workerpool-http[{extra}]'"
        ) from error
