"""docs/design/threads.md names every thread and lock that the package makes, and every lock says what it guards."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "workerpool"
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if "testing" not in path.parts]
TEXT = (ROOT / "docs" / "design" / "threads.md").read_text()
LOCKS = {"Lock", "RLock", "Condition", "Semaphore", "ChoreLock"}


def having(words: Iterable[str]) -> list[Path]:
    """The modules whose text has one of these words: to parse all of them takes a second."""
    return [path for path in MODULES if any(word in path.read_text() for word in words)]


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a module, by the last word of what is called."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield last_word(node.func), node


def last_word(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""


def threads() -> set[str]:
    """The names of threads, up to what differs between two of a kind."""
    names = set()
    for path in having(["Thread", "Timer"]):
        for called, node in calls(path):
            given = {word.arg: word.value for word in node.keywords}
            if called == "Thread":
                assert "name" in given, f"{path.relative_to(ROOT)}, line {node.lineno}: a thread without a name"
                names.add(_beginning(given["name"]))
            elif called == "Timer":
                names.add("workerpool-deadline")  # named on the next line, as a timer takes no name
            elif called == "ThreadPoolExecutor" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
                names.add(str(node.args[1].value))
    return names


def _beginning(name: ast.expr) -> str:
    first = name.values[0] if isinstance(name, ast.JoinedStr) else name
    assert isinstance(first, ast.Constant), ast.unparse(name)
    return str(first.value).rstrip("-")


@functools.cache
def locks() -> dict[tuple[str, str], str]:
    """The comments beside and above each line that makes a lock of its own, by module and by the lock's name."""
    found: dict[tuple[str, str], str] = {}
    for path in having(LOCKS):
        lines = path.read_text().splitlines()
        for owner in ast.walk(ast.parse("\n".join(lines))):
            if not isinstance(owner, ast.ClassDef):
                continue
            for node in ast.walk(owner):
                if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not is_a_lock(node.value):
                    continue
                target = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
                place = (str(path.relative_to(PACKAGE)), f"{owner.name}.{target.removeprefix('self.')}")
                comment = " ".join([*above(lines, node.lineno - 1), lines[node.lineno - 1].partition("  # ")[2]])
                found[place] = found.get(place, "") + comment  # made anew after a fork, it says no more
    return found


def is_a_lock(value: ast.expr | None) -> bool:
    """Whether this makes one. A condition of a lock that is there already is none."""
    if not isinstance(value, ast.Call):
        return False
    kind = last_word(value.func)
    return kind in LOCKS and not (kind == "Condition" and value.args)


def above(lines: list[str], number: int) -> list[str]:
    """The lines of comment right above a line."""
    first = number
    while lines[first - 1].strip().startswith("#"):
        first -= 1
    return [line.strip() for line in lines[first:number]]


def rows(heading: str) -> list[list[str]]:
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1:]]


def test_every_thread_is_described_and_no_other() -> None:
    described = {match[1] for row in rows("Threads") for match in [re.match(r"`(workerpool-\w+)", row[0])] if match}
    assert described == threads()


def test_every_lock_is_described_and_no_other() -> None:
    described = {(row[0].strip("`"), row[1].strip("`")) for row in rows("Locks")}
    assert described == set(locks())


def test_every_lock_says_what_it_guards() -> None:
    assert [place for place, comment in locks().items() if "uards" not in comment] == []
