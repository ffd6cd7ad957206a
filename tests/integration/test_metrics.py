"""Metrics of a run: scraped by a real Prometheus while it goes on, and left in a file at its end."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.nginx import free_port
from tests.commands import PATIENCE, run_here
from tests.conftest import require
from tests.forked import ForkedCommand
from tests.late import late
from tests.waiting import eventually
from workerpool.testing import Arrival, Origin, Reply


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@contextmanager
def prometheus(directory: Path, target: int) -> Iterator[str]:
    """A Prometheus that scrapes `target` five times a second; its URL."""
    require(shutil.which("prometheus"), "Prometheus, of Debian's package of that name")
    (directory / "prometheus.yml").write_text(
        "global: {scrape_interval: 200ms}\n"
        f"scrape_configs: [{{job_name: crawl, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
    )
    port = free_port()
    command = [
        *("prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with open(directory / "log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def asked(url: str, query: str) -> list[Any]:
    """What Prometheus has for a query now; nothing while it is still starting."""
    words = urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{words}", timeout=10) as answer:
            return list(json.load(answer)["data"]["result"])
    except OSError:
        return []


def look_at(url: str) -> None:
    """Find in a Prometheus a run that waits for the last of its ten requests."""
    ok = 'workerpool_outcomes_total{job="crawl",reason="ok"}'
    assert eventually(lambda: [one["value"][1] for one in asked(url, ok)] == ["9"], PATIENCE)
    (flying,) = asked(url, "workerpool_requests_in_flight")
    assert flying["value"][1] == "1"
    (median,) = asked(url, "histogram_quantile(0.5, workerpool_request_duration_seconds_bucket)")
    assert 0 < float(median["value"][1]) < 60


def test_a_real_prometheus_scrapes_a_run(tmp_path: Path, origin: Origin) -> None:
    port = free_port()
    words = ["run", str(tmp_path / "urls.txt"), "-o", str(tmp_path / "out.jsonl"), "--metrics", str(port)]
    with late() as last, prometheus(tmp_path, port) as url:
        (tmp_path / "urls.txt").write_text("\n".join([*(origin.url(f"/bytes/{n}") for n in range(9)), last.url]))
        with ForkedCommand(*words) as run:
            look_at(url)
            last.answer()
            _, said = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0
    assert f"Metrics are at http://127.0.0.1:{port}/metrics." in said.decode()


def test_a_run_leaves_a_file_that_says_how_it_ended(
    tmp_path: Path, origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "urls.txt").write_text(f"{origin.url('/bytes/1')}\n{origin.url('/status/404')}\n")
    words = ["run", str(tmp_path / "urls.txt"), "-o", str(tmp_path / "out.jsonl"), "--overwrite"]
    path = tmp_path / "crawl.prom"
    assert run_here([*words, "--metrics-file", str(path)], capsys).returncode == 1
    text = path.read_text()
    assert "workerpool_run_exit_code 1.0" in text
    assert 'workerpool_outcomes_total{reason="404 Not Found"} 1.0' in text
    assert 'workerpool_run_requests_total{result="ok"} 1.0' in text


def test_what_cannot_be_served_or_written_is_refused_before_anything_is_made_or_sent(
    tmp_path: Path, origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.jsonl").write_text("of yesterday\n")
    (tmp_path / "urls.txt").write_text(f"{origin.url('/bytes/1')}\n")
    words = ["run", str(tmp_path / "urls.txt"), "-o", str(tmp_path / "out.jsonl"), "--overwrite"]
    port = origin.url("/").rsplit(":", 1)[1].strip("/")
    refused = run_here([*words, "--metrics", port], capsys)
    assert refused.returncode == 2
    assert f"--metrics='{port}': nothing can be served there" in refused.stderr
    refused = run_here([*words, "--metrics", "here"], capsys)
    assert refused.returncode == 2
    assert "--metrics='here' must be a port" in refused.stderr
    refused = run_here([*words, "--metrics-file", str(tmp_path / "no" / "m.prom")], capsys)
    assert refused.returncode == 5
    assert f"cannot be written to {tmp_path / 'no' / 'm.prom'}: No such file or directory" in refused.stderr
    refused = run_here([*words, "--metrics-file", str(tmp_path)], capsys)
    assert refused.returncode == 5
    assert f"cannot be written to {tmp_path}: Is a directory" in refused.stderr
    assert origin.requests == 0
    assert (tmp_path / "out.jsonl").read_text() == "of yesterday\n"


def test_a_run_that_is_refused_leaves_the_metrics_of_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "crawl.prom"
    path.write_text("of the run before\n")
    words = ["run", str(tmp_path / "none.txt"), "-o", str(tmp_path / "out.jsonl"), "--metrics-file", str(path)]
    assert run_here(words, capsys).returncode == 2
    assert path.read_text() == "of the run before\n"


def test_a_file_that_can_no_longer_be_written_ends_no_run(
    tmp_path: Path, origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "there"
    place.mkdir()

    def answer(arrival: Arrival) -> Reply:
        shutil.rmtree(place)
        return Reply()

    origin.script("/x", answer)
    (tmp_path / "urls.txt").write_text(f"{origin.url('/x')}\n")
    words = ["run", str(tmp_path / "urls.txt"), "-o", str(tmp_path / "out.jsonl")]
    done = run_here([*words, "--metrics-file", str(place / "m.prom")], capsys)
    assert done.returncode == 0
    assert "The run goes on without them" in done.stderr
