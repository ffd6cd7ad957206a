"""The command line's words: what is accepted, what is refused, and that a refusal is one sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

from workerpool.cli import main
from workerpool.cli.arguments import make_parser, parse
from workerpool.cli.looking_arguments import LookSettings
from workerpool.config import Breaker, Rate, RetryBudget
from workerpool.errors import OptionError


def test_the_defaults_are_the_contract_s() -> None:
    settings = parse(["run", "a.txt", "-o", "out.jsonl"])
    assert settings.sources == ("a.txt",)
    budgets = settings.budgets
    assert (budgets.workers, budgets.burst, budgets.host_connections, budgets.retries) == (16, 1, 6, 3)
    assert (budgets.rate, budgets.host_rate, budgets.connections, settings.deadline) == (None, None, None, None)
    assert (budgets.slow_start, budgets.retry_budget, budgets.breaker) == (False, RetryBudget(), None)
    assert (settings.timeout, settings.include, settings.format, settings.log_format) == (30.0, frozenset(), None, None)
    assert (settings.max_body, settings.verify, settings.cert, settings.proxy) == (1024**3, True, None, None)
    assert (settings.allow_hosts, settings.deny_private, settings.trust_proxy) == (None, False, False)
    assert settings.fast_path
    assert (settings.robots, settings.contact, budgets.key_rate, budgets.limit_by) == (False, None, None, None)
    assert (settings.ordered, settings.overwrite, settings.quiet, settings.progress) == (False, False, False, True)


def test_every_option_is_read() -> None:
    words = (
        "run a.txt b.csv - --output out.x --workers 3 --rate 50/s --burst 2 --host-rate 100/min --connections 9 "
        "--host-connections 4 --retries 0 --timeout 2.5 --deadline 1h30m --ordered --include body,headers --overwrite "
        "--format csv --quiet --no-progress --log-format console --input-format jsonl --max-body 10MB --insecure "
        "--proxy socks5h://127.0.0.1:1080 --allow-host example.com --allow-host *.example.org:8443 --deny-private "
        "--trust-proxy --no-fast-path --slow-start --retry-budget 5% --breaker 7 --fail-fast "
        "--robots --contact https://example.com/bot --key-rate 10/s --limit-by header:X-Api-Key"
    )
    settings = parse(words.split())
    assert settings.sources == ("a.txt", "b.csv", "-")
    assert (settings.output, settings.format, settings.input_format) == ("out.x", "csv", "jsonl")
    budgets = settings.budgets
    assert (budgets.rate, budgets.host_rate) == (Rate(50, 1), Rate(100, 60))
    assert (budgets.workers, budgets.burst, budgets.connections, budgets.host_connections) == (3, 2, 9, 4)
    assert (budgets.slow_start, budgets.retry_budget) == (True, RetryBudget(share=0.05))
    assert budgets.breaker == Breaker(failures=7, fails_fast=True)
    assert (budgets.retries, settings.timeout, settings.deadline) == (0, 2.5, 5_400.0)
    assert (settings.robots, settings.contact) == (True, "https://example.com/bot")
    assert (budgets.key_rate, budgets.limit_by) == (Rate(10, 1), "X-Api-Key")
    assert settings.include == {"body", "headers"}
    assert settings.ordered
    assert settings.overwrite
    assert settings.quiet
    assert not settings.progress
    assert settings.log_format == "console"
    assert (settings.max_body, settings.verify, settings.proxy) == (10_000_000, False, "socks5h://127.0.0.1:1080")
    assert settings.allow_hosts == ("example.com", "*.example.org:8443")
    assert (settings.deny_private, settings.trust_proxy, settings.fast_path) == (True, True, False)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--rate", "fast", "'50/s'"),
        ("--rate", "0/s", "above zero"),
        ("--host-rate", "1/fortnight", "--host-rate"),
        ("--workers", "0", "1 or more"),
        ("--workers", "many", "whole number"),
        ("--burst", "1.5", "--burst"),
        ("--connections", "-1", "--connections"),
        ("--host-connections", "0", "--host-connections"),
        ("--host-connections", "some", "or auto"),
        ("--rate", "1000/h and 10/h", "twice"),
        ("--retry-budget", "much", "20% or 0.2, or none"),
        ("--retry-budget", "-1", "20% or 0.2, or none"),
        ("--breaker", "0", "1 or more"),
        ("--contact", "me", "'me@example.com'"),
        ("--key-rate", "10/s", "needs --limit-by KEY"),
        ("--limit-by", "domain", "needs --key-rate RATE"),
        ("--retries", "-1", "0 or more"),
        ("--timeout", "0", "--timeout"),
        ("--timeout", "soon", "--timeout"),
        ("--deadline", "tomorrow", "'10m'"),
        ("--max-body", "much", "'10MB'"),
        ("--max-body", "0", "above zero"),
        ("--proxy", "proxy:3128", "'http://proxy:3128'"),
        ("--proxy", "joe:hush@proxy:3128", "***@proxy:3128"),
        ("--proxy", "http://joe:hu#sh@proxy:3128", "***@proxy:3128"),
        ("--ca-bundle", "/dev/null", "holds no certificate"),
        ("--ca-bundle", "/there/is/none", "cannot be read"),
        ("--cert", "/dev/null", "holds no certificate"),
        ("--cert", "/there/is/none", "cannot be read"),
        ("--allow-host", "http://example.com/", "'*.example.com'"),
        ("--include", "body,trailers", "'trailers' is unknown"),
        ("--job", "", "must name a directory"),
        ("--retry-rounds", "1", "needs --job DIR"),
        ("--skip-recent", "12h", "needs --job DIR"),
        ("--wait-lock", "10m", "needs --job DIR"),
    ],
)
def test_a_bad_value_is_refused_by_name_with_what_would_do(
    option: str, value: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OptionError) as caught:
        parse(["run", "a.txt", "-o", "out.jsonl", f"{option}={value}"])
    assert option in str(caught.value)
    assert words in str(caught.value)
    assert main(["run", "a.txt", "-o", "out.jsonl", f"{option}={value}"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"workerpool: {option}")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    ["run a.txt", "run -o out.jsonl", "run a.txt -o x --format xml", "run a.txt -o x --wrokers 3", "", "fly",
     "run a.txt -o x --work 3", "run a.txt -o x --log-format xml", "run a.txt -o x --input-format xml"],
)  # fmt: skip
def test_words_that_do_not_fit_are_refused_in_one_sentence(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "--help" in said.err


def test_help_fits_a_terminal_and_names_every_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for word in ("--rate RATE", "--deadline", "examples:", "exit status:", "--job DIR", "default: 16"):
        assert word in text
    assert main(["--help"]) == 0


def test_version_says_name_and_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("workerpool 0")


def test_the_parser_can_be_had_for_shell_completions() -> None:
    assert make_parser().prog == "workerpool"


def test_the_command_line_loads_rich_only_when_it_draws() -> None:
    code = "import sys, workerpool.cli, workerpool.cli.run; sys.exit('rich.live' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("command", ["run", "status", "reconcile", "jobs", "doctor"])
def test_the_help_of_each_command_fits_a_terminal_and_lists_its_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "exit status" in text


def test_a_commands_words_about_jobs_become_its_settings() -> None:
    assert parse(["status", "a.job", "--json"]) == LookSettings(
        command="status", directories=("a.job",), as_json=True, output=None
    )
    assert parse(["reconcile", "a.job", "-o", "postgresql://u:p@db/t"]) == LookSettings(
        command="reconcile", directories=("a.job",), as_json=False, output="postgresql://u:p@db/t"
    )
    assert parse(["jobs"]) == LookSettings(command="jobs", directories=(".",), as_json=False)
