"""tinyproxy as a process: plain HTTP requests and CONNECT, with or without a login.

It closes both of its sockets after each plain request, so only tunnels are used again through it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.nginx import free_port
from tests.conftest import require
from tests.waiting import until_accepting

USER, PASSWORD = "proxyuser", "proxypass77"

CONFIG = """
Port {port}
Listen 127.0.0.1
Timeout 60
MaxClients 200
DisableViaHeader Yes
LogFile "{folder}/log"
LogLevel Connect
Allow 127.0.0.1
{login}
"""


@dataclass(frozen=True)
class Tinyproxy:
    """A running tinyproxy; `url` has the login in it where it asks for one."""

    port: int
    url: str
    log: Path

    def requests(self) -> int:
        """How many requests and tunnels it was asked for so far, those with a wrong login included."""
        return len(re.findall(r"Request \(file descriptor", self.log.read_text()))


@contextmanager
def tinyproxy(folder: Path, *, login: bool) -> Iterator[Tinyproxy]:
    """Run tinyproxy on a free port, its files in `folder`."""
    binary = shutil.which("tinyproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    require(binary, "tinyproxy is not installed")
    port = free_port()
    config, log = folder / "tinyproxy.conf", folder / "log"
    # Without a ConnectPort line, tunnels may lead to any port.
    config.write_text(CONFIG.format(port=port, folder=folder, login=f"BasicAuth {USER} {PASSWORD}" if login else ""))
    log.touch()
    with open(folder / "out", "wb") as out:
        process = subprocess.Popen([str(binary), "-d", "-c", str(config)], stdout=out, stderr=out)
    try:
        until_accepting("tinyproxy", "127.0.0.1", port, process, folder / "out")
        yield Tinyproxy(port, f"http://{f'{USER}:{PASSWORD}@' if login else ''}127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait(10)
