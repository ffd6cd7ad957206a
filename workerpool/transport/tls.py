"""TLS: a context for each way to verify and to identify oneself, sessions to resume, and whether a socket still lives.

Building a context reads the CA file, which takes some 20 ms, so it is done once; and a context is shared by many
threads, so it never changes afterwards. urllib3 sets what it wants on the context that it is given, at every
connection: it gets a `ContextView`, which takes what is so already and refuses the rest. Any thread.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from urllib3.util.ssl_ import ALPN_PROTOCOLS, create_urllib3_context, resolve_cert_reqs

CONTEXTS_KEPT = 256
SESSIONS_KEPT = 4096
"""Sessions kept by a context, one for each server: some 4 KiB each."""


class Contexts:
    """One `Context` for each set of certificates."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the dictionary; a context is built under a lock of its own
        self._contexts: OrderedDict[tuple[Any, ...], Context] = OrderedDict()

    def get(
        self,
        cert_reqs: int | str | None,
        ca_certs: str | None = None,
        ca_cert_dir: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        key_password: str | None = None,
    ) -> Context:
        """Return the context for these, as urllib3 names them. Raises OSError, `ssl.SSLError` among them."""
        key = (resolve_cert_reqs(cert_reqs), ca_certs, ca_cert_dir, cert_file, key_file, key_password)
        with self._lock:
            context = self._contexts.get(key)
            if context is None:
                context = self._contexts[key] = Context(*key)
                if len(self._contexts) > CONTEXTS_KEPT:
                    self._contexts.popitem(last=False)
            else:
                self._contexts.move_to_end(key)
        context.build()  # outside of the lock: others need not wait for it
        return context


class Context:
    """An `ssl.SSLContext` that does not change any more, and the latest session of each server."""

    def __init__(
        self,
        cert_reqs: ssl.VerifyMode,
        ca_certs: str | None,
        ca_cert_dir: str | None,
        cert_file: str | None,
        key_file: str | None,
        key_password: str | None,
    ) -> None:
        self._files = (ca_certs, ca_cert_dir, cert_file, key_file, key_password)
        self._cert_reqs = cert_reqs
        self._building = threading.Lock()  # sixteen workers that start together build it once
        self._ssl: ssl.SSLContext | None = None
        self._lock = threading.Lock()  # guards the sessions
        self._sessions: OrderedDict[Hashable, ssl.SSLSession] = OrderedDict()

    def build(self) -> None:
        """Read the files, unless that was done."""
        if self._ssl is not None:
            return
        with self._building:
            if self._ssl is None:
                self._ssl = self._built()

    def _built(self) -> ssl.SSLContext:
        ca_certs, ca_cert_dir, cert_file, key_file, key_password = self._files
        context = create_urllib3_context(cert_reqs=self._cert_reqs)
        if ca_certs or ca_cert_dir:
            context.load_verify_locations(ca_certs, ca_cert_dir)
        elif self._cert_reqs != ssl.CERT_NONE:
            context.load_default_certs()
        if cert_file:
            context.load_cert_chain(cert_file, key_file, key_password)
        context.set_alpn_protocols(ALPN_PROTOCOLS)
        return context

    def view(self, key: Hashable, on_socket: Callable[[ssl.SSLSocket], None]) -> ContextView:
        """What a connection to the server called `key` gets; `on_socket` is given its socket before the handshake."""
        self.build()
        assert self._ssl is not None
        return ContextView(self, self._ssl, key, on_socket)

    def session_for(self, key: Hashable) -> ssl.SSLSession | None:
        """The session to resume, by any number of connections.

        A ticket that is used again lets an onlooker see that both connections come from the same client (RFC 8446,
        section C.4), which their addresses say anyway.
        """
        return self._sessions.get(key)

    def save(self, key: Hashable, sock: Any) -> None:
        """Keep the session of a connection. On TLS 1.3 there is one to resume only once something has been read."""
        session = sock.session if isinstance(sock, ssl.SSLSocket) else None
        if session is None or not (session.has_ticket or session.id):
            return
        with self._lock:
            self._sessions[key] = session
            self._sessions.move_to_end(key)
            if len(self._sessions) > SESSIONS_KEPT:
                self._sessions.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """Resume no session of that server: it has refused one."""
        with self._lock:
            self._sessions.pop(key, None)


class ContextView:
    """What urllib3 takes for the context of one connection.

    `resumed`: whether the handshake resumed a session, None before it. `handshake`: its seconds.
    """

    def __init__(
        self, context: Context, real: ssl.SSLContext, key: Hashable, on_socket: Callable[[ssl.SSLSocket], None]
    ) -> None:
        own = self.__dict__  # past `__setattr__`
        own.update(_context=context, _real=real, _key=key, _on_socket=on_socket, resumed=None, handshake=0.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self._real, name) != value:
            raise AttributeError(f"a TLS context is shared, and its {name} is not {value!r}")

    def set_alpn_protocols(self, protocols: list[str]) -> None:
        if protocols != ALPN_PROTOCOLS:
            raise AttributeError(f"a TLS context is shared, and its ALPN protocols are not {protocols}")

    def load_verify_locations(self, *args: Any, **kwargs: Any) -> None:
        raise AttributeError("a TLS context is shared: its CA files are read when it is built")

    load_cert_chain = load_default_certs = load_verify_locations

    def wrap_socket(self, sock: socket.socket, server_hostname: str | None = None) -> ssl.SSLSocket:
        """Do the handshake, resuming a session if there is one."""
        session = self._context.session_for(self._key)
        tls: ssl.SSLSocket = self._real.wrap_socket(
            sock, server_hostname=server_hostname, do_handshake_on_connect=False, session=session
        )
        try:
            self._on_socket(tls)
            began = time.perf_counter()
            tls.do_handshake()
        except BaseException:
            if session is not None:
                self._context.forget(self._key)
            tls.close()
            raise
        self.__dict__.update(resumed=bool(tls.session_reused), handshake=time.perf_counter() - began)
        return tls

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """TLS inside of TLS, for a proxy that speaks TLS itself; such sessions are not resumed."""
        wrapped: ssl.SSLObject = self._real.wrap_bio(*args, **kwargs)
        return wrapped


def is_dead(sock: Any) -> bool:
    """Whether an idle socket is no good any more: its server has closed it, or sent what nobody has asked for.

    A TLS 1.3 server sends its tickets after the handshake, so a new socket is readable without being dead: what comes
    is read, and only if that is data or an end is the socket dead. TLS inside of TLS cannot be read without waiting,
    so there any byte counts.
    """
    try:
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        if not poll.poll(0):
            return False
        if not isinstance(sock, ssl.SSLSocket):
            return True
        timeout = sock.gettimeout()
        sock.settimeout(0)
        try:
            sock.recv(1)
        except ssl.SSLWantReadError:
            return False
        finally:
            sock.settimeout(timeout)
    except (OSError, ValueError):
        pass
    return True
