"""What requests say of who sends them: the User-Agent, with a contact, and the product token that robots.txt goes by.

Pure functions, any thread; the version is asked of the installed package.
"""

from __future__ import annotations

import re

from workerpool.errors import OptionError

DISTRIBUTION = "workerpool-http"
PRODUCT = "workerpool"

_CONTACT = re.compile(
    r"https?://[^\s/?#@()<>\"\\]+(?:[/?#][^\s()<>\"\\]*)?"  # no login in it
    r"|[^\s@()<>\"\\:,;]+@[^\s@()<>\"\\:,;]+"
)
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")


def version() -> str:
    """Return the installed version, or one that says that the package is not installed."""
    from importlib import metadata  # 20 ms, for those who never ask

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0+not.installed"


def check_contact(value: object) -> str:
    """Return `value` if it is a URL or a mail address; raises `OptionError` if not."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and _CONTACT.fullmatch(value):
        return value
    shown = f"***@{value.rpartition('@')[2]}" if isinstance(value, str) and "://" in value and "@" in value else value
    raise OptionError(
        f"contact={shown!r} tells nobody whom to write to: give a page or an address, "
        "as 'https://example.com/bot' or 'me@example.com'"
    )


def user_agent(contact: str) -> str:
    """The ``User-Agent`` that names a contact, as crawlers write it (RFC 9110, section 10.1.5)."""
    return f"{PRODUCT}/{version()} (+{contact})"


def product_token(agent: str) -> str:
    """The product token of a ``User-Agent`` (RFC 9309, section 2.2.1), in lower case: ``"mybot"`` of ``"MyBot/2.1"``.

    It is what a User-agent line of a robots.txt is compared with. Digits count, which the RFC leaves out and robots
    have. Empty if there is none.
    """
    found = _TOKEN.match(agent.lstrip())
    return found[0].lower() if found else ""
