"""What only one input of a run may have: a key that is declared unique, the name of a file.

The ledger knows which input had each first, by a hash, so memory does not grow. An input that is read again, after
a kill or in another round, is the one that had it. The run's thread alone uses this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

from workerpool.batch.job.schema import KeyRow
from workerpool.batch.job.states import Identity
from workerpool.errors import InvalidRequest
from workerpool.model import Request
from workerpool.redact import redact

AT_ONCE = 1_000
"""Claims that are written down at once, where no transaction has taken them before."""


class Kept(Protocol):
    """Where claims are written down: a job's ledger, or a database for as long as a run takes."""

    def key(self, hashed: int) -> Identity | None: ...

    def put_keys(self, rows: Sequence[KeyRow]) -> None: ...


class Claims:
    """Who had what first."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._new: dict[int, Identity] = {}  # not written down yet

    def first(self, kind: str, text: str, identity: Identity) -> Identity:
        """The input that had `text`, a key or a name as `kind` says, first: this one, if nobody had it before."""
        hashed = _hash_of(f"{kind}{text}")
        first = self._new.get(hashed) or self._kept.key(hashed)
        if first is not None:
            return first
        self._new[hashed] = identity
        if len(self._new) >= AT_ONCE:
            self._kept.put_keys(self.take())
        return identity

    def take(self) -> list[KeyRow]:
        """The claims that are not written down yet, for the ledger's next transaction."""
        rows = [KeyRow(hashed, *identity) for hashed, identity in self._new.items()]
        self._new.clear()
        return rows


class UniqueKeys:
    """Refuses an input whose key another one had before in this run, unsent.

    `where` tells people where an input is, by its source's number and its ordinal.
    """

    def __init__(self, claims: Claims, where: Callable[[int, int], str]) -> None:
        self._claims = claims
        self._where = where

    def claim(self, request: Request, identity: Identity) -> InvalidRequest | None:
        """Note that an input has its key; return what is wrong if another one had it before."""
        first = self._claims.first("", str(request.label), identity)
        if first == identity:
            return None
        key = redact(str(request.label))
        return InvalidRequest(
            f"{self._where(*identity)}: the key {key!r} was given before, at {self._where(*first)}: "
            "with --unique-keys each input has a key of its own",
            key=key,
        )


def _hash_of(text: str) -> int:
    """63 bits: of ten million keys two are mistaken for each other once in 180,000 batches."""
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
