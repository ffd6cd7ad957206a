"""Tries mutants: collects an area's tests once, then forks for each mutant, puts its code into place, and runs them.

A fork costs milliseconds where a new Python, with pytest and all that the tests import, would cost seconds. Nothing is
written beside the code: a mutated function is compiled and given to the live one. Properties and what a decorator wraps
are found like any other function.
"""

from __future__ import annotations

import gc
import os
import pickle
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import hypothesis
import pytest

from tools.mutants.changes import Change

SECONDS = 8.0
"""What the tests of one mutant may take together, by default, as measured with coverage, which slows them two- or
threefold: the quickest that reach its line are run, and the others left out."""

MEMORY = 4 << 30
"""Bytes: a mutant that never stops collecting ends there."""

_PASSED, _FAILED, _BROKEN = 0, 1, 2


class _Broken(Exception):
    """The trial itself failed."""


Try = Callable[[Change], bool]


def trying(files: Iterable[Path], tests: Iterable[str], seconds: float, then: Callable[[Try], None]) -> None:
    """Collect the tests, and call `then` with what tells of a mutant of the files whether they kill it."""
    session = _Session([str(file.resolve()) for file in files], seconds, then)
    options = ["--assert=plain", "--timeout=0", "-s", "-qq", "--no-summary", "-pno:cacheprovider", "-pno:randomly"]
    code = pytest.main([*options, *tests], plugins=[session])
    if session.broken or not session.has_begun:
        raise SystemExit(session.broken or f"the tests cannot be collected: {code!r}")


class _Session:
    """A pytest plugin that runs each test where and when it is wanted. One mutant at a time."""

    def __init__(self, files: list[str], most_seconds: float, then: Callable[[Try], None]) -> None:
        self._files = files
        self._most_seconds = most_seconds
        self._then = then
        self._items: list[pytest.Item] = []
        self._failed = False
        self._why = ""
        self._seconds: list[float] = []
        self._reach: dict[str, dict[int, set[int]]] = {}  # module: line: tests
        self._killers: dict[str, int] = {}  # what killed a function's last mutant is tried first
        self._live: dict[tuple[str, str], list[FunctionType]] = {}
        self.has_begun = False
        self.broken = ""

    def pytest_collection(self) -> None:
        # A failure is enough: none is made smaller, or explained.
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.reuse, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutants", hypothesis.settings(), phases=phases)
        hypothesis.settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.has_begun = not session.testsfailed
        if not self.has_begun:
            return True
        self._items = session.items
        self._live = _functions(self._files)
        gc.freeze()  # children share what is there now
        try:
            self._seconds, self._reach = pickle.loads(_in_child(self._measured)[1])
            self._then(self._is_killed)
        except _Broken as broken:
            self.broken = str(broken)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed = True
            self._why = f"{report.nodeid}: {report.longreprtext}"

    def _measured(self) -> tuple[int, bytes]:
        """Run every test once: how long each takes, and which lines it reaches."""
        measuring = coverage.Coverage(data_file=None, include=self._files, messages=False)
        seconds = []
        measuring.start()
        for number, item in enumerate(self._items):
            measuring.switch_context(str(number))
            began = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            seconds.append(time.process_time() - began)
            if self._failed:
                raise _Broken(f"a test fails without any mutant: {self._why}")
        measuring.stop()
        data = measuring.get_data()
        reach: dict[str, dict[int, set[int]]] = {}
        for file in self._files:
            lines = data.contexts_by_lineno(file)
            reach[file] = {line: {int(test) for test in tests if test} for line, tests in lines.items()}
        return _PASSED, pickle.dumps((seconds, reach))

    def _is_killed(self, change: Change) -> bool:
        file = str(Path(change.module).resolve())
        tests = self._tests(file, change)
        if not tests:
            return False

        def run() -> tuple[int, bytes]:
            _put_into_place(self._live[file, change.function], change)
            for test in tests:
                # What loops uses up its time; what waits is given more, as the machine may be busy.
                signal.setitimer(signal.ITIMER_PROF, 1.0 + 5 * self._seconds[test])
                signal.setitimer(signal.ITIMER_REAL, 15.0 + 10 * self._seconds[test])
                item = self._items[test]
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
                if self._failed:
                    return _FAILED, str(test).encode()
            return _PASSED, b""

        code, told = _in_child(run)
        if told:
            self._killers[change.function] = int(told)
        return code != _PASSED

    def _tests(self, file: str, change: Change) -> list[int]:
        reach = self._reach[file]
        tests = sorted(set().union(*(reach.get(line, ()) for line in change.lines)), key=self._seconds.__getitem__)
        killer = self._killers.get(change.function)
        if killer in tests:
            tests.remove(killer)
            tests.insert(0, killer)
        chosen, left = list[int](), self._most_seconds
        for test in tests:
            left -= self._seconds[test]
            if left < 0 and chosen:
                break
            chosen.append(test)
        return chosen


def _functions(files: list[str]) -> dict[tuple[str, str], list[FunctionType]]:
    """The live functions of these files, by file and name."""
    found: dict[tuple[str, str], list[FunctionType]] = {}
    gc.unfreeze()  # what the tests froze
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename in files:
            found.setdefault((each.__code__.co_filename, each.__code__.co_qualname), []).append(each)
    return found


def _put_into_place(functions: list[FunctionType], change: Change) -> None:
    """Give the live function the mutant's code."""
    mutated = {
        (code.co_qualname, code.co_firstlineno): code
        for code in _codes(compile(change.source, functions[0].__code__.co_filename, "exec", dont_inherit=True))
    }
    for function in functions:  # two, where a property can be set
        function.__code__ = mutated[function.__code__.co_qualname, function.__code__.co_firstlineno]


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _in_child(run: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes]:
    """Run it in a forked process, which has its own directory for temporary files; returns its code and what it says.

    The code is another one than `run` gave where it died.
    """
    folder = tempfile.mkdtemp(prefix="mutants-")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _as_child(folder, run, writing)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    shutil.rmtree(folder, ignore_errors=True)
    if code == _BROKEN:
        raise _Broken(told.decode())
    return code, told


def _as_child(folder: str, run: Callable[[], tuple[int, bytes]], writing: int) -> None:
    code, told = _BROKEN, b""
    try:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.tempdir = folder
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        code, told = run()
    except BaseException:
        told = traceback.format_exc().encode()
    finally:
        with open(writing, "wb") as pipe:
            pipe.write(told)
        os._exit(code)
