"""Metrics as Prometheus reads them: complete, by its conventions, of bounded size, served and written."""

from __future__ import annotations

import shutil
import socket
import subprocess
import urllib.request
from dataclasses import fields
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import require
from workerpool import Attempt, Moment, Outcome, Request, Timings
from workerpool.errors import OptionError, SinkError, StatusError, TimedOut
from workerpool.metrics import Metrics
from workerpool.metrics.durations import BOUNDS, Durations
from workerpool.metrics.families import COUNTERS, GAUGES
from workerpool.metrics.metrics import MOST_REASONS, address_of
from workerpool.statistics import Hosts, HostState, PoolStatistics, Waits

POOL = PoolStatistics(
    **{one.name: number for number, one in enumerate(fields(PoolStatistics), 100) if isinstance(one.default, int)},
    waits=Waits(rate=7.5, pause=2.0),
    by_state=Hosts(running=3, broken=1, some=(HostState("http://secret.test", "broken", 1, 0, 3.0),)),
)


class Still:
    def statistics(self) -> PoolStatistics:
        return POOL


def ended(url: str = "http://a.test/", status: int = 200, elapsed: float = 0.2) -> Outcome:
    error = StatusError("no", status=status) if status >= 400 else None
    attempt = Attempt(0.0, elapsed, status, timings=Timings(first_byte=0.03))
    return Outcome(Request(url), error=error, attempts=(attempt,), elapsed=elapsed)


def text_of(metrics: Metrics, path: Path) -> str:
    metrics.write(path)
    return path.read_text()


def read(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    (found,) = [
        sample.value for family in families.values() for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]  # fmt: skip
    return found


def test_every_figure_of_a_pool_that_is_not_a_sum_of_others_is_there(tmp_path: Path) -> None:
    found = read(text_of(Metrics(Still()), tmp_path / "m.prom"))
    for name, (field, _) in COUNTERS.items():
        assert value(found, f"workerpool_{name}_total") == getattr(POOL, field)
    for name, (field, _) in GAUGES.items():
        assert value(found, f"workerpool_{name}") == getattr(POOL, field)
    assert value(found, "workerpool_requests_total", result="ok") == POOL.ok
    assert value(found, "workerpool_requests_total", result="failed") == POOL.requests - POOL.ok
    assert value(found, "workerpool_tls_handshakes_total", resumed="true") == POOL.tls_resumed
    assert value(found, "workerpool_hosts", state="broken") == 1
    waits = {one.name for one in fields(Waits)} - {"hosts"}
    assert {sample.labels["for"] for sample in found["workerpool_waited_seconds"].samples} == waits
    shown = {field for field, _ in (*COUNTERS.values(), *GAUGES.values())}
    assert {one.name for one in fields(PoolStatistics)} - shown == {
        *("requests", "ok", "tls_handshakes", "tls_resumed", "waits", "by_state"),  # by labels
        *("hosts", "callables_queued", "sent_fast", "downloads"),  # left out
    }


def test_no_host_and_no_url_is_in_it(tmp_path: Path) -> None:
    metrics = Metrics(Still())
    metrics.observe(ended("http://u:hunter2@secret.test/x?token=1", 503))
    text = text_of(metrics, tmp_path / "m.prom")
    assert "secret" not in text
    assert "hunter2" not in text


def test_outcomes_are_counted_by_reason_and_by_how_long_they_took(tmp_path: Path) -> None:
    metrics = Metrics()
    for status, elapsed in ((200, 0.2), (404, 0.004), (404, 1000.0)):
        metrics.observe(ended(status=status, elapsed=elapsed))
    metrics.observe(Outcome(Request("http://a.test/"), error=TimedOut("late")))
    found = read(text_of(metrics, tmp_path / "m.prom"))
    assert value(found, "workerpool_outcomes_total", reason="ok") == 1
    assert value(found, "workerpool_outcomes_total", reason="404 Not Found") == 2
    assert value(found, "workerpool_outcomes_total", reason=TimedOut.reason) == 1
    name = "workerpool_request_duration_seconds"
    ends = ("0.005", "0.1", "0.25", "300.0", "+Inf")
    assert [value(found, f"{name}_bucket", le=end) for end in ends] == [
        1,
        1,
        2,
        2,
        3,
    ]
    assert value(found, f"{name}_count") == 3  # what was never sent took no time
    assert value(found, f"{name}_sum") == pytest.approx(1000.204)
    assert value(found, "workerpool_first_byte_seconds_bucket", le="0.05") == 3


def test_reasons_are_bounded(tmp_path: Path) -> None:
    metrics = Metrics()
    for status in range(400, 400 + 2 * MOST_REASONS):
        metrics.observe(ended(status=status))
    samples = read(text_of(metrics, tmp_path / "m.prom"))["workerpool_outcomes"].samples
    assert len(samples) == MOST_REASONS + 1
    assert sum(sample.value for sample in samples) == 2 * MOST_REASONS


def test_a_duration_is_in_the_bucket_whose_end_it_does_not_pass() -> None:
    durations = Durations()
    for seconds in (0.0, *BOUNDS, 1e9):
        durations.add(seconds)
    counts = [count for _, count in durations.buckets()]
    assert counts == [2, *range(3, len(BOUNDS) + 3)]
    assert [end for end, _ in durations.buckets()] == [*map(repr, BOUNDS), "+Inf"]


def test_a_run_tells_how_far_it_is_and_in_the_end_how_it_ended(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.progress(Moment(ok=5, failed=2, cancelled=1, total=20, allowed=50.0, pool=POOL))
    found = read(text_of(metrics, tmp_path / "m.prom"))
    assert [value(found, "workerpool_run_requests_total", result=one) for one in ("ok", "failed", "cancelled")] == [
        5,
        2,
        1,
    ]
    assert value(found, "workerpool_run_requests_expected") == 20
    assert value(found, "workerpool_budget_requests_per_second") == 50.0
    assert value(found, "workerpool_sends_total") == POOL.sent
    assert "workerpool_run_exit_code" not in found
    metrics.end(1)
    found = read(text_of(metrics, tmp_path / "m.prom"))
    assert value(found, "workerpool_run_exit_code") == 1
    began, end = (value(found, f"workerpool_run_{which}_timestamp_seconds") for which in ("start", "end"))
    assert began <= end


def test_promtool_finds_nothing_to_say(tmp_path: Path) -> None:
    require(shutil.which("promtool"), "promtool, of Debian's package prometheus")
    metrics = Metrics()
    metrics.look_at(lambda: Moment(total=20, allowed=50.0, pool=POOL))
    metrics.observe(ended())
    metrics.end(0)
    said = subprocess.run(
        ["promtool", "check", "metrics"], input=text_of(metrics, tmp_path / "m.prom"), capture_output=True, text=True
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_it_is_served_until_the_block_ends() -> None:
    with Metrics(Still()).served("0") as url, urllib.request.urlopen(url, timeout=10) as answer:
        assert f"workerpool_sends_total {float(POOL.sent)}" in answer.read().decode()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)


def test_an_address_that_is_taken_is_refused_with_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = f"metrics='{address}': nothing can be served there: .*in use"
        with pytest.raises(OptionError, match=said), Metrics().served(address):
            pytest.fail("it is served")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("0.0.0.0", 9464)),
        ("h.test:1", ("h.test", 1)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize("text", ["", "x", "h:", "70000", "-1", "h:x", "٣"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(OptionError, match="must be a port, as 9464, or HOST:PORT"):
        address_of(text)


def test_a_file_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"the metrics cannot be written to .*nowhere"):
        Metrics().write(tmp_path / "nowhere" / "m.prom")


def test_without_the_library_it_is_said_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(OptionError, match=r"workerpool-http\[prometheus\]"):
        Metrics()
