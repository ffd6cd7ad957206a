"""The process environment that everything here runs in."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


def clean_environment() -> dict[str, str]:
    """Return ours without proxies, and without other people's certificates: each client is told the authority."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in CERTIFICATES and not name.lower().endswith("_proxy")
    }
