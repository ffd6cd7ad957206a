"""How long a socket may be idle: what servers say about it, and what their closing shows. Any thread.

A request over a socket that its server is about to close is lost, so sockets are retired first. ``Keep-Alive:
timeout=`` (RFC 2068, section 19.7.1.1; in wide use) says how long the server keeps one. Most servers say nothing, so
each close of an idle socket that is seen lowers what is believed of its server, and each retirement without one raises
it a little: a server that was merely restarted is believed again after a while.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict

IDLE_MAX = 60.0
"""Seconds that a socket stays idle where nothing is known. Common limits of servers are 2 to 75 s; what they close
earlier is seen, and what routers between drop silently (often after minutes) is not waited for."""
MARGIN = 0.2
"""The share of a limit that is given away, and at most `MARGIN_MAX` seconds: the server's clock started earlier."""
MARGIN_MAX = 1.0
GROWTH = 1.1
"""What each retirement before its time multiplies a limit by that was only seen, not said."""
SITES_REMEMBERED = 10_000

SAID = re.compile(r"timeout\s*=\s*\"?(\d{1,9})(?!\d)", re.IGNORECASE)
"""What a ``Keep-Alive`` header says, in seconds. A number of more digits says nothing."""


class IdleLimits:
    """The idle limit of each site: host and port that sockets lead to, through a proxy's tunnel where there is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two fields below
        self._said: OrderedDict[str, float] = OrderedDict()
        self._seen: OrderedDict[str, float] = OrderedDict()

    def limit(self, site: str) -> float:
        """Seconds after which an idle socket to `site` is retired. Takes no lock: what was right just now will do."""
        limit = self._said.get(site)
        if limit is None:
            limit = self._seen.get(site, IDLE_MAX)
        return max(0.0, limit - min(MARGIN_MAX, MARGIN * limit))

    def said(self, site: str, keep_alive: str) -> None:
        """Note an answer's ``Keep-Alive`` header."""
        match = SAID.search(keep_alive)
        seconds = min(IDLE_MAX, float(match[1])) if match else None
        if seconds is not None and self._said.get(site) != seconds:
            with self._lock:
                _remember(self._said, site, seconds)

    def closed_after(self, site: str, seconds: float) -> None:
        """Note that the server closed a socket that had been idle for so long, at most."""
        with self._lock:
            # A server that says its limit and closes sooner has been restarted, or does not keep its word.
            seconds = max(0.0, seconds)
            if seconds < self._said.get(site, 0.0) * (1 - MARGIN):
                del self._said[site]
            if seconds < self._seen.get(site, IDLE_MAX):
                _remember(self._seen, site, seconds)

    def retired(self, site: str) -> None:
        """Note that a socket was retired while its server still kept it."""
        with self._lock:
            seen = self._seen.get(site)
            if seen is not None:
                _remember(self._seen, site, min(IDLE_MAX, seen * GROWTH + 0.01))


def _remember(limits: OrderedDict[str, float], site: str, seconds: float) -> None:
    limits[site] = seconds
    limits.move_to_end(site)
    if len(limits) > SITES_REMEMBERED:
        limits.popitem(last=False)
