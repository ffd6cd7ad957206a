"""From what was said of requests made of rows to a `Template`. No work is done here."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from workerpool.cli.flags import said_of
from workerpool.errors import OptionError
from workerpool.options import TEMPLATE
from workerpool.options.credentials import header_text

if TYPE_CHECKING:
    from workerpool.batch.template.template import Template


def template_of(said: argparse.Namespace) -> Template | None:
    """Return what was said as a template, None if there is none; raises `OptionError`."""
    found = said_of(said, TEMPLATE)
    if not found:
        return None
    if "url" not in found:
        word = next(option.word for option in TEMPLATE if option.target in found)
        raise OptionError(f"{word} is about the requests of a template: give --template URL with it")
    from workerpool.batch.template.template import Template  # which the other commands can do without

    headers = [_header(text) for text in found.pop("headers", ())]
    if len({name.lower() for name, _ in headers}) < len(headers):
        raise OptionError("--header is given twice with the same name: put both values into one")
    return Template(**found, headers=dict(headers) or None)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise OptionError("--header must be a name, a colon and a text: write 'Accept: application/json'")
    return name.strip(), header_text(value.strip(), f"--header {name.strip()}")
