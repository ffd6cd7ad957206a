"""Options are declared once: names and flags hold to the signatures, and errors speak of them as they were said."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import workerpool
from workerpool.batch.sinks.formats import FORMATS, OF_FILES
from workerpool.batch.sources.formats import NAMES
from workerpool.cli.arguments import make_parser
from workerpool.cli.plan_arguments import PlanSettings
from workerpool.cluster import make_pool
from workerpool.doctor import Examiner
from workerpool.options import ALL, DOCTOR, IN_PYTHON, INPUT_FORMAT, JOB, OUTPUT, PLAN, PROCESSES, Option
from workerpool.options.words import in_flags

PACKAGE = Path(workerpool.__file__).parent


@pytest.mark.parametrize("name", IN_PYTHON)
def test_what_is_declared_is_what_there_is(name: str) -> None:
    declared = [option.name for option in IN_PYTHON[name] if option.name]
    assert sorted(declared) == sorted(inspect.signature(getattr(workerpool, name)).parameters)


def test_a_default_that_is_said_is_the_one_that_holds() -> None:
    def check(options: tuple[Option, ...], target: str, default: object) -> None:
        (option,) = (option for option in options if option.target == target)
        assert option.read(option.unless, option.word) == default

    def defaults(of: object) -> dict[str, object]:
        return {name: each.default for name, each in inspect.signature(of).parameters.items()}  # type: ignore[arg-type]

    check(IN_PYTHON["WorkerPool"], "max_body", defaults(workerpool.WorkerPool)["max_body"])
    check((PROCESSES,), "processes", defaults(make_pool)["processes"])
    check(PLAN, "latency", defaults(PlanSettings)["latency"])
    for name in ("retry_rounds", "wait_lock"):
        check(JOB, name, defaults(workerpool.Job)[name])
    for name in ("timeout", "patience"):
        check(DOCTOR, name, defaults(Examiner)[name])


def test_every_format_of_an_output_can_be_said() -> None:
    output, format, *_ = OUTPUT
    assert format.flag.split()[-1].split("|") == [*OF_FILES]
    assert all(one.endings[0] in output.means for one in FORMATS if one.endings)


def test_every_format_of_a_source_can_be_said() -> None:
    assert INPUT_FORMAT.flag.split()[-1].split("|") == [*NAMES]
    assert all(f'"{name}"' in INPUT_FORMAT.python for name in NAMES)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("rate='fast' is no rate", "--rate='fast' is no rate"),
        ("host_rate=0 is no rate", "--host-rate=0 is no rate"),
        ("robots=True needs contact=, so that", "--robots needs --contact, so that"),
        ("deny_private=True with proxies=: say trust_proxy=True", "--deny-private with --proxy: say --trust-proxy"),
        ("processes=4 is more than max_workers=2, the", "--processes=4 is more than --workers=2, the"),
        ("http://a.test/?rate=5 is no answer", "http://a.test/?rate=5 is no answer"),
        ("--rate='fast' is no rate", "--rate='fast' is no rate"),
        ("the rate is no rate", "the rate is no rate"),
    ],
)
def test_the_command_line_says_an_error_in_its_own_words(error: str, said: str) -> None:
    assert in_flags(error) == said


FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*\b")


def flags_in_code() -> Iterator[tuple[str, str]]:
    """Each flag that a text in the package names, docstrings included, after its file."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        if not FLAG.search(text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for flag in FLAG.findall(node.value):
                    yield str(path.relative_to(PACKAGE)), flag


def test_every_flag_that_the_code_names_exists() -> None:
    known = {option.word for option in ALL} | {"--help", "--version"}
    wrong = {(path, flag) for path, flag in flags_in_code() if flag not in known and not path.startswith("testing/")}
    assert not wrong


def test_the_commands_have_the_flags_that_are_declared() -> None:
    (commands,) = (action.choices for action in make_parser()._actions if action.dest == "command")
    flags = {word for command in commands.values() for action in command._actions for word in action.option_strings}
    assert flags - {"-h", "--help", "-o"} == {option.word for option in ALL}
