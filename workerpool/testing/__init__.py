"""The testing kit, public: what a test of code that uses workerpool needs, and what workerpool's own tests use.

`Origin` is a scripted HTTP server on loopback, `OriginProcess` the same in a process of its own; `Reply` and `Arrival`
are what it says and hears. `ScriptedTransport` answers a pool's sends with `Answer`s, without a socket. `ManualClock`
is time that a test moves. Production code never imports this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from workerpool.testing.clock import ManualClock
from workerpool.testing.origin import Arrival, Origin, OriginProcess, Reply

if TYPE_CHECKING:
    from workerpool.testing.transport import Answer, ScriptedTransport

__all__ = ["Answer", "Arrival", "ManualClock", "Origin", "OriginProcess", "Reply", "ScriptedTransport"]


def __getattr__(name: str) -> Any:
    if name in ("Answer", "ScriptedTransport"):  # what they stand on, the process of an origin can do without
        return getattr(import_module("workerpool.testing.transport"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
