"""The process environment that everything here runs in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

UNCOMPILED = "PYTHONDONTWRITEBYTECODE"

CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


def clean_environment() -> dict[str, str]:
    """Return ours without proxies, and without other people's certificates: each client is told the authority.

    A checkout's modules are compiled once, as an installer has compiled those of all others.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name not in (*CERTIFICATES, UNCOMPILED) and not name.lower().endswith("_proxy")
    }


def start_client(command: list[str]) -> subprocess.Popen[str]:
    """Start a client's process, which is told what to do by lines, and answers with lines."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=clean_environment(),
        start_new_session=True,  # an interrupt is for us, and we end it
    )
