"""The code and the commands of the documentation's pages, and a small world in which they run as they stand.

In that world every name is this machine: ``https://api.example.com`` is an origin of the tests, with a certificate that
is trusted, and so are its proxies. Clocks run a hundred times as fast, so a rate of 20/s takes no time.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.tunnels import Tunnels
from workerpool import WorkerPool
from workerpool.cli import main
from workerpool.clock import SystemClock
from workerpool.testing import Arrival, Origin, Reply
from workerpool.testing.origin.paths import Paths

FENCE = re.compile(r"^(?:<!-- not run: (.*?) -->\n)?```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:\w+=\S+ )*(?:(?:\./)?venv/bin/)?workerpool \w")
SHELL = ("for ", "echo ", "cat ", "grep ", "head ", "ls", "printf ", "sort ", "wc ", "test ")
"""How other commands begin that are carried out, in the page's folder."""

ELSEWHERE = re.compile(r"^/(?:var/lib/node_exporter|srv|backup)\b")
"""Directories of a reader's machine that are the page's folder."""

HURRY = 100
"""How many times as fast clocks go."""

LESS = {"100_001": "301", "10_000_001": "301", "1_000_001": "301"}
"""Where a page's code fetches so many, fewer will do."""

NAMES = ("example.com", "*.example.com", "api.example", "shop.test", "*.test", "localhost", "127.0.0.1")


@dataclass(frozen=True)
class Snippet:
    """A block of a page: `why_not` is the reason of one that is marked as not to be run, else empty."""

    language: str
    text: str
    line: int
    why_not: str

    @property
    def runs(self) -> bool:
        """Whether it is run: Python, or a block with a command of ours, unless it is marked."""
        is_ours = self.language == "python" or any(COMMAND.match(command) for command in commands(self))
        return is_ours and not self.why_not


def snippets(text: str) -> Iterator[Snippet]:
    """Yield the blocks of a page in their order."""
    for found in FENCE.finditer(text):
        yield Snippet(found[2], found[3], text.count("\n", 0, found.start(3)) + 1, found[1] or "")


def commands(snippet: Snippet) -> Iterator[str]:
    """Yield what a block has its reader type: the lines after a prompt, or in a block of ``sh`` all of them."""
    lines = snippet.text.replace("\\\n", " ").splitlines()
    if snippet.language == "sh":
        yield from (line for line in lines if line and not line.startswith("#"))
    elif snippet.language == "console":
        yield from (line.removeprefix("$ ") for line in lines if line.startswith("$ "))


class Page:
    """Runs the blocks of one page, from its first to its last, in a folder of its own: Python as one module."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._names: dict[str, Any] = {"__name__": path.stem}

    def run(self, snippet: Snippet) -> None:
        if snippet.language == "python":
            self.python(snippet.text, snippet.line)
            return
        for command in commands(snippet):
            if COMMAND.match(command):
                self._ours(command, snippet.line)
            elif command.startswith(SHELL):
                subprocess.run(["bash", "-c", command], cwd=self._folder, check=False, timeout=30, capture_output=True)

    def python(self, text: str, line: int = 1) -> None:
        """Run `text`, whose first line is `line` of the page, so that a traceback leads there."""
        for many, some in LESS.items():
            text = text.replace(many, some)
        exec(compile("\n" * (line - 1) + text, self._path, "exec", dont_inherit=True), self._names)

    def _ours(self, command: str, line: int) -> None:
        words = [ELSEWHERE.sub(".", word) for word in _words(command)]
        if "-o" in words and not ("--job" in words and self._file_after("--job", words).exists()):
            self._file_after("-o", words).unlink(missing_ok=True)  # the commands of a page are often a choice of one
        code = main(words)
        assert code in (0, 1, *([4] if "--deadline" in words else [])), (
            f"{self._path}:{line}: {command} ended with {code}"
        )

    def _file_after(self, option: str, words: list[str]) -> Path:
        return self._folder / words[words.index(option) + 1]

    def close(self) -> None:
        """Close what the page's code has left open."""
        for value in self._names.values():
            if isinstance(value, WorkerPool):
                value.shutdown()
            elif isinstance(value, sqlite3.Connection):
                value.close()


def _words(command: str) -> list[str]:
    """Return the words of our command that begins a line of the shell's, up to a pipe or a redirection."""
    said = shlex.shlex(command, posix=True, punctuation_chars="|&;>")
    said.whitespace_split = True
    words = list(said)
    begin = next(at for at, word in enumerate(words) if word.endswith("workerpool"))
    end = next((at for at, word in enumerate(words) if set(word) <= set("|&;>")), len(words))
    return words[begin + 1 : end]


def answer(arrival: Arrival) -> Reply:
    """What the world's servers say: the origin's own paths, tokens, and otherwise one item or a page of them."""
    path = arrival.path.partition("?")[0]
    if path == "/robots.txt":
        return Reply(body=b"User-agent: *\nDisallow: /private/\n")
    if path.endswith("/token"):
        return _json({"access_token": "t0ken", "expires_in": 3600, "token_type": "Bearer"})
    if path != "/" and (reply := _PATHS.reply(arrival)).status != 404:
        return reply
    if path.startswith("/status/"):
        return Reply(status=404)
    number = next(iter(re.findall(r"\d+", path)), "1")
    item = {"id": int(number), "name": f"item {number}", "price": 9.5, "stock": 3}
    return _json({**item, "items": [item], "meta": {"next_cursor": None, "total": 1}})


def _json(value: object) -> Reply:
    return Reply(body=json.dumps(value).encode(), headers={"Content-Type": "application/json"})


_PATHS = Paths()

FILES = {
    "urls.txt": "https://example.com/1\nhttps://example.com/2\nhttps://api.example.com/items/3\n",
    "new.txt": "https://example.com/1\n",
    "items.txt": "https://api.example.com/items/1\nhttps://api.example.com/items/2\n",
    "pages.txt": "https://api.example.com/items?page=1\nhttps://api.example.com/items?page=2\n",
    "shops.txt": "https://api.example.com/shops/1/orders\nhttps://api.example.com/shops/2/orders\n",
    "items.csv": "id,shop,lang,url\n1,north,en,https://api.example.com/items/1\n2,south,,https://api.example.com/items/2\n",
    "proxies.txt": "http://a.example.com:3128\n",
    ".secrets/api": "s3cret\n",
    "part-1.txt": "https://example.com/1\n",
    "login.toml": 'token_url = "https://login.example.com/oauth2/token"\nclient_id = "me"\n'
    'client_secret = "env:CLIENT_SECRET"\nhosts = ["api.example.com"]\n',
    "last.jsonl": '{"key": "a", "url": "https://api.example.com/items/1", "method": "GET", "status": 200, "ok": true, '
    '"error": null, "attempts": 1, "elapsed": 0.1, "bytes": 5, "final_url": null, '
    '"started_at": "2026-11-01T00:00:00.000000+00:00"}\n',
}
"""What the pages take to be in their reader's folder."""

VARIABLES = {
    "CLIENT_SECRET": "s3cret",
    "API_TOKEN": "t0ken",
    "API_KEY": "k3y",
    "PROXY_URL": "http://a.example.com:3128",
}


@contextmanager
def world(folder: Path, authority: Authority, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have every name lead to servers of this process, `folder` be where commands are typed, and clocks hurry."""
    folder.mkdir(exist_ok=True)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    for name, text in {
        **VARIABLES,
        "REQUESTS_CA_BUNDLE": authority.file,
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
    }.items():
        patch.setenv(name, text)
    patch.chdir(folder)
    with ExitStack() as stack:
        plain = stack.enter_context(Origin())
        secure = stack.enter_context(Origin(tls=authority.context(*NAMES), idle_timeout=5, advertise_idle_timeout=True))
        tunnels = stack.enter_context(Tunnels())
        plain.default = secure.default = answer
        ports = {80: plain.port, 443: secure.port, 8000: plain.port, 3128: int(tunnels.url.rpartition(":")[2])}
        _lead(ports, patch)
        _hurry(patch)
        yield


def _lead(ports: dict[int, int], patch: pytest.MonkeyPatch) -> None:
    """Have all names resolve to loopback, connections to the usual ports go to `ports`, and servers take any port."""
    look_up, connect, connect_ex, bind = (
        socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex, socket.socket.bind
    )  # fmt: skip

    def found(host: Any, *more: Any, **named: Any) -> Any:
        return look_up(host if host is None or _is_address(host) else "127.0.0.1", *more, **named)

    def led(address: Any) -> Any:
        return (address[0], ports.get(address[1], address[1])) if isinstance(address, tuple) else address

    patch.setattr(socket, "getaddrinfo", found)
    patch.setattr(socket.socket, "connect", lambda self, address: connect(self, led(address)))
    patch.setattr(socket.socket, "connect_ex", lambda self, address: connect_ex(self, led(address)))
    patch.setattr(socket.socket, "bind", lambda self, to: bind(self, (to[0], 0) if isinstance(to, tuple) else to))


def _is_address(host: str | bytes) -> bool:
    try:
        ipaddress.ip_address(host if isinstance(host, str) else host.decode())
    except ValueError:
        return False
    return True


def _hurry(patch: pytest.MonkeyPatch) -> None:
    """Have pools' clocks go faster: rates, backoff and pauses then pass so much sooner."""
    began, wait = time.monotonic(), SystemClock.wait

    def now() -> float:
        return began + (time.monotonic() - began) * HURRY

    def wait_less(self: SystemClock, condition: Any, seconds: float | None) -> None:
        wait(self, condition, None if seconds is None else seconds / HURRY)

    patch.setattr(SystemClock, "now", staticmethod(now))
    patch.setattr(SystemClock, "wait", wait_less)
