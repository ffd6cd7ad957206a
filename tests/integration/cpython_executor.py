"""Run CPython's own tests of ThreadPoolExecutor with another executor in its place; a program, run by its neighbour.

Usage: python cpython_executor.py MODULE:CLASS NAME...

Each NAME is ``Class.method`` of `test.test_concurrent_futures`, which has to be importable. The last line printed is a
JSON object: ``ran`` (names), ``failed`` (name to traceback), ``skipped`` (name to reason), ``altered`` (whether a test
left a thread or a child process behind).
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import unittest
from concurrent import futures
from types import SimpleNamespace
from typing import Any


def substitute(tests: Any, executor: type, spec: str) -> None:
    """Put `executor` wherever the tests say ThreadPoolExecutor, in the scripts that they start, too."""
    names = {name: getattr(futures, name) for name in futures.__all__}
    tests.futures = SimpleNamespace(**{**names, "ThreadPoolExecutor": executor})
    for value in vars(tests).values():
        if isinstance(value, type) and getattr(value, "executor_type", None) is futures.ThreadPoolExecutor:
            setattr(value, "executor_type", executor)  # noqa: B010  a type checker knows no such attribute

    original = tests.assert_python_ok
    module, _, name = spec.partition(":")

    def assert_python_ok(*args: str, **environment: str) -> Any:
        option, script = args
        for imported in {name, "ThreadPoolExecutor"}:
            script = script.replace(
                f"from concurrent.futures import {imported}", f"from {module} import {name} as {imported}"
            )
        # With a variable of its own, the child is not run in isolated mode, and so finds what we find.
        return original(option, script, PYTHONPATH=os.pathsep.join(filter(None, sys.path)), **environment)

    tests.assert_python_ok = assert_python_ok


def main(spec: str, wanted: list[str]) -> int:
    module, _, name = spec.partition(":")
    executor = getattr(importlib.import_module(module), name)
    tests = importlib.import_module("test.test_concurrent_futures")
    support: Any = importlib.import_module("test.support")
    support.verbose = 0  # it would print among our lines
    substitute(tests, executor, spec)

    suite = unittest.TestSuite()
    for one in wanted:
        class_name, _, method = one.partition(".")
        suite.addTest(getattr(tests, class_name)(method))
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=2).run(suite)

    def short(test: unittest.TestCase) -> str:
        return ".".join(test.id().split(".")[-2:])

    report = {
        "ran": wanted if result.testsRun == len(wanted) else [],
        "failed": {short(test): text for test, text in (*result.failures, *result.errors)},
        "skipped": {short(test): text for test, text in result.skipped},
        "altered": bool(support.environment_altered),
    }
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
