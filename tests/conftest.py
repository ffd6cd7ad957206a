"""What every test may count on: a clean environment, and `require` for what a machine may not have."""

from __future__ import annotations

import gc
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import settings

from benchmarks.nginx import free_port
from tests.certificates import Authority

if TYPE_CHECKING:  # their clients take long to import, and few tests need them
    from tests.mariadb import Server as MariaDB
    from tests.postgres import Server as PostgreSQL

#: A developer's shell may route or verify HTTP its own way; the tests talk to loopback servers with their own rules.
_FOREIGN = (
    *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
    *("requests_ca_bundle", "curl_ca_bundle", "ssl_cert_file", "ssl_cert_dir", "sslkeylogfile"),
)

for _name in list(os.environ):
    if _name.lower() in _FOREIGN:
        del os.environ[_name]
os.environ["NETRC"] = os.devnull
os.environ["SSL_CERT_FILE"] = os.devnull  # to load what the system trusts takes a connection to a database 45 ms

IN_FULL = bool(os.environ.get("WORKERPOOL_IN_FULL"))
"""Whether to run whole what only samples are run of by default, for an hour or so: ``make long``, ``make kills``."""


def sample_of(number: int) -> int:
    """A fourth of so many examples of a property, unless all is to be run in full."""
    return number if IN_FULL else max(1, number // 4)


Value = TypeVar("Value")


def some(values: Iterable[Value], every: int) -> list[Value]:
    """All of them where everything is run in full, else each `every`-th, the first one among them."""
    return [*values][:: 1 if IN_FULL else every]


def combined(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Each with each where everything is run in full, else as few combinations as have each value once."""
    if IN_FULL:
        return [*itertools.product(*axes)]
    return [tuple(axis[turn % len(axis)] for axis in axes) for turn in range(max(map(len, axes)))]


IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")


def require(present: object, reason: str) -> None:
    """Skip the test if `present` is falsy, saying why; fail it where CI=true, since nothing may be missing there."""
    if present:
        return
    if IN_CI:
        pytest.fail(f"CI lacks what this test needs: {reason}")
    pytest.skip(reason)


# The same examples each time, and fewer, unless all is run in full; and none is too slow for a machine that is busy.
settings.register_profile(
    "suite", max_examples=100 if IN_FULL else 20, derandomize=not IN_FULL, deadline=None, database=None
)
settings.load_profile("suite")


def pytest_collection_finish() -> None:
    """Let the garbage collector pass by what thousands of tests consist of, and look at the rest less often.

    It would take a tenth of the processor's time. Tests that need it to run call it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(name="require", scope="session")
def _require() -> Callable[[object, str], None]:
    return require


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that nobody knows who is not told of it."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def tiny_switch_interval() -> Iterator[None]:
    """Let threads interrupt each other every microsecond, so that a race shows in a test rather than in a year."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    """A PostgreSQL server for all tests, each of which takes tables of its own."""
    from tests import postgres

    require(postgres.find("initdb"), "PostgreSQL's server is not installed")
    with postgres.running(free_port()) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A MariaDB server for all tests, each of which takes tables of its own."""
    from tests import mariadb

    require(mariadb.find("mariadbd"), "MariaDB's server is not installed")
    with mariadb.running(free_port()) as server:
        yield server
