"""From options to a parser, and from what was said to arguments. No work is done here."""

from __future__ import annotations

import argparse
import inspect
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from workerpool.config import Breaker, RetryPolicy
from workerpool.errors import OptionError
from workerpool.options import BODIES, POOL, REQUIRED, SECRETS, Option
from workerpool.options.credentials import warning_for
from workerpool.options.words import meaning, plain
from workerpool.pool import WorkerPool
from workerpool.saving import Save

_DEFAULTS = {name: each.default for name, each in inspect.signature(WorkerPool).parameters.items()}


def add(group: Any, options: Sequence[Option]) -> None:
    """Add the flags of `options` to a parser, or to a group of one. What is not said will not be in its namespace."""
    exclusive: dict[str, Any] = {}  # by the argument that several options go into
    shared = Counter(option.target for option in options)
    for option in options:
        place = group
        if shared[option.target] > 1:
            place = exclusive.get(option.target) or group.add_mutually_exclusive_group()
            exclusive[option.target] = place
        *words, text = option.flag.replace(",", "").split()
        kind: dict[str, Any] = {"action": "append" if option.many else "store", "metavar": text}
        if text == option.word:  # it stands by itself
            words, kind = [text], {"action": "store_const", "const": option.value}
        elif "|" in text:
            kind = {"choices": text.split("|")}
        place.add_argument(
            *words,
            **kind,
            dest=option.flag,
            default=argparse.SUPPRESS,
            required=option.unless == REQUIRED,
            help=help_of(option).replace("%", "%%"),
        )


def help_of(option: Option) -> str:
    """The first sentence of what it means, and what holds if it is not said."""
    text = plain(meaning(option, in_flags=True)).replace("`", "").partition(". ")[0]
    default = default_of(option)
    return text if default in ("", REQUIRED) else f"{text}; default: {default}"


def default_of(option: Option) -> str:
    """What holds if it is not said, in the command line's words; "" where that goes without saying."""
    value = _DEFAULTS.get(option.name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return option.unless or (f"{value:g}" if is_number else "")


def said_of(said: argparse.Namespace, options: Iterable[Option]) -> dict[str, Any]:
    """What was said of `options`, by the arguments that it goes into; raises `OptionError`."""
    found: dict[str, Any] = {}
    for option in options:
        if hasattr(said, option.flag):
            value = getattr(said, option.flag)
            found[option.target] = _read(option, value)
    return found


def _read(option: Option, value: Any) -> Any:
    if isinstance(value, list):
        values = [option.read(text, option.word) for text in value]
        return values if option.gather is None else option.gather(values)
    return option.read(value, option.word) if isinstance(value, str) else value


def warnings_for(said: argparse.Namespace) -> tuple[str, ...]:
    """What is to be said of secrets that were said."""
    found: dict[str, None] = {}
    for option in SECRETS:
        value = getattr(said, option.flag, None)
        for text in value if isinstance(value, list) else [value]:
            if text is not None and (warning := warning_for(option.word, text)):
                found[warning] = None
    return tuple(found)


def save_of(said: argparse.Namespace) -> dict[str, Save]:
    """What was said of the files that bodies go to, as an argument; raises `OptionError`."""
    parts = {target.partition(".")[2]: value for target, value in said_of(said, BODIES).items()}
    if not parts:
        return {}
    if "directory" not in parts:
        (option, *_) = (one for one in BODIES if hasattr(said, one.flag))
        raise OptionError(f"{option.word} is about the files that bodies go to: give --bodies DIR with it")
    return {"save": Save(**parts)}


def pool_of(said: argparse.Namespace) -> dict[str, Any]:
    """What was said for a pool, as its arguments; raises `OptionError`."""
    found = said_of(said, POOL)
    if "breaker.fails_fast" in found and "breaker.failures" not in found:
        raise OptionError("--fail-fast says what to do while a host is left alone: give --breaker N with it")
    for name, make in (("retry", RetryPolicy), ("breaker", Breaker)):
        parts = {target.partition(".")[2]: found.pop(target) for target in [*found] if target.startswith(f"{name}.")}
        if parts:
            found[name] = make(**parts)
    return found
