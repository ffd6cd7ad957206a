"""`Origin`: listening sockets on loopback, one background thread, and the script that it answers from."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from workerpool.checks import check_count
from workerpool.errors import OptionError
from workerpool.testing.origin.connection import Manners
from workerpool.testing.origin.playbook import Playbook
from workerpool.testing.origin.records import Ledger, RecordMode, Records, Sockets
from workerpool.testing.origin.replies import Arrival, Replier
from workerpool.testing.origin.service import Service

_STOP_TIMEOUT = 10.0


class Origin:
    """An HTTP/1.1 server on loopback for tests: scripted replies, faults on request, and an honest count.

    `addresses`: the loopback addresses to serve, each of them a host of its own, all on the same port (on Linux any
        of 127.0.0.0/8 works as it is). `port`: 0 takes a free one. `tls`: serve HTTPS with this context.
    `keep_alive`: False closes every connection after one reply. `requests_per_connection`: how many requests a
        connection may carry; its last reply says so. `idle_timeout`: seconds without a byte from the client after
        which an idle connection is closed, without a word; with `idle_timeout_max`, a time between the two is drawn
        for each. `advertise_idle_timeout` tells it in a ``Keep-Alive: timeout=`` header.
    `record`: True keeps every arrival, ``"times"`` only when it came (8 bytes), False only counts. `record_limit`: how
        many arrivals are kept, the newest. `body_cap`: bytes of each request's body that are kept and echoed.

    Start it with `start` or as a context manager; a stopped one may be started again, on another port if `port` is 0.
    Every method may be called from any thread. Its thread is the only one that runs callables given as replies, so one
    that blocks stops everything; one that raises is answered with a 500 whose body is the error.

    Raises `OptionError` for an address that is not a loopback one, and for other values that cannot work.
    """

    def __init__(
        self,
        addresses: Sequence[str] = ("127.0.0.1",),
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        keep_alive: bool = True,
        *,
        requests_per_connection: int | None = None,
        idle_timeout: float | None = None,
        idle_timeout_max: float | None = None,
        advertise_idle_timeout: bool = False,
        record: RecordMode = True,
        record_limit: int = 100_000,
        body_cap: int = 64 * 1024,
    ) -> None:
        self.addresses = check_loopback(addresses)
        self._wanted_port = port
        self._tls = tls
        if requests_per_connection is not None:
            check_count("requests_per_connection", requests_per_connection)
        if idle_timeout is not None and not idle_timeout > 0:
            raise OptionError(f"idle_timeout={idle_timeout!r} must be seconds above zero, or None")
        if idle_timeout_max is not None and (idle_timeout is None or not idle_timeout_max >= idle_timeout):
            raise OptionError(f"idle_timeout_max={idle_timeout_max!r} must be seconds, no less than idle_timeout")
        if record not in (True, False, "times"):
            raise OptionError(f"record={record!r} is unknown: write True, 'times' or False")
        self._manners = Manners(
            keep_alive=keep_alive,
            requests_per_connection=requests_per_connection,
            idle_timeout=idle_timeout,
            idle_timeout_max=idle_timeout_max,
            advertise_idle_timeout=advertise_idle_timeout,
            body_cap=body_cap,
        )
        self._ledger = Ledger(self.addresses, record, check_count("record_limit", record_limit))
        self._playbook = Playbook()
        self._lifecycle = threading.Lock()  # guards _service: one start or stop at a time
        self._service: Service | None = None

    def __repr__(self) -> str:
        service = self._service
        state = "stopped" if service is None else f"port={service.port}"
        return f"<Origin {','.join(self.addresses)} {state} requests={self.requests} open={self.connections_open}>"

    def start(self) -> Origin:
        """Listen, and return once connections are accepted. Does nothing if it runs. Raises OSError."""
        with self._lifecycle:
            if self._service is None:
                service = Service(self._playbook, self._ledger, self._manners, self._tls, _STOP_TIMEOUT)
                service.start(self.addresses, self._wanted_port)
                self._service = service
        return self

    def stop(self) -> None:
        """Close every socket and end the thread, dropping replies that are under way. Does nothing if it is stopped.

        Raises RuntimeError if that takes over 10 s, which only a callable reply that blocks can bring about.
        """
        with self._lifecycle:
            if self._service is not None:
                self._service.stop()
                self._service = None

    def __enter__(self) -> Origin:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port that it listens on, the same for every address. Raises RuntimeError if it is stopped."""
        service = self._service
        if service is None:
            raise RuntimeError("the origin is not started: use it in a with statement, or call start()")
        return service.port

    def url(self, path: str = "/", address: str | None = None) -> str:
        """Return the URL of `path` at `address`, one of `addresses` (the first one by default)."""
        return url_of(path, self.addresses, address, self.port, "http" if self._tls is None else "https")

    def script(self, path: str, *replies: Replier, address: str | None = None) -> None:
        """Answer the next requests to `path` with `replies`, one each; the last one repeats.

        `path` with a query matches that query only, without one any query. `address` limits it to one of the
        addresses. A new script for the same path replaces the old one.
        """
        if not replies:
            raise OptionError(f"script({path!r}) needs at least one reply")
        if not path.startswith("/"):
            raise OptionError(f"path={path!r} must start with a slash")
        self._playbook.script(path, replies, address)

    @property
    def default(self) -> Replier | None:
        """What answers every path without a script of its own, in place of the built-in ones; None for those."""
        return self._playbook.default

    @default.setter
    def default(self, replier: Replier | None) -> None:
        self._playbook.default = replier

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """The requests that came, oldest first; empty unless `record` is True."""
        return self._ledger.arrivals()

    @property
    def requests(self) -> int:
        """How many requests came."""
        return self._ledger.requests()

    @property
    def connections_opened(self) -> int:
        """How many connections were accepted (with TLS: whose handshake ended well)."""
        return self._ledger.sockets().opened

    @property
    def connections_open(self) -> int:
        """How many connections are open now, idle ones included."""
        return self._ledger.sockets().open

    @property
    def connections_peak(self) -> int:
        """The most connections that were open at once."""
        return self._ledger.sockets().peak

    def sockets(self, address: str | None = None) -> Sockets:
        """The three counts of connections together, of one address or of all."""
        return self._ledger.sockets(address)

    def busiest(self, window_seconds: float, address: str | None = None) -> int:
        """The most arrivals in any window of that many seconds, at one address or at all of them."""
        return self.records().busiest(window_seconds, address)

    def records(self) -> Records:
        """A frozen copy of every count and arrival time."""
        return self._ledger.records()

    def reset_records(self) -> None:
        """Forget arrivals, times and counts. Open connections stay open, and are the new peak."""
        self._ledger.reset()

    def wait_for(self, count: int, timeout: float = 30.0) -> None:
        """Block until `count` requests have come. Raises TimeoutError, saying how many did."""
        if not self._ledger.wait_until(lambda: self._ledger.requests() >= count, timeout):
            raise TimeoutError(f"{self.requests} requests came in {timeout:g} s, not {count}")

    def wait_until(self, predicate: Callable[[], bool], timeout: float = 30.0) -> None:
        """Block until `predicate` holds, asked after every arrival, opening and closing. Raises TimeoutError.

        >>> origin.wait_until(lambda: origin.connections_open == 0)  # doctest: +SKIP
        """
        if not self._ledger.wait_until(predicate, timeout):
            raise TimeoutError(f"what was waited for did not come about in {timeout:g} s: {self!r}")


def url_of(path: str, addresses: Sequence[str], address: str | None, port: int, scheme: str) -> str:
    """Return the URL of `path` at `address`, the first of `addresses` if None; raises `OptionError`."""
    if address is None:
        address = addresses[0]
    elif address not in addresses:
        raise OptionError(f"address={address!r} is not served: it is one of {', '.join(addresses)}")
    if not path.startswith("/"):
        raise OptionError(f"path={path!r} must start with a slash")
    return f"{scheme}://{f'[{address}]' if ':' in address else address}:{port}{path}"


def check_loopback(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return `addresses` if each is a loopback address (RFC 1122: 127.0.0.0/8; RFC 4291: ::1); raise `OptionError`."""
    if isinstance(addresses, str) or not addresses:
        raise OptionError(f"addresses={addresses!r} must be a sequence of loopback addresses, as in ('127.0.0.1',)")
    for address in addresses:
        try:
            is_loopback = ipaddress.ip_address(address).is_loopback
        except ValueError:
            is_loopback = False
        if not is_loopback:
            raise OptionError(f"addresses: {address!r} is not a loopback address: write 127.0.0.1, 127.0.0.2 … or ::1")
    if len(set(addresses)) < len(addresses):
        raise OptionError(f"addresses={tuple(addresses)!r} names an address twice")
    return tuple(addresses)
