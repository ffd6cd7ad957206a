"""A TLS context is built once, never changes, and resumes sessions only where the certificate was verified for them."""

from __future__ import annotations

import datetime
import os
import select
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
import urllib3
from urllib3.util import ssl_ as urllib3_ssl
from urllib3.util.ssltransport import SSLTransport

from workerpool.testing import Origin
from workerpool.transport import tls
from workerpool.transport.sockets import is_dead, is_readable
from workerpool.transport.tls import CONTEXTS_KEPT, SESSIONS_KEPT, VERIFIED_FOR, Context, Contexts

LIMIT = 30.0
"""Seconds for whatever must end by itself."""

HOST = "127.0.0.1"
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def folder(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ca.pem`, the CA of every server here; `other.pem`, another one; `client.pem` and `client.key`; `junk.pem`."""
    folder = tmp_path_factory.mktemp("certificates")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    client = ca.issue_cert("client.test")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    (folder / "junk.pem").write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    return folder


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def contexts() -> Contexts:
    return Contexts()


@pytest.fixture
def context(contexts: Contexts, folder: Path) -> Context:
    return verifying(contexts, folder)


def verifying(contexts: Contexts, folder: Path, **options: Any) -> Context:
    return contexts.get("CERT_REQUIRED", str(folder / "ca.pem"), None, None, None, **options)


def served_by(ca: trustme.CA, version: ssl.TLSVersion = TLS13, *names: str, **options: Any) -> ssl.SSLContext:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = server.maximum_version = version
    ca.issue_cert(*(names or (HOST, "localhost")), **options).configure_cert(server)
    return server


class Server:
    """Accepts TLS connections one by one, and hands this side's end of each to the test."""

    def __init__(self, stack: ExitStack, context: ssl.SSLContext) -> None:
        self.context = context
        self.listener = stack.enter_context(socket.create_server((HOST, 0)))
        self.listener.settimeout(LIMIT)
        self._stack = stack
        self._thread = stack.enter_context(ThreadPoolExecutor(1))

    @property
    def hits(self) -> int:
        """How many handshakes were resumptions, as the server counts them."""
        return self.context.session_stats()["hits"]

    def connect(self) -> socket.socket:
        return self._stack.enter_context(socket.create_connection(self.listener.getsockname(), timeout=LIMIT))

    def accept(self) -> ssl.SSLSocket:
        sock, _ = self.listener.accept()
        with sock:
            sock.settimeout(LIMIT)
            return self._stack.enter_context(self.context.wrap_socket(sock, server_side=True))

    def pair(self, view: tls.ContextView, name: str = HOST) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
        """Return both ends of a new connection, the client's first."""
        sock = self.connect()
        accepted = self._thread.submit(self.accept)
        try:
            client = self._stack.enter_context(view.wrap_socket(sock, server_hostname=name))
        except BaseException:
            accepted.exception(LIMIT)
            raise
        return client, accepted.result(LIMIT)

    def talk(self, context: Context, key: object = "key", name: str = HOST) -> bool | None:
        """Connect, let the client read something, save its session; returns whether it was a resumed one."""
        view = context.view(key)
        client, server = self.pair(view, name)
        server.sendall(b"x")
        assert client.recv(1) == b"x"
        assert context.save(key, client)
        assert view.resumed == client.session_reused
        return view.resumed


def get(context: Context, url: str, **options: Any) -> tls.ContextView:
    """Fetch `url` over a connection of its own by urllib3's pool; returns the connection's view."""
    view = context.view("key")
    parts = urllib3.util.parse_url(url)
    options = {"cert_reqs": "CERT_REQUIRED", "retries": False, "timeout": LIMIT, **options}
    with urllib3.HTTPSConnectionPool(parts.host, parts.port, ssl_context=view, **options) as pool:
        response = pool.urlopen("GET", parts.request_uri, preload_content=False)
        assert response.status == 200
        response.read()
        connection = pool.pool.get_nowait()  # type: ignore[union-attr]
        context.save("key", connection.sock)
        connection.close()
    return view


def wait_until_readable(sock: socket.socket) -> None:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    assert poll.poll(LIMIT * 1000)


# Resuming


@VERSIONS
def test_the_next_connection_resumes_the_last_ones_session(
    version: ssl.TLSVersion, ca: trustme.CA, context: Context, stack: ExitStack
) -> None:
    server = Server(stack, served_by(ca, version))
    assert [server.talk(context) for _ in range(4)] == [False, True, True, True]
    assert server.hits == 3
    assert context.sessions == 1


def test_without_tickets_tls_1_2_resumes_what_the_server_remembers(
    ca: trustme.CA, folder: Path, stack: ExitStack
) -> None:
    server = Server(stack, served_by(ca, TLS12))
    context = verifying(Contexts(tls12_tickets=False), folder)
    client, peer = server.pair(context.view("key"))
    assert not client.session.has_ticket
    assert context.save("key", client)
    assert server.talk(context) is True  # the first connection is still open, and so its session in the server's cache
    peer.close()


def test_a_tls_1_3_session_cannot_be_saved_before_its_ticket_was_read(
    ca: trustme.CA, context: Context, stack: ExitStack
) -> None:
    server = Server(stack, served_by(ca, TLS13))
    client, peer = server.pair(context.view("key"))
    assert not context.save("key", client)
    peer.sendall(b"x")
    client.recv(1)
    assert context.save("key", client)


def test_one_ticket_serves_connections_that_are_open_at_once(
    ca: trustme.CA, context: Context, stack: ExitStack
) -> None:
    server = Server(stack, served_by(ca))
    server.talk(context)
    views = [context.view("key") for _ in range(4)]
    for view in views:
        server.pair(view)
    assert [view.resumed for view in views] == [True] * 4


@VERSIONS
def test_sessions_stay_with_their_key(
    version: ssl.TLSVersion, ca: trustme.CA, context: Context, stack: ExitStack
) -> None:
    server = Server(stack, served_by(ca, version))
    server.talk(context, "one")
    assert server.talk(context, "another") is False
    assert server.talk(context, "one") is True


@VERSIONS
def test_a_session_is_not_resumed_for_another_name_although_the_key_is_the_same(
    version: ssl.TLSVersion, ca: trustme.CA, context: Context, stack: ExitStack
) -> None:
    # A resumed handshake shows no certificate: the name would not be verified at all.
    server = Server(stack, served_by(ca, version))
    server.talk(context, name=HOST)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        server.pair(context.view("key"), "wrong.test")
    assert server.talk(context, name="localhost") is False
    assert server.talk(context, name=HOST) is True


@VERSIONS
def test_what_was_not_verified_is_not_resumed_where_it_must_be(
    version: ssl.TLSVersion, ca: trustme.CA, contexts: Contexts, folder: Path, stack: ExitStack
) -> None:
    server = Server(stack, served_by(ca, version))
    careless = contexts.get("CERT_NONE", None, None, None, None)
    suspicious = contexts.get("CERT_REQUIRED", str(folder / "other.pem"), None, None, None)
    assert [server.talk(careless), server.talk(careless)] == [False, True]
    with pytest.raises(ssl.SSLCertVerificationError):
        server.pair(suspicious.view("key"))


def test_a_session_of_another_context_is_not_saved(
    ca: trustme.CA, contexts: Contexts, context: Context, stack: ExitStack
) -> None:
    server = Server(stack, served_by(ca, TLS12))
    client, _ = server.pair(contexts.get("CERT_NONE", None, None, None, None).view("key"))
    assert not context.save("key", client)
    assert context.sessions == 0


def test_what_has_no_session_is_not_saved(context: Context, stack: ExitStack) -> None:
    assert not context.save("key", stack.enter_context(socket.socket()))
    assert not context.save("key", None)


def test_a_certificate_is_verified_again_after_an_hour_of_resumed_sessions(
    ca: trustme.CA, folder: Path, stack: ExitStack
) -> None:
    now = [0.0]
    context = verifying(Contexts(clock=lambda: now[0]), folder)
    server = Server(stack, served_by(ca))

    def resumed_at(seconds: float) -> bool | None:
        now[0] = seconds
        return server.talk(context)

    resumed = [resumed_at(VERIFIED_FOR * part) for part in (0, 0.6, 0.99, 1, 1.9)]
    assert resumed == [False, True, True, False, True]


def test_a_full_handshake_starts_the_hour_anew_although_a_session_was_offered(
    ca: trustme.CA, folder: Path, stack: ExitStack
) -> None:
    now = [0.0]
    context = verifying(Contexts(clock=lambda: now[0]), folder)
    assert Server(stack, served_by(ca)).talk(context) is False
    now[0] = VERIFIED_FOR * 0.9
    another = Server(stack, served_by(ca))  # cannot read the first one's tickets
    assert another.talk(context) is False
    now[0] = VERIFIED_FOR * 1.5
    assert another.talk(context) is True


def test_a_session_whose_handshake_failed_is_not_tried_again(
    ca: trustme.CA, context: Context, stack: ExitStack
) -> None:
    server = Server(stack, served_by(ca))
    server.talk(context)
    view = context.view("key", lambda sock: socket.socket.shutdown(sock, socket.SHUT_RDWR))
    with pytest.raises(OSError):
        server.pair(view)
    assert view.resumed is None
    assert context.sessions == 0


def test_a_failed_handshake_leaves_a_newer_session_alone(ca: trustme.CA, context: Context, stack: ExitStack) -> None:
    server = Server(stack, served_by(ca))
    server.talk(context)

    other = Server(stack, server.context)

    def meanwhile(sock: ssl.SSLSocket) -> None:
        other.talk(context)
        socket.socket.shutdown(sock, socket.SHUT_RDWR)

    with pytest.raises(OSError):
        server.pair(context.view("key", meanwhile))
    assert context.sessions == 1


def test_the_sessions_kept_are_bounded(
    ca: trustme.CA, context: Context, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SESSIONS_KEPT <= 4096
    monkeypatch.setattr(tls, "SESSIONS_KEPT", 2)
    server = Server(stack, served_by(ca))
    for key in ("one", "two", "one", "three"):
        server.talk(context, key)
    assert context.sessions == 2
    assert [server.talk(context, key) for key in ("one", "two")] == [True, False]


# Verifying


@VERSIONS
def test_a_server_is_verified_as_ever(
    version: ssl.TLSVersion, ca: trustme.CA, contexts: Contexts, context: Context, folder: Path
) -> None:
    with Origin(("127.0.0.1", "127.0.0.2"), tls=served_by(ca, version, HOST)) as origin:
        get(context, origin.url())
        unknown = contexts.get("CERT_REQUIRED", str(folder / "other.pem"), None, None, None)
        with pytest.raises(urllib3.exceptions.SSLError, match=r"unable to get local issuer|self.signed"):
            get(unknown, origin.url())
        with pytest.raises(urllib3.exceptions.SSLError, match="mismatch"):
            get(context, origin.url(address="127.0.0.2"))
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    with (
        Origin(tls=served_by(ca, version, HOST, not_after=yesterday)) as origin,
        pytest.raises(urllib3.exceptions.SSLError, match="certificate has expired"),
    ):
        get(context, origin.url())


@VERSIONS
def test_urllib3_makes_resumed_connections_through_a_view(
    version: ssl.TLSVersion, ca: trustme.CA, context: Context
) -> None:
    with Origin(tls=served_by(ca, version)) as origin:
        views = [get(context, origin.url()) for _ in range(3)]
        assert origin.connections_opened == 3
    assert [view.resumed for view in views] == [False, True, True]


@VERSIONS
@pytest.mark.parametrize("required", [True, False])
def test_urllib3_compares_names_itself_also_when_resumed(
    required: bool, version: ssl.TLSVersion, ca: trustme.CA, contexts: Contexts, folder: Path
) -> None:
    server = served_by(ca, version, "elsewhere.test")
    context = verifying(contexts, folder, check_hostname=False)
    assert context is not verifying(contexts, folder)
    with Origin(tls=server) as origin:
        good: dict[str, Any] = {"assert_hostname": "elsewhere.test" if required else False}
        assert [get(context, origin.url(), **good).resumed for _ in range(2)] == [False, True]
        with pytest.raises(urllib3.exceptions.SSLError, match="doesn't match"):
            get(context, origin.url(), assert_hostname="wrong.test")
        with pytest.raises(urllib3.exceptions.SSLError, match="Fingerprints did not match"):
            get(context, origin.url(), assert_fingerprint="00" * 32)


@VERSIONS
@pytest.mark.parametrize("together", [True, False])
def test_a_client_certificate_is_shown(
    together: bool, version: ssl.TLSVersion, ca: trustme.CA, contexts: Contexts, context: Context, folder: Path
) -> None:
    server = served_by(ca, version)
    ca.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    files = (str(folder / "both.pem"), None) if together else (str(folder / "client.pem"), str(folder / "client.key"))
    known = contexts.get("CERT_REQUIRED", str(folder / "ca.pem"), None, *files)
    with Origin(tls=server) as origin:
        assert [get(known, origin.url()).resumed for _ in range(2)] == [False, True]
        with pytest.raises((urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError)):
            get(context, origin.url())


def test_http_1_1_is_asked_for_by_alpn(ca: trustme.CA, context: Context, stack: ExitStack) -> None:
    server = served_by(ca)
    server.set_alpn_protocols(["h2", "http/1.1"])
    client, _ = Server(stack, server).pair(context.view("key"))
    assert client.selected_alpn_protocol() == "http/1.1"


def test_a_folder_of_certificates_is_trusted(
    ca: trustme.CA, contexts: Contexts, folder: Path, tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    openssl = shutil.which("openssl")
    require(openssl, "openssl, which names the files of such a folder")
    shutil.copy(folder / "ca.pem", tmp_path)
    assert os.spawnl(os.P_WAIT, openssl or "", "openssl", "rehash", str(tmp_path)) == 0
    with Origin(tls=served_by(ca)) as origin:
        get(contexts.get("CERT_REQUIRED", None, str(tmp_path), None, None), origin.url())


@pytest.mark.parametrize("cert_reqs", ["CERT_REQUIRED", "CERT_OPTIONAL", "CERT_NONE", None, ssl.CERT_NONE])
@pytest.mark.parametrize("has_ca", [True, False])
def test_a_context_is_what_urllib3_makes_for_itself(
    cert_reqs: Any, has_ca: bool, folder: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> None:
    made: list[ssl.SSLContext] = []

    class Seen(ssl.SSLContext):
        def wrap_socket(self, *args: Any, **kwargs: Any) -> Any:
            made.append(self)
            raise OSError("seen")

    ca_certs = str(folder / "ca.pem") if has_ca else None
    server = stack.enter_context(socket.create_server((HOST, 0)))
    monkeypatch.setattr(urllib3_ssl, "SSLContext", Seen)
    connection = urllib3.connection.HTTPSConnection(
        HOST, server.getsockname()[1], timeout=LIMIT, cert_reqs=cert_reqs, ca_certs=ca_certs
    )
    with pytest.raises(OSError, match="seen"):
        connection.connect()
    connection.close()
    monkeypatch.undo()

    (theirs,) = made
    ours = Contexts(tls12_tickets=False).get(cert_reqs, ca_certs, None, None, None).view("key")
    for name in (
        *("verify_mode", "check_hostname", "verify_flags", "options", "minimum_version", "maximum_version"),
        *("hostname_checks_common_name", "post_handshake_auth", "security_level", "keylog_filename", "protocol"),
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.cert_store_stats() == theirs.cert_store_stats()
    assert ours.get_ciphers() == theirs.get_ciphers()


# Building


def test_one_context_for_each_setting(contexts: Contexts, folder: Path) -> None:
    ca, other, client = (str(folder / name) for name in ("ca.pem", "other.pem", "both.pem"))
    settings: list[tuple[Any, ...]] = [
        ("CERT_REQUIRED", ca, None, None, None),
        ("CERT_REQUIRED", other, None, None, None),
        ("CERT_REQUIRED", ca, str(folder), None, None),
        ("CERT_NONE", ca, None, None, None),
        ("CERT_REQUIRED", ca, None, client, None),
        ("CERT_REQUIRED", ca, None, client, client),
    ]
    made = [contexts.get(*one) for one in settings]
    assert len(set(made)) == len(settings)
    assert [contexts.get(*one) for one in settings] == made
    assert contexts.get(ssl.CERT_REQUIRED, ca, "", None, None) is made[0]


@pytest.mark.usefixtures("tiny_switch_interval")
def test_threads_that_ask_at_once_get_one_context(
    contexts: Contexts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    build = tls._build

    def counted(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        built.append(threading.get_ident())
        return build(*args, **kwargs)

    monkeypatch.setattr(tls, "_build", counted)
    barrier = threading.Barrier(16)

    def ask(_: int) -> Context:
        barrier.wait(LIMIT)
        return verifying(contexts, folder)

    with ThreadPoolExecutor(16) as threads:
        found = set(threads.map(ask, range(16)))
    assert len(found) == len(built) == 1


def test_a_slow_building_holds_up_no_other(contexts: Contexts, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = tls._build
    begun, go_on = threading.Event(), threading.Event()

    def slow(settings: Any, **kwargs: Any) -> ssl.SSLContext:
        if settings.cert_reqs == ssl.CERT_REQUIRED:
            begun.set()
            assert go_on.wait(LIMIT)
        return build(settings, **kwargs)

    monkeypatch.setattr(tls, "_build", slow)
    with ThreadPoolExecutor(2) as threads:
        try:
            waiting = threads.submit(verifying, contexts, folder)
            assert begun.wait(LIMIT)
            threads.submit(contexts.get, "CERT_NONE", None, None, None, None).result(LIMIT)
            assert not waiting.done()
        finally:
            go_on.set()


def test_the_contexts_kept_are_bounded(contexts: Contexts, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CONTEXTS_KEPT <= 256
    monkeypatch.setattr(tls, "CONTEXTS_KEPT", 2)
    ca = str(folder / "ca.pem")

    def ask(password: str) -> Context:
        return contexts.get("CERT_REQUIRED", ca, None, None, None, password)

    one, two = ask("one"), ask("two")
    assert ask("one") is one
    ask("three")
    assert ask("one") is one
    assert ask("two") is not two


def test_a_certificate_that_was_replaced_is_read_again(contexts: Contexts, folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    shutil.copy(folder / "ca.pem", bundle)
    before = contexts.get("CERT_REQUIRED", str(bundle), None, None, None)
    shutil.copy(folder / "other.pem", tmp_path / "new.pem")
    os.replace(tmp_path / "new.pem", bundle)
    after = contexts.get("CERT_REQUIRED", str(bundle), None, None, None)
    assert before.view("key").get_ca_certs() != after.view("key").get_ca_certs()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (("junk.pem", None, None), r"the CA certificates \(.*junk\.pem\) cannot be used"),
        (("missing.pem", None, None), r"the CA certificates \(.*missing\.pem\) cannot be used: .*No such file"),
        (("ca.pem", "junk.pem", None), r"the client certificate \(.*junk\.pem\) cannot be used"),
        (("ca.pem", "client.pem", "missing.key"), r"client\.pem, .*missing\.key\) cannot be used: .*No such file"),
        (("ca.pem", "client.pem", "client.pem"), r"the client certificate"),
        (("ca.pem", "ca.pem", "client.key"), r"the client certificate .*MISMATCH"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    files: tuple[str | None, ...], text: str, contexts: Contexts, folder: Path
) -> None:
    ca, cert, key = (name and str(folder / name) for name in files)
    with pytest.raises(ssl.SSLError, match=text) as raised:
        contexts.get("CERT_REQUIRED", ca, None, cert, key)
    assert raised.value.errno == ssl.SSL_ERROR_SSL, (
        "a file that is missing must not look like SSL_ERROR_WANT_READ, also 2"
    )


def test_a_failure_to_build_is_not_kept(contexts: Contexts, folder: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.pem"
    with pytest.raises(ssl.SSLError):
        contexts.get("CERT_REQUIRED", str(late), None, None, None)
    shutil.copy(folder / "ca.pem", late)
    contexts.get("CERT_REQUIRED", str(late), None, None, None)


def test_an_encrypted_key_without_its_password_fails_and_asks_nobody(
    ca: trustme.CA, contexts: Contexts, folder: Path, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization as form

    plain = form.load_pem_private_key((folder / "client.key").read_bytes(), None)
    secret = form.BestAvailableEncryption(b"sesame")
    (tmp_path / "client.key").write_bytes(plain.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, secret))
    files = ("CERT_REQUIRED", str(folder / "ca.pem"), None, str(folder / "client.pem"), str(tmp_path / "client.key"))
    with pytest.raises(ssl.SSLError, match="is encrypted, and there is no password"):
        contexts.get(*files)
    with pytest.raises(ssl.SSLError):
        contexts.get(*files, "wrong")
    contexts.get(*files, "sesame")


# The view


def test_setting_what_is_set_already_passes(context: Context) -> None:
    view = context.view("key")
    for name in (
        *("verify_mode", "check_hostname", "hostname_checks_common_name", "minimum_version", "maximum_version"),
        *("verify_flags", "options", "post_handshake_auth", "keylog_filename"),
    ):
        setattr(view, name, getattr(view, name))
    view.set_alpn_protocols(["http/1.1"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("verify_mode", ssl.CERT_NONE),
        ("check_hostname", False),
        ("hostname_checks_common_name", True),
        ("minimum_version", TLS13),
        ("maximum_version", TLS12),
        ("verify_flags", ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF),
        ("options", 0),
        ("post_handshake_auth", False),
        ("keylog_filename", "keys.log"),
        ("sslsocket_class", ssl.SSLSocket),
        ("sni_callback", print),
    ],
)
def test_setting_anything_to_another_value_raises(name: str, value: object, context: Context) -> None:
    view = context.view("key")
    before = getattr(view, name)
    with pytest.raises(TypeError, match=f"shared by many connections.*its {name} is"):
        setattr(view, name, value)
    assert getattr(view, name) == before == getattr(context.view("key"), name)


def test_loading_and_setting_more_raises(context: Context, folder: Path) -> None:
    view = context.view("key")
    for change in (
        lambda: view.load_verify_locations(str(folder / "other.pem")),
        lambda: view.load_cert_chain(str(folder / "both.pem")),
        lambda: view.load_default_certs(),
        lambda: view.set_ciphers("ALL"),
        lambda: view.set_default_verify_paths(),
        lambda: view.set_alpn_protocols(["h2", "http/1.1"]),
    ):
        with pytest.raises(TypeError, match="shared by many connections"):
            change()
    with pytest.raises(AttributeError):
        view.no_such_thing = 1
    assert len(view.get_ca_certs()) == 1


@pytest.mark.parametrize("options", [{"cert_reqs": "CERT_NONE"}, {"ca_certs": "other.pem"}, {"assert_hostname": False}])
def test_urllib3_cannot_change_a_shared_context(options: dict[str, Any], ca: trustme.CA, context: Context) -> None:
    with Origin(tls=served_by(ca)) as origin, pytest.raises(TypeError, match="shared by many connections"):
        get(context, origin.url(), **options)


def test_the_socket_is_shown_before_the_handshake(ca: trustme.CA, context: Context, stack: ExitStack) -> None:
    seen: list[tuple[ssl.SSLSocket, object]] = []
    client, _ = Server(stack, served_by(ca)).pair(context.view("key", lambda sock: seen.append((sock, sock.version()))))
    assert seen == [(client, None)]


def test_a_handshake_ends_when_its_socket_is_shut_down(context: Context, stack: ExitStack) -> None:
    listener = stack.enter_context(socket.create_server((HOST, 0)))
    sock = socket.create_connection(listener.getsockname(), timeout=LIMIT)
    silent, _ = listener.accept()
    stack.enter_context(silent)
    shown: list[ssl.SSLSocket] = []
    view = context.view("key", shown.append)
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(view.wrap_socket, sock, server_hostname=HOST)
        assert silent.recv(1)  # the handshake has begun
        socket.socket.shutdown(shown[0], socket.SHUT_RDWR)
        with pytest.raises(OSError):
            done.result(LIMIT)
    assert shown[0].fileno() == sock.fileno() == -1
    assert view.resumed is None


def test_a_socket_whose_handshake_fails_is_closed(
    ca: trustme.CA, contexts: Contexts, folder: Path, stack: ExitStack
) -> None:
    shown: list[ssl.SSLSocket] = []
    suspicious = contexts.get("CERT_REQUIRED", str(folder / "other.pem"), None, None, None)
    with pytest.raises(ssl.SSLCertVerificationError):
        Server(stack, served_by(ca)).pair(suspicious.view("key", shown.append))
    assert shown[0].fileno() == -1


def test_a_socket_is_closed_if_showing_it_fails(ca: trustme.CA, context: Context, stack: ExitStack) -> None:
    shown: list[ssl.SSLSocket] = []

    def fail(sock: ssl.SSLSocket) -> None:
        shown.append(sock)
        raise LookupError("no")

    with pytest.raises(LookupError):
        Server(stack, served_by(ca)).pair(context.view("key", fail))
    assert shown[0].fileno() == -1


# TLS inside TLS


class TlsProxy:
    """An HTTPS proxy that tunnels, a thread for each tunnel, to wherever CONNECT says."""

    def __init__(self, stack: ExitStack, context: ssl.SSLContext) -> None:
        self.context = context
        self.listener = stack.enter_context(socket.create_server((HOST, 0)))
        self._stack = stack
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        stack.callback(thread.join, LIMIT)
        stack.callback(self.listener.shutdown, socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.listener.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._tunnel, args=(sock,), daemon=True).start()

    def _tunnel(self, sock: socket.socket) -> None:
        with ExitStack() as stack:
            try:
                near = stack.enter_context(self.context.wrap_socket(sock, server_side=True))
            except OSError:
                return  # this client trusts nobody
            near.settimeout(LIMIT)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += near.recv(1)
            host, _, port = head.split()[1].decode().partition(":")
            near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            far = stack.enter_context(socket.create_connection((host, int(port)), timeout=LIMIT))
            _pump(near, far)


def _pump(near: ssl.SSLSocket, far: socket.socket) -> None:
    """Carry bytes both ways until one side ends. In one thread: a TLS socket is not to be read and written by two."""
    other = {near: far, far: near}
    while True:
        readable = [near] if near.pending() else select.select([near, far], [], [], LIMIT)[0]
        for source in readable:
            source.settimeout(0)
            try:
                data = source.recv(65536)
            except ssl.SSLWantReadError:
                continue
            except OSError:
                return
            finally:
                source.settimeout(LIMIT)
            if not data:
                return
            other[source].sendall(data)


@VERSIONS
def test_tls_inside_tls_resumes_both_and_verifies_both(
    version: ssl.TLSVersion, ca: trustme.CA, contexts: Contexts, context: Context, stack: ExitStack, folder: Path
) -> None:
    proxy = TlsProxy(stack, served_by(ca, version))
    origin = stack.enter_context(Origin(tls=served_by(ca, version)))

    def fetch(inner: Context, outer: Context) -> tuple[bool | None, bool | None]:
        views = inner.view("origin"), outer.view("proxy")
        with urllib3.ProxyManager(proxy.url, ssl_context=views[0], proxy_ssl_context=views[1]) as manager:
            pool = manager.connection_from_url(origin.url())
            assert pool.urlopen("GET", "/", retries=False, timeout=LIMIT).status == 200
            connection: Any = pool.pool.get_nowait()  # type: ignore[union-attr]
            assert isinstance(connection.sock, SSLTransport)
            assert not is_dead(connection.sock)
            assert inner.save("origin", connection.sock)
            assert outer.save("proxy", connection.sock.socket)
            connection.close()
        return views[0].resumed, views[1].resumed

    assert [fetch(context, context) for _ in range(3)] == [(False, False), (True, True), (True, True)]
    suspicious = contexts.get("CERT_REQUIRED", str(folder / "other.pem"), None, None, None)
    with pytest.raises(urllib3.exceptions.SSLError):
        fetch(suspicious, context)
    with pytest.raises(urllib3.exceptions.ProxyError):
        fetch(context, suspicious)


def test_tls_inside_tls_offers_a_session_once(ca: trustme.CA, context: Context, stack: ExitStack) -> None:
    # Its handshake is urllib3's, so a session that makes it fail would be offered again and again.
    Server(stack, served_by(ca)).talk(context)
    context.view("key").wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=HOST)
    assert context.sessions == 0


def test_tls_inside_tls_is_dead_once_it_is_readable(stack: ExitStack) -> None:
    ours, theirs = (stack.enter_context(sock) for sock in socket.socketpair())
    transport = SSLTransport.__new__(SSLTransport)
    transport.socket = ours
    assert not is_dead(transport)
    theirs.sendall(b"x")
    assert is_dead(transport)


# Dead or alive


def test_a_plain_socket_is_dead_once_it_is_readable(stack: ExitStack) -> None:
    for end in (lambda sock: sock.sendall(b"x"), lambda sock: sock.shutdown(socket.SHUT_WR), lambda sock: sock.close()):
        ours, theirs = (stack.enter_context(sock) for sock in socket.socketpair())
        assert not is_dead(ours)
        end(theirs)
        assert is_dead(ours)


def test_a_closed_socket_is_dead(ca: trustme.CA, context: Context, stack: ExitStack) -> None:
    plain, _ = (stack.enter_context(sock) for sock in socket.socketpair())
    client, _ = Server(stack, served_by(ca)).pair(context.view("key"))
    for sock in (plain, client):
        sock.close()
        assert is_dead(sock)


def test_a_fresh_socket_with_unread_tickets_is_alive(ca: trustme.CA, context: Context, stack: ExitStack) -> None:
    client, server = Server(stack, served_by(ca, TLS13)).pair(context.view("key"))
    wait_until_readable(client)
    assert not is_dead(client)
    assert not is_readable(client)
    assert client.gettimeout() == LIMIT
    assert context.save("key", client), "the tickets were read"
    server.sendall(b"still usable")
    assert client.recv(100) == b"still usable"


def close_notify(server: ssl.SSLSocket) -> None:
    server.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        server.unwrap()  # says it, and would wait for the client to say it too


def plain_end(server: ssl.SSLSocket) -> None:
    socket.socket.shutdown(server, socket.SHUT_WR)


def reset(server: ssl.SSLSocket) -> None:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    server.close()


def junk(server: ssl.SSLSocket) -> None:
    socket.socket.send(server, b"this is no TLS record")


def data(server: ssl.SSLSocket) -> None:
    server.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")


@VERSIONS
@pytest.mark.parametrize("end", [close_notify, plain_end, reset, junk, data])
@pytest.mark.parametrize("is_fresh", [True, False])
def test_a_tls_socket_that_was_ended_or_written_to_is_dead(
    is_fresh: bool,
    end: Callable[[ssl.SSLSocket], None],
    version: ssl.TLSVersion,
    ca: trustme.CA,
    context: Context,
    stack: ExitStack,
) -> None:
    client, server = Server(stack, served_by(ca, version)).pair(context.view("key"))
    if not is_fresh:  # its tickets are read
        server.sendall(b"x")
        client.recv(1)
        assert not is_dead(client)
    end(server)
    wait_until_readable(client)
    found = is_dead(client)
    if is_fresh and version == TLS13:  # that may have read the tickets alone; the end comes after them
        while not found:
            wait_until_readable(client)
            found = is_dead(client)
    assert found
    assert client.gettimeout() == LIMIT


def test_decrypted_data_that_nobody_read_makes_a_socket_dead(
    ca: trustme.CA, context: Context, stack: ExitStack
) -> None:
    client, server = Server(stack, served_by(ca)).pair(context.view("key"))
    server.sendall(b"two")
    assert client.recv(1) == b"t"
    assert client.pending()
    assert is_dead(client)


def test_descriptors_over_1023_are_looked_at(stack: ExitStack) -> None:
    import fcntl
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, hard), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    ours, theirs = (stack.enter_context(sock) for sock in socket.socketpair())
    high = stack.enter_context(socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD, 1050)))
    assert not is_dead(high)
    theirs.sendall(b"x")
    assert is_dead(high)


# All at once


@pytest.mark.usefixtures("tiny_switch_interval")
@VERSIONS
def test_many_threads_connect_and_save_at_once(
    version: ssl.TLSVersion, ca: trustme.CA, contexts: Contexts, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "SESSIONS_KEPT", 3)  # so that they also go
    server = served_by(ca, version)
    with Origin(tls=server) as origin:

        def fetch(thread: int) -> list[bool]:
            resumed = []
            for turn in range(12):
                context = verifying(contexts, folder)
                key = (thread + turn) % 4
                view = context.view(key)
                sock = socket.create_connection((HOST, origin.port), timeout=LIMIT)
                with view.wrap_socket(sock, server_hostname=HOST) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
                    assert client.makefile("rb").read().startswith(b"HTTP/1.1 200")
                    assert context.save(key, client)
                    assert context.sessions <= 3
                resumed.append(view.resumed is True)
            return resumed

        with ThreadPoolExecutor(8) as threads:
            resumed = [one for result in threads.map(fetch, range(8)) for one in result]
    assert len(resumed) == 96
    assert sum(resumed) == server.session_stats()["hits"]
    assert sum(resumed) > 20


@pytest.mark.usefixtures("tiny_switch_interval")
def test_many_threads_save_take_and_drop_sessions_at_once(
    ca: trustme.CA, folder: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clock() -> float:
        os.sched_yield()  # let another thread in where the time is asked for
        return 0.0

    monkeypatch.setattr(tls, "SESSIONS_KEPT", 1)
    context = verifying(Contexts(clock=clock), folder)
    server = Server(stack, served_by(ca, TLS12))
    clients = [server.pair(context.view("key"))[0] for _ in range(8)]

    def work(client: ssl.SSLSocket) -> None:
        for turn in range(500):
            assert context.save(turn % 2, client)
            context._offer(turn % 2, HOST, once=True)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, clients)) == [None] * 8
    assert context.sessions <= 1
