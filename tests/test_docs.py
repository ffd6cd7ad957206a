"""The documentation names nothing that is not there: links, options, events, errors, names and arguments in code."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import logging
import re
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import workerpool
import workerpool.errors
from workerpool.batch import codes
from workerpool.cli.arguments import make_parser
from workerpool.cli.signals import HANDLED, exit_code
from workerpool.events import EVENTS

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*\b")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def text_of(path: Path) -> str:
    return path.read_text()


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def blocks(path: Path, *languages: str) -> Iterator[str]:
    for language, text in FENCE.findall(text_of(path)):
        if language in languages:
            yield text


COMMANDS = ("run", "status", "top", "reconcile", "jobs", "infer", "doctor", "plan", "report")


@cache
def real_options(name: str) -> frozenset[str]:
    (commands,) = (action.choices for action in make_parser()._actions if action.dest == "command")
    return frozenset(word for action in commands[name]._actions for word in action.option_strings)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    prose = FENCE.sub("", text_of(page))
    for link in LINK.findall(prose):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        assert file.is_relative_to(ROOT), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", text_of(file), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, link


def commands(page: Path) -> Iterator[tuple[str, str]]:
    """Yield each `workerpool …` command of a page, by its name and its words, continued lines joined."""
    for text in [*blocks(page, "", "sh", "console", "cron"), *SPAN.findall(text_of(page))]:
        for line in text.replace("\\\n", " ").splitlines():
            found = re.search(rf"(?:^|[\s|/])workerpool ({'|'.join(COMMANDS)})\b([^|]*)", line)
            if found:
                yield found[1], found[2]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_option_of_a_command_exists(page: Path) -> None:
    for command, words in commands(page):
        assert set(OPTION.findall(words)) <= real_options(command), words


def test_the_reference_names_every_option_and_no_other() -> None:
    table = {option for span in SPAN.findall(text_of(REFERENCE / "cli.md")) for option in OPTION.findall(span)}
    real = {option for command in COMMANDS for option in real_options(command)}
    assert table - {"--version", "-m"} == real - {"-h", "--help"}


def test_the_reference_is_what_is_written_from_the_declaration() -> None:
    written = runpy.run_path(str(ROOT / "tools" / "reference.py"))["written"]
    for path, text in written().items():
        assert path.read_text() == text, "make docs writes it"


def test_the_manual_and_the_completions_are_what_is_written_from_the_parser() -> None:
    written = runpy.run_path(str(ROOT / "tools" / "shipped.py"))["written"]
    for path, text in written().items():
        assert path.read_text() == text, "make docs writes it"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_name_that_links_to_our_code_is_there(page: Path) -> None:
    missing = [
        name
        for name, link in re.findall(r"\[`([\w.]+)`\]\(([\w./]+\.py)\)", page.read_text())
        if not defines((page.parent / link).read_text(), name.split("."))
    ]
    assert missing == []


def test_every_promise_names_what_makes_it_so_and_tests_that_hold_it() -> None:
    rows = re.findall(r"^\| \*\*.*\|$", text_of(ROOT / "docs" / "design" / "guarantees.md"), re.MULTILINE)
    assert len(rows) >= 10
    for row in rows:
        _, because, held, shown = row.strip("|").split(" | ")
        assert "](" in because, row
        assert re.findall(r"\[`(test_\w+)`\]\([\w./]*/test_\w+\.py\)", held), row
        assert "`" in shown, row


def defines(code: str, path: list[str]) -> bool:
    """Whether `code` has such a name at its top level, and in it the next one."""
    body: list[ast.stmt] = ast.parse(code).body
    for name in path:
        found = [node for node in body if name in names_of(node)]
        if not found:
            return False
        body = getattr(found[0], "body", [])
    return True


def names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [target.id for target in targets if isinstance(target, ast.Name)]
    return [node.name] if isinstance(node, ast.ClassDef | ast.FunctionDef) else []


def test_the_reference_names_every_event_with_its_level_and_fields() -> None:
    rows = re.findall(r"^\| `([a-z.]+)` \| (\w+) \| (.*?) \|", text_of(REFERENCE / "events.md"), re.MULTILINE)
    assert {name: (level, tuple(SPAN.findall(fields))) for name, level, fields in rows} == {
        name: (logging.getLevelName(level), fields) for name, (level, fields) in EVENTS.items()
    }


def test_the_reference_names_every_exit_code() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| `", text_of(REFERENCE / "exit-codes.md"), re.MULTILINE)
    named = {int(code) for row in rows for code in row.split(", ")}
    assert named == {*(value for name, value in vars(codes).items() if name.isupper()), *map(exit_code, HANDLED)}


def test_the_reference_names_every_error_with_its_word() -> None:
    kinds = [kind for _, kind in inspect.getmembers(workerpool.errors, inspect.isclass)]
    errors = {kind.__name__ for kind in kinds if issubclass(kind, workerpool.WorkerPoolError)}
    text = text_of(REFERENCE / "errors.md")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == errors
    for kind in kinds:
        if issubclass(kind, workerpool.RequestError):
            assert re.search(rf"^\| `{kind.__name__}` \| `{kind.reason}` \|", text, re.MULTILINE), kind


def test_the_reference_names_every_public_name() -> None:
    spans = " ".join(SPAN.findall(text_of(REFERENCE / "api.md") + text_of(REFERENCE / "errors.md")))
    missing = [name for name in workerpool.__all__ if not re.search(rf"\b{name}\b", spans)]
    assert not missing


def test_the_reference_names_every_option_of_the_pool_and_the_policy() -> None:
    text = text_of(REFERENCE / "api.md")
    for kind in (workerpool.WorkerPool, workerpool.RetryPolicy, workerpool.Request):
        for option in inspect.signature(kind).parameters:
            assert f"`{option}`" in text, f"{kind.__name__}({option}=)"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_module_script_and_target_of_make_that_a_reader_is_to_run_is_there(page: Path) -> None:
    text = text_of(page)
    modules = re.findall(r"python -m ((?:benchmarks|tools|workerpool)[\w.]*\w)", text.replace("\n", " "))
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []
    assert [name for name in re.findall(r"python ([\w/]+\.py)", text) if not (ROOT / name).exists()] == []
    targets = {*re.findall(r"^(\w+):", text_of(ROOT / "Makefile"), re.MULTILINE)}
    if page.name == "compared.md":
        targets.add("coverage")  # which it proposes
    assert {*re.findall(r"`make (\w+)", text)} <= targets


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_in_the_documentation_compiles_and_names_what_exists(page: Path) -> None:
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module == "workerpool":
                for alias in node.names:
                    assert alias.name in workerpool.__all__, alias.name
            if isinstance(node, ast.Call):
                check_call(node)


def test_the_recipes_for_testing_are_tests_that_pass() -> None:
    names: dict[str, Any] = {}
    for code in blocks(ROOT / "docs" / "howto" / "testing.md", "python"):
        exec(code, names)  # as one module, from its first line to its last
    recipes = [value for name, value in names.items() if name.startswith("test_")]
    assert len(recipes) == 3
    for recipe in recipes:
        recipe()


def check_call(node: ast.Call) -> None:
    """Hold a call of one of our public names to its signature."""
    name = ast.unparse(node.func).removeprefix("workerpool.")  # what has another module's name before it is that one's
    if name not in workerpool.__all__:
        return
    known = {*inspect.signature(getattr(workerpool, name)).parameters}
    if "options" in known:  # which are handed on
        known |= {*inspect.signature(workerpool.WorkerPool).parameters, "processes"}
    if name == "fetch":
        known |= {"ordered", "window"}
    for keyword in node.keywords:
        assert keyword.arg is None or keyword.arg in known, f"{name}({keyword.arg}=…)"
