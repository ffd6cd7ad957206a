"""What resuming TLS sessions saves a pool whose every request needs a new connection, in one run.

    python benchmarks/tls_reconnecting.py [--requests N] [--rounds N] [--workers N]

The server is an origin of ours in a process of its own on loopback, which closes after each answer; its certificate
(ECDSA, P-256) is under an intermediate one. Two equal pools take turns, so that a slow minute of the machine hits both,
and for the rounds of one of them sessions count as too old to be resumed. A figure is the median of the rounds, a
ratio the median of the ratios within a round. CPU is this process's own, all threads, for a whole request, of which
the handshake is a part; times have the server's own share in them, which is in Python too. `tls_resumption.py` looks
at the handshake alone.

Needs trustme (``pip install 'workerpool-http[test]'``).
"""

import argparse
import multiprocessing
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import trustme

from workerpool import WorkerPool
from workerpool.testing import Origin
from workerpool.transport import tls

START_TIMEOUT = 30.0
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
VERIFIED_FOR = tls.VERIFIED_FOR


def serve(pipe: Connection, certificate: str, version: ssl.TLSVersion) -> None:
    """Serve until the other end of `pipe` is closed. Runs in a process of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(certificate)
    with Origin(tls=context, keep_alive=False, record=False) as origin:
        pipe.send(origin.url("/bytes/1024"))
        try:
            pipe.recv()
        except EOFError:
            pass


@contextmanager
def server(certificate: Path, version: ssl.TLSVersion) -> Iterator[str]:
    """Run the server, and give a URL of it."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(theirs, str(certificate), version), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(START_TIMEOUT):
            raise SystemExit("the server did not start")
        yield ours.recv()
    finally:
        ours.close()
        process.join(START_TIMEOUT)
        process.kill()


@dataclass
class Round:
    """Per request; times are milliseconds. `resumed`: the share of handshakes."""

    wall: float
    cpu: float
    resumed: float


def measure(pool: WorkerPool, url: str, count: int, *, resuming: bool) -> Round:
    """Fetch `url` so many times, each over a new connection."""
    tls.VERIFIED_FOR = VERIFIED_FOR if resuming else 0.0
    before = pool.statistics()
    began, cpu = time.perf_counter(), time.process_time()
    outcomes = pool.stream([url] * count)
    failed = [outcome for outcome in outcomes if not outcome.ok]
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    after = pool.statistics()
    handshakes = after.tls_handshakes - before.tls_handshakes
    if failed or handshakes != count:
        raise SystemExit(f"{len(failed)} requests failed, and {handshakes} handshakes were made for {count} requests")
    return Round(1000 * wall / count, 1000 * cpu / count, (after.tls_resumed - before.tls_resumed) / handshakes)


def compare(url: str, ca: Path, options: argparse.Namespace) -> tuple[list[Round], list[Round]]:
    """Return the rounds without resuming, and those with it."""
    budgets = {"max_connections": options.workers, "host_connections": options.workers}
    full: list[Round] = []
    resumed: list[Round] = []
    with (
        WorkerPool(options.workers, verify=str(ca), **budgets) as one,
        WorkerPool(options.workers, verify=str(ca), **budgets) as other,
    ):
        for number in range(-1, options.rounds):
            for resuming in (False, True) if number % 2 else (True, False):
                pool, rounds = (other, resumed) if resuming else (one, full)
                rounds.append(measure(pool, url, options.requests, resuming=resuming))
            if number < 0:  # the first round reads the certificates, and has no session yet
                full.clear()
                resumed.clear()
    return full, resumed


def show(version: str, full: list[Round], resumed: list[Round]) -> None:
    for name in ("wall", "cpu"):
        pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(full, resumed, strict=True)]
        before, after = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        label = f"{version} {'time' if name == 'wall' else 'client CPU'}"
        share = f"{statistics.median(one.resumed for one in resumed):12.1%}" if name == "wall" else ""
        print(f"{label:16}{before:9.3f} ms{after:9.3f} ms{ratio:9.2f}{share}")
    assert not any(one.resumed for one in full)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=300, help="in each round (300)")
    parser.add_argument("--rounds", type=int, default=11, help="of each pool (11)")
    parser.add_argument("--workers", type=int, default=8, help="threads, and sockets (8)")
    options = parser.parse_args()
    print(f"{ssl.OPENSSL_VERSION}; {options.workers} workers, {options.rounds} rounds of {options.requests} requests\n")
    print(f"{'TLS, a request':16}{'full':>12}{'resuming':>12}{'ratio':>9}{'resumed':>12}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        leaf = authority.create_child_ca().issue_cert("127.0.0.1")
        leaf.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
        for version, number in VERSIONS.items():
            with server(folder / "server.pem", number) as url:
                show(version, *compare(url, folder / "ca.pem", options))


if __name__ == "__main__":
    main()
