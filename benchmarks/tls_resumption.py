"""What a resumed TLS handshake saves the client, beside a full one, in one run.

    python benchmarks/tls_resumption.py [--rounds N] [--reconnects N]

The server is a process of its own on loopback, with a certificate (ECDSA, P-256) under an intermediate one. Full and
resumed handshakes take turns, over new connections each, so that a slow minute of the machine hits both; figures are
medians, and a ratio is the median of the ratios within a round. CPU is that of the connecting thread alone.

Loopback has no distance: over a real one, resuming on TLS 1.2 also saves a round trip. On TLS 1.3 both take one. Times
are of the handshake alone. The cost of a context, which urllib3 builds for each connection, comes before all of that,
and is measured with the CA bundle of requests.

Reconnects: how many of N further connections are resumed, each with the session that the one before it left; on TLS 1.2
as urllib3 has it, without tickets, and with them.

Needs trustme (``pip install 'workerpool-http[test]'``).
"""

import argparse
import multiprocessing
import socket
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import trustme
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from workerpool.transport.tls import Context, Contexts

HOST = "127.0.0.1"
TIMEOUT = 30.0
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def serve(pipe: Connection, certificate: str, version: ssl.TLSVersion) -> None:
    """Answer each connection's one byte with another, until the process is ended. Runs in a process of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(certificate)
    with socket.create_server((HOST, 0), backlog=128) as listener:
        pipe.send(listener.getsockname()[1])
        while True:
            accepted, _ = listener.accept()
            threading.Thread(target=answer, args=(context, accepted), daemon=True).start()


def answer(context: ssl.SSLContext, accepted: socket.socket) -> None:
    accepted.settimeout(TIMEOUT)
    with context.wrap_socket(accepted, server_side=True) as sock:
        sock.sendall(sock.recv(1))
        sock.recv(1)  # the client's end


@contextmanager
def server(certificate: Path, version: ssl.TLSVersion) -> Iterator[int]:
    """Run the server, and give its port."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(theirs, str(certificate), version), daemon=True)
    process.start()
    try:
        if not ours.poll(TIMEOUT):
            raise SystemExit("the server did not start")
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


@dataclass
class Handshake:
    """Times are seconds."""

    wall: float
    cpu: float
    resumed: bool


def connect(context: Context, key: str, port: int) -> Handshake:
    """Connect once, exchange a byte, and save the session under `key`."""
    view = context.view(key)
    with socket.create_connection((HOST, port), timeout=TIMEOUT) as plain:
        cpu, wall = time.thread_time(), time.perf_counter()
        sock = view.wrap_socket(plain, server_hostname=HOST)
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
        with closing(sock):
            sock.sendall(b"x")
            sock.recv(1)
            context.save(key, sock)
    return Handshake(wall, cpu, view.resumed is True)


def compare(context: Context, port: int, rounds: int) -> tuple[list[Handshake], list[Handshake]]:
    """Return the full and the resumed handshakes of so many rounds."""
    connect(context, "warm", port)
    full, resumed = [], []
    for number in range(rounds):
        full.append(connect(context, f"new {number}", port))
        resumed.append(connect(context, "warm", port))
    if any(one.resumed for one in full) or not all(one.resumed for one in resumed):
        raise SystemExit("what should have been full was resumed, or the other way round")
    return full, resumed


def row(name: str, full: list[Handshake], resumed: list[Handshake], of: Callable[[Handshake], float]) -> str:
    ratio = statistics.median(of(b) / of(a) for a, b in zip(full, resumed, strict=True))
    before, after = (statistics.median(map(of, many)) * 1000 for many in (full, resumed))
    return f"{name:<16}{before:>9.2f} ms{after:>9.2f} ms{ratio:>9.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--reconnects", type=int, default=100)
    options = parser.parse_args()

    shares = []
    print(f"{ssl.OPENSSL_VERSION}; median of {options.rounds} rounds\n")
    print(f"{'TLS':<16}{'full':>12}{'resumed':>12}{'ratio':>9}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        leaf = authority.create_child_ca().issue_cert(HOST)
        leaf.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        for version, number in VERSIONS.items():
            with server(folder / "server.pem", number) as port:
                for tickets in (False, True):
                    contexts = Contexts(tls12_tickets=tickets)
                    context = contexts.get("CERT_REQUIRED", str(folder / "ca.pem"), None, None, None)
                    connect(context, "share", port)
                    hits = sum(connect(context, "share", port).resumed for _ in range(options.reconnects))
                    said = "" if version == "1.3" else f" {'with' if tickets else 'without'} tickets"
                    if said or tickets:
                        shares.append(f"{version + said:<24}{hits} of {options.reconnects}")
                full, resumed = compare(context, port, options.rounds)
            print(row(f"{version} time", full, resumed, lambda one: one.wall))
            print(row(f"{version} client CPU", full, resumed, lambda one: one.cpu))

    print("\nReconnects resumed")
    print("\n".join(shares))
    started = time.perf_counter()
    Contexts().get("CERT_REQUIRED", DEFAULT_CA_BUNDLE_PATH, None, None, None)
    print(f"\nBuilding one context: {(time.perf_counter() - started) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
