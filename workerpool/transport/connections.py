"""Owns every socket: how many may be open, which idle one is used next, which one goes when the budget is full.

urllib3's connection pools are kept for what they do well (TLS, proxies, HTTP), but their queues of idle connections are
not used: `Connections` keeps all idle connections of all hosts in one place, under one lock, since a budget over all
hosts cannot be held by pools that do not know each other. Where processes share a budget, this process's part of it is
asked, too, and given back. Entered by every worker, by any thread that reads a streamed response, and by the reaper.

Which sockets may be open is counted in `places`, and here is who takes one and who has to go. That and the idle order
stay together, long as it is: one lock owns both, and each method of one touches the other.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import weakref
from bisect import insort
from collections import OrderedDict
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from workerpool.transport.deadline import Watchdog, shortest
from workerpool.transport.dial import Dialer
from workerpool.transport.idle import IdleLimits
from workerpool.transport.places import Leases, SocketPlaces
from workerpool.transport.reaper import LEASES_TICK, TICK, Reaper
from workerpool.transport.sockets import await_end, end_sending, has_ended, plain_socket
from workerpool.transport.tls import Contexts
from workerpool.transport.trace import Traces

if TYPE_CHECKING:
    from workerpool.transport.connection import CountedConnection

PLACE_WAIT = 30.0
"""Seconds that a new connection waits for a place when every open socket is in use outside the pool's own sends."""
LOOK_AGAIN = 0.05
"""Seconds after which who waits for a place looks again, as nobody tells of what another process has given up."""
_idle_since = attrgetter("idle_since")
GOODBYE = 0.25
"""Seconds that a server has to end its side of a socket that makes room for another one."""


@dataclass(slots=True)
class SocketCounts:
    """Sockets now (`open`, of which `idle`) and over the pool's life.

    `opened`; `reused`: sends over a used one; `retired`: closed before their server's idle limit; `lost`: found closed
    by their server while idle; `handshakes`: TLS handshakes, of which `resumed`; `sent_fast`: sends by the fast path.
    """

    open: int = 0
    idle: int = 0
    opened: int = 0
    reused: int = 0
    retired: int = 0
    lost: int = 0
    handshakes: int = 0
    resumed: int = 0
    sent_fast: int = 0


class Connections:
    """The budget of open sockets, and the idle connections of all hosts, the most recently used first.

    A socket counts against the budget of the host that it was last used for, from the moment before it connects until
    it is closed and its response has let go of it.
    """

    def __init__(
        self, max_connections: int, host_connections: int, dialer: Dialer, leases: Leases | None = None
    ) -> None:
        self._leases = leases
        # Guards every field below but `is_abandoned`. Re-entrant: the garbage collector may end a pool, and so call
        # `close`, in the middle of any line here. It ends connections, too, also while another lock is held: see
        # `closed`.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0  # threads that wait for a place
        self._places = SocketPlaces(max_connections, host_connections, leases)
        self._idle: OrderedDict[CountedConnection, Any] = OrderedDict()  # its pool's key, longest idle first
        self._idle_by_key: dict[Any, list[CountedConnection]] = {}
        self._counts = SocketCounts()  # but for `open` and `idle`
        self._closed = False
        self.is_abandoned = False  # in a forked child: what is left of the parent's connections changes nothing
        # These have locks of their own.
        self._limits = IdleLimits()
        self._reaper = Reaper(self.reap, TICK if leases is None else LEASES_TICK)
        self.dialer = dialer
        self.contexts = Contexts()
        self.traces = Traces()
        self.watchdog = Watchdog()

    def counts(self) -> SocketCounts:
        with self._lock:
            self._let_go()
            return replace(self._counts, open=len(self._places), idle=len(self._idle))

    def is_idle(self, connection: CountedConnection) -> bool:
        """Whether nobody uses it just now. Takes no lock: it may have changed by the time that one is told."""
        return connection in self._idle

    # -- idle connections ---------------------------------------------------------------------------------------------

    def checkout(self, key: Any, host: str) -> CountedConnection | None:
        """Take the most recently used idle connection of a pool that is still good for the current send, or None."""
        trace = self.traces.current
        trace.reused = False
        is_fast = trace.fast_path is True
        while True:
            now = time.monotonic()
            with self._lock:
                stack = self._idle_by_key.get(key)
                if not stack or now - stack[-1].idle_since >= trace.idle_max:
                    return None  # the others have been idle for longer
                if stack[-1].host_key != host and not self._bring_up(stack, host, now - trace.idle_max):
                    return None
                connection = stack.pop()
                if not stack:
                    del self._idle_by_key[key]
                del self._idle[connection]
                was_used = connection.times_used > 0
                self._counts.reused += was_used
                self._counts.sent_fast += is_fast
            # Looking at the socket is a system call, so not under the lock; nobody else has this connection now.
            if not self._is_spent(connection, now):
                trace.reused = was_used
                return connection
            with self._lock:
                self._counts.reused -= was_used
                self._counts.sent_fast -= is_fast

    def went_fast(self, times: int = 1) -> None:
        """Count a send by the fast path over a new connection; -1 takes one back, as requests' own had to read its
        answer."""
        with self._lock:
            self._counts.sent_fast += times

    def checkin(self, key: Any, connection: CountedConnection) -> None:
        """Keep a connection for the next request; one without a socket is done with."""
        sock = connection.sock
        if sock is None:
            self.closed(connection.ticket)
            return
        # From here on a deadline of this thread's must not touch it: another thread may use it.
        if not self.watchdog.watch.detach(sock) or connection.has_leftover:
            connection.close()
            return
        connection.settle()
        with self._lock:
            is_kept = not self._closed
            if is_kept:
                self._idle[connection] = key
                stack = self._idle_by_key.get(key)
                if stack is None:
                    self._idle_by_key[key] = [connection]
                else:
                    stack.append(connection)
                if self._waiting:
                    self._changed.notify_all()  # an idle socket can make room for another host's
        if not is_kept:
            connection.close()
            return
        # Not under the lock: `Thread.start` waits for the new thread, which may first collect a dropped pool, and so
        # wait for this lock in `close`.
        self._reaper.call()

    def reap(self) -> bool:
        """Close the idle connections that their servers have closed, or are about to; returns whether any are left.

        So none stays in CLOSE_WAIT, also while nothing is sent. Called by the reaper.
        """
        now = time.monotonic()
        with self._lock:
            idle = [*self._idle]
        poll = select.poll()
        by_descriptor: dict[int, CountedConnection] = {}
        for connection in idle:
            if self._is_due(connection, now + TICK):
                self._examine(connection, now)
            elif (sock := connection.sock) is not None and (descriptor := sock.fileno()) >= 0:
                by_descriptor[descriptor] = connection
                poll.register(descriptor, select.POLLIN)
        # Since the poll, a connection may have been taken and closed, and its descriptor given to another one:
        # `_examine` looks again.
        for descriptor, _ in poll.poll(0):
            self._examine(by_descriptor[descriptor], now)
        if self._leases is not None:
            return self._tidy(self._leases)
        with self._lock:
            return bool(self._idle)

    def lost(self, connection: CountedConnection, idle_for: float) -> None:
        """Note that a connection's server closed it after it had been idle for so many seconds, at most."""
        self._limits.closed_after(connection.site, idle_for)
        with self._lock:
            self._counts.lost += 1

    def told(self, connection: CountedConnection, keep_alive: str) -> None:
        """Note a ``Keep-Alive`` header."""
        self._limits.said(connection.site, keep_alive)

    # -- the budget ---------------------------------------------------------------------------------------------------

    def open_place(self, connection: CountedConnection, *, evict: bool = True, wait: float) -> bool:
        """Count `connection` as open before it connects, closing an idle socket where the budget is full.

        The scheduler lets no more requests fly than there are places, so waiting happens only while sockets are held
        by responses that somebody streams, or by other processes that share the budget. Returns False when no place
        came within `wait` seconds.
        """
        deadline = time.monotonic() + wait
        while True:
            with self._lock:
                self._let_go()
                if connection.ticket in self._places:
                    return True
                host_is_full = self._places.is_full(connection.host_key)
                if not host_is_full and not self._places.is_full(None):
                    connection.ticket = self._places.take(connection.host_key)
                    break
                victim = self._pick_victim(connection.host_key if host_is_full else None) if evict else None
                if victim is None:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return False
                    self._waiting += 1
                    self._changed.wait(min(left, LOOK_AGAIN))
                    self._waiting -= 1
                    continue
            self._see_off(victim)  # calls `closed`, which makes the place
        # A connection that is dropped unclosed, with a response that nobody read, gives its place back as it goes.
        weakref.finalize(connection, self.closed, connection.ticket).atexit = False
        if self._leases is not None:
            self._reaper.call()
        return True

    def opened(self, resumed: bool | None) -> None:
        """Count a connection that was made; `resumed`: whether TLS resumed a session, None without TLS."""
        with self._lock:
            self._counts.opened += 1
            if resumed is not None:
                self._counts.handshakes += 1
                self._counts.resumed += resumed

    def holds(self, connection: CountedConnection, sock: Any) -> None:
        """Note the socket of a connection that has a place."""
        self._places.note(connection.ticket, sock)

    def closed(self, ticket: int) -> None:
        """Give back the place of a connection that closed. Safe to call again.

        Never waits for a lock: the garbage collector calls this, too, in the middle of any line, whatever its thread
        holds. Who holds the lock sees to it next.
        """
        self._places.leave(ticket)
        if self._lock.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Close what is idle now, and whatever comes back later."""
        with self._lock:
            self._closed = True
            idle = [*self._idle]
            self._idle.clear()
            self._idle_by_key.clear()
        for connection in idle:
            connection.close()
        # While a reaper runs it is the one to call `leave`, after the last socket. Not here: the garbage collector may
        # call `close` on the reaper's own thread, inside `leases.tidy`, whose lock it holds.
        if self._leases is not None and not self._reaper.is_running:
            self._leases.leave()
        self._reaper.look_again()
        self.watchdog.close()

    def abandon(self) -> None:
        """In a forked child: close this process's copies of the parent's sockets, and tell the servers nothing.

        Also of those in use: kept here, they would stay open, for their servers too, when the parent closes them. By
        their descriptors, since `close` would wait for readers in frames of threads that are not there any more.
        Takes no lock, and makes new ones: such a thread may have held them, and the parent's connections call `closed`
        here, too, when they are collected.
        """
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self.is_abandoned = True
        self._closed = True
        for sock in self._places.sockets():
            try:
                os.close(socket.socket.detach(plain_socket(sock)))
            except (OSError, TypeError):
                pass  # it was closed already
        for connection in [*self._idle]:
            connection.sock = None
        self._idle.clear()
        self._idle_by_key.clear()

    # -- inside: idle connections -----------------------------------------------------------------------------------

    def _examine(self, connection: CountedConnection, now: float) -> None:
        """Close a connection if it is spent, and leave it where it is if not. The reaper's thread."""
        with self._lock:
            key = self._idle.get(connection)
            if key is None:
                return  # it was taken meanwhile
            self._remove_idle(connection)
        if self._is_spent(connection, now, ahead=TICK):
            return
        with self._lock:
            if not self._closed:
                insort(self._idle_by_key.setdefault(key, []), connection, key=_idle_since)
                self._idle[connection] = key
                for younger in [other for other in self._idle if other.idle_since > connection.idle_since]:
                    self._idle.move_to_end(younger)
                self._changed.notify_all()
                return
        connection.close()

    def _is_due(self, connection: CountedConnection, at: float) -> bool:
        return at - connection.idle_since > self._limits.limit(connection.site)

    def _is_spent(self, connection: CountedConnection, now: float, ahead: float = 0.0) -> bool:
        """Whether a connection that nobody else has is no good any more, or in `ahead` seconds; it is closed then."""
        if connection.is_dead():
            if has_ended(connection.sock):
                self.lost(connection, now - connection.idle_since)
        elif self._is_due(connection, now + ahead):
            self._limits.retired(connection.site)
            with self._lock:
                self._counts.retired += 1
        else:
            return False
        connection.close()
        return True

    def _see_off(self, *connections: CountedConnection) -> None:
        """Close connections that make room, each once its server has closed its side, if it does so soon.

        Otherwise a busy server may accept the new connection before it looks at the old one's end, and count one too
        many.
        """
        until = time.monotonic() + shortest(GOODBYE, self.watchdog.watch.left())
        for connection in connections:
            end_sending(connection.sock)
        for connection in connections:
            try:
                await_end(connection.sock, until)
            finally:
                connection.close()

    # -- small things under the lock --------------------------------------------------------------------------------

    def _bring_up(self, stack: list[CountedConnection], host: str, since: float) -> bool:
        """Have the last of an origin's idle connections count against `host`; False if none can that became idle after
        `since`.

        Only where one origin's requests are counted by different keys. A host without room for one more takes one of
        its own. Nothing is closed to make room: that takes time, and the caller may be the carrier.
        """
        self._let_go()
        connection = stack[-1]
        if not self._places.is_full(host):
            self._places.move(connection.ticket, host)
            connection.host_key = host
            return True
        for connection in reversed(stack):
            if connection.host_key == host and connection.idle_since > since:
                stack.remove(connection)
                stack.append(connection)
                return True
        return False

    def _tidy(self, leases: Leases) -> bool:
        """Close the idle sockets that other processes wait for, and give back their places; whether to go on so."""
        with self._lock:
            self._let_go()
            surplus = leases.tidy(self._places.by_host())
            picked = [self._pick_victim(host) for host, count in surplus.items() for _ in range(count)]
        victims = [connection for connection in picked if connection is not None]
        self._see_off(*victims)
        with self._lock:
            self._let_go()
            if victims:
                leases.tidy(self._places.by_host())
            if self._closed and not self._places:
                leases.leave()
            return bool(self._places) or not self._closed

    def _let_go(self) -> None:
        """Give back the places of the connections that have closed."""
        if self._places.let_go():
            self._changed.notify_all()

    def _remove_idle(self, connection: CountedConnection) -> None:
        key = self._idle.pop(connection)
        stack = self._idle_by_key[key]
        stack.remove(connection)
        if not stack:
            del self._idle_by_key[key]

    def _pick_victim(self, host: str | None) -> CountedConnection | None:
        """Take the longest-idle connection out, of `host` if one is named."""
        for connection in self._idle:
            if host is None or connection.host_key == host:
                self._remove_idle(connection)
                return connection
        return None
