"""Fetch large batches of HTTP requests with threads, inside a connection budget and a rate budget.

A request's way: `WorkerPool.stream` reads it (`stream`, `intake`), its host's lane holds it until it may be sent
(`scheduler`, `limits`), a thread takes it (`crew`, `worker`) and sends it (`transport`), and a failed attempt is judged
(`retry`) and parked for the next one, until it ends in exactly one `Outcome`.
"""

from workerpool.config import Rate, RetryPolicy, Timeout
from workerpool.errors import (
    BadBody,
    Cancelled,
    ConnectFailed,
    ConnectionLost,
    Denied,
    HostPaused,
    InvalidRequest,
    OptionError,
    OutcomeUnknown,
    RequestError,
    SlotTimeout,
    StatusError,
    TimedOut,
    TlsFailed,
    TooLarge,
    TooManyRedirects,
    TransportError,
    UnexpectedError,
    WorkerPoolError,
    WrongThread,
)
from workerpool.model import Attempt, Outcome, Request, Timings, Underway
from workerpool.pool import WorkerPool, fetch
from workerpool.statistics import PoolStatistics

__all__ = [
    "Attempt",
    "BadBody",
    "Cancelled",
    "ConnectFailed",
    "ConnectionLost",
    "Denied",
    "HostPaused",
    "InvalidRequest",
    "OptionError",
    "Outcome",
    "OutcomeUnknown",
    "PoolStatistics",
    "Rate",
    "Request",
    "RequestError",
    "RetryPolicy",
    "SlotTimeout",
    "StatusError",
    "TimedOut",
    "Timeout",
    "Timings",
    "TlsFailed",
    "TooLarge",
    "TooManyRedirects",
    "TransportError",
    "Underway",
    "UnexpectedError",
    "WorkerPool",
    "WorkerPoolError",
    "WrongThread",
    "fetch",
]
