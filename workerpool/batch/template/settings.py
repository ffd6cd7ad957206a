"""A template as a job keeps it: what has to be the same when a run goes on, and enough to read its sources again.

No secret is kept: what is in a header that carries credentials, or in a member of a body whose name says so, is hidden,
and the places that rows fill stay. So another secret may be given when a run goes on. Pure functions, any thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from workerpool.batch.template.template import Template
from workerpool.credentials import Secret
from workerpool.redact import HIDDEN, redact

_PLACE = re.compile(r"(?<!\{)\{[^{}]+\}(?!\})")


def settings_of(template: Template | None) -> dict[str, Any]:
    """Return what is kept, by the names of the options, as JSON has it."""
    given = template
    return {
        "--template": given and _hidden(given.url),
        "--method": given and given.method,
        "--header": given and [_header(name, text) for name, text in (given.headers or {}).items()],
        "params": given and given.params and json.dumps(_hidden_in(given.params)),
        "--json": given and (None if given.json is None else json.dumps(_hidden_in(given.json))),
        "--data": given and _data(given.data),
        "--key": given and given.key and _hidden(given.key),
        "--optional": given and sorted(given.optional),
    }


def template_from(settings: Mapping[str, Any]) -> Template | None:
    """Make of what is kept a template that makes the same of a row, but for the secrets; None if there was none."""
    url = settings.get("--template")
    if url is None:
        return None
    headers = dict(header.split(": ", 1) for header in settings["--header"])
    texts = {name: settings[name] for name in ("params", "--json", "--data")}
    return Template(
        url,
        method=settings["--method"],
        headers=headers,
        params=texts["params"] and json.loads(texts["params"]),
        json=texts["--json"] and json.loads(texts["--json"]),
        data=texts["--data"],
        key=settings["--key"],
        optional=settings["--optional"],
    )


def is_whole(settings: Mapping[str, Any]) -> bool:
    """Whether the URLs and keys that it makes are those of the run: nothing of these was hidden."""
    return not any(HIDDEN in (settings.get(name) or "") for name in ("--template", "--key"))


def _hidden(text: str) -> str:
    """Hide what is secret in a text; places that go with it are put behind."""
    shown = redact(text)
    return shown + "".join(place for place in _PLACE.findall(text) if place not in shown)


def _header(name: str, text: str) -> str:
    return f"{name}: {HIDDEN}" if isinstance(text, Secret) else _hidden(f"{name}: {text}")


def _hidden_in(value: Any, name: str = "") -> Any:
    """The same in all texts of a JSON value; `name` is that of the member that it is."""
    if isinstance(value, Mapping):
        return {str(member): _hidden_in(one, str(member)) for member, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hidden_in(one, name) for one in value]
    prefix = f"?{name}=" if name else ""
    if isinstance(value, str):
        return _hidden(prefix + value).removeprefix(prefix)
    return HIDDEN if prefix and value is not None and redact(f"{prefix}x") != f"{prefix}x" else value


def _data(data: str | bytes | Mapping[str, str] | None) -> Any:
    if isinstance(data, bytes):
        return f"{len(data)} bytes"
    return _hidden_in(data) if isinstance(data, Mapping) else data and _hidden(data)
