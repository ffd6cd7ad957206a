"""The command line from outside, against a loopback origin: by its output, exit code and manners.

What only a process of its own can show (signals, closed pipes, terminals) is run as one, the rest in this process.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pty
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.commands import COMMAND, PATIENCE, run_here, started
from tests.forked import ForkedCommand
from workerpool.batch.sinks import durable_sink_for
from workerpool.testing import Origin, Reply

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(addresses=("127.0.0.1", "127.0.0.2")) as made:
        yield made


@pytest.fixture
def urls(tmp_path: Path) -> Callable[..., str]:
    def write(*lines: str, name: str = "urls.txt") -> str:
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    return write


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """`workerpool run` in this process; ``-o -`` writes to its descriptor 1."""
    return lambda *words, stdin=None: run_here(["run", *words], capfdbinary, stdin)


def run_apart(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.run([*COMMAND, "run", *words], timeout=PATIENCE, check=False, **{**streams, **options})


def records(source: Path | bytes) -> list[dict[str, Any]]:
    data = source if isinstance(source, bytes) else source.read_bytes()
    return [json.loads(line) for line in data.splitlines()]


def read_until(stream: Any, words: bytes) -> bytes:
    """Read a pipe until `words` have come."""
    got, limit = b"", time.monotonic() + PATIENCE
    while words not in got:
        ready, _, _ = select.select([stream], [], [], max(0.0, limit - time.monotonic()))
        chunk = os.read(stream.fileno(), 65_536) if ready else b""
        assert chunk, f"{words!r} never came, but {got!r}"
        got += chunk
    return got


# -- sources and outputs ----------------------------------------------------------------------------------------------


def test_a_file_of_urls_becomes_a_file_of_records_and_a_summary(
    origin: Origin, urls: Callable[..., str], tmp_path: Path
) -> None:
    source = urls(*(origin.url(f"/bytes/{n}") for n in range(1, 21)))
    out = tmp_path / "out.jsonl"
    done = run_apart(source, "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    got = {record["url"]: record for record in records(out)}
    assert got[origin.url("/bytes/7")].items() >= {"status": 200, "ok": True, "bytes": 7, "attempts": 1}.items()
    assert len(got) == 20
    summary = done.stderr.decode()
    for words in ("20 requests in", "20 ok", "rate", "p50", "p95", "p99", "sockets", "opened, reused for"):
        assert words in summary


def test_failures_and_bad_lines_are_records_and_the_exit_code_is_1(
    run: Run, origin: Origin, urls: Callable[..., str], tmp_path: Path
) -> None:
    source = urls(origin.url("/status/404"), "no url at all", "", origin.url("/"))
    out = tmp_path / "out.jsonl"
    done = run(source, "-o", str(out))
    assert done.returncode == 1
    by_url = {record["url"]: record for record in records(out)}
    assert len(by_url) == 3
    assert by_url[origin.url("/status/404")]["status"] == 404
    assert f"{source}, line 2: " in by_url["no url at all"]["error"]
    assert "404 Not Found" in done.stderr.decode()
    assert "not a request" in done.stderr.decode()


def test_rows_carry_method_headers_body_params_and_key(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    row = {"url": origin.url("/echo"), "method": "PUT", "headers": {"X-A": "1"}, "body": "hé", "params": {"p": 2}}
    row["key"] = "k"
    source = urls(json.dumps(row), name="rows.jsonl")
    cells = urls("url,method,json,key", f'{origin.url("/echo")},POST,"{{""a"": 1}}",c', name="rows.csv")
    done = run(source, cells, "-o", "-", "--include", "body", "--ordered")
    assert done.returncode == 0, done.stderr
    first, second = records(done.stdout)
    echo = json.loads(first["body"])
    assert (first["key"], echo["method"], echo["path"], echo["body"]) == ("k", "PUT", "/echo?p=2", "hé")
    assert {name.lower(): value for name, value in dict(echo["headers"]).items()}["x-a"] == "1"
    assert (second["key"], json.loads(json.loads(second["body"])["body"])) == ("c", {"a": 1})


def test_duplicate_keys_are_all_answered(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    done = run(urls(*[origin.url("/")] * 5), "-o", "-")
    assert [record["key"] for record in records(done.stdout)] == [origin.url("/")] * 5
    assert origin.requests == 5


def test_standard_input_is_lines_of_urls_unless_told_otherwise(run: Run, origin: Origin) -> None:
    url = origin.url("/")
    assert [record["url"] for record in records(run("-", "-o", "-", stdin=f"{url}\n".encode()).stdout)] == [url]
    done = run("-", "-o", "-", "--input-format", "jsonl", stdin=json.dumps({"url": url, "key": "k"}).encode())
    assert [record["key"] for record in records(done.stdout)] == ["k"]
    packed = gzip.compress(f"{url}\n".encode())
    assert len(records(run("-", "-o", "-", stdin=packed).stdout)) == 1


def test_a_gzip_file_that_was_cut_gives_its_whole_lines_and_exit_code_2(
    run: Run, origin: Origin, tmp_path: Path
) -> None:
    lines = "".join(f"{origin.url('/bytes/1')}?{os.urandom(8).hex()}\n" for _ in range(60))
    source = tmp_path / "urls.txt.gz"
    source.write_bytes(gzip.compress(lines.encode())[:-200])
    out = tmp_path / "out.jsonl"
    done = run(str(source), "-o", str(out))
    got = records(out)
    assert done.returncode == 2
    assert 5 < len(got) < 60
    assert all(record["ok"] for record in got)
    errors = done.stderr.decode()
    assert f"{source}, after line {len(got)}: the gzip data ends too early" in errors
    assert f"{len(got)} results went to {out}" in errors


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("missing.txt", None, "does not exist"), ("x.csv", b"link\n", "'url'"), ("x.txt.gz", b"plain", "not gzip"),
     ("x.parquet", b"", "cannot be read as Parquet"), ("x.dat", b"", "--input-format")],
)  # fmt: skip
def test_a_source_that_cannot_work_is_refused_before_anything_is_sent(
    run: Run, origin: Origin, urls: Callable[..., str], tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    source = tmp_path / name
    if content is not None:
        source.write_bytes(content)
    out = tmp_path / "out.jsonl"
    done = run(urls(origin.url("/"), name="good.txt"), str(source), "-o", str(out))
    assert done.returncode == 2
    assert words in done.stderr.decode()
    assert str(source) in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert (origin.requests, out.exists()) == (0, False)


def test_an_output_that_is_there_is_refused_unless_overwrite(
    run: Run, origin: Origin, urls: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("old\n")
    source = urls(origin.url("/"))
    done = run(source, "-o", str(out))
    assert (done.returncode, out.read_text(), origin.requests) == (2, "old\n", 0)
    assert b"--overwrite" in done.stderr
    assert run(source, "-o", str(out), "--overwrite").returncode == 0
    assert records(out)[0]["ok"]


def test_an_output_in_no_directory_is_refused_before_anything_is_sent(
    run: Run, origin: Origin, urls: Callable[..., str]
) -> None:
    done = run(urls(origin.url("/")), "-o", "/nowhere/at/all.jsonl")
    assert (done.returncode, origin.requests) == (5, 0)
    assert b"/nowhere/at/all.jsonl cannot be written: the directory /nowhere/at does not exist" in done.stderr


@pytest.mark.parametrize("name", ["out.parquet", "out.sqlite", "out.jsonl.gz"])
def test_outputs_that_are_not_lines_are_there_when_the_run_ends(
    run: Run, origin: Origin, urls: Callable[..., str], tmp_path: Path, name: str
) -> None:
    output = tmp_path / name
    done = run(urls(origin.url("/bytes/3"), origin.url("/bytes/4")), "-o", str(output))
    assert done.returncode == 0, done.stderr
    found = {url for _, url in durable_sink_for(str(output)).entries(None)}
    assert found == {origin.url("/bytes/3"), origin.url("/bytes/4")}
    assert not (tmp_path / f"{name}.partial").exists()


def test_a_database_that_does_not_answer_is_said_before_anything_is_sent_and_its_password_is_not(
    run: Run, origin: Origin, urls: Callable[..., str]
) -> None:
    done = run(urls(origin.url("/")), "-o", "postgresql://u:hunter2@127.0.0.1:1/t")
    assert (done.returncode, origin.requests) == (5, 0)
    assert b"the table results of postgresql://127.0.0.1/t cannot be used" in done.stderr
    assert b"hunter2" not in done.stderr


def test_format_csv_writes_csv_to_standard_output(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    done = run(urls(origin.url("/bytes/3")), "-o", "-", "--format", "csv", "--include", "headers")
    (row,) = csv.DictReader(io.StringIO(done.stdout.decode()))
    assert (row["status"], row["ok"], row["bytes"]) == ("200", "true", "3")
    assert "Content-Length" in row["headers"]


def test_include_adds_body_and_headers(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    source = urls(origin.url("/"), origin.url("/bytes/256"))
    text, binary = records(run(source, "-o", "-", "--ordered", "--include", "body,headers").stdout)
    assert text["body"] == "workerpool test origin\n"
    assert text["headers"]["Content-Length"] == "23"
    assert len(binary["body_base64"]) == 344
    assert "body" not in records(run(source, "-o", "-").stdout)[0]


def test_ordered_keeps_the_source_s_order(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    given = [origin.url("/delay/0.3"), *(origin.url(f"/bytes/{n}") for n in range(5))]
    source = urls(*given)
    assert [record["url"] for record in records(run(source, "-o", "-", "--ordered").stdout)] == given
    assert records(run(source, "-o", "-").stdout)[-1]["url"] == given[0]


def test_results_can_be_read_as_they_arrive(origin: Origin, urls: Callable[..., str]) -> None:
    with ForkedCommand("run", urls(origin.url("/"), origin.url("/delay/30")), "-o", "-") as process:
        line = read_until(process.stdout, b"\n")
        assert json.loads(line)["url"] == origin.url("/")
        assert process.poll() is None


# -- budgets, by the server's count -----------------------------------------------------------------------------------


def test_rate_and_burst_hold_at_the_server(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    source = urls(*(origin.url(f"/bytes/{n}") for n in range(25)))
    assert run(source, "-o", "-", "--rate", "20/s").returncode == 0
    times = origin.records().times
    assert 1.1 < times[-1] - times[0] < 5
    assert origin.busiest(0.5) <= 13
    origin.reset_records()
    assert run(source, "-o", "-", "--rate", "20/s", "--burst", "20").returncode == 0
    assert origin.busiest(0.5) >= 16


def test_host_rate_holds_for_each_host(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    source = urls(*(origin.url(f"/bytes/{n}", address=f"127.0.0.{1 + n % 2}") for n in range(30)))
    assert run(source, "-o", "-", "--host-rate", "10/s").returncode == 0
    records = origin.records()
    for address in ("127.0.0.1", "127.0.0.2"):
        assert 1.2 < records.times_at[address][-1] - records.times_at[address][0] < 6


@pytest.mark.parametrize(
    ("option", "value", "hosts", "peak"),
    [
        ("--workers", "2", 1, 2),
        ("--connections", "3", 2, 3),
        ("--host-connections", "1", 2, 2),
        ("--burst", "1", 2, 12),
    ],
    ids=["workers", "connections", "host-connections", "defaults"],
)
def test_socket_and_worker_budgets_hold_at_the_server(
    run: Run, origin: Origin, urls: Callable[..., str], option: str, value: str, hosts: int, peak: int
) -> None:
    source = urls(*(origin.url(f"/delay/0.1?{n}", address=f"127.0.0.{1 + n % hosts}") for n in range(30)))
    assert run(source, "-o", "-", option, value).returncode == 0
    assert origin.connections_peak == peak


def test_retries_are_tries_after_the_first(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    source = urls(origin.url("/flaky/1?status=503"))
    (failed,) = records(run(source, "-o", "-", "--retries", "0").stdout)
    assert (failed["ok"], failed["attempts"], origin.requests) == (False, 1, 1)
    (mended,) = records(run(urls(origin.url("/flaky/1?status=500")), "-o", "-", "--retries", "1").stdout)
    assert (mended["ok"], mended["attempts"]) == (True, 2)


def test_timeout_ends_a_try(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    done = run(urls(origin.url("/delay/60")), "-o", "-", "--timeout", "0.3", "--retries", "0")
    (record,) = records(done.stdout)
    assert (done.returncode, record["ok"]) == (1, False)
    assert 0.2 < record["elapsed"] < 10
    assert b"timed out" in done.stderr


def test_timeout_ends_a_try_that_drips(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    done = run(urls(origin.url("/drip?bytes=100&seconds=60")), "-o", "-", "--timeout", "0.5", "--retries", "0")
    (record,) = records(done.stdout)
    assert not record["ok"]
    assert 0.4 < record["elapsed"] < 10


def test_max_body_ends_an_answer_that_is_larger(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    source = urls(origin.url("/bytes/1000"), origin.url("/gzip?bytes=1001"))
    done = run(source, "-o", "-", "--max-body", "1000", "--ordered")
    fits, too_large = records(done.stdout)
    assert (fits["ok"], fits["bytes"], too_large["ok"], too_large["attempts"]) == (True, 1000, False, 1)
    assert "max_body" in too_large["error"]


def test_hosts_that_are_not_allowed_are_never_sent_to(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    elsewhere = origin.url("/", address="127.0.0.2")
    source = urls(origin.url("/"), elsewhere, origin.url(f"/redirect-to?url={elsewhere}"))
    done = run(source, "-o", "-", "--allow-host", "127.0.0.1", "--ordered")
    assert [record["ok"] for record in records(done.stdout)] == [True, False, False]
    assert {arrival.address for arrival in origin.arrivals} == {"127.0.0.1"}


def test_private_addresses_are_refused_on_request(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    (record,) = records(run(urls(origin.url("/")), "-o", "-", "--deny-private").stdout)
    assert (record["ok"], origin.requests) == (False, 0)
    assert "public" in record["error"]


def test_a_proxy_is_gone_through(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    """A proxy is asked for the whole URL; our origin answers that as any other."""
    with Origin() as proxy:
        proxy.default = Reply(body=b"by proxy")
        done = run(urls(origin.url("/")), "-o", "-", "--proxy", proxy.url(), "--include", "body")
        assert [record["body"] for record in records(done.stdout)] == ["by proxy"]
        assert (proxy.requests, origin.requests) == (1, 0)


def test_certificates_are_believed_and_shown_as_told(run: Run, tmp_path: Path, urls: Callable[..., str]) -> None:
    for name in ("servers", "clients"):
        (tmp_path / name).mkdir()
    authority, clients = Authority(tmp_path / "servers"), Authority(tmp_path / "clients")
    with Origin(tls=authority.context(clients=clients)) as origin:
        source, mine = urls(origin.url("/")), clients.one_file("me")
        trusted = ["--ca-bundle", authority.file]
        for words, ok in (
            (["--cert", mine], False),
            (trusted, False),
            ([*trusted, "--cert", mine], True),
            (["--insecure", "--cert", mine], True),
        ):
            done = run(source, "-o", "-", "--retries", "0", *words)
            (record,) = records(done.stdout)
            assert record["ok"] is ok, words
            assert b"Warning" not in done.stderr


# -- ends -------------------------------------------------------------------------------------------------------------


def test_the_deadline_finishes_what_is_in_flight_and_exits_with_4(
    run: Run, origin: Origin, urls: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    done = run(urls(*[origin.url("/delay/0.6")] * 40), "-o", str(out), "--deadline", "300ms", "--workers", "4")
    got = records(out)
    assert done.returncode == 4
    assert sum(record["ok"] for record in got) == 4
    assert origin.requests == 4
    errors = done.stderr.decode()
    assert "Stopped at the deadline" in errors
    assert f"{len(got)} results went to {out}" in errors
    assert "--overwrite" in errors


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=str)
def test_the_first_signal_drains(
    origin: Origin, urls: Callable[..., str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "out.jsonl"
    with ForkedCommand("run", urls(*[origin.url("/delay/0.5")] * 500), "-o", str(out), "--workers", "4") as process:
        origin.wait_for(4, timeout=PATIENCE)
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    got = records(out)
    assert process.returncode == code
    assert origin.requests < 20
    # What was being sent is finished and written, what was not is answered as cancelled.
    assert sum(record["ok"] for record in got) == origin.requests
    assert any("given up" in (record["error"] or "") for record in got)
    text = errors.decode()
    assert f"{number.name}: finishing" in text
    assert "requests in" in text
    assert f"{len(got)} results went to {out}. A rerun starts over: give --overwrite" in text
    assert "Traceback" not in text


def test_the_second_signal_stops_now_and_keeps_what_came(
    origin: Origin, urls: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    source = urls(*(origin.url(f"/bytes/{n}") for n in range(10)), *[origin.url("/delay/600")] * 10)
    with ForkedCommand("run", source, "-o", str(out), "--timeout", "700") as process:
        origin.wait_until(lambda: origin.requests >= 16, timeout=PATIENCE)
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, b"finishing")
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, errors = process.communicate(timeout=PATIENCE)
        assert time.monotonic() - began < 10
    assert process.returncode == 130
    assert b"SIGINT again: stopped" in errors
    assert sum(record["ok"] for record in records(out)) == 10


def test_a_signal_ends_a_wait_for_standard_input(origin: Origin) -> None:
    with started("run", "-", "-o", "-", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(f"{origin.url('/')}\n".encode() * 3)
        process.stdin.flush()
        origin.wait_for(3, timeout=PATIENCE)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143


def test_nohup_s_ignored_hangup_is_left_alone(origin: Origin, urls: Callable[..., str]) -> None:
    source = urls(origin.url("/delay/1"))
    with started(
        "run",
        source,
        "-o",
        "-",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        stderr=subprocess.DEVNULL,
    ) as process:
        origin.wait_for(1, timeout=PATIENCE)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE) == 0


def test_a_terminal_that_is_closed_drains_like_any_hangup(
    origin: Origin, urls: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    source = urls(*(origin.url(f"/delay/0.7?{n}") for n in range(100)))
    ours, theirs = pty.openpty()
    variables = {**os.environ, "TERM": "xterm"}
    with started("run", source, "-o", str(out), stderr=theirs, stdout=theirs, env=variables) as process:
        os.close(theirs)
        origin.wait_for(6, timeout=PATIENCE)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE) == 129
    assert sum(record["ok"] for record in records(out)) == origin.requests < 20


def test_closed_standard_error_does_not_move_messages_into_the_results(
    origin: Origin, urls: Callable[..., str]
) -> None:
    done = run_apart(urls(origin.url("/status/404")), "-o", "-", preexec_fn=lambda: os.close(2))
    assert done.returncode == 1
    assert len(records(done.stdout)) == 1


# -- outputs that fail ------------------------------------------------------------------------------------------------


def test_a_closed_pipe_is_exit_code_5_and_no_traceback(origin: Origin, urls: Callable[..., str]) -> None:
    source = urls(*(origin.url(f"/bytes/{n}") for n in range(300)))
    shell = 'set -o pipefail; "$@" | head -n 3'
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *COMMAND, "run", source, "-o", "-", "--rate", "100/s"],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 5
    assert len(records(done.stdout)) == 3
    assert b"standard output cannot be written: its reader has gone" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_closed_standard_output_is_refused_before_a_socket_could_take_its_number(
    origin: Origin, urls: Callable[..., str]
) -> None:
    done = run_apart(urls(origin.url("/")), "-o", "-", preexec_fn=lambda: os.close(1))
    assert (done.returncode, origin.requests) == (5, 0)
    assert done.stderr == b"workerpool: standard output is closed: redirect it, or name a file with -o\n"


def test_closed_standard_input_is_refused() -> None:
    done = subprocess.run(
        [*COMMAND, "run", "-", "-o", "-"],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        preexec_fn=lambda: os.close(0),
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"workerpool: standard input is closed")


@contextmanager
def readerless_pipe() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@pytest.mark.parametrize("answers", [1, 1_000], ids=["nothing else comes", "answers go on coming"])
def test_a_closed_pipe_does_not_wait_for_what_is_in_flight(
    origin: Origin, urls: Callable[..., str], answers: int
) -> None:
    source = urls(origin.url("/delay/600"), *[origin.url("/")] * answers)
    words = (source, "-o", "-", "--timeout", "700", "--rate", "100/s")
    with readerless_pipe() as pipe, started("run", *words, stdout=pipe) as process:
        assert process.wait(PATIENCE) == 5


def test_help_into_a_closed_pipe_is_quiet() -> None:
    # Without this, Python would write, and argparse forgive, before there is anything to flush at exit.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with readerless_pipe() as pipe, started("run", "--help", stdout=pipe, env=buffered) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert errors == b""


def test_a_full_device_is_exit_code_5(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    done = run(urls(origin.url("/")), "-o", "/dev/full", "--format", "jsonl")
    assert done.returncode == 5
    assert b"/dev/full cannot be written: no space left on device; no record was written" in done.stderr


def test_a_disk_that_fills_leaves_whole_records_and_says_how_many(
    origin: Origin, urls: Callable[..., str], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    source = urls(*(origin.url(f"/bytes/{n}") for n in range(400)))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = run_apart(source, "-o", str(out), preexec_fn=limit)
    got = records(out)
    assert done.returncode == 5
    assert 20 < len(got) < 100
    assert f"{out} cannot be written: file too large; the {len(got)} records before are whole" in done.stderr.decode()


# -- what is said -----------------------------------------------------------------------------------------------------


def test_quiet_says_nothing_but_errors(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    source = urls(origin.url("/status/404"))
    done = run(source, "-o", "-", "--quiet")
    assert (done.returncode, done.stderr) == (1, b"")
    assert b"cannot be written" in run(source, "-o", "/dev/full", "--format", "csv", "--quiet").stderr


def test_secrets_are_not_said(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    secret = origin.url("/status/404?token=hunter2&n=1").replace("://", "://user:hunter2@")
    for words in ([], ["--log-format", "console"], ["--log-format", "json"]):
        done = run(urls(secret, "ftp://user:hunter2@x/"), "-o", "-", *words)
        assert b"hunter2" not in done.stderr
        assert done.stderr
    assert records(done.stdout)[0]["url"].count("hunter2") > 0
    assert b"hunter2" not in run("http://user:hunter2@x/urls.txt", "-o", "-").stderr


def test_log_format_json_says_json_and_nothing_else(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    source = urls('{"url": "' + origin.url("/status/404") + '", "colour": 1}', name="rows.jsonl")
    done = run(source, "-o", "-", "--log-format", "json")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "run.started"
    assert names[-1] == "run.finished"
    assert {"run.noted", "request.failed"} <= set(names)
    assert events[-1]["failed"] == 1
    refused = run("missing.txt", "-o", "-", "--log-format", "json")
    assert refused.returncode == 2
    assert json.loads(refused.stderr)["error"] == "missing.txt does not exist: look at the path"


def test_log_format_console_says_events_and_the_summary(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    done = run(urls(origin.url("/flaky/1")), "-o", "-", "--log-format", "console")
    assert b"request.parked" in done.stderr
    assert b"1 request in" in done.stderr
    assert b"request.parked" not in run(urls(origin.url("/flaky/1?x")), "-o", "-").stderr


def test_columns_that_are_not_read_are_said_once(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    done = run(urls("url,colour", *[f"{origin.url('/')},red"] * 3, name="rows.csv"), "-o", "-")
    assert done.stderr.count(b"'colour' is not read") == 1


def on_terminal(*words: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command with standard error on a terminal of 80 columns; its exit code, and what the terminal got."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", **(environment or {})}
    if "NO_COLOR" not in (environment or {}):
        variables.pop("NO_COLOR", None)
    got = b""
    with ForkedCommand("run", *words, stderr=theirs, stdout=subprocess.DEVNULL, env=variables) as process:
        os.close(theirs)
        limit = time.monotonic() + PATIENCE
        while select.select([ours], [], [], max(0.0, limit - time.monotonic()))[0]:
            try:
                chunk = os.read(ours, 65_536)
            except OSError:  # the other end is closed, as terminals say it
                break
            got += chunk
        code = process.wait(PATIENCE)
    os.close(ours)
    return code, got.decode()


def test_on_a_terminal_progress_is_drawn_and_taken_away(origin: Origin, urls: Callable[..., str]) -> None:
    source = urls(*(origin.url(f"/delay/0.2?{n}") for n in range(40)))
    code, text = on_terminal(source, "-o", "-")
    assert code == 0
    assert "of 40" in text
    assert "in flight" in text
    assert "\x1b[?25l" in text  # the cursor was hidden,
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and is back
    assert "40 requests in" in text


def test_no_progress_draws_none_but_gives_the_summary(origin: Origin, urls: Callable[..., str]) -> None:
    code, text = on_terminal(urls(origin.url("/delay/0.3")), "-o", "-", "--no-progress")
    assert code == 0
    assert "\x1b" not in text
    assert "1 request in" in text


def test_no_color_is_respected(origin: Origin, urls: Callable[..., str]) -> None:
    source = urls(*(origin.url(f"/delay/0.3?{n}") for n in range(5)))
    _, coloured = on_terminal(source, "-o", "-", "--log-format", "console")
    _, plain = on_terminal(source, "-o", "-", "--log-format", "console", environment={"NO_COLOR": "1"})
    assert "\x1b[38;5" in coloured or "\x1b[3" in coloured
    assert not [part for part in plain.split("\x1b[")[1:] if part[:2] in ("31", "32", "33", "34", "35", "36", "38")]


def test_without_rich_a_terminal_gets_plain_lines(origin: Origin, urls: Callable[..., str]) -> None:
    code, text = on_terminal(urls(origin.url("/delay/0.3")), "-o", "-", environment={"TERM": "dumb"})
    assert code == 0
    assert "\x1b" not in text


def test_scripted_bodies_come_through_whole(run: Run, origin: Origin, urls: Callable[..., str]) -> None:
    origin.script("/text", Reply(body="zwölf\n".encode()))
    (record,) = records(run(urls(origin.url("/text")), "-o", "-", "--include", "body").stdout)
    assert record["body"] == "zwölf\n"
