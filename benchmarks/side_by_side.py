"""The pool beside the two ways in which the same batch is fetched with requests today, in one run.

    python benchmarks/side_by_side.py [--requests N] [--rounds N] [--workers N] [--origin]

The server is a process of its own on loopback: nginx if it is installed, else `workerpool.testing.OriginProcess` (which
is far slower, so that figures hide what the clients differ in). Small bodies (1 KiB), keep-alive. Every client uses
its recommended settings: adapters as large as the number of threads, and both of our socket budgets set to it.

Clients take turns, so that a slow minute of the machine hits them all; each figure is the median of the rounds. A ratio
is the median of the ratios within a round. CPU is this process's own, all threads, per request.
"""

import argparse
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from requests_futures.sessions import FuturesSession

from workerpool import WorkerPool
from workerpool.testing import OriginProcess

BODY_BYTES = 1024
PORT = 18480

Fetch = Callable[[list[str]], int]
"""Fetch these URLs, bodies included, and return how many came with status 200."""


@contextmanager
def nginx() -> Iterator[str]:
    """Run nginx in the foreground of a temporary folder, and give the URL of its 1 KiB file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Its workers change to another user where it is started by root.
        folder.chmod(0o755)
        (folder / "body").write_bytes(b"x" * BODY_BYTES)
        (folder / "nginx.conf").write_text(
            f"""
            daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; keepalive_requests 1000000;
                client_body_temp_path {folder}/client; proxy_temp_path {folder}/proxy;
                fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
                server {{ listen 127.0.0.1:{PORT}; root {folder}; }}
            }}
            """
        )
        command = ["nginx", "-p", name, "-e", f"{folder}/error.log", "-c", str(folder / "nginx.conf")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{PORT}/body"
            _wait_for(url, process)
            yield url
        finally:
            process.terminate()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if process.poll() is not None:
            raise SystemExit("nginx did not start; try --origin")
        try:
            requests.get(url, timeout=1).raise_for_status()
            return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise SystemExit("nginx did not answer; try --origin")


@contextmanager
def workerpool_stream(workers: int) -> Iterator[Fetch]:
    with WorkerPool(workers, max_connections=workers, host_connections=workers) as pool:
        yield lambda urls: sum(outcome.status == 200 for outcome in pool.stream(urls))


@contextmanager
def futures_session(workers: int) -> Iterator[Fetch]:
    with FuturesSession(executor=ThreadPoolExecutor(workers)) as session:
        session.mount("http://", HTTPAdapter(pool_maxsize=workers))

        def fetch(urls: list[str]) -> int:
            futures = [session.get(url) for url in urls]
            return sum(future.result().status_code == 200 for future in as_completed(futures))

        yield fetch


@contextmanager
def session_per_thread(workers: int) -> Iterator[Fetch]:
    local = threading.local()

    def start() -> None:
        local.session = requests.Session()
        local.session.mount("http://", HTTPAdapter(pool_maxsize=workers))

    def get(url: str) -> int:
        return int(local.session.get(url).status_code)

    with ThreadPoolExecutor(workers, initializer=start) as executor:
        yield lambda urls: sum(code == 200 for code in executor.map(get, urls))


CLIENTS = {
    "workerpool, pool.stream": workerpool_stream,
    "requests-futures": futures_session,
    "Session per thread": session_per_thread,
}
OURS = "workerpool, pool.stream"


@dataclass
class Figures:
    per_second: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def measure(self, fetch: Fetch, urls: list[str]) -> None:
        started, cpu_started = time.perf_counter(), time.process_time()
        ok = fetch(urls)
        elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu_started
        if ok != len(urls):
            raise SystemExit(f"{len(urls) - ok} of {len(urls)} requests failed, so the figures mean nothing")
        self.per_second.append(len(urls) / elapsed)
        self.cpu_ms.append(1000 * cpu / len(urls))


def run(url: str, *, requests_each: int, rounds: int, workers: int) -> dict[str, Figures]:
    figures = {name: Figures() for name in CLIENTS}
    with ExitStack() as stack:
        clients = {name: stack.enter_context(client(workers)) for name, client in CLIENTS.items()}
        for fetch in clients.values():
            Figures().measure(fetch, [url] * 20 * workers)  # connections and caches are made before the clock runs
        order = list(clients)
        for number in range(rounds):
            for name in order[number % len(order) :] + order[: number % len(order)]:
                figures[name].measure(clients[name], [url] * requests_each)
    return figures


def show(figures: dict[str, Figures]) -> None:
    print(f"{'client':26}{'req/s':>8}{'CPU ms':>9}{'workerpool is':>16}")
    for name, figure in figures.items():
        pairs = zip(figures[OURS].per_second, figure.per_second, strict=True)
        ratio = statistics.median(mine / its for mine, its in pairs)
        faster = "" if name == OURS else f"{ratio:.2f} x as fast"
        median, cpu = statistics.median(figure.per_second), statistics.median(figure.cpu_ms)
        print(f"{name:26}{median:8,.0f}{cpu:9.3f}{faster:>16}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the pool beside its peers, in one run.")
    parser.add_argument("--requests", type=int, default=2000, help="in each round (2000)")
    parser.add_argument("--rounds", type=int, default=7, help="of every client (7)")
    parser.add_argument("--workers", type=int, default=16, help="threads, and sockets (16)")
    parser.add_argument("--origin", action="store_true", help="use our own server even if nginx is installed")
    options = parser.parse_args()
    with ExitStack() as stack:
        if shutil.which("nginx") and not options.origin:
            server, url = "nginx", stack.enter_context(nginx())
        else:
            server, url = "our own origin", stack.enter_context(OriginProcess(record=False)).url(f"/bytes/{BODY_BYTES}")
        print(
            f"{server}, {BODY_BYTES} bytes, {options.workers} workers, "
            f"{options.rounds} rounds of {options.requests} requests\n"
        )
        show(run(url, requests_each=options.requests, rounds=options.rounds, workers=options.workers))


if __name__ == "__main__":
    main()
