"""A close look at one server, over sockets of its own: what TLS it speaks, and how long it keeps an idle connection.

For what a pool does not show. It goes where the pool's own requests would: the same proxies, certificates and dialer.
The thread that makes a `Probe` is the only one that uses it; one socket is open at a time. It retries nothing.
"""

from __future__ import annotations

import http.client
import os
import select
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.util.ssl_ import create_urllib3_context

from workerpool.config import GuardRules
from workerpool.model import DEFAULT_PORTS
from workerpool.transport.deadline import Watchdog
from workerpool.transport.dial import Dialer
from workerpool.transport.dns import Resolver
from workerpool.transport.guard import Guard
from workerpool.transport.session import Session
from workerpool.transport.sockets import is_dead

BODY_MAX = 1_000_000
"""Bytes of an answer that are read so that its connection becomes idle."""
TELL_EVERY = 0.5
"""Seconds between two words on how the waiting goes."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a TLS handshake agreed on, and how many `seconds` it took by itself.

    `protocol`: what ALPN chose of HTTP/2 and HTTP/1.1, None if it chose nothing.

    `expires_at` (seconds since the epoch) and `issuer` are the certificate's; None if it was not verified.
    """

    version: str
    cipher: str
    protocol: str | None
    expires_at: float | None
    issuer: str | None
    seconds: float


class Probe:
    """Looks at the server behind `url`.

    `timeout`: seconds for a handshake, or for a request and its answer. `verify`, `proxies`: as in `WorkerPool`.
    `proxy`: host and port of the proxy that the way leads through. `why_not`: a sentence if this cannot look there, as
    it does not know how to use that proxy.
    """

    def __init__(
        self, url: str, *, timeout: float, verify: bool | str = True, proxies: Mapping[str, str] | None = None
    ) -> None:
        parts = urlsplit(url)
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._authority = parts.netloc.rpartition("@")[2]
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout = timeout
        settings = _settings(url, verify, proxies)
        self._verify = settings["verify"]
        proxy = select_proxy(url, settings["proxies"])
        self._proxy = urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else None
        self.proxy = None if self._proxy is None else self._proxy.netloc.rpartition("@")[2]
        self.why_not: str | None = None
        if self._proxy is not None and self._proxy.scheme != "http":
            self.why_not = f"not looked at: the way leads through a proxy that speaks {self._proxy.scheme}"
        self._dialer = Dialer(Resolver(), Guard(GuardRules()))
        self._watchdog = Watchdog()
        self._handshake_took = 0.0

    def handshake(self) -> Handshake:
        """Connect, offering HTTP/2 and HTTP/1.1, and hang up without a request. Raises OSError."""
        with self._connected(["h2", "http/1.1"]) as sock:
            certificate: dict[str, Any] = sock.getpeercert() or {}
            until = certificate.get("notAfter")
            return Handshake(
                version=sock.version() or "",
                cipher=(sock.cipher() or ("",))[0],
                protocol=sock.selected_alpn_protocol(),
                expires_at=None if until is None else float(ssl.cert_time_to_seconds(until)),
                issuer=_issuer(certificate),
                seconds=self._handshake_took,
            )

    def idle_limit(
        self, method: str, headers: Mapping[str, str], patience: float, tell: Callable[[float], None]
    ) -> float | None:
        """Send one request, leave its connection idle, and return after how many seconds the server closed it.

        None if it did not within `patience` seconds. `tell` is called now and then with the seconds so far. Raises
        OSError, or `http.client.HTTPException` where what came is no HTTP.
        """
        with self._connected(["http/1.1"]) as sock:
            with self._deadline(sock):
                self._ask(sock, method, headers)
            return _wait_closed(sock, patience, tell)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _ask(self, sock: Any, method: str, headers: Mapping[str, str]) -> None:
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.sock = sock
        target = self._target
        given = {name: value for name, value in headers.items() if name.lower() not in ("connection", "host")}
        if self._proxy is not None and not self._is_tls:
            target = f"http://{self._authority}{target}"
            given.update(self._proxy_login())
        connection.request(method, target, headers={"Host": self._authority, **given})
        response = connection.getresponse()
        if len(response.read(BODY_MAX + 1)) > BODY_MAX or response.will_close:
            raise http.client.HTTPException("its answer left no idle connection")

    @contextmanager
    def _connected(self, protocols: list[str]) -> Iterator[Any]:
        """A socket to the server, TLS and a proxy's tunnel included, closed in the end."""
        host, port = self._host, self._port
        if self._proxy is not None:
            host, port = self._proxy.hostname or "", self._proxy.port or 80
        sock: socket.socket | None = None
        try:
            with self._deadline():
                sock = self._open(host, port, protocols)
            yield sock
        finally:
            if sock is not None:
                sock.close()

    def _open(self, host: str, port: int, protocols: list[str]) -> socket.socket:
        sock = self._dialer.dial(host, port, timeout=self._timeout).sock
        try:
            self._watchdog.watch.attach(sock)
            if not self._is_tls:
                return sock
            if self._proxy is not None:
                sock = self._tunnelled(sock)
            tls = self._context(protocols).wrap_socket(sock, server_hostname=self._host, do_handshake_on_connect=False)
            sock = tls
            self._watchdog.watch.attach(tls)
            began = time.perf_counter()
            tls.do_handshake()
            self._handshake_took = time.perf_counter() - began
        except BaseException:
            sock.close()
            raise
        return sock

    def _tunnelled(self, sock: socket.socket) -> socket.socket:
        """Let the proxy connect `sock` to the server (RFC 9110, section 9.3.6)."""
        login = "".join(f"{name}: {value}\r\n" for name, value in self._proxy_login().items())
        place = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        sock.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{login}\r\n".encode("latin-1"))
        response = http.client.HTTPResponse(sock, method="CONNECT")
        try:
            response.begin()
            if response.status != 200:
                raise OSError(f"the proxy answered {response.status} {response.reason}")
        finally:
            response.close()
        return sock

    def _proxy_login(self) -> dict[str, str]:
        if self._proxy is None or self._proxy.username is None:
            return {}
        login = f"{unquote(self._proxy.username)}:{unquote(self._proxy.password or '')}"
        return {"Proxy-Authorization": f"Basic {b64encode(login.encode('latin-1', 'replace')).decode()}"}

    def _context(self, protocols: list[str]) -> ssl.SSLContext:
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if self._verify else ssl.CERT_NONE)
        if self._verify:
            context.check_hostname = True
            context.load_verify_locations(*_ca_places(self._verify))
        context.set_alpn_protocols(protocols)
        return context

    @contextmanager
    def _deadline(self, sock: socket.socket | None = None) -> Iterator[None]:
        """Hold what is done inside to the timeout, whatever the server does. Raises TimeoutError."""
        watch = self._watchdog.watch
        watch.begin(self._timeout)
        if sock is not None:
            watch.attach(sock)
        try:
            yield
        finally:
            expired = watch.end()
        if expired:
            raise TimeoutError("no complete answer in the time allowed")


def _settings(url: str, verify: bool | str, proxies: Mapping[str, str] | None) -> dict[str, Any]:
    """What a worker's session would send a request to `url` with, the environment's word included."""
    session = Session()
    session.verify = verify
    session.proxies.update(proxies or {})
    settings: dict[str, Any] = session.merge_environment_settings(url, {}, True, None, None)
    return settings


def _ca_places(verify: bool | str) -> tuple[str | None, str | None]:
    """The file and the directory of authorities that requests takes for `verify`."""
    place = DEFAULT_CA_BUNDLE_PATH if verify is True else str(verify)
    return (None, place) if os.path.isdir(place) else (place, None)


def _issuer(certificate: Mapping[str, Any]) -> str | None:
    names = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    return names.get("organizationName") or names.get("commonName")


def _wait_closed(sock: Any, patience: float, tell: Callable[[float], None]) -> float | None:
    """Seconds until the server closes an idle socket, None if it has not in `patience` seconds."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    began = time.monotonic()
    while (passed := time.monotonic() - began) < patience:
        tell(passed)
        if poll.poll(1000 * min(TELL_EVERY, patience - passed)) and is_dead(sock):
            return time.monotonic() - began
    return None
