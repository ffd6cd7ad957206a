"""Two heaps of (key, URL) pairs compared without keeping them: pure arithmetic, one thread."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

BUCKETS = 4096
"""Parts that are compared one by one: of ten million pairs each holds some 2,400."""

_MOST = (1 << 128) - 1

Pair = tuple[str, str]


class Multiset:
    """How many pairs there are, and the sum of their 128-bit hashes, for each of 4,096 parts that their hashes name.

    Some 300 KB, however many pairs there are. Two of them are equal if and, but for a chance of 1 in 2¹²⁸ or so, only
    if the same pairs were added, each as often, in whatever order.
    """

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.sums = [0] * BUCKETS

    def add(self, key: str, url: str) -> None:
        number = _hash(key, url)
        bucket = number % BUCKETS
        self.counts[bucket] += 1
        self.sums[bucket] = (self.sums[bucket] + number) & _MOST

    @property
    def total(self) -> int:
        return sum(self.counts)

    def differing(self, other: Multiset) -> Iterator[int]:
        """Yield the parts in which the two are not the same."""
        for bucket in range(BUCKETS):
            if (self.counts[bucket], self.sums[bucket]) != (other.counts[bucket], other.sums[bucket]):
                yield bucket


def bucket_of(key: str, url: str) -> int:
    """The part that a pair is in."""
    return _hash(key, url) % BUCKETS


def as_stored(text: str) -> str:
    """Return `text` as every output can hold it: some write a lone surrogate as an escape, or a NUL as U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _hash(key: str, url: str) -> int:
    data = f"{as_stored(key)}\0{as_stored(url)}".encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "big")
