"""Secrets that an option names instead of holding them: ``env:NAME``, ``file:PATH``, ``keyring:SERVICE/USER``.

What stands on a command line can be read by everybody on the machine who lists its processes, and stays in the shell's
history. A reference may. It is resolved once, when the option is read. Any thread.
"""

from __future__ import annotations

import netrc
import os
import re
import stat
from collections.abc import Callable, Mapping

from workerpool.errors import OptionError
from workerpool.extras import load
from workerpool.redact import HIDDEN

WAYS = "env:NAME, file:PATH, keyring:SERVICE/USER or netrc:HOST"
"""How a secret is named."""

MOST = 64 * 1024
"""Bytes of a file that holds one secret."""


class Secret(str):
    """A text that was looked up: what is written down of it is that there is one."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)


def secret_of(text: str, option: str) -> str:
    """The secret that `text` names; `text` itself if it names none. What follows ``text:`` is taken as it is.

    Raises `OptionError`, which names `option` and what was looked for, never what was found.
    """
    kind, colon, name = text.partition(":")
    if kind == "text" and colon:
        return name
    if not is_reference(text):
        return text
    if not name:
        raise OptionError(f"{option}={text!r} names no secret: write {WAYS}")
    secret = _FINDERS[kind](name, f"{option}={text!r}")
    if not secret:
        raise OptionError(f"{option}={text!r} is empty")
    if re.search(r"[\r\n\0]", secret):
        raise OptionError(f"{option}={text!r} holds more than one line: a secret is a single one")
    return secret


def is_reference(text: str) -> bool:
    """Whether `text` names a secret rather than being one."""
    kind, colon, _ = text.partition(":")
    return bool(colon) and kind in _FINDERS


def _from_environment(name: str, said: str) -> str:
    if name not in os.environ:
        raise OptionError(f"{said}: the environment has no {name}: export it")
    return os.environ[name]


def _from_file(path: str, said: str) -> str:
    """The file's only line. Pipes will do, as ``<(pass show api)`` gives one."""
    path = os.path.expanduser(path)
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            raise OptionError(f"{said} is a directory: name a file that holds the secret")
        with open(path, encoding="utf-8") as file:
            return file.read(MOST).strip("\r\n")
    except OSError as error:
        raise OptionError(f"{said} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise OptionError(f"{said} is no text in UTF-8") from None


def _from_keyring(name: str, said: str) -> str:
    service, slash, user = name.rpartition("/")
    if not slash or not service or not user:
        raise OptionError(f"{said}: write keyring:SERVICE/USER")
    keyring = load("keyring", "keyring", said)
    try:
        secret = keyring.get_password(service, user)
    except Exception as error:  # each of its backends has errors of its own
        raise OptionError(f"{said}: the keyring cannot be read: {type(error).__name__}") from None
    if secret is None:
        raise OptionError(f"{said}: the keyring has none: put it there with 'keyring set {service} {user}'")
    return str(secret)


def _from_netrc(host: str, said: str) -> str:
    """The password, from the file that requests reads, too."""
    path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    try:
        found = netrc.netrc(path).authenticators(host)
    except OSError as error:
        raise OptionError(f"{said}: {path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except netrc.NetrcParseError as error:
        raise OptionError(f"{said}: {path}, line {error.lineno}, cannot be understood") from None
    if found is None or not found[2]:
        raise OptionError(f"{said}: {path} has no password for {host}")
    return found[2]


_FINDERS: Mapping[str, Callable[[str, str], str]] = {
    "env": _from_environment,
    "file": _from_file,
    "keyring": _from_keyring,
    "netrc": _from_netrc,
}
