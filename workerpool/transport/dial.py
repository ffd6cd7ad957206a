"""Makes connections: finds a name's addresses, asks the guard about them, and tries them in turn, within one timeout.

Entered by every thread that needs a new socket. One socket is open at a time, so that what a server counts is what the
budget has granted; hence no racing of addresses (RFC 8305's "happy eyeballs"), only its patience. No TLS, no proxies'
protocols, no retries.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from workerpool.transport.dns import Address, Resolver
from workerpool.transport.guard import Guard

ATTEMPT_CAP = 0.25
"""Seconds after which an address that does not answer gives way to the next one: the Connection Attempt Delay that
RFC 8305, section 5, recommends. A host whose IPv6 is dead costs that once, for as long as its name is remembered."""

SocketOptions = Iterable[tuple[int, int, int | bytes]]


@dataclass(frozen=True, slots=True)
class Dialed:
    """A connected socket, and the seconds that it took: `dns` until the name was resolved, `connect` from then on."""

    sock: socket.socket
    dns: float
    connect: float


@dataclass(frozen=True, slots=True)
class _Call:
    """What one call of `Dialer.dial` was told. `deadline` is `time.monotonic` seconds."""

    host: str
    port: int
    timeout: float | None
    deadline: float | None
    guarded: bool
    source_address: tuple[str, int] | None
    socket_options: SocketOptions

    def left(self) -> float | None:
        """Seconds left, never negative; None without a limit."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def is_late(self) -> bool:
        return self.left() == 0.0

    def too_late(self) -> TimeoutError:
        return TimeoutError(f"no connection to {self.host} port {self.port} within {self.timeout:g} s")


class Dialer:
    """Connects to hosts by way of `resolver` and `guard`. Any thread."""

    def __init__(self, resolver: Resolver, guard: Guard) -> None:
        self.resolver = resolver
        self.guard = guard

    def dial(
        self,
        host: str,
        port: int,
        *,
        timeout: float | None,
        guarded: bool = True,
        source_address: tuple[str, int] | None = None,
        socket_options: SocketOptions | None = None,
    ) -> Dialed:
        """Return a socket connected to `host`, its timeout set to `timeout` (seconds; None: no limit).

        `timeout` holds for the look-up and all addresses together. `guarded`: whether the guard is asked; not for a
        proxy's own address. `source_address` and `socket_options` are urllib3's.

        Raises the OSError of the last try, TimeoutError when time ran out, `socket.gaierror` for a name that does not
        resolve, urllib3's `LocationParseError` for what cannot be a name, and `Denied`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        call = _Call(host, port, timeout, deadline, guarded, source_address, tuple(socket_options or ()))
        started = time.perf_counter()
        addresses = self.resolver.resolve(host, timeout)
        resolved = time.perf_counter()
        if guarded:
            addresses = self.guard.filter(host, addresses)
        sock = self._connect_one_of(call, addresses)
        return Dialed(sock, resolved - started, time.perf_counter() - resolved)

    def _connect_one_of(self, call: _Call, addresses: tuple[Address, ...]) -> socket.socket:
        slow: list[Address] = []
        failure: OSError | None = None
        try:
            for address, patience in _tries(call, addresses, slow):
                try:
                    return self._connect(call, address, patience)
                except TimeoutError as error:
                    failure = error
                    slow.append(address)
                except OSError as error:
                    failure = error
            if call.is_late():
                raise call.too_late() from failure
            raise failure or OSError(errno.EHOSTUNREACH, f"{call.host} has no address")
        finally:
            failure = None  # its traceback holds this frame, and this frame would hold it until the next collection

    def _connect(self, call: _Call, address: Address, patience: float | None) -> socket.socket:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            for option in call.socket_options:
                sock.setsockopt(*option)
            sock.settimeout(patience)
            if call.source_address:
                _bind(sock, call.source_address)
            sock.connect(address.sockaddr(call.port))
            if call.guarded and self.guard.checks_addresses:
                self.guard.check_address(call.host, sock.getpeername()[0])
            self.resolver.prefer(call.host, address)
            sock.settimeout(call.timeout)
        except BaseException:
            sock.close()
            raise
        return sock


def _tries(call: _Call, addresses: tuple[Address, ...], slow: list[Address]) -> Iterator[tuple[Address, float | None]]:
    """Yield each try's address and its seconds; the caller adds to `slow` those that were not done in theirs.

    All but the last get `ATTEMPT_CAP`. The last gets what is left, but for an even share for each slow one, which then
    has another try. Else a host that is more than 250 ms away would be lost to a dead address behind it.
    """
    for address in addresses[:-1]:
        if (left := call.left()) == 0.0:
            return
        yield address, ATTEMPT_CAP if left is None else min(ATTEMPT_CAP, left)
    patient = [*addresses[-1:], *slow]
    for tried, address in enumerate(patient):
        if (left := call.left()) == 0.0:
            return
        yield address, None if left is None else left / (len(patient) - tried)


def _bind(sock: socket.socket, source_address: tuple[str, int]) -> None:
    """Bind as urllib3 does; but an IPv4 source for an IPv6 socket is no failure to find the *host's* name."""
    try:
        sock.bind(source_address)
    except socket.gaierror as error:
        raise OSError(errno.EADDRNOTAVAIL, f"{source_address[0]} cannot be the source: {error.strerror}") from error
