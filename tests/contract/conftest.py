"""Every route as a fixture. Origins and SOCKS servers are made anew for each test; tinyproxy runs once for all."""

from __future__ import annotations

import logging
import ssl
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from tests.certificates import Authority
from tests.conftest import IN_FULL
from tests.contract.routes import ADDRESSES, KINDS, LOGIN, NAMES, Route
from tests.contract.tinyproxy import Tinyproxy, tinyproxy
from tests.socks_server import SocksServer
from workerpool.testing import Origin


@pytest.fixture(scope="session")
def ca_file(authority: Authority) -> str:
    """The path of that authority's certificate, for `verify`."""
    return authority.file


@pytest.fixture(scope="session")
def tls(authority: Authority) -> ssl.SSLContext:
    """A server's TLS context, its certificate for the loopback addresses and localhost."""
    return authority.context(*ADDRESSES, "localhost")


@pytest.fixture(scope="session")
def open_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tinyproxy]:
    with tinyproxy(tmp_path_factory.mktemp("tinyproxy"), login=False) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def login_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tinyproxy]:
    """A proxy that wants a user and a password."""
    with tinyproxy(tmp_path_factory.mktemp("tinyproxy"), login=True) as proxy:
        yield proxy


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(ADDRESSES) as origin:
        yield origin


@pytest.fixture
def tls_origin(tls: ssl.SSLContext) -> Iterator[Origin]:
    with Origin(ADDRESSES, tls=tls) as origin:
        yield origin


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have each test that says nothing of it go every way in full, else one of each kind: another one than others."""
    says = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "route" in metafunc.fixturenames and "route" not in says:
        turn = zlib.crc32(metafunc.function.__name__.encode())
        names = NAMES if IN_FULL else [kind[turn % len(kind)] for kind in KINDS]
        metafunc.parametrize("route", names, indirect=True)


@pytest.fixture
def route(request: pytest.FixtureRequest) -> Iterator[Route]:
    """A way to an origin, by its name."""
    name: str = request.param
    is_tls = name.endswith("https") or name.startswith("connect")
    origin = request.getfixturevalue("tls_origin" if is_tls else "origin")
    verify = request.getfixturevalue("ca_file") if is_tls else True
    proxy, asked = None, None
    with ExitStack() as stack:
        if name.startswith(("http-proxy", "connect")):
            tiny: Tinyproxy = request.getfixturevalue("login_proxy" if name.endswith("login") else "open_proxy")
            before = tiny.requests()
            proxy, asked = tiny.url, lambda: tiny.requests() - before
        elif name.startswith("socks"):
            has_login = "login" in name
            server = stack.enter_context(SocksServer(LOGIN if has_login else None))
            login = "{}:{}@".format(*LOGIN) if has_login else ""
            proxy, asked = f"{name.partition('-')[0]}://{login}127.0.0.1:{server.port}", lambda: server.connections
        yield Route(
            name=name,
            origin=origin,
            proxies=None if proxy is None else {"http": proxy, "https": proxy},
            verify=verify,
            asked=asked,
            keeps_sockets=not name.startswith("http-proxy"),
        )


@pytest.fixture(scope="session")
def bucket(authority: Authority) -> Iterator[str]:
    """A bucket on an S3 server of this process."""
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("s3fs")
    loaders = pytest.importorskip("botocore.loaders")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        # Each client reads what botocore knows of the service's every call, which takes longer than a test, and all
        # authorities, even where nothing is encrypted.
        patch.setattr("botocore.session.create_loader", cache(loaders.create_loader))
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "user")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CA_BUNDLE", authority.file)
        fsspec.filesystem("s3").mkdir("jobs")
        yield "s3://jobs"
        server.stop()
