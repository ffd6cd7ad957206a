"""Certificates of one authority, and contexts that trust it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.tls_ends import verifying
from workerpool.transport.tls import Context, Contexts


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def folder(ca: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ca.pem`, who signs every server here; `other.pem`; a client's `both.pem` and its parts; `junk.pem`."""
    folder = tmp_path_factory.mktemp("certificates")
    shutil.copy(ca.file, folder / "ca.pem")
    shutil.copy(Authority(folder).file, folder / "other.pem")
    shutil.copy(ca.one_file("client.test"), folder / "both.pem")
    for made, name in zip(ca.files("client.test"), ("client.pem", "client.key"), strict=True):
        shutil.copy(made, folder / name)
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
