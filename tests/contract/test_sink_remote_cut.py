"""A job into an object whose server goes away, or takes half of a part: nothing is lost, and the job goes on."""

from __future__ import annotations

import json
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from tests.conftest import some
from workerpool.batch.sinks.base import Cadence
from workerpool.batch.sinks.remote import RemoteStore
from workerpool.cli import main
from workerpool.testing import Origin

fsspec = pytest.importorskip("fsspec")
INPUTS = 60
_numbers = count(1)


class Relay(ThreadingHTTPServer):
    """Passes requests on to the object store, until it does not: see `trouble`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, store: str, port: int = 0) -> None:
        self.store = urlsplit(store).netloc
        self.trouble = ""
        self.after = 0  # so many PUTs of objects `wanted` are passed on before
        self.wanted = ""
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def is_cut(self, method: str, path: str) -> bool:
        """Whether this request, and each one after it, is not passed on."""
        with self.lock:
            if self.trouble and method in ("PUT", "POST") and self.wanted in path:
                self.after -= 1
            return bool(self.trouble) and self.after < 0

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay
    hops: ClassVar = {"connection", "transfer-encoding", "content-length", "keep-alive"}

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.server.is_cut(self.command, self.path):
            self.close_connection = True
            if self.server.trouble == "takes half":
                self.rfile.read(length // 2)
            elif self.server.trouble == "is full":
                self.rfile.read(length)
                self.send_response(507)
                self.send_header("Content-Length", "0")
                self.end_headers()
            return
        body = self.rfile.read(length)
        store = HTTPConnection(self.server.store, timeout=20)
        store.request(self.command, self.path, body, dict(self.headers))
        answer = store.getresponse()
        data = answer.read()
        store.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in self.hops:
                self.send_header(name, value)
        sent = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", sent or "0")
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def relay(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    assert bucket
    made = Relay(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", made.url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    monkeypatch.setattr(RemoteStore, "cadence", Cadence(seconds=0.05, bytes=2000))
    yield made
    made.end()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "wanted", "after", "records"),
    some(
        [
            ("goes away", ".partial/0", 1, r"the [\d,]+ records? before (are|is) whole, in s3://"),
            ("takes half", ".partial/0", 1, r"the [\d,]+ records? before (are|is) whole, in s3://"),
            ("is full", ".partial/0", 1, r"the [\d,]+ records? before (are|is) whole, in s3://"),
            ("takes half", ".partial/0", 0, "no record was written"),
            ("takes half", "out.jsonl", 10_000, f"the {INPUTS} records before are whole, in s3://"),
        ],
        2,
    ),
)
def test_a_job_ends_with_5_and_goes_on_when_the_store_is_back(
    relay: Relay,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    trouble: str,
    wanted: str,
    after: int,
    records: str,
) -> None:
    output = f"s3://jobs/cut{next(_numbers)}/out.jsonl"
    with Origin() as origin:
        (tmp_path / "urls.txt").write_text("".join(f"{origin.url(f'/delay/0.04?i={i}')}\n" for i in range(INPUTS)))
        words = ["run", str(tmp_path / "urls.txt"), "-o", output, "--job", str(tmp_path / "a.job"), "--no-progress"]
        is_end = after == 10_000
        relay.trouble, relay.wanted, relay.after = trouble, "/out.jsonl" if is_end else wanted, 0 if is_end else after
        if is_end:
            relay.is_cut = (  # type: ignore[method-assign]
                lambda method, path: method in ("PUT", "POST") and urlsplit(path).path.endswith("/out.jsonl")
            )
        assert main(words) == 5
        said = " ".join(capsys.readouterr().err.split())
        assert re.search(rf"s3://jobs/cut\d+/out\.jsonl cannot be written: .+; {records}", said), said
        assert "hunter2" not in said
        files = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
        relay.trouble = ""
        if is_end:
            del relay.is_cut
        assert not files.exists(output)
        assert main(words) == 0, capsys.readouterr().err
        rows = [json.loads(line) for line in files.cat_file(output).splitlines()]
        assert Counter(row["url"] for row in rows) == Counter((tmp_path / "urls.txt").read_text().split())
        assert files.find(output.rpartition("/")[0]) == [output.removeprefix("s3://")]
        assert origin.requests <= INPUTS + 16
        assert main(["reconcile", str(tmp_path / "a.job")]) == 0


@pytest.mark.slow
def test_a_store_that_is_not_there_is_said_before_anything_is_sent(
    relay: Relay, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Origin() as origin:
        (tmp_path / "urls.txt").write_text(origin.url("/") + "\n")
        relay.trouble, relay.after = "goes away", -1
        words = ["run", str(tmp_path / "urls.txt"), "-o", "s3://jobs/never/out.jsonl", "--no-progress"]
        assert main(words) == 5
        assert "out.jsonl cannot be used: " in capsys.readouterr().err
        assert origin.requests == 0
