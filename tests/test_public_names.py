"""The names that users may rely on. A name that comes or goes changes this list, and CHANGELOG.md, on purpose."""

from __future__ import annotations

import inspect
import subprocess
import sys

import workerpool
import workerpool.errors
import workerpool.testing
from workerpool.agent import version

POOL = {"WorkerPool", "ShardedPool", "ClusterPool", "fetch", "registered_domain", "PoolStatistics"}
VALUES = {
    "Request",
    "Attempt",
    "Outcome",
    "Timings",
    "Underway",
    "Rate",
    "RetryBudget",
    "RetryPolicy",
    "Timeout",
    "Breaker",
    "Save",
}
BATCH = {"Job", "Live", "Moment", "RunResult", "Schema", "Template", "arrow_batches", "rows", "to_arrow", "to_pandas"}
ERRORS = {
    "WorkerPoolError",
    "OptionError",
    "WrongThread",
    "SlotTimeout",
    "ProcessesLost",
    "ClusterLost",
    "BudgetError",
    "RequestError",
    "InvalidRequest",
    "TransportError",
    "ConnectFailed",
    "TlsFailed",
    "TimedOut",
    "ConnectionLost",
    "OutcomeUnknown",
    "PageError",
    "BadBody",
    "WrongChecksum",
    "NameTaken",
    "NotSaved",
    "TooLarge",
    "TooManyRedirects",
    "Denied",
    "RobotsDisallowed",
    "TokenFailed",
    "StatusError",
    "HostPaused",
    "CircuitOpen",
    "Cancelled",
    "UnexpectedError",
}
METHODS = {
    *("submit", "map", "shutdown"),
    *("request", "get", "options", "head", "post", "put", "patch", "delete"),
    *("stream", "batches", "session", "warm", "statistics"),
}
TESTING = {"Arrival", "ManualClock", "Origin", "OriginProcess", "Reply"}


def test_the_package_offers_exactly_these_names() -> None:
    assert set(workerpool.__all__) == POOL | VALUES | ERRORS | BATCH


def test_the_package_tells_its_version() -> None:
    assert workerpool.__version__ == version()
    assert "__version__" not in vars(workerpool), "it is read when it is asked for"


def test_everything_public_says_what_it_is() -> None:
    """Its own words, or those of the base class that it keeps to."""
    silent = []
    for module in (workerpool, workerpool.testing):
        for name in module.__all__:
            offered = getattr(module, name)
            kinds = offered.__mro__ if inspect.isclass(offered) else ()
            ours = [vars(kind) for kind in kinds if kind.__module__.startswith("workerpool")]
            for member, value in {name: value for members in ours for name, value in members.items()}.items():
                is_told = member.startswith("_") or not (callable(value) or isinstance(value, property | classmethod))
                if not is_told and not inspect.getdoc(getattr(offered, member)):
                    silent.append(f"{name}.{member}")
            if not offered.__doc__:
                silent.append(name)
    assert not silent, ", ".join(silent)


def test_the_pool_has_the_contracts_methods() -> None:
    assert {name for name in dir(workerpool.WorkerPool) if not name.startswith("_")} >= METHODS


def test_every_error_of_a_request_is_public() -> None:
    """Errors of the batch's two ends belong to those who run one, so they may stay in `workerpool.errors`."""
    kinds = [kind for _, kind in inspect.getmembers(workerpool.errors, inspect.isclass)]
    of_requests = {kind.__name__ for kind in kinds if issubclass(kind, workerpool.RequestError)}
    assert of_requests <= ERRORS


def test_the_testing_kit_offers_at_least_these() -> None:
    assert set(workerpool.testing.__all__) >= TESTING


def test_importing_the_package_leaves_the_pool_to_who_uses_it_and_its_testing_kit_and_command_line_alone() -> None:
    rest = "{'workerpool.pool', 'requests', 'workerpool.testing', 'workerpool.cli'}"
    script = f"import sys, workerpool; print(sorted({rest} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
