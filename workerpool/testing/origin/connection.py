"""One client's connection: requests in, replies out, strictly in order. The origin's thread only.

A reply that can go out at once is written from the callback that read its request; only one that waits, drips or is
large costs a task. Requests that are pipelined behind it stay unread until it is done.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from workerpool.testing.origin.http import BadRequest, Incoming, RequestParser
from workerpool.testing.origin.replies import Arrival, Headers, Reply, Wire, render

_PIECE = 256 * 1024
"""Bytes that are written at once; also how much a client may pipeline ahead before its socket is left unread."""
_LINGER = 1.0
"""Seconds for which a refused upload is read and dropped, so that a reset does not overtake the reply."""


class Site(Protocol):
    """What a connection asks of the server that it belongs to."""

    def opened(self, connection: Connection) -> int:
        """Note that `connection` is open, and return its number."""

    def closed(self, connection: Connection) -> None:
        """Note that `connection` is gone."""

    def reply(self, arrival: Arrival) -> Reply:
        """Record `arrival` and choose its reply."""

    def early_reply(self, arrival: Arrival) -> Reply | None:
        """The same for a request whose body is still to come, if its reply does not wait for that; None if it does."""

    def ended(self, arrival: Arrival) -> None:
        """Note that `arrival` is answered, or that its client is gone; once for each reply that was chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How every connection of an origin behaves; `Origin` explains each field."""

    keep_alive: bool = True
    requests_per_connection: int | None = None
    idle_timeout: float | None = None
    idle_timeout_max: float | None = None
    advertise_idle_timeout: bool = False
    body_cap: int = 64 * 1024

    def idle_limit(self) -> float | None:
        """Seconds that the next idle connection may wait for a request; drawn evenly where there is a maximum."""
        if self.idle_timeout is None or self.idle_timeout_max is None:
            return self.idle_timeout
        return random.uniform(self.idle_timeout, self.idle_timeout_max)

    @property
    def extra(self) -> bytes:
        if not self.advertise_idle_timeout or self.idle_timeout is None:
            return b""
        return b"Keep-Alive: timeout=%d\r\n" % int(self.idle_timeout)


class Connection(asyncio.Protocol):
    """Reads a connection's requests and performs their replies."""

    def __init__(self, site: Site, manners: Manners) -> None:
        self._site = site
        self._manners = manners
        self._extra = manners.extra
        self._parser = RequestParser(manners.body_cap)
        self._transport: asyncio.Transport
        self._socket: TransportSocket
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None  # while the transport's buffer is full
        self._arrived: Arrival | None = None  # what is being answered
        self._examined: Incoming | None = None  # the request whose head was looked at before its body came
        self._requests = 0
        self._is_ending = False
        #: Its number, from 1, and the loopback address that it came to.
        self.number = 0
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # asyncio sets this itself only on sockets that name their protocol. Without it, a reply in two pieces waits for
        # the client's delayed acknowledgement of the first one: 40 ms.
        self._socket = transport.get_extra_info("socket")
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.address = transport.get_extra_info("sockname")[0]
        self.number = self._site.opened(self)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_ending = True
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()
        self._end_arrival()
        self._site.closed(self)

    @property
    def descriptor(self) -> int:
        """The socket's, -1 once it is closed."""
        return self._socket.fileno()

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            return
        self._parser.feed(data)
        if self._task is None:
            self._stop_timer()
            self._answer_all()
        elif self._parser.buffered > _PIECE:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    def _answer_all(self) -> None:
        """Answer every request that is here, up to one that takes time."""
        try:
            while not self._is_ending and self._task is None:
                incoming = self._parser.next()
                if incoming is None:
                    self._examine_head()
                    break
                arrival = self._arrival(incoming)
                self._answer(incoming, arrival, self._site.reply(arrival))
        except BadRequest as error:
            self._refuse(error)
        if not self._is_ending and self._task is None:
            self._await_request()

    def _examine_head(self) -> None:
        """Do for a request whose body is still to come what its head asks for."""
        incoming = self._parser.pending
        if incoming is None or incoming is self._examined:
            return
        self._examined = incoming
        arrival = self._arrival(incoming)
        early = self._site.early_reply(arrival)
        if early is not None:
            self._transport.pause_reading()
            self._answer(incoming, arrival, early)
        elif incoming.headers.get("expect", "").lower() == "100-continue" and not incoming.body_bytes:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _arrival(self, incoming: Incoming) -> Arrival:
        return Arrival(
            incoming.time,
            incoming.method,
            incoming.path,
            incoming.headers,
            bytes(incoming.body),
            self.number,
            incoming.host,
            self.address,
            incoming.body_bytes,
        )

    def _answer(self, incoming: Incoming, arrival: Arrival, reply: Reply) -> None:
        manners = self._manners
        self._arrived = arrival
        self._requests += 1
        is_last = manners.requests_per_connection is not None and self._requests >= manners.requests_per_connection
        keep = manners.keep_alive and not is_last and incoming.wants_keep_alive
        wire = render(reply, arrival, keep=keep, minor=incoming.minor, extra=self._extra)
        size = len(wire.head) + len(wire.body)
        if reply.delay or reply.drip or reply.drip_head or size > _PIECE or self._writable is not None:
            self._task = asyncio.get_running_loop().create_task(self._perform(reply, wire))
        else:
            self._transport.write(wire.head + wire.body)
            self._end(wire)

    async def _perform(self, reply: Reply, wire: Wire) -> None:
        """Send `wire` at the pace that `reply` asks for, then go on with what was pipelined behind it."""
        if reply.delay:
            await asyncio.sleep(reply.delay)
        await self._send(wire.head, reply.drip_head)
        await self._send(wire.body, reply.drip)
        self._task = None
        self._end(wire)
        if not self._is_ending:
            self._transport.resume_reading()
            self._answer_all()

    async def _send(self, data: bytes, drip: float | None) -> None:
        size = 1 if drip else _PIECE
        for start in range(0, len(data), size):
            if drip and start:
                await asyncio.sleep(drip)
            if self._writable is not None:
                await self._writable
            self._transport.write(data[start : start + size])

    def _end_arrival(self) -> None:
        arrival, self._arrived = self._arrived, None
        if arrival is not None:
            self._site.ended(arrival)

    def _end(self, wire: Wire) -> None:
        self._end_arrival()
        if wire.end == "keep":
            return
        self._is_ending = True
        if wire.end == "reset":
            # Closing with a linger time of zero is what makes the kernel send an RST instead of a FIN (socket(7)).
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        elif self._parser.pending is not None:
            self._linger()
        else:
            self._transport.close()

    def _refuse(self, error: BadRequest) -> None:
        arrival = Arrival(0.0, "GET", "/", Headers())
        wire = render(Reply(status=error.status, body=f"{error}\n".encode()), arrival, keep=False)
        self._transport.write(wire.head + wire.body)
        self._is_ending = True
        self._linger()

    def _linger(self) -> None:
        """End our side, and drop what still comes, for a while: closing now would reset, and lose the reply."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
            self._start_timer(_LINGER, self._transport.close)
        else:
            self._transport.close()

    def _await_request(self) -> None:
        limit = self._manners.idle_limit()
        if limit is not None:
            self._start_timer(limit, self._transport.close)

    def _start_timer(self, seconds: float, action: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, action)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
