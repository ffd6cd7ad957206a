"""Fetch large batches of HTTP requests with threads, inside a connection budget and a rate budget.

A request's way: `WorkerPool.stream` reads it (`stream`, `intake`), its host's lane holds it until it may be sent
(`scheduler`, `limits`), a thread takes it (`crew`, `worker`) and sends it (`transport`), and a failed attempt is judged
(`retry`) and parked for the next one, until it ends in exactly one `Outcome`. A `Job` keeps what was done on the disk.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from workerpool.config import Breaker, RetryBudget, RetryPolicy, Timeout
from workerpool.domains import registered_domain
from workerpool.errors import (
    BadBody,
    BudgetError,
    Cancelled,
    CircuitOpen,
    ClusterLost,
    ConnectFailed,
    ConnectionLost,
    Denied,
    HostPaused,
    InvalidRequest,
    NameTaken,
    NotSaved,
    OptionError,
    OutcomeUnknown,
    PageError,
    ProcessesLost,
    RequestError,
    RobotsDisallowed,
    SlotTimeout,
    StatusError,
    TimedOut,
    TlsFailed,
    TokenFailed,
    TooLarge,
    TooManyRedirects,
    TransportError,
    UnexpectedError,
    WorkerPoolError,
    WrongChecksum,
    WrongThread,
)
from workerpool.model import Attempt, Outcome, Request, Timings, Underway
from workerpool.rate import Rate
from workerpool.saving import Save
from workerpool.statistics import PoolStatistics

if TYPE_CHECKING:
    from workerpool.batch.job.job import Job
    from workerpool.batch.progress import Moment
    from workerpool.batch.result import RunResult
    from workerpool.batch.schemas.schema import Schema
    from workerpool.batch.tables import arrow_batches, rows, to_arrow, to_pandas
    from workerpool.batch.template.template import Template
    from workerpool.cluster import ClusterPool, fetch
    from workerpool.pool import WorkerPool
    from workerpool.processes import ShardedPool
    from workerpool.view import Live

    __version__: str

_LATER = {
    "ClusterPool": "workerpool.cluster",
    "Job": "workerpool.batch.job.job",
    "Live": "workerpool.view",
    "Moment": "workerpool.batch.progress",
    "RunResult": "workerpool.batch.result",
    "Schema": "workerpool.batch.schemas.schema",
    "ShardedPool": "workerpool.processes",
    "Template": "workerpool.batch.template.template",
    "WorkerPool": "workerpool.pool",
    "arrow_batches": "workerpool.batch.tables",
    "fetch": "workerpool.cluster",
    "rows": "workerpool.batch.tables",
    "to_arrow": "workerpool.batch.tables",
    "to_pandas": "workerpool.batch.tables",
}
"""Names of the pool and of what stands above it, by their modules: they are imported when they are first asked for."""


def __getattr__(name: str) -> Any:
    if name == "__version__":  # it is read from the disk, so only when it is asked for
        return import_module("workerpool.agent").version()
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


__all__ = [
    "Attempt",
    "BadBody",
    "Breaker",
    "BudgetError",
    "Cancelled",
    "CircuitOpen",
    "ClusterLost",
    "ClusterPool",
    "ConnectFailed",
    "ConnectionLost",
    "Denied",
    "HostPaused",
    "InvalidRequest",
    "Job",
    "Live",
    "Moment",
    "NameTaken",
    "NotSaved",
    "OptionError",
    "Outcome",
    "OutcomeUnknown",
    "PageError",
    "PoolStatistics",
    "ProcessesLost",
    "Rate",
    "Request",
    "RequestError",
    "RetryBudget",
    "RetryPolicy",
    "RobotsDisallowed",
    "RunResult",
    "Save",
    "Schema",
    "ShardedPool",
    "SlotTimeout",
    "StatusError",
    "Template",
    "TimedOut",
    "Timeout",
    "Timings",
    "TlsFailed",
    "TokenFailed",
    "TooLarge",
    "TooManyRedirects",
    "TransportError",
    "Underway",
    "UnexpectedError",
    "WorkerPool",
    "WorkerPoolError",
    "WrongChecksum",
    "WrongThread",
    "arrow_batches",
    "fetch",
    "registered_domain",
    "rows",
    "to_arrow",
    "to_pandas",
]
