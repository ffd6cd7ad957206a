"""An API to extract data from, as a loopback origin: paginated, limited, and behind tokens that end.

`SHOPS` × `ITEMS` items, `PER_PAGE` at a time with `Link` headers; `rate` requests a second, or a 429, and a 429 for
each `OTHERS_EVERY`th, as other clients use the limit up; a token is good for `good_for` answers. It counts what it
gave. `tests/integration/test_extraction.py` has jobs killed on their way.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from workerpool.testing import Arrival, Origin, Reply
from workerpool.testing.origin.limits import TokenBucket

SHOPS, ITEMS, PER_PAGE = 20, 25, 5
BAD_EVERY = 50
"""Every so many items one has a price that is no number."""
OTHERS_EVERY = 25
"""Every so many requests one meets a limit that others have used up: so a client on a busy machine meets it, too."""

SCHEMA = """
explode = "items"
key = "id"

[columns]
id = { type = "int", required = true }
name = "string"
price = { type = "decimal", precision = 10, scale = 2, required = true }
made = "timestamp"
shop = { from = "root", path = "shop.id", type = "int" }
"""


@dataclass
class ItemsApi:
    """`pages`: how often each was given; `tokens`: how many were; `ended`: how many of them had no answer left."""

    origin: Origin
    limit: TokenBucket
    good_for: int
    pages: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    tokens: int = 0
    ended: int = 0
    _left: int = 0
    _asked: int = 0

    @property
    def url(self) -> str:
        return self.origin.url("/shops/{shop}/items")

    @property
    def token_url(self) -> str:
        return self.origin.url("/token")

    def answer(self, arrival: Arrival) -> Reply:
        """The origin's thread only, so nothing here needs a lock."""
        if arrival.path == "/token":
            return self._give_token()
        if not self._left or arrival.headers.get("Authorization") != f"Bearer {self._token}":
            return Reply(status=401)
        wait = self.limit.take(time.monotonic(), 0.0).wait
        self._asked += 1
        if self._asked % OTHERS_EVERY == 0:
            wait = 1.0
        if wait is not None:
            self.refused += 1
            return Reply(status=429, headers={"Retry-After": f"{math.ceil(wait)}"})
        self._left -= 1
        self.ended += not self._left
        self.pages[arrival.path] += 1
        return self._page(arrival.path)

    @property
    def _token(self) -> str:
        return f"token-{self.tokens}"

    def _give_token(self) -> Reply:
        self.tokens += 1
        self._left = self.good_for
        return _json({"access_token": self._token, "token_type": "bearer"})

    def _page(self, path: str) -> Reply:
        parts = urlsplit(path)
        shop = int(parts.path.split("/")[2])
        page = int(parse_qs(parts.query).get("page", ["1"])[0])
        first = (page - 1) * PER_PAGE
        items = [item(shop, number) for number in range(first, min(ITEMS, first + PER_PAGE))]
        headers = {}
        if first + PER_PAGE < ITEMS:
            headers["Link"] = f'<{parts.path}?page={page + 1}>; rel="next"'
        return _json({"shop": {"id": shop}, "items": items}, headers)


def item(shop: int, number: int) -> dict[str, object]:
    """One item; of every `BAD_EVERY` the last has a price that nobody can read."""
    ordinal = shop * ITEMS + number
    price = "on request" if ordinal % BAD_EVERY == BAD_EVERY - 1 else f"{ordinal}.50"
    return {
        "id": ordinal,
        "name": f"item {ordinal}",
        "price": price if price == "on request" else float(price),
        "made": "2026-01-01T00:00:00Z",
    }


def bad_items() -> set[int]:
    """The items that no schema with a price can take."""
    return {ordinal for ordinal in range(SHOPS * ITEMS) if ordinal % BAD_EVERY == BAD_EVERY - 1}


def _json(value: object, headers: dict[str, str] | None = None) -> Reply:
    return Reply(body=json.dumps(value).encode(), headers={"Content-Type": "application/json", **(headers or {})})


@contextmanager
def items_api(rate: float = 100.0, good_for: int = 10) -> Iterator[ItemsApi]:
    """Serve it, on a thread of its own."""
    with Origin() as origin:
        api = ItemsApi(origin, TokenBucket(rate, burst=20), good_for)
        origin.default = api.answer
        yield api
