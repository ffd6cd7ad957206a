"""The origin over TLS, and as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import require
from tests.unit.plain_client import LIMIT, Client
from workerpool.errors import OptionError
from workerpool.testing import Origin, OriginProcess, Reply

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One PEM file with a key and a certificate for 127.0.0.1 that signs itself."""
    require(shutil.which("openssl"), "the openssl command")
    path = tmp_path_factory.mktemp("tls") / "origin.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "2", "-subj", "/CN=origin", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", path, "-out", f"{path}.cert"),
        ],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + Path(f"{path}.cert").read_text())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def process() -> Iterator[OriginProcess]:
    with OriginProcess(("127.0.0.1", "127.0.0.2")) as process:
        yield process


def test_it_serves_over_tls(tls: ssl.SSLContext, certificate: Path) -> None:
    with Origin(tls=tls) as origin, requests.Session() as session:
        session.verify = str(certificate)
        assert origin.url("/").startswith("https://")
        assert session.get(origin.url("/bytes/1000000"), timeout=LIMIT).status_code == 200
        assert session.get(origin.url("/drip?bytes=4&seconds=0.02"), timeout=LIMIT).text == "The "
        for path in ("/reset?after=300", "/truncate"):
            with pytest.raises(requests.exceptions.RequestException):
                session.get(origin.url(path), timeout=LIMIT)
        assert origin.requests == 4


def test_it_stops_in_the_middle_of_a_handshake(tls: ssl.SSLContext) -> None:
    with Origin(tls=tls) as origin:
        client = socket.create_connection(("127.0.0.1", origin.port), timeout=LIMIT)
        client.sendall(b"\x16\x03\x01")
    with client:
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass


def test_junk_and_a_failed_handshake_leave_a_tls_origin_in_service(tls: ssl.SSLContext, certificate: Path) -> None:
    with Origin(tls=tls) as origin:
        with Client(origin) as client:
            client.send("GET / HTTP/1.1\nHost: here\n\n")
            client.file.read()
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(origin.url("/"), timeout=LIMIT)
        assert requests.get(origin.url("/"), verify=str(certificate), timeout=LIMIT).ok


def test_a_process_serves_the_same_urls_and_counts(process: OriginProcess) -> None:
    with Client(process) as first, Client(process, "127.0.0.2") as second:
        assert first.get("/bytes/3")[2] == second.get("/bytes/3")[2] == b"\0\1\2"
        first.get("/")
        records = process.records()
        assert (records.requests, records.requests_at) == (3, {"127.0.0.1": 2, "127.0.0.2": 1})
        assert (records.sockets.opened, records.sockets.open, records.sockets.peak) == (2, 2, 2)
        assert len(records.times) == 3
        assert process.busiest(LIMIT) == 3
        assert process.busiest(LIMIT, "127.0.0.2") == 1
        process.reset_records()
        assert process.records().requests == 0
        assert process.records().sockets.peak == 2
    assert process.url("/x", "127.0.0.2") == f"http://127.0.0.2:{process.port}/x"


def test_a_process_takes_the_origins_options(certificate: Path) -> None:
    with OriginProcess(certificate=certificate, requests_per_connection=1, record=False, keep_alive=False) as process:
        response = requests.get(process.url("/"), verify=str(certificate), timeout=LIMIT)
        assert response.headers["Connection"] == "close"
        assert (process.records().requests, process.records().times) == (1, [])
    with OriginProcess(idle_timeout=0.1, advertise_idle_timeout=True) as process, Client(process) as client:
        assert client.get("/")[1]["keep-alive"] == "timeout=0"
        assert client.is_closed()


def test_a_stopped_process_is_gone_and_may_be_started_again(process: OriginProcess) -> None:
    pid, port = process.pid, process.port
    process.stop()
    process.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
    with pytest.raises(RuntimeError, match="not started"):
        process.url("/")
    with process.start(), Client(process) as client:
        assert client.get("/")[0] == 200


def test_a_process_that_cannot_listen_says_so(process: OriginProcess, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="ended before it listened"):
        OriginProcess(port=process.port).start()
    assert "in use" in capfd.readouterr().err
    with pytest.raises(OptionError, match="addresses"):
        OriginProcess(("8.8.8.8",))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_prints_its_url_and_serves_until_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-W", "error", "-m", "workerpool.testing.origin"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True) as child:
        assert child.stdout is not None
        url, records_url = child.stdout.readline().strip(), child.stdout.readline().strip()
        try:
            assert requests.get(f"{url}bytes/5", timeout=LIMIT).content == b"\0\1\2\3\4"
            assert requests.get(records_url, timeout=LIMIT).json()["requests"] == 1
        finally:
            child.send_signal(number)
            _, errors = child.communicate(timeout=LIMIT)
    assert (child.returncode, errors) == (0, "")


def test_a_process_ends_when_the_one_that_started_it_is_killed() -> None:
    """Both hold the error pipe, so its end, which `run` waits for, means that both are gone."""
    script = (
        "import os, signal; from workerpool.testing import OriginProcess; "
        "OriginProcess().start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script], stderr=subprocess.PIPE, cwd=ROOT, timeout=LIMIT)
    assert killed.returncode == -signal.SIGKILL


def test_a_reply_from_a_script_is_a_value() -> None:
    first, second = Reply(headers={"A": "1"}), Reply(headers=[("A", "1")])
    assert first == second
    assert hash(first) == hash(second)
