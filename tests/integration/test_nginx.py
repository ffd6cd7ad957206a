"""Against nginx, a server that we did not write: its limit is learned by being refused, and only its host is slowed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.nginx import find, free_port, running
from tests.waiting import eventually
from workerpool import WorkerPool

SERVERS = """
limit_req_zone $binary_remote_addr zone=clients:1m rate=50r/s;
server {{ listen 127.0.0.2:{port}; root {folder}/www;
          location / {{ limit_req zone=clients burst=5 nodelay; limit_req_status 429; try_files /page =404; }} }}
server {{ listen 127.0.0.3:{port}; root {folder}/www; location / {{ try_files /page =404; }} }}
server {{ listen 127.0.0.4:{port}; root {folder}/www; location / {{ try_files /page =404; }}
          keepalive_requests 7; add_header X-Connection $connection; }}
server {{ listen 127.0.0.5:{port}; root {folder}/www; location / {{ try_files /page =404; }}
          keepalive_timeout 1s 1s; }}
"""


@pytest.fixture
def nginx(tmp_path: Path, require: Callable[[object, str], None]) -> Iterator[int]:
    """Run nginx with a limited host on 127.0.0.2 and an unlimited one on 127.0.0.3; gives their port."""
    binary = find()
    require(binary, "nginx is not installed")
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "page").write_text("hello")
    (tmp_path / "www").chmod(0o755)
    port = free_port("127.0.0.2")
    with running(str(binary), tmp_path, SERVERS.format(folder=tmp_path, port=port), ("127.0.0.2", port)):
        yield port


@pytest.mark.slow
def test_a_limited_host_finishes_all_ok_and_is_the_only_one_slowed(
    nginx: int, caplog: pytest.LogCaptureFixture
) -> None:
    """limit_req answers 429 without Retry-After beyond 50 a second and a burst of 5."""
    limited = [f"http://127.0.0.2:{nginx}/{n}" for n in range(100)]
    free = [f"http://127.0.0.3:{nginx}/{n}" for n in range(100)]
    caplog.set_level(logging.INFO, "workerpool")
    with WorkerPool(16) as pool:
        outcomes = [*pool.stream(limited + free)]
    assert [str(outcome.error) for outcome in outcomes if not outcome.ok] == []
    refused = [outcome for outcome in outcomes if len(outcome.attempts) > 1]
    assert refused, "the limit was never met, so this shows nothing"
    paused = {record.fields["host"] for record in caplog.records if record.event == "host.paused"}  # type: ignore[attr-defined]
    assert paused == {f"http://127.0.0.2:{nginx}"}
    last_free = max(i for i, outcome in enumerate(outcomes) if f"127.0.0.3:{nginx}" in outcome.url)
    assert last_free < 150, "the free host was done while most of the limited one's requests still waited"


def test_a_limit_of_requests_on_a_connection_costs_no_attempt(nginx: int) -> None:
    """keepalive_requests: nginx closes each connection after 7."""
    with WorkerPool(8, retry=None) as pool:
        outcomes = [*pool.stream(f"http://127.0.0.4:{nginx}/{n}" for n in range(500))]
    assert [str(outcome.error) for outcome in outcomes if not outcome.ok] == []
    carried = Counter(outcome.response.headers["X-Connection"] for outcome in outcomes if outcome.response is not None)
    assert max(carried.values()) == 7
    assert len(carried) <= 500 / 7 + 8


def test_a_connection_is_retired_before_nginx_closes_it(nginx: int) -> None:
    """keepalive_timeout: nginx says one second, and means it."""
    with WorkerPool(1) as pool:
        pool.get(f"http://127.0.0.5:{nginx}/").result()
        assert eventually(lambda: pool.statistics().sockets_open == 0)
        figures = pool.statistics()
    assert (figures.sockets_open, figures.sockets_retired, figures.sockets_lost) == (0, 1, 0)
