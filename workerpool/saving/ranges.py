"""What a server says of a body and its parts, and how it is asked for the rest of one (RFC 9110, sections 8.8, 13, 14).

Values and parsing, any thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime

STRONG_AFTER = 60.0
"""Seconds that an answer has to be younger than its ``Last-Modified`` for that to tell two versions apart: within one
second a body may change twice, and clocks differ."""

_STRONG_ETAG = re.compile(r'"[!#-~\x80-\xff]{0,1000}"')
_SPAN = re.compile(r"bytes +(?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,18}")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a body that is being received.

    `validator`: what names this very version of it, to be sent as ``If-Range``; None if nothing does, so that it cannot
    be gone on with. `total`: its bytes in all, None if that is not known.
    """

    validator: str | None = None
    total: int | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Known:
        """Read the headers of an answer with a whole body."""
        if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            return cls()  # what is written is decoded, and ranges count what is not
        length = headers.get("Content-Length", "").strip()
        is_counted = _NUMBER.fullmatch(length) and "Transfer-Encoding" not in headers
        takes_ranges = headers.get("Accept-Ranges", "bytes").strip().lower() != "none"
        return cls(_validator(headers) if takes_ranges else None, int(length) if is_counted else None)

    @classmethod
    def from_json(cls, text: bytes) -> Known:
        """Read what `to_json` wrote; junk is nothing known."""
        try:
            fields = json.loads(text)
            validator, total = fields["validator"], fields["total"]
        except (ValueError, KeyError, TypeError):
            return cls()
        is_good = isinstance(validator, str) and "\r" not in validator and "\n" not in validator
        return cls(validator if is_good else None, total if isinstance(total, int) else None)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True, slots=True)
class Offer:
    """A body that broke off: `start` of its bytes are there."""

    start: int
    known: Known

    @property
    def headers(self) -> dict[str, str]:
        """What asks for the rest of it, or for all of it if it is another one by now."""
        return {"Range": f"bytes={self.start}-", "If-Range": self.known.validator or ""}


@dataclass(frozen=True, slots=True)
class Span:
    """A ``Content-Range``: the first and last byte, None where none are sent, and how many there are in all."""

    first: int | None
    last: int | None
    total: int | None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Span | None:
        """Read an answer's; None without one that means something."""
        found = _SPAN.fullmatch(headers.get("Content-Range", "").strip())
        if found is None:
            return None
        first, last, total = (int(text) if text and text != "*" else None for text in found.groups())
        if first is not None and last is not None and (first > last or (total is not None and last >= total)):
            return None
        return cls(first, last, total)

    def continues(self, offer: Offer, headers: Mapping[str, str]) -> bool:
        """Whether what comes is the rest of what is there: from its end on, and of the same version."""
        total, etag = offer.known.total, headers.get("ETag")
        is_same = total is None or self.total is None or total == self.total
        is_version = etag is None or not (offer.known.validator or "").startswith('"') or etag == offer.known.validator
        return self.first == offer.start and is_same and is_version


def _validator(headers: Mapping[str, str]) -> str | None:
    """The strong ETag; where there is none at all, a Last-Modified that is as good (section 8.8.2.2)."""
    etag = headers.get("ETag")
    if etag is not None:
        return etag if _STRONG_ETAG.fullmatch(etag.strip()) else None
    modified, date = headers.get("Last-Modified"), headers.get("Date")
    if modified is None or date is None:
        return None
    try:
        age = parsedate_to_datetime(date) - parsedate_to_datetime(modified)
    except (ValueError, TypeError):
        return None
    return modified.strip() if age.total_seconds() >= STRONG_AFTER else None
