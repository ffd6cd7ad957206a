"""A schema guessed from samples of JSON: what each field holds in all of them, as a draft for a person to correct.

Samples are answers, or records of a run that has bodies (``--include body``). Memory hangs on the number of different
fields, not on that of the samples. One thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from workerpool.batch.schemas.values import DEEPEST, is_time
from workerpool.errors import OptionError
from workerpool.paths import is_plain

_DISTINCT = 10_000
"""Values of a field that are remembered, to tell whether it may be a key."""

_ZONE = re.compile(r".*\d\d:\d\d.*([Zz]|[+-]\d\d:?\d\d)")
_DIGITS = re.compile(r"-?\d+(\.\d+)?")
_KEYS = re.compile(r"(.*[_-])?(id|key|uuid|sku|code)", re.IGNORECASE)
_NO_NAME = re.compile(r"[^A-Za-z0-9_]+")  # of what a bare key of TOML may be called
_LEVELS = 3
"""Objects in objects that are made columns of their own; deeper ones are json."""


@dataclass(slots=True)
class Seen:
    """What the samples have in one place: how many values of each type, and what may be told of them."""

    count: int = 0
    nulls: int = 0
    types: dict[str, int] = field(default_factory=dict)
    times: int = 0  # of the texts, those that are times
    zoned: int = 0  # of these, those that name a zone
    numerals: int = 0  # of the texts, those that are digits
    largest: int = 0  # of whole numbers
    distinct: set[Any] | None = field(default_factory=set)  # None once a value came twice, or there were too many
    example: Any = None

    def add(self, value: Any) -> None:
        self.count += 1
        if value is None:
            self.nulls += 1
            return
        kind = type(value).__name__
        self.types[kind] = self.types.get(kind, 0) + 1
        self.example = value if self.example is None else self.example
        if isinstance(value, str):
            reads_as_time = is_time(value)
            self.times += reads_as_time
            self.zoned += reads_as_time and _ZONE.fullmatch(value) is not None
            self.numerals += _DIGITS.fullmatch(value) is not None
        elif isinstance(value, int):
            self.largest = max(self.largest, abs(value))
        self._remember(value)

    def _remember(self, value: Any) -> None:
        if self.distinct is None:
            return
        if isinstance(value, (dict, list, float, bool)) or value in self.distinct or len(self.distinct) >= _DISTINCT:
            self.distinct = None
        else:
            self.distinct.add(value)


@dataclass(slots=True)
class Guess:
    """A column that was guessed: `doubts` are sentences about it."""

    name: str
    path: str
    type: str
    required: bool
    timezone: str | None = None
    doubts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Draft:
    """A schema that was guessed from so many `samples` with so many `items`."""

    columns: list[Guess]
    explode: str | None
    key: tuple[str, ...]
    samples: int
    items: int
    doubts: list[str]


def infer(samples: Iterable[Any]) -> Draft:
    """Guess a schema for `samples`, parsed answers; raises `OptionError` if they have nothing in common."""
    answers = [*samples]  # where the array is, only all of them say
    if not answers:
        raise OptionError("there is no sample: give an answer in JSON, or records of a run with --include body")
    explode, doubts = _find_array(answers)
    places, items, objects = _places(_items(answers, explode))
    doubts += _unify(places, objects)
    if not places:
        raise OptionError("the samples hold no item with a field: give answers that are not empty")
    _merge_objects(places)
    columns = [_guess(path, seen, items) for path, seen in places.items()]
    _name(columns)
    return Draft(columns, explode, _key(columns, places, items), len(answers), items, doubts)


def _places(given: Iterable[Any]) -> tuple[dict[str, Seen], int, int]:
    """What the items have in each place; how many there are, and how many of them are objects."""
    places: dict[str, Seen] = {}
    items = objects = 0
    for item in given:
        items += 1
        if isinstance(item, dict):
            objects += 1
            for path, value in _leaves(item):
                places.setdefault(path, Seen()).add(value)
        else:
            places.setdefault("@", Seen()).add(item)
    return places, items, objects


def _unify(places: dict[str, Seen], objects: int) -> list[str]:
    """Have one column for items that are objects here and something else there; of those that are null, say so."""
    others = places.get("@")
    if others is None or not objects:
        return []
    if not others.types:
        del places["@"]
        return [f"{others.nulls:,} items are null, and would be rejected"]
    others.types["dict"] = objects
    others.count += objects
    others.distinct = None
    places.clear()
    places["@"] = others
    return []


def samples_in(text: str, name: str) -> Iterator[Any]:
    """Yield what `text`, a file called `name`, has: one answer, or lines of answers or of records with bodies."""
    try:
        values: Iterable[Any] = [_parsed(text)]
    except ValueError as error:
        values = _lines(text, name, str(error))
    for value in values:
        yield from _bodies(value, name)


def _lines(text: str, name: str, reason: str) -> Iterator[Any]:
    """Yield what the lines hold; `reason`: why they are not JSON together. U+2028 and its like end no line of JSON."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                value = _parsed(line)
            except ValueError:
                where = f"line {number:,}" if number > 1 else reason
                raise OptionError(f"{name} is neither JSON nor lines of it: {where}") from None
            yield value


def _parsed(text: str) -> Any:
    """Parse JSON; raises `ValueError` also for what is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _bodies(value: Any, name: str) -> Iterator[Any]:
    """The answer in a record of a run, or the value itself; nothing for a failure, or a body that is no JSON."""
    if not (isinstance(value, dict) and {"key", "url", "ok", "attempts"} <= value.keys()):
        yield value
    elif not value.keys() & {"body", "body_base64"}:
        raise OptionError(f"{name} has records without their bodies: run with --include body, and give that output")
    elif value["ok"] and isinstance(value.get("body"), str):
        with suppress(ValueError):
            yield _parsed(value["body"])


# -- the array --------------------------------------------------------------------------------------------------------


def _find_array(answers: list[Any]) -> tuple[str | None, list[str]]:
    """Find the array whose elements are to be rows: the one with most objects, the outermost of equals."""
    if all(isinstance(answer, list) for answer in answers):
        return "@", []
    sizes: dict[str, int] = {}
    for answer in answers:
        for path, value in _leaves(answer) if isinstance(answer, dict) else ():
            if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
                sizes[path] = sizes.get(path, 0) + len(value)
    if not sizes:
        return None, []
    best = max(sizes, key=lambda path: (sizes[path], -path.count(".")))
    others = [path for path in sizes if path != best]
    doubts = [f"other arrays of objects: {', '.join(others)}"] if others else []
    missing = sum(not isinstance(_at(answer, best), list) for answer in answers)
    if missing:
        doubts.append(f"{missing} of {len(answers)} samples have no array there, and would be rejected")
    return best, doubts


def _items(answers: list[Any], explode: str | None) -> Iterator[Any]:
    for answer in answers:
        if explode is None:
            yield answer
        else:
            found = answer if explode == "@" else _at(answer, explode)
            yield from found if isinstance(found, list) else ()


def _at(answer: Any, path: str) -> Any:
    for name in _names(path):
        answer = answer.get(name) if isinstance(answer, dict) else None
    return answer


def _names(path: str) -> list[str]:
    return [json.loads(name) if name.startswith('"') else name for name in re.findall(r'"(?:[^"\\]|\\.)*"|[^.]+', path)]


def _leaves(item: dict[str, Any], before: str = "", level: int = 1) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an object by their paths, and those of objects in it; an empty or deep one is a field."""
    for name, value in item.items():
        path = before + (name if is_plain(name) and "." not in name else json.dumps(name))
        if isinstance(value, dict) and value and level < min(_LEVELS, DEEPEST):
            yield from _leaves(value, f"{path}.", level + 1)
        else:
            yield path, value


def _merge_objects(places: dict[str, Seen]) -> None:
    """Where something is an object here and something else there, it is one json column."""
    for path in [*places]:
        inner = [other for other in places if other.startswith(f"{path}.")]
        seen = places.get(path)
        if inner and seen is not None:
            if seen.nulls == seen.count:  # the object was null: its fields are missing then
                del places[path]
                continue
            seen.types["dict"] = seen.types.get("dict", 0) + max(places[one].count for one in inner)
            seen.count += max(places[one].count for one in inner)
            seen.distinct = None
            for one in inner:
                del places[one]


# -- columns ----------------------------------------------------------------------------------------------------------


def _guess(path: str, seen: Seen, items: int) -> Guess:
    kind, doubts = _type(seen)
    required = seen.count == items and not seen.nulls
    timezone = "UTC" if kind == "timestamp" and seen.zoned < seen.times else None
    if timezone:
        doubts.append("some name no time zone: is it UTC?")
    if not required:
        doubts.append(f"missing or null in {items - seen.count + seen.nulls:,} of {items:,}")
    return Guess(path, path, kind, required, timezone, doubts)


def _type(seen: Seen) -> tuple[str, list[str]]:
    types = set(seen.types)
    if not types:
        return "json", ["null in all samples, so its type is unknown"]
    if types <= {"int", "float"}:
        return _number(seen, types)
    if types == {"str"}:
        return _text(seen)
    if types == {"bool"}:
        return "bool", []
    if types <= {"dict", "list"}:
        return "json", ["an array: explode = takes one only"] if types == {"list"} else []
    told = ", ".join(f"{count:,} {kind}" for kind, count in seen.types.items())
    return "json", [f"of several types ({told})"]


def _number(seen: Seen, types: set[str]) -> tuple[str, list[str]]:
    if types == {"int"} and seen.largest < 2**63:
        return "int", []
    if types == {"int"}:
        return "decimal", ["whole numbers of more than 64 bits"]
    return "float", ["money? then write decimal, with a scale"] if types == {"float"} else []


def _text(seen: Seen) -> tuple[str, list[str]]:
    texts = seen.types["str"]
    if seen.times == texts:
        return "timestamp", []
    if seen.numerals == texts:
        return "string", ["digits in all samples: int or decimal with coerce = true?"]
    return "string", []


def _name(columns: list[Guess]) -> None:
    """Give each column a name that a database takes, and none twice."""
    taken: set[str] = set()
    for column in columns:
        name = "value" if column.path == "@" else _NO_NAME.sub("_", "_".join(_names(column.path))).strip("_")
        name = name if name and not name[0].isdigit() else f"c_{name}"
        name, number, base = name[:50], 2, name[:50]
        while name.lower() in taken or name == "_row":
            name, number = f"{base}_{number}", number + 1
        taken.add(name.lower())
        column.name = name


def _key(columns: list[Guess], places: dict[str, Seen], items: int) -> tuple[str, ...]:
    """The first column that is called like a key, is always there, and was never the same twice."""
    for column in columns:
        seen = places[column.path]
        is_unique = seen.distinct is not None and len(seen.distinct) == items
        if column.required and is_unique and column.type in ("int", "string") and _KEYS.fullmatch(column.name):
            return (column.name,)
    return ()
