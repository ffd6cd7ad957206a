"""A server of one large body in parts, for downloads: it breaks off where a test says, and counts what it sends."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

from workerpool.testing import Arrival, Reply

ETAG = '"first"'


def content_of(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@dataclass
class Shelf:
    """Answers with `content`, or the part of it that is asked for; give it to `Origin.script`.

    `headers`: sent with each answer. `cuts`: after how many bytes each of the next answers breaks off; None is not at
    all, and neither is any further one. `knows_ranges`: whether a Range is heeded. `sent`: the bytes of each answer's
    body, and `statuses` what they were.
    """

    content: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": ETAG})
    cuts: list[int | None] = field(default_factory=list)
    knows_ranges: bool = True
    drip: float | None = None
    sent: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def __call__(self, arrival: Arrival) -> Reply:
        asked = arrival.headers.get("range")
        self.asked.append(asked)
        if asked is None or not self.knows_ranges or not self._is_same(arrival.headers.get("if-range")):
            return self._reply(200, self.content, {})
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        total = len(self.content)
        if start >= total:
            return self._reply(416, b"", {"Content-Range": f"bytes */{total}"})
        return self._reply(206, self.content[start:], {"Content-Range": f"bytes {start}-{total - 1}/{total}"})

    def _is_same(self, validator: str | None) -> bool:
        return validator is None or validator in (self.headers.get("ETag"), self.headers.get("Last-Modified"))

    def _reply(self, status: int, body: bytes, more: dict[str, str]) -> Reply:
        cut = self.cuts.pop(0) if self.cuts else None
        self.statuses.append(status)
        self.sent.append(len(body) if cut is None else min(cut, len(body)))
        return Reply(status=status, body=body, headers={**self.headers, **more}, truncate=cut, drip=self.drip)
