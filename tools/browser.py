"""A headless Chromium, driven by its DevTools protocol over two pipes: no package and no port is needed for that.

For the tests of pages and the documentation's screenshots. One thread.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")

PATIENCE = 30.0
"""Seconds after which a browser that says nothing counts as hung."""

_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars", "--mute-audio")


def browser_path() -> str | None:
    """The browser of this machine, None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class BrowserError(RuntimeError):
    """The browser refused a command, ended, or a script in its page raised."""


class Page:
    """A page in a browser. `complaints`: what its console said, its scripts raised, and its policy refused."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._unread = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.asked_for: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command, and return what it came to."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._take(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, path: Path, *, width: int = 1400, height: int = 900, dark: bool = False, scale: float = 1) -> None:
        """Show a file, and wait until it is loaded."""
        self.resize(width, height, scale=scale)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._take(self._next())

    def resize(self, width: int, height: int, *, scale: float = 1) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def run(self, script: str) -> Any:
        """What an expression comes to in the page; promises are waited for."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise BrowserError(f"{script}: {found['exceptionDetails'].get('exception', {}).get('description')}")
        return found["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """Press a key and let it go: "Tab", "Enter", "a"."""
        code = {"Tab": 9, "Enter": 13, " ": 32, "ArrowDown": 40}.get(key, 0)
        kind = "keyDown" if text or key == "Enter" else "rawKeyDown"
        typed = {"text": text or "\r"} if kind == "keyDown" else {}
        self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self, *, whole: bool = True) -> bytes:
        """The page as a PNG; `whole`: also what is below the window's end."""
        return base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=whole, format="png")["data"])

    def _take(self, event: dict[str, Any]) -> None:
        method, params = event.get("method", ""), event.get("params", {})
        self._events.append(event)
        if method == "Runtime.consoleAPICalled":
            self.complaints.append(" ".join(str(one.get("value")) for one in params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"].get("exception", {}).get("description")))
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked_for.append(params["request"]["url"])

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise BrowserError(f"the browser has said nothing for {PATIENCE:g} s")
            data = os.read(self._answers, 1 << 16)
            if not data:
                raise BrowserError("the browser has ended")
            self._unread += data
        message, _, self._unread = self._unread.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextmanager
def browser(path: str) -> Iterator[Page]:
    """A page of a browser of its own, which is ended with it."""
    commands, to_write = os.pipe()
    to_read, answers = os.pipe()
    # The browser reads from its descriptor 3 and writes to 4; the shell has ours there before it becomes the browser.
    # By their names, as a shell need not know descriptors of two digits.
    ours = f"3</proc/self/fd/{commands} 4>/proc/self/fd/{answers}"
    begin = ["/bin/sh", "-c", f'exec "$0" "$@" {ours}', path, *_FLAGS]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [*begin, f"--user-data-dir={profile}"],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(commands)
        os.close(answers)
        try:
            yield Page(to_write, to_read)
        finally:
            os.close(to_write)
            os.close(to_read)
            process.kill()
            process.wait(PATIENCE)
