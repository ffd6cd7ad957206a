"""TLS contexts, built once and never changed, and the sessions that later connections resume.

urllib3 builds a context for each connection, which takes 22 ms, nearly all of it for the CA bundle, and lets each one
start from nothing. Here all connections with the same settings share a `Context`; urllib3 gets a `ContextView` of it,
which looks like an `ssl.SSLContext` and refuses every change. What a context trusts is exactly what urllib3 would have
made it trust; it is a matter of time only.

Entered by every worker. Refuses to hand a session to another host name, another key or
another context than it was made for: a resumed handshake shows no certificate, so nothing would be verified there.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from urllib3.util import ssl_
from urllib3.util.ssltransport import SSLTransport

CONTEXTS_KEPT = 64
"""Contexts kept, the most recently used ones. One that trusts a bundle of 118 CAs takes 0.7 MB."""

SESSIONS_KEPT = 1024
"""Sessions kept by each context, the most recently saved ones. Each takes some KB, with the server's certificate."""

VERIFIED_FOR = 3600.0
"""Seconds from a verified handshake within which its sessions, and those that come of them, are resumed.

Each resumed connection brings a ticket for the next one, so without an end a certificate would be looked at once, and
never again, though it may expire or its CA be withdrawn (RFC 8446, section 4.6.1, asks for a limit). At one full
handshake an hour and host, the limit costs nothing."""

_CHANGING = ("load_", "set_")  # what an SSLContext's methods that change it begin with


class _Traced:
    """What our sockets and TLS objects know of their session's descent. Times are `time.monotonic` seconds."""

    began_at = 0.0
    offered: _Saved | None = None
    server_name: str | None = None
    session: ssl.SSLSession | None
    session_reused: bool | None

    @property
    def verified_at(self) -> float:
        """When the server's certificate was looked at: now, or in the handshake that this one goes back to."""
        return self.offered.verified_at if self.session_reused and self.offered is not None else self.began_at


class _Socket(_Traced, ssl.SSLSocket):
    pass


class _Object(_Traced, ssl.SSLObject):  # type: ignore[misc]  # there they are properties
    pass


@dataclass(frozen=True, eq=False, slots=True)
class _Saved:
    """A session to resume, and when the certificate behind it was verified."""

    session: ssl.SSLSession
    verified_at: float


@dataclass(frozen=True, slots=True)
class _Settings:
    """What a context is made of. `stamps` tell a file from what it was before."""

    cert_reqs: int
    check_hostname: bool
    ca_certs: str | None
    ca_cert_dir: str | None
    cert_file: str | None
    key_file: str | None
    key_password: str | None
    stamps: tuple[object, ...]


class _Slot:
    """A place for one context. Its lock is held while that is built, so that many threads wait for one building."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # guards `context`, which is written once
        self.context: Context | None = None


class Contexts:
    """Every context of one pool, by what it is made of. Any thread.

    `tls12_tickets`: whether to ask for tickets on TLS 1.2. urllib3 does not: such a ticket holds the keys of its
    connection, encrypted with a key that some servers never change. Without, TLS 1.2 resumes only where the server
    remembers sessions itself, which few do by default (nginx does not). TLS 1.3, whose resumed connections agree on new
    keys, always has tickets.
    """

    def __init__(self, *, tls12_tickets: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._tls12_tickets = tls12_tickets
        self._clock = clock
        self._lock = threading.Lock()  # guards _slots
        self._slots: OrderedDict[_Settings, _Slot] = OrderedDict()  # the most recently used last

    def get(
        self,
        cert_reqs: int | str | None,
        ca_certs: str | None,
        ca_cert_dir: str | None,
        cert_file: str | None,
        key_file: str | None,
        key_password: str | None = None,
        *,
        check_hostname: bool = True,
    ) -> Context:
        """Return the context for these settings, which mean what they mean on urllib3's ``HTTPSConnection``.

        It is built at the first call. A file that has changed since makes another one: urllib3 reads certificates at
        every connection, and client certificates may be replaced every day. `check_hostname=False` is for connections
        with ``assert_hostname`` or ``assert_fingerprint``, where urllib3 compares names itself, after the handshake.

        Raises `ssl.SSLError`, which names the file, where one cannot be read or used; nothing of that is kept.
        """
        required = ssl_.resolve_cert_reqs(cert_reqs)
        settings = _Settings(
            required,
            check_hostname and required == ssl.CERT_REQUIRED,
            ca_certs or None,
            ca_cert_dir or None,
            cert_file or None,
            key_file or None,
            key_password,
            tuple(_stamp(path) for path in (ca_certs, ca_cert_dir, cert_file, key_file)),
        )
        with self._lock:
            slot = self._slots.get(settings)
            if slot is None:
                slot = self._slots[settings] = _Slot()
                if len(self._slots) > CONTEXTS_KEPT:
                    self._slots.popitem(last=False)
            else:
                self._slots.move_to_end(settings)
        with slot.lock:
            if slot.context is None:
                slot.context = Context(_build(settings, tls12_tickets=self._tls12_tickets), clock=self._clock)
            return slot.context


class Context:
    """One `ssl.SSLContext` that nobody changes, and the latest session for each key. Any thread.

    The latest ticket serves many connections, also at once. RFC 8446, appendix C.4, advises against that, lest somebody
    on the way sees that two connections are of one client; a pool's connections come from one address anyway, and two
    tickets a connection would not do for 16 workers that start together. A server that takes each ticket once does a
    full handshake instead.
    """

    def __init__(self, context: ssl.SSLContext, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ssl = context
        self._clock = clock
        # Guards _sessions. Re-entrant: at any line the garbage collector may end a connection, which saves its session.
        self._lock = threading.RLock()
        # By key and by the name that the certificate was verified for; the latest last.
        self._sessions: OrderedDict[tuple[Hashable, str | None], _Saved] = OrderedDict()

    @property
    def sessions(self) -> int:
        """How many sessions are kept."""
        return len(self._sessions)

    def view(self, key: Hashable, on_socket: Callable[[ssl.SSLSocket], None] | None = None) -> ContextView:
        """Return what one connection gives urllib3 as its context.

        `key` says where it leads (host, port, proxy): sessions are resumed within one key only. `on_socket` is called
        with the TLS socket before its handshake, by the connecting thread: from there on the plain socket is no more.
        """
        return ContextView(self, key, on_socket)

    def save(self, key: Hashable, sock: object) -> bool:
        """Keep the session of a connection that was found good, for later ones; returns whether it can be resumed.

        Call it once something has been read: on TLS 1.3 the ticket comes after the handshake, and is seen by reading.
        `sock` may be anything that a connection's ``sock`` may be; where there is no TLS, nothing is kept.
        """
        made = sock.sslobj if isinstance(sock, SSLTransport) else sock
        if not isinstance(made, (_Socket, _Object)) or made.context is not self._ssl:
            return False
        session = made.session
        if session is None or not _is_resumable(session, made.version()):
            return False
        saved = _Saved(session, made.verified_at)
        with self._lock:
            self._sessions[key, made.server_name] = saved
            self._sessions.move_to_end((key, made.server_name))
            if len(self._sessions) > SESSIONS_KEPT:
                self._sessions.popitem(last=False)
        return True

    def _offer(self, key: Hashable, server_name: str | None, *, once: bool = False) -> _Saved | None:
        """Return the session to resume, if there is one; `once` takes it out."""
        with self._lock:
            saved = self._sessions.get((key, server_name))
            if saved is None:
                return None
            is_old = self._clock() - saved.verified_at >= VERIFIED_FOR
            if is_old or once:
                del self._sessions[key, server_name]
            return None if is_old else saved

    def _withdraw(self, key: Hashable, server_name: str | None, saved: _Saved) -> None:
        """Forget a session whose handshake failed, unless another one has taken its place."""
        with self._lock:
            if self._sessions.get((key, server_name)) is saved:
                del self._sessions[key, server_name]


class ContextView:
    """A `Context` as urllib3 wants it: reads go to the `ssl.SSLContext`, changes are refused. One connecting thread.

    urllib3 sets ``verify_mode`` and ALPN at every connection; what is set to the value that it has does no harm, and
    passes. Anything else raises TypeError: it would change how other connections are verified. So does loading files;
    a connection that names them again would load them a second time.

    `resumed`: of the last connection.
    """

    __slots__ = ("_context", "_key", "_object", "_on_socket", "_resumed", "_ssl")

    _context: Context
    _key: Hashable
    _object: _Object | None
    _on_socket: Callable[[ssl.SSLSocket], None] | None
    _resumed: bool | None
    _ssl: ssl.SSLContext

    def __init__(self, context: Context, key: Hashable, on_socket: Callable[[ssl.SSLSocket], None] | None) -> None:
        self._context = context
        self._ssl = context._ssl
        self._key = key
        self._on_socket = on_socket
        self._object = None
        self._resumed = None

    @property
    def resumed(self) -> bool | None:
        """Whether the handshake resumed an earlier session; None before it, and where it failed."""
        return self._resumed if self._object is None else self._object.session_reused

    def wrap_socket(self, sock: socket.socket, *, server_hostname: str | None = None) -> ssl.SSLSocket:
        """Do the handshake over `sock`, which is taken over; if it fails, the socket is closed."""
        self._object = self._resumed = None
        context, key, name = self._context, self._key, server_hostname
        saved = context._offer(key, name)
        made = self._ssl.wrap_socket(
            sock, do_handshake_on_connect=False, server_hostname=name, session=None if saved is None else saved.session
        )
        try:
            self._trace(made, saved, name)
            if self._on_socket is not None:
                self._on_socket(made)
            made.do_handshake()
        except BaseException:
            if saved is not None:
                context._withdraw(key, name, saved)
            made.close()
            raise
        self._resumed = made.session_reused
        return made

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *, server_hostname: str | None = None
    ) -> ssl.SSLObject:
        """For TLS inside TLS. A session is offered once: whether that handshake fails is not seen here."""
        saved = self._context._offer(self._key, server_hostname, once=True)
        made = self._ssl.wrap_bio(
            incoming, outgoing, server_hostname=server_hostname, session=None if saved is None else saved.session
        )
        self._trace(made, saved, server_hostname)
        self._object = cast(_Object, made)
        return made

    def set_alpn_protocols(self, protocols: list[str]) -> None:
        if [*protocols] != ssl_.ALPN_PROTOCOLS:
            self._refuse(f"its ALPN protocols are {ssl_.ALPN_PROTOCOLS}, not {protocols}")

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._ssl, name)
        if name.startswith(_CHANGING):
            return lambda *args, **kwargs: self._refuse(f"{name}() would change it")
        return value

    def __setattr__(self, name: str, value: object) -> None:
        if name in ContextView.__slots__:
            object.__setattr__(self, name, value)
        elif (kept := getattr(self._ssl, name)) != value:
            self._refuse(f"its {name} is {kept!r}, not {value!r}")

    def __repr__(self) -> str:
        return f"<ContextView {self._ssl.verify_mode.name} check_hostname={self._ssl.check_hostname}>"

    def _refuse(self, why: str) -> NoReturn:
        raise TypeError(f"this TLS context is shared by many connections and stays as it is: {why}")

    def _trace(self, made: object, saved: _Saved | None, server_name: str | None) -> None:
        traced = cast(_Traced, made)
        traced.began_at = self._context._clock()
        traced.offered = saved
        traced.server_name = server_name


def _is_resumable(session: ssl.SSLSession, version: str | None) -> bool:
    """By a ticket, or up to TLS 1.2 by an id that the server may know."""
    return session.has_ticket or (version != "TLSv1.3" and bool(session.id))


def _stamp(path: str | None) -> object:
    """What changes when a file is written or replaced; None if there is none."""
    if not path:
        return None
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _build(settings: _Settings, *, tls12_tickets: bool) -> ssl.SSLContext:
    """Make a context as urllib3's ``_ssl_wrap_socket_and_match_hostname`` and ``ssl_wrap_socket`` would."""
    context = ssl_.create_urllib3_context(cert_reqs=settings.cert_reqs)
    if tls12_tickets:
        context.options &= ~ssl.OP_NO_TICKET
    if not settings.check_hostname or not ssl_.HAS_NEVER_CHECK_COMMON_NAME:
        context.check_hostname = False  # urllib3 compares the names itself
    if settings.ca_certs or settings.ca_cert_dir:
        try:
            context.load_verify_locations(settings.ca_certs, settings.ca_cert_dir)
        except OSError as error:
            raise _unusable("CA certificates", settings.ca_certs or settings.ca_cert_dir, error) from error
    else:
        context.load_default_certs()
    if settings.cert_file:
        password = settings.key_password
        try:
            context.load_cert_chain(
                settings.cert_file, settings.key_file, _no_password if password is None else password
            )
        except OSError as error:
            files = ", ".join(filter(None, (settings.cert_file, settings.key_file)))
            raise _unusable("client certificate", files, error) from error
    context.set_alpn_protocols(ssl_.ALPN_PROTOCOLS)
    context.sslsocket_class = _Socket
    context.sslobject_class = _Object
    return context


def _no_password() -> str:
    """Called by OpenSSL where a key is encrypted; without it, it would ask on the terminal, and wait."""
    raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the private key is encrypted, and there is no password for it")


def _unusable(what: str, path: str | None, error: OSError) -> ssl.SSLError:
    return ssl.SSLError(ssl.SSL_ERROR_SSL, f"the {what} ({path}) cannot be used: {error}")
