"""Reports on runs that took place: interrupted, gone on with, killed, compared, and looked at in a browser."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import PATIENCE, run_here
from tests.forked import ForkedCommand
from tests.reported import BEGAN, figures, history, outcome
from tests.waiting import eventually
from tools.browser import Page, browser, browser_path
from workerpool import Job
from workerpool.batch.job.history import path_of, read_history
from workerpool.cli import main
from workerpool.errors import ConnectionLost, StatusError
from workerpool.report.page import as_html
from workerpool.report.reading import NO_HISTORY, Told
from workerpool.report.report import make_report
from workerpool.testing import Origin

URLS = 60


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(addresses=("127.0.0.1", "127.0.0.2")) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a source, in which commands are run: good URLs, redirects, retries, refusals, failures."""
    monkeypatch.chdir(tmp_path)
    lines = [origin.url(f"/bytes/100?n={n}") for n in range(URLS)]
    lines += [origin.url(f"/flaky/1?n={n}") for n in range(3)] + [origin.url("/redirect/1")]
    lines += [origin.url(f"/status/404?token=sesame&n={n}") for n in range(4)]
    lines += [origin.url("/retry-after/1", "127.0.0.2"), origin.url("/bytes/1", "127.0.0.2"), "no URL"]
    (tmp_path / "urls.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


ALL = URLS + 11


def run(*words: str) -> int:
    return main(["run", "urls.txt", "-o", "out.jsonl", "--job", "job", "--quiet", "--no-progress", *words])


def told(said: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    done = run_here(["report", *(words or ("job",)), "--format", "json"], said)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_job_tells_what_its_records_do_not(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--rate", "100/s", "--burst", "2") == 1
    found = told(capsys)
    assert (found["run"], found["state"], found["inputs"]) == (1, "finished", {"ok": ALL - 5, "failed": 5})
    assert found["reasons"] == {"ok": ALL - 5, "404 Not Found": 4, "invalid": 1}
    assert found["answers"]["503"] == 3
    assert found["answers"]["429"] == 1
    assert found["figures"]["retries"] == 4
    assert found["figures"]["sent"] == ALL - 1 + 4 + 1
    assert found["limits"]["budgets"]["rate"] == "100/s"
    assert sum(found["waits"].values()) == pytest.approx(1.0)
    assert "rate" in found["waits"]
    assert found["phases"]["slot"]["count"] > 10
    assert found["phases"]["parked"]["count"] == 4
    assert [one["host"] for one in found["pauses"]] == [f"127.0.0.2:{found['hosts'][0]['host'].rpartition(':')[2]}"]
    line = found["timeline"]["columns"]
    assert sum(line["ok"]) == ALL - 5
    assert sum(line["opened"]) == found["sockets"]["sockets_opened"]
    assert "sesame" not in json.dumps(found)
    assert found["notes"] == []


def test_a_run_that_was_interrupted_and_gone_on_with_is_told_whole(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--rate", "60/s", "--deadline", "0.5s") == 4
    first = told(capsys)
    assert first["state"] == "interrupted"
    assert 5 < first["figures"]["requests"] < ALL
    assert run() == 1
    found = told(capsys)
    assert (found["state"], found["figures"]["requests"]) == ("finished", ALL)
    assert len(found["executions"]) == 2
    assert found["figures"]["seconds"] > first["figures"]["seconds"]
    assert found["figures"]["sent"] == sum(one["figures"]["sent"] for one in found["executions"])
    assert found["notes"] == []


def test_the_run_before_is_what_a_run_is_compared_with(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        assert run() == 1
    found = told(capsys)
    assert (found["run"], found["before_name"], found["before"]["requests"]) == (3, "run 2", ALL)
    assert sorted(name for name in os.listdir("job") if name.startswith("history")) == [
        "history-2.json.gz",
        "history-3.json.gz",
    ]
    against = told(capsys, "job", "--against", "out.jsonl")
    assert (against["before_name"], against["before"]["opened"]) == ("out.jsonl", None)


def test_without_its_history_a_job_is_told_of_by_its_records(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 1
    whole = told(capsys)
    Path(path_of("job", 1)).write_bytes(b"damaged")
    assert read_history("job", 1) is None
    found = told(capsys)
    assert found["figures"]["requests"] == whole["figures"]["requests"]
    assert found["limits"] is None
    assert NO_HISTORY in found["notes"]
    assert run() == 1, "the next run begins a history of its own"
    assert told(capsys)["limits"] is not None


def test_what_a_killed_process_had_not_written_is_said_to_be_missing(
    place: Path, origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "urls.txt", "-o", "out.jsonl", "--job", "job", "--quiet", "--rate", "40/s"]
    with ForkedCommand(*words) as process:
        assert eventually(lambda: len(origin.arrivals) > 20)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    assert run() == 1
    found = told(capsys)
    assert found["inputs"] == {"ok": ALL - 5, "failed": 5}
    assert found["figures"]["requests"] < ALL
    assert "are missing in all but the counts of inputs, as a process was killed" in found["notes"][0]


def test_a_job_of_a_program_keeps_its_history_too(
    place: Path, origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Job("job", requests=[origin.url(f"/bytes/10?n={n}") for n in range(20)], output="out.sqlite")
    assert job.run(rate="200/s", max_workers=2).exit_code == 0
    found = told(capsys)
    assert (found["figures"]["requests"], found["limits"]["workers"]) == (20, 2)


def test_the_output_of_a_job_is_not_replaced_by_its_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 1
    before = (place / "out.jsonl").read_bytes()
    (place / "copy.jsonl").write_bytes(before)
    for words in (("job",), ("copy.jsonl", "--against", "job")):
        for output in ("out.jsonl", "job/ledger.sqlite"):
            done = run_here(["report", *words, "-o", output, "--format", "md"], capsys)
            assert done.returncode == 2
            assert f"--output={output} holds the records that the report" in " ".join(done.stderr.split())
    assert (place / "out.jsonl").read_bytes() == before


def test_a_report_that_is_made_anew_keeps_its_permissions_and_touches_nothing_else(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 1
    for name in ("page.html", "page.html.new"):
        (place / name).write_text("of mine")
        (place / name).chmod(0o600)
    assert run_here(["report", "job", "-o", "page.html"], capsys).returncode == 0
    assert "<html" in (place / "page.html").read_text()
    assert (place / "page.html").stat().st_mode & 0o777 == 0o600
    assert (place / "page.html.new").read_text() == "of mine"


def test_before_its_first_run_there_is_nothing_to_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "job").mkdir()
    done = run_here(["report", "job"], capsys)
    assert done.returncode == 2
    assert "job is neither a job's directory nor a file of records" in done.stderr


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(require: Callable[[object, str], None]) -> Iterator[Page]:
    path = browser_path()
    require(path, "no Chromium is installed (chromium-headless-shell)")
    with browser(str(path)) as made:
        yield made


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page on a run that had everything, and whose URLs would do harm."""
    lost = ConnectionLost("</script><script>document.title='harm'</script> broke off")
    made = history(
        *(outcome(f"http://a.test/{n}", at=n / 10, elapsed=0.05) for n in range(60)),
        *(outcome(f"http://b.test/{n}", at=n / 10, elapsed=0.5, tries=2) for n in range(30)),
        *(outcome(f"http://a.test/<img src=x onerror=alert({n})>", at=n, error=lost) for n in range(4)),
        *(outcome(f"http://b.test/{n}", at=n, error=StatusError("HTTP 404", status=404)) for n in range(7)),
    )
    made.look(figures(paused=(("http://b.test:80", 3.0),)), BEGAN + 10.5, 10.5, 1.0)
    before = Told(name="run 1", history=history(outcome()), run=1)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(as_html(make_report(Told(name="crawl.job", history=made, run=2, before=before))))
    return path


SHOWN = "[...document.querySelectorAll('{} tbody tr')].filter((row) => row.checkVisibility()).length"


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (1400, True), (360, False)])
def test_the_page_draws_every_chart_and_the_console_has_nothing_to_say(
    page: Page, report: Path, width: int, dark: bool
) -> None:
    page.complaints.clear()
    page.asked_for.clear()
    page.open(report, width=width, dark=dark)
    assert page.run("document.documentElement.dataset.ready") == "yes"
    drawn = page.run("""[...document.querySelectorAll('.chart')].map((place) => {
        const canvas = place.querySelector('canvas');
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return [place.dataset.chart, new Set(new Uint32Array(pixels.buffer)).size > 3];
    })""")
    assert dict(drawn) == dict.fromkeys(["sent", "sockets", "retries", "waits", "pauses", "latency"], True)
    assert page.run("document.documentElement.scrollWidth") == width, "nothing sticks out"
    assert page.complaints == []
    assert page.asked_for == [report.as_uri()]
    assert "harm" not in page.run("document.title")


def test_dark_and_light_follow_the_system_until_the_button_says_otherwise(page: Page, report: Path) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    page.open(report, dark=True)
    dark = page.run(paper)
    assert page.run("document.querySelector('#theme').textContent") == "Light"
    page.run("document.querySelector('#theme').click()")
    light = page.run(paper)
    page.open(report, dark=False)
    assert page.run(paper) == light != dark


def test_what_failed_is_filtered_by_host_reason_and_words(page: Page, report: Path) -> None:
    page.open(report)
    page.run("document.querySelectorAll('details.reason').forEach((one) => { one.open = true; })")
    failures = SHOWN.format("#failures")

    def choose(**values: str) -> int:
        for name, value in values.items():
            page.run(f"document.querySelector('#filter').elements.{name}.value = {json.dumps(value)}")
        page.run("document.querySelector('#filter').dispatchEvent(new Event('input', {bubbles: true}))")
        return int(page.run(failures))

    assert choose() == 11
    assert choose(host="b.test") == 7
    assert page.run(SHOWN.format("#hosts")) == 1
    assert "b.test: 37 requests, 7 failed" in page.run("document.querySelector('#filter output').textContent")
    assert page.run(SHOWN.format("#phases")) > 4, "the phases of the host are among them"
    assert choose(reason="connection") == 0
    assert choose(host="") == 4
    assert choose(words="ALERT(2)") == 1
    page.run("document.querySelector('#filter button').click()")
    page.run("new Promise((done) => setTimeout(done, 20))")
    assert page.run(failures) == 11
    assert page.complaints == []


def test_the_page_can_be_used_by_the_keyboard(page: Page, report: Path) -> None:
    page.open(report)
    met: list[str] = []
    for _ in range(60):
        page.press("Tab")
        met.append(
            page.run("document.activeElement.name || document.activeElement.id || document.activeElement.tagName")
        )
    order = ["theme", "host", "reason", "words"]
    assert [name for name in dict.fromkeys(met) if name in order] == order
    assert "SUMMARY" in met
    page.run("document.querySelector('#filter').elements.host.focus()")
    page.press("b", "b")
    assert page.run("document.querySelector('#filter').elements.host.value") == "b.test"
    page.run("document.querySelector('.u-legend th[tabindex]').focus()")
    page.press("Enter")
    page.run("new Promise((done) => setTimeout(done, 20))")
    assert page.run("document.activeElement.getAttribute('aria-pressed')") == "false"


def test_a_table_is_sorted_by_the_column_that_is_chosen(page: Page, report: Path) -> None:
    page.open(report)
    first = "document.querySelector('#hosts tbody th').textContent"
    assert page.run(first) == "a.test"
    page.run("document.querySelectorAll('#hosts thead button')[4].click()")
    assert page.run(first) == "b.test", "whose mean is longer"
    assert page.run("document.querySelectorAll('#hosts thead th')[4].ariaSort") == "descending"
    page.run("document.querySelectorAll('#hosts thead button')[4].click()")
    assert page.run(first) == "a.test"


def test_without_scripts_everything_but_the_charts_is_there(page: Page, report: Path) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(report)
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert page.run(SHOWN.format("#hosts")) == 2
    assert "half took 99 ms or less" in page.run("document.querySelector('#main').textContent")
    assert not page.run("document.querySelector('#filter').checkVisibility()")
