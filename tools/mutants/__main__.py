"""`python -m tools.mutants [OPTIONS] [WORDS...]`: tries the mutants, and prints which survive, and a table."""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tools.mutants.areas import AREAS, Area
from tools.mutants.changes import Change, changes
from tools.mutants.trial import SECONDS, Try, trying

EXPLAINED = Path("docs/design/mutants.md")


class Tally:
    """What became of the mutants."""

    def __init__(self, explained: Sequence[str]) -> None:
        self._explained = explained
        self._rows: dict[str, Counter[str]] = {}

    def enter(self, change: Change, is_killed: bool) -> None:
        row = self._rows.setdefault(change.module, Counter())
        row["mutants"] += 1
        row["tried"] += 1
        if is_killed:
            row["killed"] += 1
            return
        words = described(change)
        is_explained = any(fnmatch.fnmatchcase(words, each) for each in self._explained)
        row["explained" if is_explained else "survived"] += 1
        if not is_explained:
            print(f"- {words}", flush=True)

    def strangers(self, mutants: Sequence[Change]) -> list[str]:
        """What is explained, and is none of these mutants any more."""
        words = [described(change) for change in mutants]
        return [each for each in self._explained if not fnmatch.filter(words, each)]

    def leave_out(self, change: Change) -> None:
        self._rows.setdefault(change.module, Counter())["mutants"] += 1

    def table(self) -> str:
        heads = ["mutants", "tried", "killed", "explained", "survived"]
        rows = {"module": heads}
        rows |= {module: [str(row[head]) for head in heads] for module, row in self._rows.items()}
        if len(self._rows) > 1:
            rows["together"] = [str(sum(row[head] for row in self._rows.values())) for head in heads]
        width = max(map(len, rows))
        return "\n".join(name.ljust(width) + "".join(cell.rjust(11) for cell in cells) for name, cells in rows.items())

    @property
    def survived(self) -> int:
        return sum(row["survived"] for row in self._rows.values())


def described(change: Change) -> str:
    return f"`{change.module.removeprefix('workerpool/')}` {change.words}"


def explained() -> list[str]:
    """The survivors that the page explains, as patterns: … stands for anything."""
    if not EXPLAINED.exists():
        return []
    listed = re.findall(r"^- (`.*` → `.*`)$", EXPLAINED.read_text(), re.MULTILINE)
    return [re.sub(r"([\[*?])", r"[\1]", each).replace("…", "*") for each in listed]


def chosen(area: Area, words: Sequence[str]) -> list[Change]:
    """The area's mutants that are asked for."""
    found: list[Change] = []
    for module in sorted(str(path) for pattern in area.modules for path in Path().glob(pattern)):

        def is_wanted(function: str, its: str = module) -> bool:
            return not words or any(word in f"{its}:{function}" for word in words)

        found += changes(module, is_wanted)
    return found


def is_drawn(change: Change, share: float) -> bool:
    drawn = hashlib.blake2b(described(change).encode(), digest_size=2).digest()
    return int.from_bytes(drawn) < share * 65536


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only modules, or functions, whose name has one of these in it")
    parser.add_argument("--share", type=float, default=1.0, help="try so many of them, 0 to 1, always the same ones")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of tests for each mutant ({SECONDS:g})")
    options = parser.parse_args()
    tally = Tally(explained())
    areas = [(area, found) for area in AREAS if (found := chosen(area, options.words))]
    mutants = [change for _, found in areas for change in found]
    if not mutants:
        parser.error("no module or function has such a name")

    for each in [] if options.words else tally.strangers(mutants):
        print(f"there is no such mutant any more: {each}")

    def try_all(is_killed: Try) -> None:
        for number, change in enumerate(mutants):
            print(f"{number} of {len(mutants)}", end="\r", file=sys.stderr, flush=True)
            if is_drawn(change, options.share):
                tally.enter(change, is_killed(change))
            else:
                tally.leave_out(change)

    files = {Path(change.module) for change in mutants}
    trying(files, dict.fromkeys(test for area, _ in areas for test in area.tests), options.seconds, try_all)
    print(tally.table())
    return 1 if tally.survived else 0


if __name__ == "__main__":
    sys.exit(main())
