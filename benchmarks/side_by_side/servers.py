"""What every client fetches from: nginx for small and large bodies, and the delaying server, on loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import nginx
from benchmarks.side_by_side.environment import ROOT, clean_environment

HOST = "127.0.0.1"
SMALL, LARGE = 1024, 1024 * 1024
DELAY = 0.05
"""Seconds."""

# A client that waits for its turn keeps its connections: none is closed for being idle, or for its age.
SERVERS = """
keepalive_timeout 1h; keepalive_requests 1000000000; sendfile on; tcp_nodelay on;
open_file_cache max=16 inactive=1h;
server {{
    listen {host}:{http}; listen {host}:{https} ssl; root {folder}/www; default_type application/octet-stream;
    ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:sessions:1m;
}}
"""


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Where they are; `ca` is the file of the authority that HTTPS is verified with."""

    small_http: str
    small_https: str
    delayed: str
    large: str
    ca: Path


@contextmanager
def running(folder: Path) -> Iterator[Servers]:
    """Run the servers, with what they need in `folder`; raises `nginx.NginxFailed`."""
    binary = nginx.find()
    if binary is None:
        raise nginx.NginxFailed("nginx is not installed (on Debian: apt-get install nginx-light)")
    _write_bodies(folder / "www")
    _write_certificates(folder)
    http, https = nginx.free_port(), nginx.free_port()
    config = SERVERS.format(host=HOST, http=http, https=https, folder=folder)
    with nginx.running(binary, folder, config, (HOST, http)), delaying_port(DELAY) as delaying:
        yield Servers(
            small_http=f"http://{HOST}:{http}/small",
            small_https=f"https://{HOST}:{https}/small",
            delayed=f"http://{HOST}:{delaying}/delayed",
            large=f"http://{HOST}:{http}/large",
            ca=folder / "ca.pem",
        )


def _write_bodies(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "small").write_bytes(b"x" * SMALL)
    (folder / "large").write_bytes(b"x" * LARGE)


def _write_certificates(folder: Path) -> None:
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued = authority.issue_cert(HOST)
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for number, pem in enumerate(issued.cert_chain_pems):
        pem.write_to_path(folder / "chain.pem", append=number > 0)


@contextmanager
def delaying_port(delay: float) -> Iterator[int]:
    """Run the server whose answers come after `delay` seconds; gives its port."""
    command = [sys.executable, "-m", "benchmarks.side_by_side.delaying", str(SMALL), str(delay)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT, env=clean_environment(), text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()  # which ends it
