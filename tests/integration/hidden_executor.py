"""A ThreadPoolExecutor behind a wall, public methods only: it shows which of CPython's tests read private fields."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any


class HiddenExecutor(Executor):
    def __init__(self, *args: Any, **options: Any) -> None:
        self.__inner = ThreadPoolExecutor(*args, **options)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self.__inner.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.__inner.shutdown(wait, cancel_futures=cancel_futures)

    @property
    def _broken(self) -> Any:
        return self.__inner._broken


class LosesResults(HiddenExecutor):
    """Broken on purpose: every callable is called without its keyword arguments."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(fn, *args)
