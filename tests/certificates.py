"""Certificates for the tests, made on the spot: an authority, contexts for servers, and files for clients."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import Any

import trustme

VERSIONS = [
    (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
    (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
]


class Authority:
    """A private certificate authority; its files go into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self._names = 0
        self.file = str(self._new("ca"))
        self._ca.cert_pem.write_to_path(self.file)

    def _new(self, what: str) -> Path:
        self._names += 1
        return self._folder / f"{what}-{self._names}.pem"

    def context(
        self,
        *names: str,
        version: ssl.TLSVersion | None = None,
        clients: Authority | None = None,
        **validity: Any,
    ) -> ssl.SSLContext:
        """What a server called `names` serves TLS with; `version`: the only one that it speaks; `clients`: who signs
        its clients' certificates, which it then requires."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*(names or ("127.0.0.1", "127.0.0.2", "localhost")), **validity).configure_cert(context)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.file)
        return context

    def files(self, name: str) -> tuple[str, str]:
        """Files of a certificate chain and of its key, for a server or a client called `name`."""
        issued = self._ca.issue_cert(name)
        chain, key = self._new("chain"), self._new("key")
        for number, pem in enumerate(issued.cert_chain_pems):
            pem.write_to_path(str(chain), append=number > 0)
        issued.private_key_pem.write_to_path(str(key))
        return str(chain), str(key)

    def one_file(self, name: str) -> str:
        """The same in one file."""
        path = self._new("both")
        self._ca.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)

    def directory(self) -> str:
        """A directory of CA certificates, as OpenSSL has them: each under the hash of its subject."""
        folder = self._folder / "authorities"
        folder.mkdir(exist_ok=True)
        self._ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        subprocess.run(["openssl", "rehash", str(folder)], check=True, timeout=30, capture_output=True)
        return str(folder)
