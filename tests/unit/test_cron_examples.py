"""The files of examples/cron are what their programs take, and the commands in them are what workerpool takes."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from workerpool.cli.arguments import RunSettings, parse
from workerpool.cli.looking_arguments import LookSettings

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples" / "cron"
PAGE = EXAMPLES.parent.parent / "docs" / "howto" / "cron-crawl.md"


def commands(text: str) -> list[list[str]]:
    """The words after `workerpool` of every command in a text, up to a pipe or a redirection."""
    found = re.findall(r"/workerpool ((?:run|reconcile|status|jobs)\b[^|>\n]*)", text)
    return [shlex.split(words) for words in found]


@pytest.mark.parametrize("name", ["crontab", "workerpool-crawl.service"])
def test_the_commands_are_taken_and_keep_a_job_with_a_deadline(name: str) -> None:
    read = [parse(words) for words in commands((EXAMPLES / name).read_text())]
    runs = [one for one in read if isinstance(one, RunSettings)]
    assert len(runs) == 1
    for run in runs:
        assert run.job is not None
        assert run.job["directory"] == "crawl.job"
        assert run.job["only_changed"]
        assert run.deadline == 50 * 60
    assert [one.command for one in read if isinstance(one, LookSettings)] == ["reconcile"] * (name == "crontab")


def test_the_page_about_cron_shows_the_lines_of_the_crontab() -> None:
    lines = [line for line in (EXAMPLES / "crontab").read_text().splitlines() if "workerpool" in line]
    assert len(lines) == 2
    for line in lines:
        assert line in PAGE.read_text()


def test_cron_takes_every_line_of_the_crontab() -> None:
    """Five fields of time or a variable; a percent sign ends a command unless it is escaped."""
    for line in (EXAMPLES / "crontab").read_text().splitlines():
        if line and not line.startswith("#") and "=" not in line.split()[0]:
            assert re.match(r"(?:(?:\*|[\d,/*-]+)\s+){5}\S", line), line
            assert not re.search(r"(?<!\\)%", line), line


def test_the_service_is_ended_as_a_run_wants_it_and_takes_its_ordinary_exits_for_well() -> None:
    service = parsed("workerpool-crawl.service")["Service"]
    assert service["Type"] == "oneshot"
    assert service["SuccessExitStatus"].split() == ["1", "4"]
    (run,) = [parse(words) for words in commands(f"ExecStart={service['ExecStart']}")]
    assert isinstance(run, RunSettings)
    assert float(service["TimeoutStopSec"]) > run.options.timeout.total
    assert parsed("workerpool-crawl.timer")["Timer"]["OnCalendar"] == "hourly"


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        return  # the test above has parsed them
    for path in EXAMPLES.glob("workerpool-crawl.*"):
        text = path.read_text().replace("/srv/crawl/venv/bin/workerpool", "/bin/true").replace("User=crawl\n", "")
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "workerpool-crawl" not in done.stderr, done.stderr


def parsed(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(EXAMPLES / name)
    return parser
