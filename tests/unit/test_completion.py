"""What completes words in shells: printed by a command, and right in the shells that are there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.commands import run_here
from workerpool.cli.completion import SCRIPTS, SHARE


def script_of(shell: str) -> Path:
    return SHARE / SCRIPTS[shell]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_command_prints_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_here(["completion", shell], capsys)
    assert (done.returncode, done.stdout) == (0, script_of(shell).read_text())


def test_a_shell_that_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    done = run_here(["completion", "csh"], capsys)
    assert done.returncode == 2
    assert "'csh'" in done.stderr
    assert "bash" in done.stderr


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("workerpool re", {"reconcile", "report"}),
        ("workerpool run --conn", {"--connections"}),
        ("workerpool run a.txt --format p", {"parquet"}),
        ("workerpool top --o", {"--once"}),
    ],
)
def test_bash_completes(words: str, completed: set[str]) -> None:
    *before, word = words.split()
    lines = f"""
        source {script_of("bash")}
        COMP_WORDS=({words}) COMP_CWORD={len(before)} COMP_LINE={words!r} COMP_POINT={len(words)}
        function=$(complete -p workerpool | sed -E 's/.*-F ([^ ]+) .*/\\1/')
        $function workerpool {word} {before[-1]}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", lines], capture_output=True, text=True, timeout=30)
    assert {line.strip() for line in done.stdout.splitlines()} == completed, done.stderr


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes() -> None:
    lines = f"source {script_of('fish')}; complete -C 'workerpool top --o'"
    done = subprocess.run(["fish", "--no-config", "-c", lines], capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith("--once\t"), done.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_finds_it() -> None:
    lines = f"fpath=({SHARE} $fpath); autoload -Uz compinit; compinit -u -D; print $_comps[workerpool]"
    done = subprocess.run(["zsh", "-f", "-c", lines], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip().startswith("_"), done.stderr
