"""urllib3's connections, over `Connections`: counted, watched, traced, and dialled by us."""

from __future__ import annotations

import http.client
import re
import select
import socket
import ssl
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from workerpool.transport.connections import PLACE_WAIT, Connections
from workerpool.transport.deadline import Watch, shortest
from workerpool.transport.dial import Dialed
from workerpool.transport.reading import Answer, Source
from workerpool.transport.sockets import is_dead
from workerpool.transport.tls import Context
from workerpool.transport.trace import Trace

if TYPE_CHECKING:
    from workerpool.transport.pending import Pending

IDLE_FROM = 0.02
"""Seconds without a byte from which a socket counts as one that was idle: its server may have closed it meanwhile."""


_TLS_ENDED = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
ENDED = (ConnectionError, *_TLS_ENDED)
"""What a socket raises whose other side is gone."""


class StaleSocket(http.client.RemoteDisconnected):
    """A socket that had been idle ended before any byte of the answer came: its server had closed it."""


class InvalidHeader(ValueError):
    """What stands before the body cannot be sent as it is, or would be read as something else."""


_NOT_A_TOKEN = re.compile(r"[^-!#$%&'*+.^_`|~0-9a-zA-Z]")  # RFC 9110, section 5.6.2
_ENDS_A_LINE = re.compile(r"[\r\n\0]")


def fault_of(headers: Mapping[Any, Any]) -> str:
    """Which header cannot be sent, and why; its value is not told, as it may be a secret."""
    for key, value in headers.items():
        name = key.decode("latin-1") if isinstance(key, bytes) else str(key)
        if value is None:  # it takes one of the session's away
            continue
        if not isinstance(value, str | bytes):
            return f"the header {name!r} is of type {type(value).__name__}: it must be a text"
        text = value if isinstance(value, str) else value.decode("latin-1")
        if text[:1].isspace():
            return f"the header {name!r} begins with white space"
        if _ENDS_A_LINE.search(text) or _ENDS_A_LINE.search(name):
            return f"the header {name!r} has a line break or NUL in it"
        if any(ord(character) > 0xFF for character in text):
            return f"the header {name!r} has a character in it that is not in Latin-1: percent-encode it"
    return "a header, or the URL, has a character in it that cannot be sent"


class CountedConnection(HTTPConnection):
    """What our connections add to urllib3's.

    A place in the budget while open; a count of uses; the deadline's watch on the socket; the trace of each send.
    `connections`, `host_key` and `site` are set by the pool that makes the connection: `host_key` is the host that it
    counts against, `site` what its socket leads to, a proxy where there is one. `ticket`: its place, 0 before it has
    one. `idle_since`: `time.monotonic` seconds.
    """

    connections: Connections
    host_key: str
    site: str
    ticket = 0
    times_used = 0
    idle_since = 0.0
    resumed: bool | None = None  # whether TLS resumed a session, None without TLS
    trace: Trace
    handed: Pending | None = None  # what the fast path has begun, and requests' own finishes: see there
    _HTTPConnection__response: Any  # http.client's own name for it
    _ahead = b""
    _poll: Any = None  # for its socket
    _awaits_response = False
    _was_idle = False

    def __repr__(self) -> str:
        """What it leads to and how it stands. Its login is not told."""
        if self.sock is None:
            state = "closed" if self.idle_since else "new"
        elif self.connections.is_idle(self):
            state = f"idle for {time.monotonic() - self.idle_since:.1f} s"
        else:
            state = "in use"
        tls = "" if self.resumed is None else ", TLS resumed" if self.resumed else ", TLS"
        return f"<{type(self).__name__} {self.site}: {state}, {self.times_used} sent{tls}>"

    # -- opening and closing ------------------------------------------------------------------------------------------

    def connect(self) -> None:
        if self.handed is not None:
            raise self.handed.error
        trace = self.trace = self.connections.traces.current
        watch = self.connections.watchdog.watch
        wait = shortest(PLACE_WAIT, watch.left())
        asked = time.perf_counter()
        has_place = self.connections.open_place(self, wait=wait)
        trace.place = time.perf_counter() - asked
        if not has_place:
            raise ConnectTimeoutError(
                self,
                f"no free socket within {wait:.3g} s: every one is held by a response being streamed, or by another "
                "process that shares the budget",
            )
        watch.tighten(self.timeout)
        try:
            self._prepare()
            started = time.perf_counter()
            self._connect()
        except BaseException:
            self.close()
            raise
        finally:
            watch.relax()
        self.connections.holds(self, self.sock)
        self.idle_since = time.monotonic()
        trace.sent_at = time.perf_counter()  # now, or in a moment
        trace.tls = max(0.0, trace.sent_at - started - trace.dns - trace.connect) if self._is_more_than_tcp() else 0.0
        self.resumed = trace.resumed
        self.connections.opened(trace.resumed)

    def _prepare(self) -> None:
        """Do what takes time without being part of connecting."""

    def _connect(self) -> None:
        super().connect()

    def _is_more_than_tcp(self) -> bool:
        return self._tunnel_host is not None

    def _new_conn(self) -> socket.socket:
        """As urllib3's, by our dialer: the name from its cache, address after address, past the guard."""
        watch = self.connections.watchdog.watch
        try:
            dialed = self._dial(shortest(self.timeout, watch.left()))
        except OSError as error:
            failure = self._dial_failure(error)
            failure.through = self._proxy_name()
            raise failure from error
        self.trace.dns, self.trace.connect = dialed.dns, dialed.connect
        watch.attach(dialed.sock)
        self.connections.holds(self, dialed.sock)
        return dialed.sock

    def _dial_failure(self, error: OSError) -> Any:
        if isinstance(error, socket.gaierror):
            return NameResolutionError(self.host, self, error)
        if isinstance(error, TimeoutError):
            return ConnectTimeoutError(self, f"no connection to {self.host} in time")
        return NewConnectionError(self, f"Failed to establish a new connection: {error}")

    def _proxy_name(self) -> str | None:
        """Host and port of the proxy that it goes through, without its login; None without one."""
        return None if self.proxy is None else f"{self.proxy.host}:{self.proxy.port}"

    def _proxy_key(self) -> Any:
        """What tells the way through one proxy from the way through another: its address and its login."""
        return self.proxy and self.proxy.netloc

    def _dial(self, timeout: float | None) -> Dialed:
        return self.connections.dialer.dial(
            self._dns_host,
            self.port,
            timeout=timeout,
            guarded=self.proxy is None,
            source_address=self.source_address,
            socket_options=self.socket_options,
        )

    def close(self) -> None:
        super().close()
        self._poll = None
        # http.client closes inside getresponse() when the server said ``Connection: close``. The response still holds
        # the socket then; the place is given back when it lets go, in `checkin`.
        if not self._awaits_response:
            self.connections.closed(self.ticket)

    @property
    def has_leftover(self) -> bool:
        """Whether more came than belongs to the last answer, or not all of that was read: somebody may let go early."""
        response = self._HTTPConnection__response  # http.client's
        return self.trace.has_leftover or (response is not None and not response.isclosed())

    def is_dead(self) -> bool:
        """Whether it is no good for another request. One that is alive says so at the first look."""
        sock = self.sock
        if sock is None or sock.fileno() < 0:
            return True
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)
        return bool(self._poll.poll(0) or self._may_hold_back(sock)) and is_dead(sock)

    def _may_hold_back(self, sock: Any) -> bool:
        """Whether something may have been read from the system that nobody has seen yet."""
        return False

    def settle(self) -> None:
        """Take note that it becomes idle."""
        # Forget http.client's response: `close` would close it, too, perhaps on another thread while its reader does.
        self._HTTPConnection__response = None
        self.idle_since = time.monotonic()

    # -- a request and its answer -----------------------------------------------------------------------------------

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **kwargs: Any) -> None:
        if not (method.isascii() and method.isalpha()) and _NOT_A_TOKEN.search(method):
            raise InvalidHeader(f"the method {method!r} has a character that no method has")
        if self.sock is None:
            self.connect()
        handed = self.handed
        if handed is None:
            self.begins()
        elif handed.has_failed_sending:
            raise handed.error
        try:
            super().request(method, url, body, headers, **kwargs)
        except _TLS_ENDED as error:
            self.check_stale(error)
            raise
        except ValueError as error:
            if not self._buffer:  # type: ignore[attr-defined]  # the head has been sent
                raise
            raise InvalidHeader(fault_of(headers or {})) from error
        if handed is None:
            self.has_asked(body)

    def begins(self) -> None:
        """Take note that a request is about to be sent."""
        trace = self.trace = self.connections.traces.current
        self.times_used += 1
        self._was_idle = self.times_used > 1
        self.connections.watchdog.watch.attach(self.sock)
        trace.received = 0  # a proxy may have answered on the way
        trace.sent_at = time.perf_counter()

    def has_asked(self, body: Any) -> None:
        """Take note that a request has been sent, with that body."""
        if not self._was_idle and body is None:  # opened ahead; or this thread had to wait before it could send
            self._was_idle = time.monotonic() - self.idle_since > IDLE_FROM

    def send(self, data: Any) -> None:
        """As http.client's; what another hand has sent already is not sent again."""
        if self.handed is None:
            super().send(data)

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        """Refuse, before any of it is sent, a head that would be read as two headers, or as another request.

        http.client lets a line break through that a space follows: an old way to go on with the same header, which
        servers read in different ways. It lets NUL through, too, where some servers stop reading.
        """
        for line in self._buffer:  # type: ignore[attr-defined]
            if b"\n" in line or b"\r" in line or b"\0" in line:
                raise ValueError("a line of the head has a line break or NUL in it")
        super().endheaders(*args, **kwargs)

    def getresponse(self) -> Any:
        handed, self._ahead = self.handed, b""
        if handed is not None:
            if handed.error is not None:
                raise handed.error
            self.handed, self._ahead = None, handed.data
        self._awaits_response = True
        try:
            response = super().getresponse()
        except ENDED as error:
            self.check_stale(error)
            raise
        finally:
            self._awaits_response = False
        self.has_answered(response.headers.get("keep-alive"))
        return response

    def has_answered(self, keep_alive: str | None) -> None:
        """Take note that the answer's head is there, and what its ``Keep-Alive`` says."""
        trace = self.trace
        trace.answered = True
        if trace.sent_at is not None:
            trace.first_byte = time.perf_counter() - trace.sent_at
        if keep_alive is not None:
            self.connections.told(self, keep_alive)

    def response_class(  # type: ignore[override]  # http.client only calls it
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> http.client.HTTPResponse:
        """Our kind of http.client's response, reading through our reader."""
        return Answer(Source(sock, self.trace, self._ahead), debuglevel, method, url)  # type: ignore[arg-type]

    def check_stale(self, error: Exception) -> None:
        """Raise `StaleSocket` for a connection that ended before its answer began, if it had been idle before."""
        if self._was_idle and not self.trace.received and not self.connections.watchdog.watch.has_expired:
            self.connections.lost(self, time.monotonic() - self.idle_since)
            raise StaleSocket("the server had closed the connection, which had been idle") from error


class CountedHTTPSConnection(CountedConnection, HTTPSConnection):
    """A counted connection whose TLS context is shared and never changes, and whose sessions are resumed."""

    _context: Context | None = None
    _is_kept = False

    def _prepare(self) -> None:
        if self._context is None:
            self._trust_proxy(self.connections.watchdog.watch)
            self._context = self.connections.contexts.get(
                self.cert_reqs, self.ca_certs, self.ca_cert_dir, self.cert_file, self.key_file, self.key_password
            )
            # The files are in the context already.
            self.ca_certs = self.ca_cert_dir = self.ca_cert_data = None
            self.cert_file = self.key_file = self.key_password = None

    def _connect(self) -> None:
        assert self._context is not None
        view = self._context.view(self._session_key(), self.connections.watchdog.watch.attach)
        self.ssl_context = view  # type: ignore[assignment]  # urllib3 sees no difference
        super()._connect()
        self.trace.resumed = view.resumed

    def _trust_proxy(self, watch: Watch) -> None:
        """Verify a proxy that speaks TLS itself as its targets are verified, which is what requests means."""
        if self.proxy is None or self.proxy.scheme != "https" or self.proxy_config is None:
            return
        if self.proxy_config.ssl_context is None:
            context = self.connections.contexts.get(self.cert_reqs, self.ca_certs, self.ca_cert_dir, None, None)
            view: Any = context.view(("proxy", self.proxy.netloc), watch.attach)
            self.proxy_config = self.proxy_config._replace(ssl_context=view)

    def _is_more_than_tcp(self) -> bool:
        return True

    def _session_key(self) -> tuple[Any, ...]:
        return (self._tunnel_host or self.host, self._tunnel_port or self.port, self._proxy_key())

    def settle(self) -> None:
        super().settle()
        self._keep_session()

    def _may_hold_back(self, sock: Any) -> bool:
        return not isinstance(sock, ssl.SSLSocket) or sock.pending() > 0

    def close(self) -> None:
        self._keep_session()
        super().close()

    def _keep_session(self) -> None:
        """Keep the TLS session for the next connection. On TLS 1.3 it can be resumed only once data has been read."""
        if self.connections.is_abandoned:
            return  # a lock may be held by a thread of the parent
        if not self._is_kept and self._context is not None and self.trace.received and self.sock is not None:
            self._is_kept = True
            self._context.save(self._session_key(), self.sock)
