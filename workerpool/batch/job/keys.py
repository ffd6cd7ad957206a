"""Keys that are declared unique: an input whose key another one had before in this run is refused, and never sent.

The ledger knows which input had each key first, by a hash, so memory does not grow. An input that is read again, after
a kill or in another round, is the one that had its key. The run's thread alone uses this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from workerpool.batch.job.ledger import Entries, Ledger
from workerpool.batch.job.schema import KeyRow
from workerpool.batch.job.states import Identity
from workerpool.errors import InvalidRequest
from workerpool.model import Request
from workerpool.redact import redact

AT_ONCE = 1_000
"""Keys that are written down at once, where no transaction has taken them before."""


class UniqueKeys:
    """Who had which key first. `where` tells people where an input is, by its source's number and its ordinal."""

    def __init__(self, ledger: Ledger, where: Callable[[int, int], str]) -> None:
        self._ledger = ledger
        self._where = where
        self._new: dict[int, Identity] = {}  # not in the ledger yet

    def claim(self, request: Request, identity: Identity) -> InvalidRequest | None:
        """Note that an input has its key; return what is wrong if another one had it before."""
        hashed = _hash_of(str(request.label))
        first = self._new.get(hashed) or self._ledger.key(hashed)
        if first is None:
            self._new[hashed] = identity
            if len(self._new) >= AT_ONCE:
                self._ledger.enter(Entries(keys=self.take()))
        if first is None or first == identity:
            return None
        key = redact(str(request.label))
        return InvalidRequest(
            f"{self._where(*identity)}: the key {key!r} was given before, at {self._where(*first)}: "
            "with --unique-keys each input has a key of its own",
            key=key,
        )

    def take(self) -> list[KeyRow]:
        """The keys that the ledger does not have yet, for its next transaction."""
        rows = [KeyRow(hashed, *identity) for hashed, identity in self._new.items()]
        self._new.clear()
        return rows


def _hash_of(key: str) -> int:
    """63 bits: of ten million keys two are mistaken for each other once in 180,000 batches."""
    digest = hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
