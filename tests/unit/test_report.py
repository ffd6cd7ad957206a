"""Reports: what is told of a history or of records, in three forms, whatever was fetched and however much of it."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.commands import run_here
from tests.reported import BEGAN, LIMITS, figures, history, outcome
from workerpool.batch.record import record_of
from workerpool.errors import ConnectionLost, JobError, StatusError
from workerpool.history import History
from workerpool.model import Outcome
from workerpool.report import tables
from workerpool.report.markdown import as_markdown
from workerpool.report.page import MOST, as_html
from workerpool.report.reading import Told, _seconds, reason_in, tell
from workerpool.report.report import Report, make_report
from workerpool.report.timeline import timeline_of
from workerpool.statistics import Waits

HOSTILE = "</script><script>alert(1)</script><!-- \" ' & | ` _*\u2028\x00"


def report_of(*outcomes: Outcome, before: History | None = None) -> Report:
    told = None if before is None else Told(name="run 1", history=before, run=1)
    return make_report(Told(name="crawl.job", history=history(*outcomes), run=2, before=told))


def records(path: Path, outcomes: Sequence[Outcome]) -> Path:
    path.write_text("".join(json.dumps(record_of(one)) + "\n" for one in outcomes))
    return path


class Reader(HTMLParser):
    """The elements of a page, and the texts of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.tags[-1][0] if self.tags else "", data))

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.tags)


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


# -- what is told -----------------------------------------------------------------------------------------------------


def test_a_report_has_the_figures_of_the_history_and_of_the_run_before() -> None:
    lost = ConnectionLost("it broke off")
    found = report_of(outcome(), outcome(at=1.0, error=lost), before=history(outcome(), seconds=5.0))
    assert (found.figures.requests, found.figures.ok, found.figures.failed, found.figures.seconds) == (2, 1, 1, 10.0)
    assert found.before is not None
    assert (found.before.requests, found.before.seconds, found.before_name) == (1, 5.0, "run 1")
    assert found.waits == pytest.approx({"rate": 0.7, "host_sockets": 0.3})
    assert "the rate of 50/s in all held it up 70% of the time" in found.why[0]
    assert "sockets" in found.why[1], "what is a third of the time is told, too"
    assert [(group.reason, group.count) for group in found.failures] == [("connection", 1)]
    assert found.latency.p50 == pytest.approx(0.1, rel=0.01)


def test_better_and_worse_go_by_what_is_compared() -> None:
    before = history(*(outcome(elapsed=0.1) for _ in range(10)), seconds=10.0)
    found = report_of(*(outcome(elapsed=0.2) for _ in range(10)), before=before)
    rows = {row.cells[0]: row for row in tables.compared(found).rows}
    assert rows["attempt, p95"].cells[3] in ("+99%", "+100%", "+101%")
    assert rows["attempt, p95"].keys == {"verdict": "worse"}
    assert rows["requests"].keys == {}
    assert rows["took"].cells[3] == ""


def test_time_in_which_no_process_ran_is_cut_out_and_a_late_look_leaves_no_hole() -> None:
    made = history(outcome(), seconds=2.0)
    made.begin(BEGAN + 86_400, LIMITS)
    for past in (0.25, 0.5, 1.0):  # none between 0.5 and 1.0
        waits = Waits(rate=past)
        made.look(figures(waits=waits, sockets_open=3), BEGAN + 86_400 + past, past, 0.0)
    line = timeline_of(made)
    assert len(line.breaks) == 1
    assert line.seconds < 5.0
    assert list(line.at) == [index * line.width for index in range(len(line.at))]
    after = [value for at, value in zip(line.at, line.columns["open"], strict=True) if at >= line.breaks[0]]
    assert after == [3.0] * 4


@pytest.mark.parametrize("slept", [30.0, 3 * 86_400.0, 50 * 365 * 86_400.0])
def test_time_in_which_the_machine_slept_is_cut_out_too_however_long_it_was(slept: float) -> None:
    made = history(seconds=1.0)
    made.begin(BEGAN, LIMITS)
    for past in (0.25, 0.5, 0.75, 1.0):
        made.look(figures(waits=Waits(rate=past), sockets_open=3), BEGAN + past + slept * (past > 0.5), past, 0.0)
    line = timeline_of(made)
    assert len(line.breaks) == 1
    assert 0 < line.seconds < 3.0


def test_records_over_days_are_told_in_a_bounded_number_of_buckets(tmp_path: Path) -> None:
    path = records(tmp_path / "out.jsonl", [outcome(at=3_600.0 * n) for n in range(100)])
    line = make_report(tell(str(path))).timeline
    assert 100 <= len(line.at) <= 513
    assert sum(line.columns["sent"]) == 100


def test_the_same_outcomes_come_to_the_same_as_records_as_far_as_these_tell(tmp_path: Path) -> None:
    outcomes = [outcome(f"http://h{n % 3}.test/{n}", at=n / 10, elapsed=0.01 * (1 + n % 7)) for n in range(50)]
    outcomes += [outcome(error=StatusError("HTTP 404 Not Found", status=404), at=5.0)]
    whole = report_of(*outcomes)
    told = tell(str(records(tmp_path / "out.jsonl", outcomes)))
    found = make_report(told)
    assert found.reasons == whole.reasons
    assert found.latency.p95 == pytest.approx(whole.latency.p95)
    assert [(host.host, host.requests, host.failed) for host in found.hosts] == [
        (host.host, host.requests, host.failed) for host in whole.hosts
    ]
    assert (found.limits, found.why, found.waits, found.sockets) == (None, (), {}, {})
    assert any("--job" in note for note in found.notes), "it says what it cannot tell"


def test_damaged_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    path = records(tmp_path / "out.jsonl", [outcome(), outcome()])
    path.write_text(path.read_text() + "{}\nnonsense\n" + json.dumps(record_of(outcome()))[:-20])
    found = make_report(tell(str(path)))
    assert found.figures.requests == 2
    assert "3 lines of the file cannot be read as records, and are left out." in found.notes


def test_of_a_packed_file_that_is_damaged_what_comes_before_is_told(tmp_path: Path) -> None:
    path = records(tmp_path / "out.jsonl", [outcome(f"http://h{n}.test/") for n in range(20_000)])
    whole = gzip.compress(path.read_bytes())
    packed = tmp_path / "out.jsonl.gz"
    middle = len(whole) // 2
    for damaged in (
        whole[:-12],
        whole[:middle] + bytes(9) + whole[middle + 9 :],
        whole[:-8] + bytes(8),
        whole + whole[:middle],
    ):
        packed.write_bytes(damaged)
        found = make_report(tell(str(packed)))
        assert found.figures.requests >= 5_000
        assert any("what is packed in it after these records cannot be read" in note for note in found.notes)
    for damaged in (b"hello", whole[:20] + bytes(100)):
        packed.write_bytes(damaged)
        with pytest.raises(JobError, match="has no records, as what is packed in it was cut off or damaged"):
            tell(str(packed))


def test_a_line_that_is_nested_too_deeply_is_a_damaged_one(tmp_path: Path) -> None:
    path = records(tmp_path / "out.jsonl", [outcome()])
    path.write_text(path.read_text() + "[" * 100_000)
    assert "1 line of the file cannot be read as records, and are left out." in make_report(tell(str(path))).notes


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempts", "one"),
        ("attempts", None),
        ("attempts", float("inf")),
        ("status", "ok"),
        ("elapsed", float("nan")),
        ("elapsed", 1e18),
        ("elapsed", -1.0),
        ("bytes", float("inf")),
        ("started_at", "yesterday"),
        ("started_at", "9999-12-31T23:59:59.999Z"),
        ("started_at", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_a_record_with_a_value_that_none_can_have_is_damaged(tmp_path: Path, field: str, value: object) -> None:
    path = records(tmp_path / "out.jsonl", [outcome(), outcome()])
    odd = {**record_of(outcome()), field: value}
    path.write_text(path.read_text() + json.dumps(odd))
    found = make_report(tell(str(path)))
    assert found.figures.requests == 2
    assert "1 line of the file cannot be read as records, and are left out." in found.notes
    table = tmp_path / "out.csv"
    table.write_text("\n".join(",".join(map(str, one)) for one in (odd, odd.values())))
    with pytest.raises(JobError, match="cannot be read back"):
        tell(str(table))


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (404, "HTTP 404 Nothing here", "404 Not Found"),
        (799, "HTTP 799", "799 status"),
        (None, "no connection to http://a.test: connection refused (4 attempts, all alike)", "connection refused"),
        (None, "urls.txt, line 1,065: a URL has no spaces in it: percent-encode them", "a URL has no spaces in it"),
        (None, "no answer within 30.0 s", "no answer within … s"),
        (200, "the page is no JSON: line 3", "line"),
        (None, None, "failed"),
    ],
)
def test_a_records_reason_is_its_status_or_its_error_without_what_varies(
    status: int | None, error: str | None, reason: str
) -> None:
    assert reason_in(status, error) == reason


@pytest.mark.parametrize(
    "began",
    ["2023-11-14T22:13:20.000Z", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), datetime(2023, 11, 14, 22, 13, 20)],
)
def test_a_records_time_is_read_however_its_output_has_kept_it(began: object) -> None:
    assert _seconds(began) == BEGAN
    assert _seconds(None) is None


def test_what_is_there_to_report_on_is_asked_for_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "wrong.jsonl").write_text("{}\n")
    (tmp_path / "notes.txt").write_text("x")
    for name, said in (
        ("gone", "is neither a job's directory nor a file of records"),
        ("notes.txt", "is no file of records"),
        ("empty.jsonl", "has no records: name the output of a run that has ended"),
        ("wrong.jsonl", "has no records, but for 1 line that cannot be read"),
    ):
        with pytest.raises(JobError, match=said):
            tell(str(tmp_path / name))


# -- how it is written ------------------------------------------------------------------------------------------------


def hostile() -> Report:
    error = ConnectionLost(f"it said {HOSTILE}")
    made = history(outcome(f"http://{HOSTILE}.test/{HOSTILE}", error=error), outcome())
    return make_report(Told(name=f"{HOSTILE}.job", history=made, run=1, notes=(HOSTILE,)))


def test_nothing_that_was_fetched_becomes_part_of_the_page() -> None:
    page, plain = Reader(as_html(hostile())), Reader(as_html(report_of(outcome())))
    assert page.count("script") == plain.count("script") == 3
    assert not [tag for tag, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert HOSTILE.split("\x00")[0] in "".join(text for _, text in page.texts)
    assert "</script><script>alert" not in as_html(hostile())
    assert len(data_of(as_html(hostile()))["hosts"]) == 2


def test_the_page_asks_nothing_of_the_network_and_its_policy_allows_only_its_own_scripts() -> None:
    text = as_html(report_of(outcome()))
    page = Reader(text)
    assert not [attributes for _, attributes in page.tags if (attributes.get("src") or "").strip()]
    assert {attributes.get("href") for tag, attributes in page.tags if tag in ("a", "link")} == {"#main", "data:,"}
    (policy,) = (
        attributes["content"] or "" for tag, attributes in page.tags if attributes.get("http-equiv") is not None
    )
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert policy.count("sha256-") == 3
    assert not [attributes for _, attributes in page.tags if "style" in attributes]


def test_a_page_has_room_for_what_matters_however_much_there_is() -> None:
    error = "a sentence about this very request " * 8
    outcomes = [
        outcome(
            f"http://host-{n % 150}.test/{'long/' * 40}{n}", at=n / 5, error=StatusError(error, status=400 + n % 60)
        )
        for n in range(2_000)
    ]
    found = report_of(*outcomes)
    text = as_html(found)
    assert len(text.encode()) <= MOST
    page = Reader(text)
    assert sum(attributes.get("class") == "reason" for tag, attributes in page.tags if tag == "details") == 51
    assert sum(group.count for group in found.failures) == 2_000


def test_every_table_has_a_caption_and_names_its_rows_and_columns() -> None:
    page = Reader(as_html(report_of(outcome(), outcome(error=ConnectionLost("x")), before=history(outcome()))))
    assert page.count("table") == page.count("caption") > 8
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in page.tags if tag == "th")
    charts = [attributes for tag, attributes in page.tags if "data-chart" in attributes]
    assert {attributes["data-chart"] for attributes in charts} == {"sent", "sockets", "retries", "waits", "latency"}
    assert all(attributes["aria-label"] for attributes in charts)


def test_markdown_says_the_same_and_nothing_in_it_is_markup() -> None:
    text = as_markdown(report_of(outcome(), outcome(error=ConnectionLost("x")), before=history(outcome())))
    assert "2 requests in 10.0 s: 1 ok, 1 failed." in text
    assert "| connection lost | 1 | 50.0% |" in text
    assert "## Compared with run 1" in text
    lines = as_markdown(hostile()).splitlines()
    assert not [line for line in lines if "<" in line.replace("\\<", "")]
    tabular = [line for line in lines if line.startswith("| http")]
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in tabular] == [6]


def test_json_has_all_of_it() -> None:
    found = report_of(outcome(), outcome(error=ConnectionLost("x")))
    text = json.loads(json.dumps(found.as_json()))
    assert text.keys() == {*Report.__slots__}
    assert text["limits"]["budgets"]["rate"] == "50/s"
    assert text["failures"][0]["samples"][0]["url"] == "http://a.test/1"


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    records(tmp_path / "out.jsonl", [outcome(), outcome(at=1.0, error=ConnectionLost("x"))])
    return tmp_path


def test_the_command_writes_what_the_files_name_says(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, begins in (("r.html", "<!doctype html>"), ("r.md", "# out.jsonl"), ("r.json", "{")):
        assert run_here(["report", "out.jsonl", "-o", name], capsys).returncode == 0
        assert (place / name).read_text().startswith(begins)
    done = run_here(["report", "out.jsonl", "-o", "page", "--format", "html"], capsys)
    assert done.returncode == 0
    assert (place / "page").read_text().startswith("<!doctype")
    assert run_here(["report", "out.jsonl"], capsys).stdout.startswith("# out.jsonl")
    assert json.loads(run_here(["report", "out.jsonl", "--format", "json"], capsys).stdout)["figures"]["requests"] == 2
    assert sorted(path.name for path in place.iterdir()) == ["out.jsonl", "page", "r.html", "r.json", "r.md"]


def test_the_command_compares_with_what_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records(place / "old.jsonl", [outcome()])
    done = run_here(["report", "out.jsonl", "--against", "old.jsonl"], capsys)
    assert "## Compared with old.jsonl" in done.stdout


def test_the_records_that_a_report_is_made_of_are_not_written_over(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records(place / "old.jsonl", [outcome()])
    (place / "link.md").symlink_to("out.jsonl")
    before = [(place / name).read_bytes() for name in ("out.jsonl", "old.jsonl")]
    for name in ("out.jsonl", "./old.jsonl", "link.md"):
        words = ["report", "out.jsonl", "--against", "old.jsonl", "-o", name, "--format", "md"]
        done = run_here(words, capsys)
        assert done.returncode == 2
        assert f"--output={name} holds the records that the report is made of" in " ".join(done.stderr.split())
    assert [(place / name).read_bytes() for name in ("out.jsonl", "old.jsonl")] == before


def test_a_link_is_followed_and_a_pipe_is_written_to(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "pages").mkdir()
    (place / "pages" / "old.md").write_text("older")
    for name in ("old.md", "new.md"):
        (place / name).symlink_to(f"pages/{name}")
        assert run_here(["report", "out.jsonl", "-o", name], capsys).returncode == 0
        assert (place / name).is_symlink()
        assert (place / "pages" / name).read_text().startswith("# out.jsonl")
    assert sorted(path.name for path in (place / "pages").iterdir()) == ["new.md", "old.md"]
    os.mkfifo(place / "pipe")
    reader = os.open(place / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert run_here(["report", "out.jsonl", "-o", "pipe", "--format", "md"], capsys).returncode == 0
        assert os.read(reader, 16).startswith(b"# out.jsonl")
        assert (place / "pipe").is_fifo()
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["gone"], "workerpool: gone is neither a job's directory nor a file of records", 2),
        (["out.jsonl", "--against", "gone"], "workerpool: gone is neither a job's directory", 2),
        (["out.jsonl", "-o", "r.pdf"], "--output=r.pdf: end its name in .html, .htm, .md, .json, or say --format", 2),
        (["out.jsonl", "-o", "no/r.html"], "the report no/r.html cannot be written: No such file or directory", 5),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str, code: int
) -> None:
    done = run_here(["report", *words], capsys)
    assert done.returncode == code
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""
