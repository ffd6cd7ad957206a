"""The options about connecting that commands share: whom to trust, which proxy to go through. Their check, too."""

from __future__ import annotations

import argparse
import os
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from workerpool.errors import OptionError

_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def add_connecting(group: Any) -> None:
    """Add ``--ca-bundle``, ``--insecure`` and ``--proxy`` to a parser or a group of one."""
    trust = group.add_mutually_exclusive_group()
    trust.add_argument("--ca-bundle", metavar="FILE", help="the authorities to trust, in PEM, in place of the usual")
    trust.add_argument("--insecure", action="store_true", help="accept any certificate")
    group.add_argument("--proxy", metavar="URL", help="go through this proxy; default: as the environment says")


def verify_of(said: argparse.Namespace) -> bool | str:
    """What `WorkerPool` takes as `verify`; raises `OptionError` for a file that holds no certificates."""
    if said.insecure:
        return False
    if said.ca_bundle is None:
        return True
    path: str = said.ca_bundle
    places = (None, path) if os.path.isdir(path) else (path, None)
    check_pem(
        f"--ca-bundle={path!r}",
        lambda context: context.load_verify_locations(*places),
        "holds no certificate: name a PEM file, or a directory of them",
    )
    return path


def cert_of(said: argparse.Namespace) -> str | None:
    """What `WorkerPool` takes as `cert`; raises `OptionError` for a file that is no certificate with its key."""
    path: str | None = said.cert
    if path is not None:
        check_pem(
            f"--cert={path!r}",
            # Without a password that is none, OpenSSL would ask for an encrypted key's on the terminal.
            lambda context: context.load_cert_chain(path, password=""),
            "holds no certificate with its key, both in PEM and the key open",
        )
    return path


def check_pem(option: str, load: Callable[[ssl.SSLContext], None], fault: str) -> None:
    """Try to `load` what an option names; raises `OptionError`, with `fault` where it can be read but is of no use."""
    try:
        load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except ssl.SSLError:
        raise OptionError(f"{option} {fault}") from None
    except OSError as error:
        raise OptionError(f"{option} cannot be read: {(error.strerror or str(error)).lower()}") from None


def proxy_of(said: argparse.Namespace) -> str | None:
    """The proxy's URL, None for the environment's; raises `OptionError` for what is none."""
    text: str | None = said.proxy
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_good = False
    if not is_good:
        shown = f"***@{text.rpartition('@')[2]}" if "@" in text else text  # before the last @ stands the login
        raise OptionError(
            f"--proxy={shown!r} is no proxy: write 'http://proxy:3128' or 'socks5h://proxy:1080', "
            "with a login as in 'http://user:password@proxy:3128', percent-encoded"
        )
    return text
