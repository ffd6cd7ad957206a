"""A worker's Session stands in for `requests.Session`: requests' own tests say so.

They come from the source distribution of the installed version, fetched from the package index once and kept in the
virtual environment. `requests_session`, next to this file, is the plugin that puts our Session in place.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import require

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KEPT = Path(sys.prefix) / "requests-sdist"

PARTS = (("test_requests.py", "test_hooks.py", "test_adapters.py"), ("test_lowlevel.py",))
"""The files that use sessions and adapters, in parts that run side by side: most of their time is their servers'."""
AT_LEAST = 340  # tests that pass

_READ_ONCE = "changes the environment after its session was made, and a worker's reads it once; see test_tls.py"

EXCEPTIONS: dict[str, str] = {
    **{
        f"test_requests.py::TestRequests::test_env_cert_bundles[{case}]": _READ_ONCE
        for case in (
            "env1-/some/path",
            "env3-/some/path",
            "env6-/some/path",
            "env7-/curl/path",
        )
    },
    "test_requests.py::TestRequests::test_basicauth_with_netrc": (
        "replaces the function by which requests.sessions reads netrc; a worker's asks once for each host; see "
        "test_a_login_from_netrc_is_sent"
    ),
    "test_requests.py::TestRequests::test_session_pickling": "a worker's session is one with its pool's live sockets",
    "test_requests.py::TestRequests::test_session_close_proxy_clear": (
        "wants the end of one session to close the connections to proxies, which all of a pool's sessions share"
    ),
    "test_requests.py::TestTimeout::test_stream_timeout": (
        "wants urllib3's words in the ReadTimeout; a number is the attempt's total here, and its error is ours"
    ),
    "test_requests.py::TestTimeout::test_invalid_timeout[foo-must be an int, float or None]": (
        "wants urllib3's words in the ValueError; the pool's own name the option, the value and what would do"
    ),
}
"""Tests that fail, and why they may."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed version's sources."""
    for module in ("pytest_httpbin", "pytest_mock"):
        require(importlib.util.find_spec(module), f"{module} is not installed (it is in the extra [test])")
    name = f"requests-{requests.__version__}"
    archive = KEPT / f"{name}.tar.gz"
    if not archive.is_file():
        KEPT.mkdir(exist_ok=True)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
                *("--no-deps", "--no-binary", ":all:", "--dest", str(KEPT), name.replace("-", "==")),
            ],
            capture_output=True,
            text=True,
            timeout=90,
        )
        last_words = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        require(archive.is_file(), f"the package index did not give the sources of {name}: {last_words}")
    folder = tmp_path_factory.mktemp("requests")
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # which the Python of Debian 12 lacks
        tar.extractall(folder)
    (folder / "pytest.ini").write_text("[pytest]\n")  # neither their options nor ours
    return folder / name


def start(suite: Path, report: Path, names: tuple[str, ...]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-c", str(suite.parent / "pytest.ini"), "--rootdir", str(suite)),
            *("-q", "-p", "requests_session", "-p", "no:cacheprovider", "--timeout=60"),
            *("-p", "pytest_timeout", "-p", "pytest_mock", "-p", "pytest_httpbin.plugin"),
            *("--report-file", str(report)),
            *(f"tests/{name}" for name in names),
        ],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        cwd=suite,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(suite: Path, folder: Path) -> list[dict[str, Any]]:
    """Run every part and return their reports."""
    reports = [folder / f"report-{number}.json" for number, _ in enumerate(PARTS)]
    children = [start(suite, report, part) for report, part in zip(reports, PARTS, strict=True)]
    try:
        for child, report in zip(children, reports, strict=True):
            output, _ = child.communicate(timeout=150)
            assert report.is_file(), output
    finally:
        for child in children:
            child.kill()
            child.communicate()
    return [json.loads(report.read_text()) for report in reports]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_requests_own_tests_pass_over_a_workers_session(suite: Path, tmp_path: Path) -> None:
    reports = run(suite, tmp_path)
    failed = {name: text for report in reports for name, text in report["failed"].items()}
    unexpected = {name: text.splitlines()[-1] for name, text in failed.items() if name not in EXCEPTIONS}
    assert unexpected == {}
    assert EXCEPTIONS.keys() - failed.keys() == set(), "these pass, or are gone: they are no exceptions any more"
    assert sum(len(report["passed"]) for report in reports) >= AT_LEAST
    assert sum(report["sent"] for report in reports) >= AT_LEAST / 2, "the pools sent next to nothing: see the plugin"
