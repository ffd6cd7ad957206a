"""What an option is. A value, any thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workerpool.options.reading import same

REQUIRED = "required"
"""In place of what holds if an option is not said."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `name`: of the argument in Python; "" if there is none of just that form.

    `flag`: on the command line, and what follows it: ``--rate RATE``, ``--format csv|jsonl``; "" if there is none.
    `means`: in Markdown, without a full stop at its end. Its first sentence is the help; ``{rate}`` becomes that
    option's name, or its flag, and ``{{host}}`` ``{host}``. `python`: what it means in Python, where that is
    something else.
    `unless`: what holds if it is not said, where that is not the default's value.
    `read`: makes what Python takes of a flag's text. `value`: of a flag that has no text.
    `to`: the argument, or the field of one, that a flag without a `name` goes into. `many`: it may be repeated.
    `gather`: makes one value of all that were said.
    """

    name: str
    flag: str
    means: str
    unless: str = ""
    python: str = ""
    read: Callable[[str, str], Any] = same
    value: Any = True
    to: str = ""
    many: bool = False
    gather: Callable[[list[Any]], Any] | None = None

    @property
    def target(self) -> str:
        """The argument that it goes into, or the field of one."""
        return self.name or self.to

    @property
    def word(self) -> str:
        """The long form of its flag."""
        return next((word for word in self.flag.split() if word.startswith("--")), "")
