"""nginx as a child of ours on loopback, for benchmarks and for tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIG = """
{user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/client; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {http}
}}
"""

START_TIMEOUT = STOP_TIMEOUT = 10.0


class NginxFailed(Exception):
    """nginx did not start; the text is what it said."""


def find() -> str | None:
    """Return where nginx is; Debian keeps it where only root looks."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def version(binary: str) -> str:
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, timeout=10, check=True).stderr
    return said.strip().rpartition("/")[2]


def free_port(address: str = "127.0.0.1") -> int:
    with socket.create_server((address, 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running(binary: str, folder: Path, http: str, accepts: tuple[str, int]) -> Iterator[None]:
    """Run nginx with `http` in that block of its configuration, and everything it writes in `folder`.

    Returns once it accepts connections at the address and port `accepts`; raises `NginxFailed` if it does not.
    """
    folder.chmod(0o755)
    # As root, nginx would hand its workers to a user who may not read a temporary folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config, out = folder / "nginx.conf", folder / "out"
    config.write_text(CONFIG.format(user=user, folder=folder, http=http))
    command = [binary, "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(config)]
    with open(out, "wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        if not _accepts(process, accepts):
            raise NginxFailed(out.read_text() or "nginx does not accept connections")
        yield
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT)


def _accepts(process: subprocess.Popen[bytes], address: tuple[str, int]) -> bool:
    """Whether it comes to accept within the time; a connection is refused at once before."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(address, 1).close()
            return True
        except ConnectionRefusedError:
            time.sleep(0.02)
    return False
