"""What texts of the command line mean that may hold a secret, or name one, and which of them everybody can read.

Each function that reads raises `OptionError`, which names the flag and no secret. Secrets are looked up here, once:
files, the environment and the keyring are read. Any thread.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from workerpool.credentials import BearerToken, ClientCredentials, Secret, TokenSource, is_reference, secret_of
from workerpool.errors import OptionError
from workerpool.proxies import ProxyList, check_proxy, has_password, password_of
from workerpool.redact import redact

WAYS = "basic:USER:SECRET, bearer:SECRET or oauth2:FILE"

_FIELDS = {
    "token_url": str,
    "client_id": str,
    "client_secret": str,
    "scope": str,
    "audience": str,
    "in_body": bool,
    "hosts": list,
    "more": dict,
}
_SECRETS = ("client_id", "client_secret")


def auth(text: str, flag: str) -> tuple[str, str] | TokenSource:
    """``basic:USER:SECRET``, ``bearer:SECRET`` or ``oauth2:FILE``."""
    kind, _, rest = text.partition(":")
    if kind == "basic":
        user, colon, secret = rest.partition(":")
        if not user or not colon or not secret:
            raise OptionError(f"{flag}=basic: write basic:USER:SECRET, as in basic:me:env:PASSWORD")
        return user, secret_of(secret, flag)
    if kind == "bearer" and rest:
        return _bearer(rest, flag)
    if kind == "oauth2" and rest:
        return _client_credentials(rest, flag)
    raise OptionError(f"{flag} is not understood: write {WAYS}")  # not what was said, which may be a secret


def _bearer(secret: str, flag: str) -> BearerToken:
    try:
        return BearerToken(secret_of(secret, flag))
    except OptionError as error:
        raise OptionError(str(error) if str(error).startswith(flag) else f"{flag}=bearer:…: {error}") from None


def _client_credentials(path: str, flag: str) -> ClientCredentials:
    """Read a file in TOML that says what `ClientCredentials` takes."""
    said = f"{flag}=oauth2:{path}"
    fields = _table(path, said)
    for name in _SECRETS:
        fields[name] = secret_of(fields[name], f"{said}: {name}")
    if "hosts" in fields:
        fields["hosts"] = tuple(fields["hosts"])
    try:
        return ClientCredentials(**fields)
    except OptionError as error:
        raise OptionError(f"{said}: {error}") from None


def _table(path: str, said: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            fields: dict[str, Any] = tomllib.load(file)
    except OSError as error:
        raise OptionError(f"{said} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise OptionError(
            f'{said} is no TOML: write lines as in token_url = "https://login.example.com/token"'
        ) from None
    for name, value in fields.items():
        if name not in _FIELDS:
            raise OptionError(f"{said}: {name} is unknown: it may have {', '.join(_FIELDS)}")
        if not isinstance(value, _FIELDS[name]):
            raise OptionError(f"{said}: {name} must be {_KINDS[_FIELDS[name]]}")
    missing = [name for name in ("token_url", *_SECRETS) if name not in fields]
    if missing:
        raise OptionError(f"{said} lacks {' and '.join(missing)}")
    return fields


_KINDS: Mapping[type, str] = {
    str: "a text in quotes",
    bool: "true or false",
    list: "a list of hosts",
    dict: "a table of texts",
}


_LOGIN = re.compile(r"(?P<user>[A-Za-z][\w.+-]*://[^:/?#@]*:)(?P<password>[^@]+)@")


def with_password(url: str, flag: str) -> str:
    """A URL, such as a database's, with the password that it names: ``postgresql://me:env:PASSWORD@host/shop``."""
    found = _LOGIN.match(url)
    if found is None or not is_reference(found["password"]):
        return url
    password = secret_of(unquote(found["password"]), f"the password in {flag}")
    return f"{found['user']}{quote(password, safe='')}{url[found.end() - 1 :]}"


def header_text(text: str, flag: str) -> str:
    """A header's text, with what is named in it: all of it, or what follows one word, as in ``Bearer env:TOKEN``."""
    is_whole = is_reference(text.removeprefix("text:"))
    word, space, rest = ("", "", text) if is_whole else text.partition(" ")
    kind, _, after = rest.partition(":")
    if kind == "text" and is_reference(after):
        return word + space + after
    if not is_reference(rest):
        return text
    secret = secret_of(rest, flag).replace("{", "{{").replace("}", "}}")  # it has no places for columns
    return Secret(word + space + secret)


def proxy(text: str, flag: str) -> str:
    """The URL of a proxy, or where it is kept."""
    if not is_reference(text):
        return check_proxy(text, flag)
    try:
        return check_proxy(secret_of(text, flag), "")
    except OptionError as error:
        if str(error).startswith(flag):
            raise
        raise OptionError(f"{flag}={text!r} holds no URL of a proxy, as http://user:password@proxy:3128 is") from None


def in_turns(urls: list[str]) -> Mapping[str, str] | ProxyList:
    """What a pool takes for one proxy, or for several."""
    return {"http": urls[0], "https": urls[0]} if len(urls) == 1 else ProxyList(urls)


def proxies_of_file(path: str, flag: str) -> ProxyList:
    """A file with the URL of a proxy in each line. Empty lines, and those that begin with #, are left out."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [(number, line.strip()) for number, line in enumerate(file, 1)]
    except OSError as error:
        raise OptionError(f"{flag}={path!r} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise OptionError(f"{flag}={path!r} is no text in UTF-8") from None
    urls = [check_proxy(line, f"{path}:{number}") for number, line in lines if line and not line.startswith("#")]
    if not urls:
        raise OptionError(f"{flag}={path!r} has no proxy in it: write the URL of one in each line")
    return ProxyList(urls)


def warning_for(flag: str, text: str) -> str | None:
    """Say so if a flag's text holds a secret, which everybody can read who lists the machine's processes."""
    if not IS_OPEN[flag](text):
        return None
    return (
        f"the secret in {flag} can be read by everybody who lists this machine's processes: name it instead, "
        "as in env:NAME, file:PATH or keyring:SERVICE/USER"
    )


def _is_open_login(text: str) -> bool:
    kind, _, rest = text.partition(":")
    secret = rest if kind == "bearer" else rest.partition(":")[2] if kind == "basic" else "env:"
    return not is_reference(secret)


def _is_open_proxy(text: str) -> bool:
    return not is_reference(text) and has_password(text)


def _is_open_url(text: str) -> bool:
    found = _LOGIN.match(text)
    return found is not None and not is_reference(found["password"])


def _is_open_header(text: str) -> bool:
    """Whether a header that carries credentials has them in it, rather than a column's, or what names them."""
    name, _, value = text.partition(":")
    words = value.split(" ")
    is_named = any(is_reference(word) for word in words) or "{" in value
    return not is_named and redact(f"{name.strip()}: {value.strip()}") != f"{name.strip()}: {value.strip()}"


def _is_open_redis(text: str) -> bool:
    password = None if is_reference(text) else password_of(text)
    return password is not None and not is_reference(password)


IS_OPEN = {
    "--auth": _is_open_login,
    "--proxy": _is_open_proxy,
    "--output": _is_open_url,
    "--header": _is_open_header,
    "--redis": _is_open_redis,
}
"""By the flag: whether its text has a secret in it, rather than what names one."""
