"""A TLS context is built once for each setting, verifies as urllib3's own would, and never changes."""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import urllib3
from urllib3.util import ssl_ as urllib3_ssl

from tests.certificates import Authority
from tests.tls_ends import HOST, LIMIT, TLS12, TLS13, VERSIONS, Server, get, verifying
from workerpool.testing import Origin
from workerpool.transport import tls
from workerpool.transport.tls import CONTEXTS_KEPT, Context, Contexts

# Verifying


@VERSIONS
def test_a_server_is_verified_as_ever(
    version: ssl.TLSVersion, ca: Authority, contexts: Contexts, context: Context, folder: Path
) -> None:
    with Origin(("127.0.0.1", "127.0.0.2"), tls=ca.context(HOST, version=version)) as origin:
        get(context, origin.url())
        unknown = contexts.get("CERT_REQUIRED", str(folder / "other.pem"), None, None, None)
        with pytest.raises(urllib3.exceptions.SSLError, match=r"unable to get local issuer|self.signed"):
            get(unknown, origin.url())
        with pytest.raises(urllib3.exceptions.SSLError, match="mismatch"):
            get(context, origin.url(address="127.0.0.2"))
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    with (
        Origin(tls=ca.context(HOST, not_after=yesterday, version=version)) as origin,
        pytest.raises(urllib3.exceptions.SSLError, match="certificate has expired"),
    ):
        get(context, origin.url())


@VERSIONS
def test_urllib3_makes_resumed_connections_through_a_view(
    version: ssl.TLSVersion, ca: Authority, context: Context
) -> None:
    with Origin(tls=ca.context(version=version)) as origin:
        views = [get(context, origin.url()) for _ in range(3)]
        assert origin.connections_opened == 3
    assert [view.resumed for view in views] == [False, True, True]


@VERSIONS
@pytest.mark.parametrize("required", [True, False])
def test_urllib3_compares_names_itself_also_when_resumed(
    required: bool, version: ssl.TLSVersion, ca: Authority, contexts: Contexts, folder: Path
) -> None:
    server = ca.context("elsewhere.test", version=version)
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
    together: bool, version: ssl.TLSVersion, ca: Authority, contexts: Contexts, context: Context, folder: Path
) -> None:
    server = ca.context(version=version)
    server.load_verify_locations(ca.file)
    server.verify_mode = ssl.CERT_REQUIRED
    files = (str(folder / "both.pem"), None) if together else (str(folder / "client.pem"), str(folder / "client.key"))
    known = contexts.get("CERT_REQUIRED", str(folder / "ca.pem"), None, *files)
    with Origin(tls=server) as origin:
        assert [get(known, origin.url()).resumed for _ in range(2)] == [False, True]
        with pytest.raises((urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError)):
            get(context, origin.url())


def test_http_1_1_is_asked_for_by_alpn(ca: Authority, context: Context, stack: ExitStack) -> None:
    server = ca.context(version=TLS13)
    server.set_alpn_protocols(["h2", "http/1.1"])
    client, _ = Server(stack, server).pair(context.view("key"))
    assert client.selected_alpn_protocol() == "http/1.1"


def test_a_folder_of_certificates_is_trusted(
    ca: Authority, contexts: Contexts, folder: Path, tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    openssl = shutil.which("openssl")
    require(openssl, "openssl, which names the files of such a folder")
    shutil.copy(folder / "ca.pem", tmp_path)
    assert os.spawnl(os.P_WAIT, openssl or "", "openssl", "rehash", str(tmp_path)) == 0
    with Origin(tls=ca.context(version=TLS13)) as origin:
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
    ca: Authority, contexts: Contexts, folder: Path, tmp_path: Path
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
def test_urllib3_cannot_change_a_shared_context(options: dict[str, Any], ca: Authority, context: Context) -> None:
    with Origin(tls=ca.context(version=TLS13)) as origin, pytest.raises(TypeError, match="shared by many connections"):
        get(context, origin.url(), **options)


def test_the_socket_is_shown_before_the_handshake(ca: Authority, context: Context, stack: ExitStack) -> None:
    seen: list[tuple[ssl.SSLSocket, object]] = []
    client, _ = Server(stack, ca.context(version=TLS13)).pair(
        context.view("key", lambda sock: seen.append((sock, sock.version())))
    )
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
    ca: Authority, contexts: Contexts, folder: Path, stack: ExitStack
) -> None:
    shown: list[ssl.SSLSocket] = []
    suspicious = contexts.get("CERT_REQUIRED", str(folder / "other.pem"), None, None, None)
    with pytest.raises(ssl.SSLCertVerificationError):
        Server(stack, ca.context(version=TLS13)).pair(suspicious.view("key", shown.append))
    assert shown[0].fileno() == -1


def test_a_socket_is_closed_if_showing_it_fails(ca: Authority, context: Context, stack: ExitStack) -> None:
    shown: list[ssl.SSLSocket] = []

    def fail(sock: ssl.SSLSocket) -> None:
        shown.append(sock)
        raise LookupError("no")

    with pytest.raises(LookupError):
        Server(stack, ca.context(version=TLS13)).pair(context.view("key", fail))
    assert shown[0].fileno() == -1
