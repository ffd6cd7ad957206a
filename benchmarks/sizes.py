"""How large the modules, classes and functions of a package are, and how much is said in them.

    python benchmarks/sizes.py workerpool tests [--without NAME] [--longest 5]

For each directory or file: its lines, and those of them that are code: no empty ones, no comments, no docstrings. A
function's or a class's lines go from `def` or `class` to its last one, without its docstring and its decorators; what
is defined inside another function counts by itself, too. What is said is counted in lines: docstrings (also those
below a constant or a field) and comments (also those behind code), for a hundred lines of code. An import is counted
once for each module that it leads to, also where it is for types only; `tests/test_layers.py` holds where it may lead.
"""

from __future__ import annotations

import argparse
import ast
import io
import statistics
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Definition: TypeAlias = Function | ast.ClassDef

LONG_MODULE, LONG_FUNCTION = 400, 60
"""Lines from which on one is counted as long (CONTRIBUTING.md, and a page)."""

SILENT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass
class Sizes:
    """What was counted. Lists hold a size and what has it, so that the largest can be named."""

    package: str
    modules: list[tuple[int, str]] = field(default_factory=list)
    classes: list[tuple[int, str]] = field(default_factory=list)
    methods: list[tuple[int, str]] = field(default_factory=list)
    functions: list[tuple[int, str]] = field(default_factory=list)
    parameters: list[tuple[int, str]] = field(default_factory=list)
    code: int = 0
    comments: int = 0
    docstrings: int = 0
    modules_explained: int = 0
    public: int = 0
    public_explained: int = 0
    imports: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)  # places where it may be, best first

    @property
    def in_circles(self) -> list[str]:
        """The modules that lead back to themselves."""
        return [name for name in self.imports if name in self._reached_from(name)]

    def _reached_from(self, name: str) -> set[str]:
        found: set[str] = set()
        new = {name}
        while new:
            new = {other for one in new for other in self.arrows[one]} - found
            found |= new
        return found

    @cached_property
    def arrows(self) -> dict[str, set[str]]:
        """What each module imports of the others, once all are counted."""
        return {name: self._leads_to(name) for name in self.imports}

    def _leads_to(self, name: str) -> set[str]:
        """The modules of the package that a module imports: of a package and a module in it, the latter."""
        found = set()
        for names in self.imports[name]:
            files = (f"{path}{end}" for path in names for end in (".py", "/__init__.py"))
            found.add(next((file.removeprefix("/") for file in files if file.removeprefix("/") in self.imports), name))
        return found - {name}

    def add(self, text: str, name: str) -> None:
        """Count the module `name`, whose text this is."""
        tree = ast.parse(text)
        said = {line for node in ast.walk(tree) for line in strings_in(node)}
        code, comments = lines_of(text)
        self.code += len(code - said)
        self.comments += len(comments)
        self.docstrings += len(said)
        self.modules.append((len(text.splitlines()), name))
        self.modules_explained += ast.get_docstring(tree) is not None
        self.imports[name] = {names for node in ast.walk(tree) for names in modules_in(node, self.package)}
        for node in ast.walk(tree):
            if isinstance(node, Definition):
                self.add_definition(node, f"{name}:{node.name}")
        for one in public_in(tree):
            self.public += 1
            self.public_explained += ast.get_docstring(one) is not None

    def add_definition(self, node: Definition, name: str) -> None:
        """Count a class or a function."""
        size = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring_lines(node)
        if isinstance(node, ast.ClassDef):
            self.classes.append((size, name))
            self.methods.append((sum(isinstance(one, Function) for one in node.body), name))
        else:
            given = node.args
            count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
            self.functions.append((size, name))
            self.parameters.append((count, name))


def modules_in(node: ast.AST, package: str) -> Iterator[tuple[str, ...]]:
    """Yield where the modules of `package` may be that an import leads to, as paths from its directory."""
    names: list[tuple[str, ...]] = []
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        names = [(f"{node.module}.{alias.name}", node.module) for alias in node.names]
    elif isinstance(node, ast.Import):
        names = [(alias.name,) for alias in node.names]
    for places in names:
        if places[0].partition(".")[0] == package:
            yield tuple("/".join(place.split(".")[1:]) for place in places)


def strings_in(node: ast.AST) -> Iterator[int]:
    """Yield the numbers of the lines of the strings that stand by themselves in a node: its docstrings."""
    body: list[ast.stmt] = getattr(node, "body", []) if isinstance(node, Definition | ast.Module) else []
    for one in body:
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str):
            yield from range(one.lineno, (one.end_lineno or one.lineno) + 1)


def docstring_lines(node: Definition) -> int:
    """Return how many lines a definition's own docstring takes."""
    if ast.get_docstring(node, clean=False) is None:
        return 0
    return (node.body[0].end_lineno or node.body[0].lineno) - node.body[0].lineno + 1


def lines_of(text: str) -> tuple[set[int], set[int]]:
    """Return the numbers of the lines with code, and of those with a comment."""
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in SILENT:
            code.update(range(token.start[0], token.end[0] + 1))
    return code, comments


def public_in(node: ast.AST) -> Iterator[Definition]:
    """Yield what has no underscore before its name: functions, classes and, of these, methods."""
    for one in ast.iter_child_nodes(node):
        if isinstance(one, Definition) and not one.name.startswith("_"):
            yield one
            if isinstance(one, ast.ClassDef):
                yield from public_in(one)


def measure(where: Path, without: list[str]) -> Sizes:
    """Count a file, or all modules below a directory."""
    sizes = Sizes(where.resolve().name)
    for path in [where] if where.is_file() else sorted(where.rglob("*.py")):
        name = path.name if path == where else str(path.relative_to(where))
        if not set(Path(name).parts) & set(without):
            sizes.add(path.read_text(), name)
    return sizes


def median(found: list[tuple[int, str]]) -> float:
    return statistics.median(size for size, _ in found) if found else 0


def largest(found: list[tuple[int, str]], count: int) -> str:
    return ", ".join(f"{name} {size}" for size, name in sorted(found, reverse=True)[:count])


def report(where: Path, sizes: Sizes, count: int) -> Iterator[str]:
    """Yield the lines that tell of one directory."""
    total = sum(size for size, _ in sizes.modules)
    long_modules = sum(size > LONG_MODULE for size, _ in sizes.modules)
    long_functions = sum(size > LONG_FUNCTION for size, _ in sizes.functions)
    ranked = sorted(size for size, _ in sizes.functions) or [0]
    per_hundred = 100 / max(1, sizes.code)
    yield f"{where}: {len(sizes.modules)} modules, {total} lines, {sizes.code} of code"
    yield f"  modules: median {median(sizes.modules):g} lines, {long_modules} over {LONG_MODULE}"
    yield (
        f"  functions: {len(sizes.functions)}, median {median(sizes.functions):g} lines, nine in ten at most "
        f"{ranked[int(0.9 * len(ranked))]}, {long_functions} over {LONG_FUNCTION}"
    )
    yield (
        f"  for 100 lines of code: {per_hundred * sizes.docstrings:.0f} of docstrings, "
        f"{per_hundred * sizes.comments:.0f} of comments"
    )
    yield (
        f"  with a docstring: {sizes.modules_explained} of {len(sizes.modules)} modules, {sizes.public_explained} of "
        f"{sizes.public} public names"
    )
    arrows = sum(map(len, sizes.arrows.values()))
    yield f"  imports: {arrows} between modules, {len(sizes.in_circles)} modules in circles"
    yield f"  longest modules: {largest(sizes.modules, count)}"
    yield f"  longest functions: {largest(sizes.functions, count)}"
    yield f"  longest classes: {largest(sizes.classes, count)}"
    yield f"  most methods: {largest(sizes.methods, count)}"
    yield f"  most parameters: {largest(sizes.parameters, count)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="a file or folder to leave out")
    parser.add_argument("--longest", type=int, default=5, metavar="N", help="how many are named (default: 5)")
    given = parser.parse_args()
    for where in given.paths:
        print(*report(where, measure(where, given.without), given.longest), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
