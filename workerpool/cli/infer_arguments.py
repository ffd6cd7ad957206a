"""The words of `workerpool infer`: its options and its help."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from workerpool.cli.flags import add, said_of
from workerpool.options import INFER

_INFER = """\
Draft a schema from samples: answers in JSON, a file each or a line each, or the
records of a run with --include body. It finds the array to explode, the types
of all fields, what may be missing, and what looks like a key, and says in
comments what it doubts. Look it through, and give it to run --schema.
"""

_INFER_END = """\
examples:
  curl -s https://api.example/items | workerpool infer - -o items.toml
  workerpool infer results.jsonl -o items.toml

exit status:
  0 drafted · 2 there is no sample, or it cannot be read
  5 the schema could not be written
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferSettings:
    """What `workerpool infer` was told. `output`: None for standard output."""

    samples: tuple[str, ...]
    output: str | None = None


def add_infer(commands: Any, formatter: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "infer",
        usage="%(prog)s SAMPLE... [-o FILE]",
        help="draft a schema from samples of JSON",
        description=_INFER,
        epilog=_INFER_END,
        formatter_class=formatter,
        allow_abbrev=False,
    )
    parser.add_argument("samples", nargs="+", metavar="SAMPLE", help="a .json or .jsonl file, or - for standard input")
    add(parser, INFER)
    parser.set_defaults(settings_of=settings_of)


def settings_of(said: argparse.Namespace) -> InferSettings:
    """What was said."""
    return InferSettings(samples=tuple(said.samples), **said_of(said, INFER))
