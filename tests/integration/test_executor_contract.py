"""WorkerPool stands in for a ThreadPoolExecutor: CPython's own tests say so.

They come from Debian's libpython3.11-testsuite, or from the interpreter itself where it ships them. Those that read
private fields of ThreadPoolExecutor cannot run; each is listed with its reason, and what it means to show is shown
below by public means. (`_broken` is read, too: the pool has that one.)
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import workerpool
from tests.conftest import require

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DEBIAN = Path("/usr/lib/python3.11/test")
FILE = "test_concurrent_futures.py"

PARTS = 2
"""Of CPython's tests, which run side by side: they wait nearly all of their time."""

READS_PRIVATE_FIELDS = {
    "ThreadPoolShutdownTest.test_threads_terminate": "counts `_threads`; see test_shutdown_ends_every_thread",
    "ThreadPoolShutdownTest.test_context_manager_shutdown": "joins `_threads`; see test_shutdown_ends_every_thread",
    "ThreadPoolShutdownTest.test_del_shutdown": "joins `_threads`; see test_a_forgotten_pool_finishes_…",
    "ThreadPoolShutdownTest.test_shutdown_no_wait": "joins `_threads`; see test_shutdown_without_waiting_…",
    "ThreadPoolShutdownTest.test_thread_names_assigned": "reads `_threads`; see test_threads_carry_the_prefix",
    "ThreadPoolShutdownTest.test_thread_names_default": "reads `_threads`, and wants the other class's name in them",
    "ThreadPoolExecutorTest.test_default_workers": "reads `_max_workers`, whose default is another one here: 16",
    "ThreadPoolExecutorTest.test_saturation": "counts `_threads`; see test_no_more_threads_than_workers",
    "ThreadPoolExecutorTest.test_idle_thread_reuse": "counts `_threads`; see test_an_idle_thread_is_used_again",
}

CLASSES = {
    # What the file defines, and what `create_executor_tests` makes of its mixins for thread pools.
    "ThreadPoolShutdownTest": "ThreadPoolShutdownTest",
    "ThreadPoolWaitTests": "ThreadPoolWaitTests",
    "ThreadPoolExecutorTest": "ThreadPoolExecutorTest",
    "ThreadPoolAsCompletedTest": "AsCompletedTests",
    "ThreadPoolInitializerTest": "InitializerMixin",
}


def suite_file() -> Path | None:
    """Find CPython's file: Debian's for Python 3.11, or the running interpreter's own."""
    if sys.version_info[:2] == (3, 11) and (DEBIAN / FILE).is_file():
        return DEBIAN / FILE
    spec = importlib.util.find_spec("test")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / FILE).is_file():
            return Path(folder) / FILE
    return None


def methods(source: str) -> dict[str, str]:
    """Return every thread-pool test, as ``Class.method``, with its source text."""
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}

    def of(name: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for base in classes[name].bases:
            if isinstance(base, ast.Name) and base.id in classes:
                found |= of(base.id)
        for node in classes[name].body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[node.name] = ast.get_source_segment(source, node) or ""
        return found

    return {f"{made}.{name}": text for made, base in CLASSES.items() for name, text in of(base).items()}


@pytest.fixture(scope="module")
def suite() -> Path:
    path = suite_file()
    require(path, "CPython's test suite is not installed (Debian: libpython3.11-testsuite)")
    assert path is not None
    return path


def run_cpython_tests(suite: Path, folder: Path, executor: str, names: list[str]) -> dict[str, Any]:
    """Run `names` in an interpreter of their own, where the package `test` is the one that `suite` lies in."""
    (folder / "test").symlink_to(suite.parent, target_is_directory=True)
    path = os.pathsep.join([str(folder), str(ROOT), str(HERE)])
    done = subprocess.run(
        [sys.executable, str(HERE / "cpython_executor.py"), executor, *names],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_cpythons_tests_of_thread_pool_executor_pass(suite: Path, tmp_path: Path) -> None:
    """Should it fail, try ``hidden_executor:HiddenExecutor``: what fails there, too, is no fault of the pool."""
    names = [name for name in methods(suite.read_text()) if name not in READS_PRIVATE_FIELDS]
    assert len(names) >= 25

    def run(part: int) -> dict[str, Any]:
        (tmp_path / str(part)).mkdir()
        return run_cpython_tests(suite, tmp_path / str(part), "workerpool:WorkerPool", names[part::PARTS])

    with ThreadPoolExecutor(PARTS) as threads:
        for part, report in enumerate(threads.map(run, range(PARTS))):
            assert report["failed"] == {}
            assert report["skipped"] == {}
            assert report["ran"] == names[part::PARTS]
            assert not report["altered"], "a test left a thread behind"


def test_every_exception_reads_a_private_field(suite: Path) -> None:
    found = methods(suite.read_text())
    for name in READS_PRIVATE_FIELDS:
        assert re.search(r"executor\._(threads|max_workers)\b", found[name]), name


def test_the_harness_sees_a_broken_executor(suite: Path, tmp_path: Path) -> None:
    report = run_cpython_tests(
        suite, tmp_path, "hidden_executor:LosesResults", ["ThreadPoolExecutorTest.test_submit_keyword"]
    )
    assert list(report["failed"]) == ["ThreadPoolExecutorTest.test_submit_keyword"]


# What the exceptions mean to show, by public means.


@pytest.fixture
def threads() -> Callable[[], set[threading.Thread]]:
    """A function that returns the live threads which this test started."""
    before = set(threading.enumerate())
    return lambda: set(threading.enumerate()) - before


def ended(threads: set[threading.Thread], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


Threads = Callable[[], set[threading.Thread]]


def test_shutdown_ends_every_thread(threads: Threads) -> None:
    with workerpool.WorkerPool(max_workers=5) as pool:
        assert list(pool.map(abs, range(-5, 5))) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
        assert threads()
    assert not threads()


def test_a_forgotten_pool_finishes_its_work_and_ends_its_threads(threads: Threads) -> None:
    pool = workerpool.WorkerPool(max_workers=5)
    results = pool.map(abs, range(-5, 5))
    started = threads()
    del pool
    assert ended(started)
    assert list(results) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]


def test_shutdown_without_waiting_still_finishes_the_work(threads: Threads) -> None:
    pool = workerpool.WorkerPool(max_workers=5)
    results = pool.map(abs, range(-5, 5))
    started = threads()
    pool.shutdown(wait=False)
    assert ended(started)
    assert list(results) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_callable_was_given_is_let_go_before_its_result_is_told(fails: bool) -> None:
    class Given:
        pass

    def work(given: Given) -> None:
        gate.wait(10)
        del given
        if fails:
            raise LookupError("as told")

    gate, alive = threading.Event(), list[object]()
    with workerpool.WorkerPool(max_workers=1) as pool:
        given = Given()
        seen = weakref.ref(given)
        future = pool.submit(work, given)
        future.add_done_callback(lambda _: alive.append(seen()))
        del given
        gate.set()
    assert alive == [None]


def test_threads_carry_the_prefix() -> None:
    with workerpool.WorkerPool(max_workers=5, thread_name_prefix="SpecialPool") as pool:
        names = {pool.submit(lambda: threading.current_thread().name).result() for _ in range(10)}
    assert all(re.fullmatch(r"SpecialPool_[0-4]", name) for name in names), names


def test_no_more_threads_than_workers() -> None:
    """60 callables, each of which ends only beside three others: with 4 workers all end, on 4 threads."""
    fours = threading.Barrier(4)
    names: set[str] = set()

    def meet() -> None:
        names.add(threading.current_thread().name)
        fours.wait(timeout=30)

    with workerpool.WorkerPool(4) as pool:
        for future in [pool.submit(meet) for _ in range(60)]:
            future.result(timeout=30)
    assert len(names) == 4


def test_an_idle_thread_is_used_again() -> None:
    """A result is there a moment before its worker is idle, so a second thread now and then is right; eight are not."""
    with workerpool.WorkerPool(8) as pool:
        names = {pool.submit(lambda: threading.current_thread().name).result() for _ in range(24)}
    assert len(names) <= 4
