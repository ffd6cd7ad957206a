"""Imports point downward only: the layers of docs/design/README.md, read from the code with `ast`.

A new module belongs in `LEVELS`. Imports under ``if TYPE_CHECKING:`` do not run, so they do not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from benchmarks.sizes import LONG_FUNCTION, LONG_MODULE

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "workerpool"

LEVELS: dict[str, float] = {
    "errors": 0,
    "redact": 0,
    "checks": 0.1,  # raises what is in `errors`
    "wording": 0.1,  # writes no secret: stands on `redact`
    "agent": 1,
    "extras": 1,
    "model": 1,
    "rate": 1,
    "proxies": 1,
    "clock": 1,
    "forking": 1,
    "events": 1,
    "statistics": 1,
    "config": 1.1,  # stands on `rate`
    "endings": 1.1,
    "credentials": 1.2,  # stands on `config`, and knows the statuses that may pass
    "saving": 1.1,  # names files by what is in `model`
    "paths": 1.1,  # loads what is in an extra
    "meter": 1.1,  # stands on `statistics`
    "limits": 2,
    "transport": 2,
    "retry": 2,
    "tickets": 2,
    "canonical": 2,
    "domains": 2,
    "history": 2,  # of outcomes and figures: stands on `model`, `statistics`, `config`
    "keys": 2.1,
    "robots": 2.1,
    "paging": 2.1,  # stands on `extras` and what is below
    "options": 2.2,
    "scheduler": 3,
    "intake": 3,
    "streamed": 3.1,  # makes what the intake gives
    "window": 3.1,  # counts what the intake gives
    "trip": 3,
    "worker": 4,
    "gate": 4,
    "crew": 4.1,  # steps within a layer: many workers' threads stand on one request's way through a worker
    "tracing": 1.2,  # stands on what outcomes say
    "stream": 4.2,
    "governor": 4.2,
    "requesting": 4.3,  # stands on `stream`
    "pool": 5,
    "__init__": 5,
    "processes": 5.5,
    "cluster": 5.6,  # stands on how processes talk: a pool like theirs, which batches run on
    "batch": 6,
    "doctor": 6,
    "plan": 6.1,  # reads the sources and records of batches
    "report": 6.1,  # reads what jobs keep, and records
    "metrics": 6.1,  # and these as Prometheus reads them
    "view": 6.1,  # shows the moments of a batch
    "cli": 8,
    "__main__": 9,
}
"""A unit is a module of the package, or a subpackage with all that is in it. `__init__` gives names to the pool's level
and those below, so that what stands above may import it."""

OWNERS = {"requests": "transport", "urllib3": "transport", "tenacity": "retry", "structlog": "events"}
"""The one unit that may import each of these."""

SIBLING_REASON = "# layer: sibling, because "


@dataclass(frozen=True)
class Import:
    unit: str
    target: str
    line: str
    where: str


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def imports_of(source: str, unit: str, where: str) -> Iterator[Import]:
    """Yield every import that runs, wherever in the file it stands."""
    lines = source.splitlines()

    def walk(node: ast.AST) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from walk(other)
            return
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            text = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            for name in _names(node):
                yield Import(unit, name, text, f"{where}:{node.lineno}")
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    yield from walk(parsed(source))


def _names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, f"line {node.lineno}: write the whole path of an import, not a relative one"
    module = node.module or ""
    # `from workerpool import clock` names a unit, `from workerpool.model import Request` an object in one.
    return [f"{module}.{alias.name}" for alias in node.names] if module == "workerpool" else [module]


def unit_of(target: str) -> str | None:
    """Return the unit that `target`, a dotted name, belongs to; None if it is not ours."""
    first, _, rest = target.partition(".")
    if first != "workerpool":
        return None
    name = rest.partition(".")[0]
    return name if name in LEVELS or name == "testing" else "__init__"


def complaint(found: Import) -> str | None:
    """Say what is wrong with an import, or None."""
    top = found.target.partition(".")[0]
    owner = OWNERS.get(top)
    if owner and found.unit != owner and found.unit != "testing":
        return f"{found.where}: only {owner} imports {top}"
    target = unit_of(found.target)
    if target is None or target == found.unit or found.unit == "testing":
        return None
    if target == "testing":
        return f"{found.where}: production code does not import workerpool.testing"
    mine, its = LEVELS[found.unit], LEVELS[target]
    if its > mine:
        return f"{found.where}: {found.unit} (L{mine}) imports {target} (L{its}), which is above it"
    if its == mine and found.unit != "__init__" and SIBLING_REASON not in found.line:
        return f"{found.where}: {found.unit} imports its sibling {target}; say why: {SIBLING_REASON}…"
    return None


def all_imports() -> list[Import]:
    found: list[Import] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found += imports_of(path.read_text(), parts[0], str(path.relative_to(ROOT)))
    return found


def test_every_unit_has_a_level() -> None:
    units = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    units -= {"__pycache__", "py", "share", "testing"}
    unknown = sorted(unit for unit in units if unit not in LEVELS)
    assert not unknown, f"give these a level, here and in docs/design/README.md: {unknown}"


def test_imports_point_downward_and_libraries_have_one_user() -> None:
    found = all_imports()
    assert found
    complaints = [text for one in found if (text := complaint(one))]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    ("unit", "source", "part"),
    [
        ("retry", "from workerpool.pool import WorkerPool", "above it"),
        ("retry", "from workerpool import pool", "above it"),
        ("model", "import workerpool.rate", "sibling"),
        ("model", "def late():\n    from workerpool import WorkerPool", "above it"),
        ("scheduler", "import requests.adapters", "only transport"),
        ("worker", "from urllib3 import Retry", "only transport"),
        ("pool", "import tenacity", "only retry"),
        ("pool", "from workerpool.testing import Origin", "production code"),
    ],
)
def test_a_forbidden_import_is_found(unit: str, source: str, part: str) -> None:
    (found,) = imports_of(source, unit, "here")
    assert part in (complaint(found) or "")


@pytest.mark.parametrize(
    ("unit", "source"),
    [
        ("pool", "from workerpool.transport.session import Wire"),
        ("limits", "from workerpool.limits.bucket import Bucket"),
        ("model", "from workerpool.rate import Rate  # layer: sibling, because a test says so"),
        ("cli", "from workerpool import WorkerPool"),
        ("testing", "import urllib3"),
    ],
)
def test_an_allowed_import_passes(unit: str, source: str) -> None:
    (found,) = imports_of(source, unit, "here")
    assert complaint(found) is None


def test_imports_for_types_only_do_not_count() -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from requests import Response"
    assert [found.target for found in imports_of(source, "model", "here")] == ["typing"]


def test_a_long_module_says_why_and_no_function_is_long() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = parsed(path.read_text())
        if path.read_text().count("\n") > LONG_MODULE:
            assert "long" in (ast.get_docstring(tree) or ""), f"{path} says nowhere why it is that long"
        assert [*long_functions(tree)] == [], path


def long_functions(tree: ast.AST) -> Iterator[str]:
    """The names of the functions that have too many lines, without their docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            said = (ast.get_docstring(node, clean=False) or "").count("\n") + 1
            if node.body[-1].end_lineno - node.lineno - said >= LONG_FUNCTION:  # type: ignore[operator]
                yield node.name
