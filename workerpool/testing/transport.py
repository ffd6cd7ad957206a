"""A transport that sends nothing: it answers from a script, so that the pool's own behaviour shows, fast.

Any number of threads may send through it at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import requests
from requests import Response
from requests.structures import CaseInsensitiveDict
from requests.utils import requote_uri

from workerpool.config import Options, Timeout
from workerpool.model import Request
from workerpool.transport import Exchange, Governor, SocketCounts, Transport, translate


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back for a send: a status, a body and headers, or an exception of requests' to be raised.

    A ``Location`` header with a status of 301, 302, 303, 307 or 308 is a redirect.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Exception | None = None


class ScriptedTransport(Transport):
    """Answers every send by calling `script` with the request and its URL now; give it to `WorkerPool(transport=…)`.

    `script` runs on worker threads and may block. None answers everything with an empty 200. `urls` are those sent,
    in order, if `record`.

    >>> from workerpool import WorkerPool
    >>> with WorkerPool(2, transport=ScriptedTransport(lambda request, url: Answer(404))) as pool:
    ...     [outcome.status for outcome in pool.stream(["http://a.test/"])]
    [404]
    """

    def __init__(self, script: Callable[[Request, str], Answer] | None = None, *, record: bool = False) -> None:
        self._script = script or (lambda request, url: Answer())
        self._record = record
        self._max_redirects = 30  # until a pool says
        self._lock = threading.Lock()  # guards the two fields below
        self.urls: list[str] = []
        self.sends = 0

    def __call__(self, options: Options, governor: Governor) -> ScriptedTransport:
        """What the pool does with its `transport` option."""
        self._max_redirects = options.max_redirects
        return self

    def open_session(self) -> Any:
        return requests.Session()

    def settle_session(self, session: Any) -> None:
        pass

    def send(self, session: Any, exchange: Exchange, timeout: Timeout) -> Response:
        with self._lock:
            self.sends += 1
            if self._record:
                self.urls.append(exchange.url)
        answer = self._script(exchange.request, exchange.url)
        if answer.error is not None:
            raise translate(answer.error, exchange.url) from answer.error
        response = Response()
        response.status_code = answer.status
        response.url = exchange.url
        response.headers = CaseInsensitiveDict(answer.headers)
        response._content = answer.body
        response.history = [*exchange.history]
        return response

    def follow(self, session: Any, exchange: Exchange, response: Response) -> bool:
        if not response.is_redirect or not exchange.request.follows_redirects:
            return False
        exchange.history.append(response)
        if len(exchange.history) > self._max_redirects:
            error = requests.TooManyRedirects(f"more than {self._max_redirects} redirects", response=response)
            raise translate(error, exchange.url) from error
        exchange.url = urljoin(exchange.url, requote_uri(response.headers["location"]))
        return True

    def can_repeat(self, exchange: Exchange) -> bool:
        return True

    def warm(self, session: Any, url: str, host: str) -> bool:
        return False

    def counts(self) -> SocketCounts:
        return SocketCounts()

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass
