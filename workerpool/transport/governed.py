"""What happens to sends: at once if the scheduler handed them out, and otherwise when the governor gives leave.

Worker threads only.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from workerpool.transport.bodies import read_redirect, read_whole
from workerpool.transport.guard import Guard
from workerpool.transport.trace import Trace, Traces, mark


class Send(Protocol):
    """Sends a request once."""

    def __call__(self, host: str, fresh: bool, left: float | None) -> Response:
        """Send, counted against the budget of `host`; over a new socket only if `fresh`; within `left` seconds."""


class Governor(Protocol):
    """Sends what the scheduler did not hand out: waits for leave, sends, and retries by the policy, on this thread."""

    def __call__(self, request: PreparedRequest, send: Send, *, has_place: bool) -> Response:
        """Call `send` when there is leave, and again as long as the policy says so.

        `has_place`: this thread is inside a send of the pool's (an auth that answers a challenge, say), so it has its
        place already, and only a slot is to be waited for.
        """


class Driven(threading.local):
    """Whether this thread is inside a send that the scheduler handed out, and whether its one slot is used up."""

    active = False
    used = False
    response: Response | None = None

    def __enter__(self) -> None:
        self.active = True
        self.used = False

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        self.active = False
        response, self.response = self.response, None
        if kind is not None and response is not None:
            response.close()  # a hook raised, and nobody else has this response

    @property
    def may_send(self) -> bool:
        """Whether the scheduler gave leave for a send that has not been made yet."""
        return self.active and not self.used

    def keep(self, response: Response) -> Response:
        self.used = True
        self.response = response
        return response


class GovernedAdapter(BaseAdapter):
    """Puts an adapter that a user mounted under the pool's budgets; its sockets stay its own, and uncounted.

    So its deadline is what its own timeouts make of it; and as nobody sees what it connects to, `deny_private` refuses
    it, unless whoever connects for the pool is trusted (`trust_proxy`).
    """

    def __init__(
        self,
        inner: BaseAdapter,
        guard: Guard,
        driven: Driven,
        governor: Governor,
        traces: Traces,
        max_body: int | None,
    ) -> None:
        super().__init__()
        self.inner = inner
        self._guard = guard
        self._traces = traces
        self._max_body = max_body
        self._driven = driven
        self._governor = governor

    def send(self, request: PreparedRequest, stream: bool = False, *args: Any, **kwargs: Any) -> Response:
        self._guard.check_foreign(request.url or "")
        if self._driven.may_send:
            response = self._driven.keep(self.inner.send(request, stream, *args, **kwargs))
            self._read_redirect(response, self._traces.current)
            return response

        def send_once(host: str, fresh: bool, left: float | None) -> Response:
            response = self.inner.send(request, stream, *args, **kwargs)
            self._read_redirect(response, Trace(host=host))
            if not (stream or response.is_redirect):
                read_whole(response, self._max_body)
            return response

        return self._governor(request, send_once, has_place=self._driven.active)

    def _read_redirect(self, response: Response, trace: Trace) -> None:
        if response.is_redirect:
            trace.unreadable = read_redirect(response, self._max_body)
        mark(response, trace)

    def close(self) -> None:
        self.inner.close()
