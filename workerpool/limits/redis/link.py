"""The way to the server: a URL, its password, one connection, and the one script that is called there.

Entered by one thread at a time, which may wait here for `PATIENCE` seconds; nobody else does.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any
from urllib.parse import urlsplit

from workerpool.credentials import is_reference, secret_of
from workerpool.errors import OptionError
from workerpool.extras import load
from workerpool.limits.redis.script import SCRIPT
from workerpool.limits.redis.terms import Answer, Call
from workerpool.proxies import password_of
from workerpool.redact import redact

PATIENCE = 1.0
"""Seconds to connect, and for an answer."""

FORMS = "redis://HOST:PORT/0, rediss://HOST:PORT/0 with TLS, or unix:///PATH"

_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Away(Exception):
    """The server cannot be asked; the text says why, without a secret."""


class Link:
    """Asks the server at `url` about the budget called `name`; connects with the first call.

    The URL, or the password in it, may be a reference (`credentials.references`). Raises `OptionError` for what is
    no such URL or name, and if redis-py is missing.
    """

    def __init__(self, url: str, name: str) -> None:
        self._name = check_name(name)
        self._redis: Any = load("redis", "redis", "redis=")
        self._given = url
        self._client: Any = None
        self._url, self._password = _resolved(url)
        self.where = redact(url if is_reference(url) else _without_login(self._url))
        """For people: no secret."""

    def call(self, call: Call) -> Answer:
        """Carry out a call; raises `Away`."""
        keys = [f"{{workerpool:{self._name}}}", *(f"{{workerpool:{self._name}}}{ask.account}" for ask in call.asks)]
        said = json.dumps(call.packed(), separators=(",", ":"))
        try:
            client = self._client
            if client is None:
                client = self._client = self._connected()
            try:
                reply = client.evalsha(_SHA, len(keys), *keys, "", said)
            except self._redis.exceptions.NoScriptError:
                reply = client.eval(SCRIPT, len(keys), *keys, "", said)
            return Answer.unpacked(reply)
        except (self._redis.RedisError, self._redis.exceptions.RedisClusterException, OSError) as error:
            self.close()
            raise Away(_reason(error)) from None  # its context may hold the URL
        except Exception as error:  # what redis-py lets through: of the connection nothing is known any more
            self.close()
            raise Away(f"its answer makes no sense ({type(error).__name__}: {redact(str(error))})") from None

    def close(self) -> None:
        """Close the connection; the next call makes another one."""
        client, self._client = self._client, None
        if client is not None:
            try:
                client.close()
            except (self._redis.RedisError, OSError):
                pass  # it is lost as it is

    def disown(self) -> None:
        """In a forked child: leave the parent's connection alone."""
        self._client = None

    def _connected(self) -> Any:
        settings: dict[str, Any] = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
        if self._password is not None:
            settings["password"] = self._password
        # The keeper tries again, and the pool goes on by itself meanwhile: a call has to fail long before the others
        # take this member for dead. A cluster's client would try ten times more, each with this patience.
        settings["retry"] = self._redis.retry.Retry(self._redis.backoff.NoBackoff(), 0)
        client = self._redis.Redis.from_url(self._url, **settings)
        if client.info("cluster").get("cluster_enabled"):
            client.close()
            client = self._redis.RedisCluster.from_url(self._url, **settings)
            client.cluster_error_retry_attempts = 0  # redis-py 5 counts by this, and 6 warns of it as an option
        return client


def check_name(name: Any) -> str:
    """The name of a budget; raises `OptionError` for what is none."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OptionError(
            f"budget={name!r} is no name for a budget in Redis: write letters, digits, '.', '_' and '-', at most 64 "
            "of them, beginning with a letter or a digit, as in 'github'"
        )
    return name


def _resolved(given: Any) -> tuple[str, str | None]:
    """The URL without its password, and that."""
    if not isinstance(given, str):
        raise OptionError(f"redis= is a {type(given).__name__}: write {FORMS}")
    url = secret_of(given, "redis") if is_reference(given) else given
    said = f"redis={given!r}" if is_reference(given) else "redis="
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("redis", "rediss") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        raise OptionError(f"{said} is no URL of a server: write {FORMS}") from None
    if not is_url and not (parts.scheme == "unix" and parts.path):
        raise OptionError(f"{said} is no URL of a server: write {FORMS}")
    named = password_of(url)
    if not named:
        return url, None
    password = secret_of(named, "redis")
    user = f"{parts.username}@" if parts.username else ""
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{user}{parts.netloc.rpartition('@')[2]}{parts.path}{query}", password


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _reason(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return redact(text[:1].lower() + text[1:] if text[1:2].islower() else text)
