"""The command line's words: what is accepted, what is refused, and that a refusal is one sentence."""

from __future__ import annotations

import argparse
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workerpool.batch.template.template import Template
from workerpool.cli import main
from workerpool.cli.arguments import GROUPS, RunSettings, make_parser, parse
from workerpool.cli.looking_arguments import LookSettings
from workerpool.config import Breaker, RetryBudget, RetryPolicy
from workerpool.errors import OptionError
from workerpool.paging import Cursor
from workerpool.pool import options_of
from workerpool.saving import Save


def test_the_defaults_are_the_contract_s() -> None:
    settings = parse(["run", "a.txt", "-o", "out.jsonl"])
    assert isinstance(settings, RunSettings)
    assert settings == RunSettings(
        sources=("a.txt",), output="out.jsonl", pool={}, options=options_of(), job=None, processes=1, deadline=None
    )
    budgets, options = settings.options.budgets, settings.options
    assert (options.workers, budgets.burst, budgets.host_connections, options.retry) == (16, 1, 6, RetryPolicy())
    assert (budgets.rate, budgets.host_rate, budgets.slow_start, options.breaker) == (None, None, False, None)
    assert (options.timeout.total, options.max_body, options.verify) == (30.0, 1024**3, True)
    assert settings.has_progress


def test_every_option_is_read() -> None:
    words = (
        "run a.txt b.csv - --output out.x --workers 3 --rate 50/s --burst 2 --host-rate 100/min --connections 9 "
        "--host-connections 4 --retries 0 --timeout 2.5 --deadline 1h30m --ordered --include headers --overwrite "
        "--format csv --quiet --no-progress --log-format console "
        "--metrics :9464 --metrics-file m.prom --trace --input-format jsonl --max-body 10MB --insecure "
        "--proxy socks5h://127.0.0.1:1080 --auth basic:me:env:HOME "
        "--allow-host example.com --allow-host *.example.org:8443 --deny-private "
        "--trust-proxy --no-fast-path --slow-start --retry-budget 5% --breaker 7 --fail-fast "
        "--robots --contact https://example.com/bot --key-rate 10/s --limit-by header:X-Api-Key "
        "--budget github --redis redis://cache/1 "
        "--processes 2 --dedupe --job a.job --retry-failed --retry-rounds 2 --restart --wait-lock 0s --skip-recent 12h "
        "--no-conditional --only-changed --unique-keys --idempotency-keys --at-least-once "
        "--schema s.toml --upsert --rejects bad.jsonl "
        '--query q --template https://a.test/{id} --method put --header X-A:{id} --json {"n":"{n}"} --key {id} '
        "--optional n "
        "--bodies files --body-name {key} --min-speed 10KB/s --max-file 2MB"
    )
    template = Template(
        "https://a.test/{id}", method="put", headers={"X-A": "{id}"}, json={"n": "{n}"}, key="{id}",
        optional=frozenset({"n"}),
    )  # fmt: skip
    settings = parse(words.split())
    assert isinstance(settings, RunSettings)
    assert settings == RunSettings(
        sources=("a.txt", "b.csv", "-"),
        output="out.x",
        format="csv",
        include=frozenset({"headers"}),
        save=Save("files", "{key}", min_speed=10_000.0, max_size=2_000_000),
        ordered=True,
        overwrite=True,
        schema="s.toml",
        upsert=True,
        rejects="bad.jsonl",
        template=template,
        query="q",
        input_format="jsonl",
        processes=2,
        deadline=5_400.0,
        quiet=True,
        no_progress=True,
        log_format="console",
        metrics=":9464",
        metrics_file="m.prom",
        pool={
            "max_workers": 3,
            "rate": "50/s",
            "burst": 2,
            "host_rate": "100/min",
            "key_rate": "10/s",
            "limit_by": "X-Api-Key",
            "slow_start": True,
            "max_connections": 9,
            "host_connections": 4,
            "budget": "github",
            "redis": "redis://cache/1",
            "retry": RetryPolicy(attempts=1, budget=RetryBudget(share=0.05)),
            "breaker": Breaker(failures=7, fails_fast=True),
            "timeout": 2.5,
            "max_body": 10_000_000,
            "verify": False,
            "proxies": {"http": "socks5h://127.0.0.1:1080", "https": "socks5h://127.0.0.1:1080"},
            "auth": ("me", os.environ["HOME"]),
            "allow_hosts": ["example.com", "*.example.org:8443"],
            "deny_private": True,
            "trust_proxy": True,
            "trace": True,
            "robots": True,
            "contact": "https://example.com/bot",
            "fast_path": False,
        },
        options=settings.options,
        job={
            "sources": ("a.txt", "b.csv", "-"),
            "output": "out.x",
            "format": "csv",
            "include": frozenset({"headers"}),
            "save": Save("files", "{key}", min_speed=10_000.0, max_size=2_000_000),
            "ordered": True,
            "overwrite": True,
            "schema": "s.toml",
            "upsert": True,
            "rejects": "bad.jsonl",
            "template": template,
            "query": "q",
            "input_format": "jsonl",
            "dedupe": True,
            "directory": "a.job",
            "retry_failed": True,
            "retry_rounds": 2,
            "restart": True,
            "wait_lock": 0.0,
            "skip_recent": 43_200.0,
            "conditional": False,
            "only_changed": True,
            "unique_keys": True,
            "idempotency_keys": True,
            "at_least_once": True,
        },
        dedupe=True,
    )
    # The first and the last say the contrary of what is said, and one of the proxies' flags excludes the
    # other, as one body does.
    unsaid = {"--ca-bundle", "--cert", "--proxies", "--conditional", "--data"}
    unsaid |= {"--pages", "--max-pages", "--cluster"}  # which --dedupe excludes, or --processes
    flags = {option.word for options in GROUPS.values() for option in options}
    assert flags - set(words.split()) == unsaid


def test_a_body_is_what_is_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "body.txt").write_bytes(b"one\r\ntwo\rthree\n{id}")
    words = ["--template", "https://a.test/", "--data", f"@{tmp_path}/body.txt"]
    settings = parse(["run", "rows.csv", "-o", "out.jsonl", *words])
    assert isinstance(settings, RunSettings)
    assert settings.template is not None
    assert settings.template.request({"id": "5"}).data == b"one\r\ntwo\rthree\n5"


def test_pages_are_read_with_their_number() -> None:
    settings = parse(["run", "a.txt", "-o", "-", "--pages", "cursor:after=meta.next", "--max-pages", "7"])
    assert isinstance(settings, RunSettings)
    assert settings.pages == Cursor("meta.next", param="after", max_pages=7)


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
        ("--key-rate", "10/s", "go together"),
        ("--limit-by", "domain", "go together"),
        ("--retries", "-1", "0 or more"),
        ("--timeout", "0", "--timeout"),
        ("--timeout", "soon", "--timeout"),
        ("--deadline", "tomorrow", "'10m'"),
        ("--max-body", "much", "'10MB'"),
        ("--max-body", "9" * 400, "'10MB'"),
        ("--workers", "9" * 5_000, "must be a whole number"),
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
    assert errors.startswith("workerpool: --")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    ["run a.txt", "run -o out.jsonl", "run a.txt -o x --format xml", "run a.txt -o x --wrokers 3", "", "fly",
     "run a.txt -o x --work 3", "run a.txt -o x --log-format xml", "run a.txt -o x --input-format xml",
     "run a.txt -o x --insecure --ca-bundle there.pem", "run a.txt -o x --job a --conditional --no-conditional"],
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


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]])
def test_help_whose_reader_has_gone_is_quiet(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Gone())
    # As argparse did it before it forgave that.
    monkeypatch.setattr(argparse.ArgumentParser, "_print_message", lambda _, message, file: file.write(message))
    assert main(words) == 0


def test_version_says_name_and_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("workerpool 0")


def test_the_parser_can_be_had_for_shell_completions() -> None:
    assert make_parser().prog == "workerpool"


def test_the_command_line_loads_rich_only_when_it_draws() -> None:
    code = "import sys, workerpool.cli, workerpool.cli.run; sys.exit('rich.live' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("command", ["run", "plan", "status", "top", "reconcile", "jobs", "doctor"])
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
    assert parse(["top", "a.job", "--once"]) == LookSettings(command="top", directories=("a.job",), once=True)
    assert parse(["jobs"]) == LookSettings(command="jobs", directories=(".",), as_json=False)
