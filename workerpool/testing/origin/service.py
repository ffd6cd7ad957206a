"""The origin's thread: an event loop that accepts connections, and ends with none left.

`Service` runs in its own thread from `start` to `stop`; those two are called by one other thread at a time.
"""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
import ssl
import threading
import time
from collections.abc import Sequence

from workerpool.testing.origin.connection import Connection, Manners
from workerpool.testing.origin.playbook import Playbook
from workerpool.testing.origin.records import Ledger
from workerpool.testing.origin.replies import Arrival, Reply

_BACKLOG = 1024
_PORT_TRIES = 20
_LEFT = getattr(select, "POLLRDHUP", 0)  # where the system knows no such event, resets alone are seen
_LOOKED_AT = 500
"""Connections that are looked at before there is a new peak of them; with more, each new one would take long."""

_TLS_SHUTDOWN = 1.0
"""Seconds that a closed TLS connection waits for the client's own close_notify, 30 if asyncio had its way: servers do
not keep sockets open for that, and the count of open ones would be off for as long."""


class Service:
    """One run of an origin, from its listening sockets to their end."""

    def __init__(
        self, playbook: Playbook, ledger: Ledger, manners: Manners, tls: ssl.SSLContext | None, stop_timeout: float
    ) -> None:
        self._playbook = playbook
        self._ledger = ledger
        self._manners = manners
        self._tls = tls
        self._stop_timeout = stop_timeout
        self._numbers = itertools.count(1)
        self._connections: set[Connection] = set()  # the service's thread only, and so is:
        self._left: set[Connection] = set()  # those of them that are counted as closed already
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event
        self._is_ready = threading.Event()
        self._thread: threading.Thread
        #: The port that it listens on, once started.
        self.port = 0

    def start(self, addresses: Sequence[str], port: int) -> None:
        """Listen on `port` of every address, 0 for a free one. Raises OSError."""
        sockets = _listen(addresses, port)
        self.port = sockets[0].getsockname()[1]
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(sockets)), name=f"origin-{self.port}", daemon=True
        )
        self._thread.start()
        self._is_ready.wait()

    def stop(self) -> None:
        """Drop every connection and end the thread. Raises RuntimeError if it does not end in time."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(self._stop_timeout)
        if self._thread.is_alive():
            raise RuntimeError(f"the origin still runs after {self._stop_timeout:g} s: a callable reply blocks it")

    async def _serve(self, sockets: Sequence[socket.socket]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        shutdown = None if self._tls is None else _TLS_SHUTDOWN
        servers = [
            await self._loop.create_server(
                lambda: Connection(self, self._manners),
                sock=sock,
                ssl=self._tls,
                ssl_shutdown_timeout=shutdown,
                backlog=_BACKLOG,
            )
            for sock in sockets
        ]
        self._is_ready.set()
        await self._stopping.wait()
        # First no new connections, then the handshakes and replies that are tasks, then what is left: in any other
        # order something that ends late would be missed, and its socket left to the garbage collector. A connection
        # that was accepted just now needs a few turns, and its server open, before anything owns it and can close it.
        for sock in sockets:
            self._loop.remove_reader(sock)
        await _let_turns_pass()
        for server in servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._connections:
            for connection in tuple(self._connections):
                connection.abort()
            await asyncio.sleep(0)
        await _let_turns_pass()  # a transport closes its socket a turn after it was aborted

    def opened(self, connection: Connection) -> int:
        if self._ledger.is_at_peak(connection.address):
            self._count_who_has_left()
        self._connections.add(connection)
        self._ledger.add_connection(connection.address)
        return next(self._numbers)

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._left:
            self._left.remove(connection)
        else:
            self._ledger.remove_connection(connection.address)

    def _count_who_has_left(self) -> None:
        """Take those for closed whose client has closed them, though the loop is yet to come to it.

        A client that closes one connection and then opens another has one at a time; but the loop may accept the new
        one before it looks at the old one again, where the machine let it wait in between.
        """
        if len(self._connections) > _LOOKED_AT:
            return
        known = {connection.descriptor: connection for connection in self._connections - self._left}
        known.pop(-1, None)
        ends = select.poll()
        for descriptor in known:
            ends.register(descriptor, _LEFT)
        for descriptor, _ in ends.poll(0):
            self._left.add(known[descriptor])
            self._ledger.remove_connection(known[descriptor].address)

    def reply(self, arrival: Arrival) -> Reply:
        self._ledger.add_arrival(arrival)
        reply = self._playbook.reply(arrival)
        self._ledger.add_answer(arrival, reply.status)
        return reply

    def ended(self, arrival: Arrival) -> None:
        self._ledger.end_arrival(arrival, time.monotonic())

    def early_reply(self, arrival: Arrival) -> Reply | None:
        return self.reply(arrival) if self._playbook.answers_early(arrival) else None


async def _let_turns_pass() -> None:
    """Let the loop run what is due, and what that makes due, a few times over."""
    for _ in range(5):
        await asyncio.sleep(0)


def _listen(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Listen on the same port of every address; with port 0, on one that is free on all of them."""
    for attempt in range(_PORT_TRIES):
        sockets: list[socket.socket] = []
        try:
            for address in addresses:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                chosen = sockets[0].getsockname()[1] if sockets else port
                sockets.append(socket.create_server((address, chosen), family=family, backlog=_BACKLOG))
        except OSError:
            for sock in sockets:
                sock.close()
            # The kernel chose a port that is free on the first address only: another may be free on all.
            if port or not sockets or attempt == _PORT_TRIES - 1:
                raise
        else:
            return sockets
    raise AssertionError("unreachable: the last try returns or raises")
