"""Whether a worker's code can work: by what it says to a greeting, and by how it fails. Pure functions, any thread."""

from __future__ import annotations

from pickle import UnpicklingError
from typing import Any

from workerpool.agent import version
from workerpool.errors import WorkerPoolError


def is_of_code(error: BaseException) -> bool:
    """Whether it is the worker's code that fails, so that it would again."""
    return isinstance(error, (ImportError, AttributeError, TypeError, ValueError, WorkerPoolError, UnpicklingError))


def problem_of(said: Any) -> str | None:
    """What is wrong with a worker that says this to a greeting: "" if that may be over soon, None if nothing is."""
    if isinstance(said, BaseException):
        if not is_of_code(said):
            return ""
        return (
            f"no workerpool, or another version than this one, {version()} ({type(said).__name__}: {said}): install "
            "the same on all workers"
        )
    its, _ = said
    if its == version():
        return None
    return f"workerpool {its}, and this is {version()}: install the same on all"
