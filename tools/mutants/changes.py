"""The small changes that are made to a module, one at a time: mutmut's, save those of texts, and a few of our own.

Left alone are texts, `__repr__`, what is raised and annotations, as no test should hold how a message is worded;
constants and defaults of parameters, which are chosen, and whose effect on the whole the tests of behaviour bound; and
what runs at import.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_arg_removal, operator_string

_THEIRS = [each for each in mutation_operators if each[1] not in (operator_arg_removal, operator_string)]
_LEFT_ALONE = (
    *(cst.Annotation, cst.AnnAssign, cst.Assert, cst.Decorator, cst.Raise, cst.BaseString),
    *(cst.Import, cst.ImportFrom, cst.Parameters),
)
_CALLS_LEFT_ALONE = ("len", "isinstance", "cast", "super")


@dataclass(frozen=True)
class Change:
    """One mutant. `before` and `after`: the lines that differ, as one. `lines`: those of its statement."""

    module: str
    function: str
    before: str
    after: str
    lines: range
    source: str

    @property
    def words(self) -> str:
        """How it is written for people, and in the list of those that are explained."""
        return f"`{self.function}`: `{self.before}` → `{self.after}`"


def changes(module: str, is_wanted: Callable[[str], bool]) -> Iterator[Change]:
    """Every mutant of the functions in the file `module` that are wanted."""
    source = Path(module).read_text()
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    positions = wrapper.resolve(PositionProvider)
    lines = source.splitlines()
    for name, function in _functions(wrapper.module):
        if not is_wanted(name) or name.endswith("__repr__"):
            continue
        text = wrapper.module.code_for_node(function).splitlines()
        seen = {"\n".join(text)}
        begins = _place(lines, text)
        indent = _indent(lines[begins + len(text) - 1])[len(_indent(text[-1])) :]
        for statement, node in _nodes(function):
            for changed in _changed(node):
                other = wrapper.module.code_for_node(function.deep_replace(node, changed))
                if other.rstrip("\n") in seen:
                    continue
                seen.add(other.rstrip("\n"))
                first, last, new = _difference(text, other.splitlines())
                where = slice(begins + first, begins + last)
                mutated = [*lines[: where.start], *(indent + line for line in new), *lines[where.stop :]]
                reached = _lines(positions, statement)
                yield Change(module, name, _joined(lines[where]), _joined(new), reached, "\n".join(mutated) + "\n")


def _functions(node: cst.CSTNode, within: str = "") -> Iterator[tuple[str, cst.FunctionDef]]:
    for child in node.children:
        if isinstance(child, cst.FunctionDef):
            yield within + child.name.value, child
        else:
            yield from _functions(child, f"{within}{child.name.value}." if isinstance(child, cst.ClassDef) else within)


def _nodes(function: cst.FunctionDef) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """Each node of a function that may be changed, with the statement that it is in."""
    stack: list[tuple[cst.CSTNode, cst.CSTNode]] = [(function, function.body)]
    while stack:
        statement, node = stack.pop()
        if isinstance(node, _LEFT_ALONE) or _is_docstring(node):
            continue
        if isinstance(node, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
            statement = node
        yield statement, node
        if not m.matches(node, m.Call(func=m.Name(value=m.MatchIfTrue(lambda name: name in _CALLS_LEFT_ALONE)))):
            stack.extend((statement, child) for child in reversed(node.children))


def _is_docstring(node: cst.CSTNode) -> bool:
    return m.matches(node, m.SimpleStatementLine(body=[m.Expr(value=m.SimpleString() | m.ConcatenatedString())]))


def _lines(positions: Mapping[cst.CSTNode, CodeRange], statement: cst.CSTNode) -> range:
    where = positions[statement]
    if isinstance(statement, cst.BaseCompoundStatement):  # its head
        return range(where.start.line, max(where.start.line + 1, positions[statement.body].start.line))
    return range(where.start.line, where.end.line + 1)


def _changed(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    for kind, change in _THEIRS:
        if isinstance(node, kind):
            yield from change(node)
    yield from _ours(node)


def _ours(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    if isinstance(node, cst.If | cst.CompIf):
        yield node.with_changes(test=_negated(node.test))
    elif m.matches(node, m.SimpleStatementLine(body=[m.Expr(value=m.Call())])):
        if m.findall(node, m.Name("super")):
            return  # without it, the function would be of another shape
        yield node.with_changes(body=[cst.Pass()])
    elif isinstance(node, cst.Return) and node.value is not None and not m.matches(node.value, m.Name()):
        yield node.with_changes(value=cst.Name("None"))
    elif isinstance(node, cst.Call):
        yield from _other_calls(node)


def _negated(test: cst.BaseExpression) -> cst.BaseExpression:
    if isinstance(test, cst.UnaryOperation) and isinstance(test.operator, cst.Not):
        return test.expression
    return cst.UnaryOperation(cst.Not(), test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()]))


def _other_calls(call: cst.Call) -> Iterator[cst.CSTNode]:
    """One of two that a bound is taken of; any other argument as None, which says more than a missing one."""
    name = call.func.value if isinstance(call.func, cst.Name) else ""
    if name in _CALLS_LEFT_ALONE:
        return
    if name in ("min", "max") and len(call.args) == 2 and all(not arg.star and not arg.keyword for arg in call.args):
        for arg in call.args:
            yield arg.value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        return
    for i, arg in enumerate(call.args):
        if name in ("min", "max") and not arg.keyword:
            yield call.with_changes(args=[*call.args[:i], *call.args[i + 1 :]])
        elif not arg.star and not m.matches(arg.value, m.Name("None")):
            nothing = arg.with_changes(value=cst.Name("None"))
            yield call.with_changes(args=[*call.args[:i], nothing, *call.args[i + 1 :]])


def _place(lines: list[str], text: list[str]) -> int:
    """Where a function's own text, which is not indented, begins among the file's lines."""
    wanted = [line.strip() for line in text]
    stripped = [line.strip() for line in lines]
    (place,) = (i for i in range(len(lines)) if stripped[i : i + len(wanted)] == wanted)
    return place


def _difference(text: list[str], other: list[str]) -> tuple[int, int, list[str]]:
    """From which line to which the first differs, and what the second has instead."""
    shorter = min(len(text), len(other))
    same = next((i for i in range(shorter) if text[i] != other[i]), shorter)
    after = next((i for i in range(shorter - same) if text[-1 - i] != other[-1 - i]), shorter - same)
    return same, len(text) - after, other[same : len(other) - after]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _joined(lines: list[str]) -> str:
    return " ".join(re.sub(r"(?:^|  )# .*", "", line).strip() for line in lines).strip()
