"""`workerpool doctor` against real servers with one trait each: what it says of them, and what they saw of it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import VERSIONS, Authority
from tests.commands import COMMAND, PATIENCE, run_here
from tests.forked import ForkedCommand
from tests.tunnels import Tunnels
from workerpool.doctor import Examination, Examiner
from workerpool.rate import Rate
from workerpool.testing import Origin, Reply

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask faster than a stranger's server would be asked."""
    monkeypatch.setattr("workerpool.doctor.examiner.RATE", Rate(500))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def examine(url: str, **options: Any) -> Examination:
    examiner = Examiner(url, **{"patience": 0.05, "timeout": 10.0, **options})
    examiner.examine()
    return examiner.examination()


def examined(path: str = "/", *, script: tuple[Reply, ...] = (), **traits: Any) -> tuple[Examination, Origin]:
    with Origin(**traits) as origin:
        if script:
            origin.script(path, *script)
        return examine(origin.url(path)), origin


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([*COMMAND, "doctor", *words], timeout=PATIENCE, check=False, **given)


@pytest.fixture
def run_inside(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """The command in this process."""
    return lambda *words: run_here(["doctor", *words], capfdbinary)


# -- connections ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
class TestConnections:
    def test_a_server_that_keeps_connections_is_told_by_every_request_that_could_reuse_one(self) -> None:
        found, origin = examined()
        assert found.reuse is not None
        assert (found.reuse.reused, found.reuse.why, found.reuse.requests) == (True, None, None)
        assert found.reuse.over_used == found.reuse.sends == 9
        assert (found.answer and found.answer.status, found.answer and found.answer.http) == (200, "HTTP/1.1")
        assert (found.requests, found.connections) == (origin.requests, origin.connections_opened)
        assert origin.connections_peak == 1

    def test_a_server_that_says_connection_close_is_asked_four_times_only(self) -> None:
        found, origin = examined(keep_alive=False)
        assert found.reuse is not None
        assert (found.reuse.reused, found.reuse.why, found.reuse.requests) == (False, "close", 1)
        assert found.idle is not None
        assert found.idle.why_not == "no connection stays idle"
        assert "Every request pays" in " ".join(found.advice)
        assert (found.requests, origin.requests) == (4, 4)

    def test_a_limit_of_requests_per_connection_is_found(self) -> None:
        found, origin = examined(requests_per_connection=5)
        assert found.reuse is not None
        assert (found.reuse.reused, found.reuse.why, found.reuse.requests) == (True, "limit", 5)
        assert found.connections == origin.connections_opened
        assert "Every 5th request pays" in " ".join(found.advice)

    def test_a_server_that_closes_without_a_word_is_told_from_one_that_says_so(self) -> None:
        answer = Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", close=True)
        found, _ = examined("/raw", script=(answer,))
        assert found.reuse is not None
        assert (found.reuse.reused, found.reuse.why) == (False, "silent")
        assert found.idle is not None
        assert found.idle.seconds is not None
        assert found.idle.seconds < 0.05

    def test_http_1_0_is_recognized(self) -> None:
        found, _ = examined("/old", script=(Reply(raw=b"HTTP/1.0 200 OK\r\n\r\nok", close=True),))
        assert (found.answer and found.answer.http, found.reuse and found.reuse.why) == ("HTTP/1.0", "http10")

    def test_an_idle_limit_that_is_said_is_not_waited_for(self) -> None:
        answer = Reply(headers={"Keep-Alive": "timeout=5, max=100"})
        found, origin = examined("/said", script=(answer,))
        assert found.idle is not None
        assert (found.idle.seconds, found.idle.source, found.idle.waited) == (5.0, "said", 0.0)
        assert (found.reuse and found.reuse.requests_said) == 100
        assert origin.requests == 12

    @pytest.mark.parametrize("digits", [400, 5_000])  # more than a float can be, and than Python makes a number of
    def test_a_number_that_nobody_means_is_as_good_as_none(self, digits: int) -> None:
        number = "9" * digits
        for header in (f"timeout={number}", f"timeout={number}, max={number}"):
            found, _ = examined("/said", script=(Reply(headers={"Keep-Alive": header}),))
            assert found.idle is not None
            assert found.idle.source != "said"
            assert (found.reuse and found.reuse.requests_said) is None

    def test_an_idle_limit_that_is_not_said_is_found_by_waiting(self) -> None:
        with Origin(idle_timeout=0.5) as origin:
            found = examine(origin.url(), patience=30.0)
        assert found.idle is not None
        assert found.idle.source == "seen"
        assert found.idle.seconds == pytest.approx(0.5, abs=0.4)
        assert origin.requests == 13

    def test_a_wait_that_is_too_short_finds_no_limit_and_says_how_long_it_was(self) -> None:
        with Origin(idle_timeout=30.0) as origin:
            found = examine(origin.url(), patience=0.3)
        assert found.idle is not None
        assert (found.idle.seconds, found.idle.source, found.idle.waited) == (None, None, 0.3)

    def test_without_patience_no_connection_is_left_idle(self) -> None:
        with Origin() as origin:
            found = examine(origin.url(), patience=0.0)
        assert (found.idle and found.idle.why_not) == "not asked for"
        assert origin.requests == 12

    def test_the_cost_of_a_connection_and_of_an_answer_are_measured(self) -> None:
        found, _ = examined("/delay/0.1")
        assert found.cost is not None
        assert found.cost.connect is not None
        assert found.cost.answer is not None
        assert 0 < found.cost.connect < 0.1 <= found.cost.answer


# -- what is answered -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
class TestAnswers:
    def test_compression_is_measured(self) -> None:
        found, _ = examined("/gzip?bytes=20000")
        assert found.compression is not None
        assert found.compression.encoding == "gzip"
        assert found.compression.size == 20_000
        assert 0 < found.compression.sent < 2_000

    def test_a_body_that_could_have_been_compressed_is_said_to_be(self) -> None:
        found, _ = examined("/chunked?bytes=20000")
        assert found.compression is not None
        assert found.compression.encoding is None
        assert found.compression.gzipped is not None
        assert found.compression.gzipped < 2_000
        assert "uncompressed although asked for gzip" in " ".join(found.advice)

    def test_rate_limit_headers_become_a_setting(self) -> None:
        answer = Reply(headers={"RateLimit-Policy": '"default";q=100;w=60', "RateLimit": '"default";r=50;t=30'})
        found, _ = examined("/api", script=(answer,))
        assert [limit.header for limit in found.rate_limits] == ["RateLimit-Policy", "RateLimit"]
        assert "--host-rate 100/min" in found.advice[0]

    def test_it_stops_when_no_request_is_left(self) -> None:
        answers = [Reply(headers={"X-RateLimit-Remaining": str(left)}) for left in (2, 1, 0)]
        found, origin = examined("/api", script=tuple(answers))
        assert origin.requests == 3
        assert found.stopped is not None
        assert "no request is left" in found.stopped

    @pytest.mark.parametrize("status", [403, 429, 500, 503])
    def test_it_stops_at_once_when_the_server_has_had_enough(self, status: int) -> None:
        answers = (Reply(), Reply(), Reply(status=status, headers={"Retry-After": "60"}))
        found, origin = examined("/api", script=answers)
        assert origin.requests == found.requests == 3
        assert found.refused == status
        assert found.stopped == f"it answered {status} to request 3, with Retry-After: 60"
        assert found.reuse is not None  # what was found before is there
        assert found.reuse.reused
        assert (found.idle and found.idle.why_not) == "stopped early"
        assert [limit.meaning for limit in found.rate_limits] == ["send nothing for 60 s"]

    def test_an_error_s_page_is_examined_too_and_said_to_be_one(self) -> None:
        found, origin = examined("/status/404")
        assert (found.answer and found.answer.status) == 404
        assert "It answered 404" in " ".join(found.advice)
        assert origin.requests == 13

    def test_redirects_are_followed_once_and_their_end_is_examined(self) -> None:
        with Origin(addresses=("127.0.0.1", "127.0.0.2")) as origin:
            end = origin.url("/", address="127.0.0.2")
            found = examine(origin.url(f"/redirect-to?url={end}"))
            assert found.final_url == end
            assert found.answer is not None
            assert found.answer.redirects == (origin.url(f"/redirect-to?url={end}"),)
            assert origin.records().requests_at == {"127.0.0.1": 1, "127.0.0.2": 13}
            assert found.requests == 14
            assert f"put {end} into the source" in " ".join(found.advice)

    def test_a_redirect_that_comes_later_is_not_followed(self) -> None:
        away = Reply(status=302, headers={"Location": "/elsewhere"})
        found, origin = examined("/here", script=(Reply(), away))
        assert {arrival.path for arrival in origin.arrivals} == {"/here"}
        assert found.requests == 13

    def test_a_large_body_is_fetched_at_most_once_and_then_asked_about(self) -> None:
        found, origin = examined("/bytes/3000000")
        assert found.only_heads
        assert [arrival.method for arrival in origin.arrivals].count("GET") == 1
        assert found.reuse is not None
        assert found.reuse.reused

    def test_the_requests_say_who_asks(self) -> None:
        with Origin() as origin:
            examine(origin.url(), user_agent="workerpool-doctor/1.2")
        assert {arrival.headers["user-agent"] for arrival in origin.arrivals} == {"workerpool-doctor/1.2"}

    def test_a_request_that_fails_later_ends_it_with_what_was_found(self) -> None:
        found, origin = examined("/api", script=(Reply(), Reply(), Reply(truncate=1, body=b"long")))
        assert found.stopped is not None
        assert found.stopped.startswith("a further request failed:")
        assert found.requests == origin.requests == 3


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
class TestTls:
    @pytest.mark.parametrize(("version", "name"), VERSIONS)
    def test_version_resumption_and_certificate_are_found(
        self, authority: Authority, version: ssl.TLSVersion, name: str
    ) -> None:
        until = datetime.now(UTC) + timedelta(days=5, hours=1)
        with Origin(tls=authority.context(version=version, not_after=until)) as origin:
            found = examine(origin.url(), verify=authority.file)
        tls = found.tls
        assert tls is not None
        assert (tls.version, tls.resumed, tls.days_left) == (name.replace("TLSv", "TLS "), True, 5)
        assert tls.cipher
        assert tls.issuer
        assert found.cost is not None
        assert found.cost.tls_resumed
        assert found.cost.tls == tls.handshake
        assert "Its certificate ends in 5 days" in " ".join(found.advice)
        assert found.connections == origin.connections_opened
        assert origin.connections_peak == 1

    def test_http_2_is_noticed_and_not_used(self, authority: Authority) -> None:
        context = authority.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with Origin(tls=context) as origin:
            found = examine(origin.url(), verify=authority.file)
        assert (found.tls and found.tls.protocol, found.answer and found.answer.http) == ("HTTP/2", "HTTP/1.1")
        assert "HTTP/2" in " ".join(found.advice)

    def test_a_server_that_resumes_nothing_is_found_out(self, authority: Authority) -> None:
        context = authority.context()
        context.num_tickets = 0
        with Origin(tls=context) as origin:
            found = examine(origin.url(), verify=authority.file)
        assert found.tls is not None
        assert found.tls.resumed is False

    @pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
    def test_an_unverified_server_is_examined_without_its_certificate(self, authority: Authority) -> None:
        with Origin(tls=authority.context()) as origin:
            found = examine(origin.url(), verify=False)
        assert found.tls is not None
        assert found.tls.version
        assert found.tls.expires_at is None

    @pytest.mark.parametrize(
        ("certificate", "message", "advice"),
        [
            ("unknown", "unable to get local issuer certificate", "--ca-bundle FILE"),
            ("misnamed", "not valid for '127.0.0.1'", "a name that the certificate is for"),
            ("expired", "certificate has expired", "has to be renewed"),
        ],
    )
    def test_a_certificate_problem_is_named(
        self, authority: Authority, tmp_path: Path, certificate: str, message: str, advice: str
    ) -> None:
        past = datetime.now(UTC) - timedelta(days=1)
        context = {
            "unknown": lambda: Authority(tmp_path).context(),
            "misnamed": lambda: authority.context("example.com"),
            "expired": lambda: authority.context(not_before=past - timedelta(days=9), not_after=past),
        }[certificate]()
        with Origin(tls=context) as origin:
            found = examine(origin.url(), verify=authority.file)
        assert found.failure is not None
        assert found.failure.reason == "tls"
        assert message in found.failure.message
        assert advice in " ".join(found.advice)
        assert found.requests == origin.requests == 0

    def test_plain_http_on_the_port_is_recognized(self) -> None:
        with Origin() as origin:
            found = examine(origin.url().replace("http:", "https:"))
        assert found.failure is not None
        assert "try http://" in " ".join(found.advice)

    def test_the_way_through_a_proxy_s_tunnel_is_examined_like_any_other(self, authority: Authority) -> None:
        with Origin(tls=authority.context(), idle_timeout=0.5) as origin, Tunnels() as proxy:
            found = examine(origin.url(), verify=authority.file, proxies={"https": proxy.url}, patience=30.0)
            assert found.proxy == proxy.url.removeprefix("http://")
            assert found.tls is not None
            assert found.tls.version == "TLS 1.3"
            assert found.idle is not None
            assert found.idle.source == "seen"
            assert proxy.tunnels == found.connections == origin.connections_opened


# -- no answer --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
class TestNoAnswer:
    def test_a_refused_connection_is_said_and_counts_as_nothing_sent(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            port = server.getsockname()[1]
        found = examine(f"http://127.0.0.1:{port}/")
        assert found.failure is not None
        assert (found.failure.reason, found.requests) == ("connect", 0)
        assert "connection refused" in found.failure.message

    def test_a_name_that_does_not_resolve_is_said(self) -> None:
        found = examine("http://name.invalid/")
        assert found.failure is not None
        assert "does not resolve" in found.failure.message

    def test_a_server_that_drips_does_not_hold_it_up(self) -> None:
        with Origin() as origin:
            began = time.monotonic()
            found = examine(origin.url("/drip?bytes=1000&seconds=100"), timeout=0.3)
        assert (found.failure and found.failure.reason) == "timeout"
        assert time.monotonic() - began < 10

    def test_redirects_without_an_end_are_given_up_after_a_few(self) -> None:
        with Origin() as origin:
            found = examine(origin.url("/redirect/20"))
        assert (found.failure and found.failure.reason) == "redirects"
        assert origin.requests == found.requests == 6


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_server_sees_few_requests_and_at_the_rate_that_is_stated() -> None:
    with Origin() as origin:
        done = run(origin.url("/redirect/2"), "--patience", "0.1")
        assert done.returncode == 0
        assert 12 <= origin.requests <= 20
        assert origin.busiest(1.0) <= 5  # 4 a second, and one on each edge of the window
        assert origin.connections_peak == 1
        assert f"{origin.requests} requests over {origin.connections_opened} connections" in done.stdout.decode()
        assert done.stderr == b""
        assert b"\x1b" not in done.stdout


def test_json_is_one_object_without_secrets(run_inside: Run) -> None:
    with Origin(keep_alive=False) as origin:
        url = origin.url("/echo?token=hunter2").replace("://", "://user:hunter2@")
        done = run_inside(url, "--json")
        assert {arrival.path for arrival in origin.arrivals} == {"/echo?token=hunter2"}  # they were sent, of course
        assert all("authorization" in arrival.headers for arrival in origin.arrivals)
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert (told["answer"]["status"], told["reuse"]["why"], told["interrupted"]) == (200, "close", False)
    assert told["requests"] == origin.requests
    assert b"hunter2" not in done.stdout + done.stderr
    assert b"hunter2" not in run_inside(url).stdout  # it is gone: no answer


def test_no_answer_is_exit_code_1_and_a_bad_url_2(run_inside: Run) -> None:
    failed = run_inside("http://name.invalid/", "--json")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["failure"]["reason"] == "connect"
    refused = run_inside("name.invalid")
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"a URL starts with http:// or https://" in refused.stderr


def test_findings_that_cannot_be_written_are_exit_code_5() -> None:
    with Origin(keep_alive=False) as origin, open("/dev/full", "wb") as full:
        done = run(origin.url(), stdout=full)
    assert done.returncode == 5
    assert b"the findings cannot be written" in done.stderr


@pytest.mark.parametrize(
    ("path", "after", "knows"),
    [
        ("/delay/50", 1, lambda told: told["answer"] is None and told["failure"] is None),
        ("/", 3, lambda told: told["answer"]["status"] == 200 and told["tls"] is None),
        ("/", 13, lambda told: told["reuse"]["reused"] is True and told["cost"]["answer"] > 0),
    ],
    ids=["in the first request", "between requests", "in the wait for the idle limit"],
)
def test_ctrl_c_says_what_was_found_so_far_and_ends_at_once(
    path: str, after: int, knows: Callable[[dict[str, Any]], bool]
) -> None:
    with (
        Origin() as origin,
        ForkedCommand("doctor", origin.url(path), "--json", "--patience", "50", "--timeout", "50") as process,
    ):
        origin.wait_for(after, PATIENCE)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=PATIENCE)
        assert time.monotonic() - began < 20
        assert process.returncode == 130
        told = json.loads(out)
        assert told["interrupted"] is True
        assert knows(told)
        assert errors == b""


def on_terminal(url: str, *words: str) -> str:
    """Run it with standard error on a terminal; what that terminal got."""
    ours, theirs = pty.openpty()
    got = b""
    variables = {**os.environ, "TERM": "xterm-256color"}
    with ForkedCommand("doctor", url, *words, stderr=theirs, stdout=subprocess.DEVNULL, env=variables) as process:
        os.close(theirs)
        limit = time.monotonic() + PATIENCE
        while select.select([ours], [], [], max(0.0, limit - time.monotonic()))[0]:
            try:
                chunk = os.read(ours, 65_536)
            except OSError:  # the other end is closed, as terminals say it
                break
            got += chunk
        assert process.wait(PATIENCE) == 0
    os.close(ours)
    return got.decode()


def test_on_a_terminal_a_line_says_what_is_done_and_is_taken_away() -> None:
    with Origin() as origin:  # one that is soon done with
        origin.script("/", Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", close=True))
        text = on_terminal(origin.url(), "--patience", "20")
    assert "looking whether its connection is used again: 1 of 8" in text
    assert "waiting for it to close an idle connection: 0 s of at most 20 s" in text
    assert re.search(r"\r +\r$", text)
    assert "\x1b" not in text
    assert "\n" not in text
