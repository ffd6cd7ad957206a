"""Two origins: one gives tokens that end, the other takes no others. They count what came of that."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from workerpool.credentials import ClientCredentials
from workerpool.testing import Arrival, Origin, Reply

SECRET = "s3cret&more"


class TokenServer:
    """`good_for`: answers that each token brings, None for any number. `life`: what ``expires_in`` says.

    `fetched`: tokens that were given. `forbidden`: paths that are refused (401), whatever the token.
    """

    def __init__(self, origin: Origin, tokens: Origin, good_for: int | None, life: float | None) -> None:
        self.origin = origin
        self.tokens = tokens
        self.good_for = good_for
        self.life = life
        self.fetched = 0
        self.forbidden: set[str] = set()
        self.failure: Reply | None = None  # in place of a token
        self._lock = threading.Lock()  # guards what is counted: the origins have a thread each
        self._left = 0
        self._good = ""
        tokens.script("/token", self._give)
        origin.default = self._answer

    @property
    def source(self) -> ClientCredentials:
        return ClientCredentials(self.tokens.url("/token"), "me", SECRET, scope="read")

    def url(self, n: int | str = "") -> str:
        return self.origin.url(f"/{n}")

    def urls(self, count: int) -> list[str]:
        return [self.url(n) for n in range(count)]

    def form(self) -> dict[str, str]:
        """What was asked for at last."""
        return {name: values[0] for name, values in parse_qs(self.tokens.arrivals[-1].body.decode()).items()}

    def revoke(self) -> None:
        """Let the token be no good any more."""
        with self._lock:
            self._good = ""

    def _give(self, arrival: Arrival) -> Reply:
        with self._lock:
            if self.failure is not None:
                return self.failure
            self.fetched += 1
            self._good = f"token{self.fetched}"
            self._left = self.good_for or -1
            said: dict[str, Any] = {"access_token": self._good, "token_type": "bearer"}
            if self.life is not None:
                said["expires_in"] = self.life
            return Reply(body=json.dumps(said).encode())

    def _answer(self, arrival: Arrival) -> Reply:
        with self._lock:
            is_good = self._good and arrival.headers.get("Authorization") == f"Bearer {self._good}"
            if not is_good or arrival.path in self.forbidden:
                return Reply(status=401)
            self._left -= 1
            if self._left == 0:
                self._good = ""
            return Reply(body=b"page")


@contextmanager
def token_server(good_for: int | None = None, life: float | None = None) -> Iterator[TokenServer]:
    with Origin(("127.0.0.1", "127.0.0.2")) as origin, Origin() as tokens:
        yield TokenServer(origin, tokens, good_for, life)
