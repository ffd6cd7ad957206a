"""What tests let other processes do: functions and classes that those can import by this module's name."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

import requests

from workerpool.config import Options
from workerpool.model import Request
from workerpool.testing import Answer, ScriptedTransport
from workerpool.transport import Governor


def answering_pids(options: Options, governor: Governor) -> ScriptedTransport:
    """Answers each request with the id of the process that sends it."""
    return ScriptedTransport(lambda request, url: Answer(body=str(os.getpid()).encode()))


def answering_workers(options: Options, governor: Governor) -> ScriptedTransport:
    """Answers each request with the workers and the sockets that its process may have."""
    told = f"{options.workers} {options.budgets.max_connections}"
    return ScriptedTransport(lambda request, url: Answer(body=told.encode()))


def ending(options: Options, governor: Governor) -> ScriptedTransport:
    """Kills its process at a URL that says so."""

    def play(request: Request, url: str) -> Answer:
        if "kill" in url:
            os.kill(os.getpid(), signal.SIGKILL)
        return Answer()

    return ScriptedTransport(play)


def raising_odd(options: Options, governor: Governor) -> ScriptedTransport:
    """Answers each request with an error whose class nobody can import."""

    class OddError(requests.ConnectionError):
        pass

    return ScriptedTransport(lambda request, url: Answer(error=OddError("odd error")))


class ForkingAuth(requests.auth.AuthBase):
    """Leaves a process behind, for five seconds, that holds all that its parent has open."""

    def __call__(self, prepared: Any) -> Any:
        if os.fork() == 0:
            signal.alarm(5)  # which ends it
            signal.pause()
        return prepared


class PickyAuth(requests.auth.AuthBase):
    """Can be pickled, and not be made again."""

    def __call__(self, prepared: Any) -> Any:
        return prepared

    def __setstate__(self, state: object) -> None:
        raise ValueError("no way back")

    def __getstate__(self) -> object:
        return {"a": 1}


def break_down() -> None:
    """An initializer that fails."""
    raise ValueError("no such luck")


def log_something() -> None:
    """An initializer that logs."""
    logging.getLogger("tests.elsewhere").warning("from %s", "afar")


def one_host(url: str) -> str:
    return "one"
