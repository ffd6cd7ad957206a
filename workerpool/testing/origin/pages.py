"""Answers that have pages, in every way in which a client may ask for the next one. Pure functions, any thread."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from workerpool.testing.origin.replies import Arrival, Reply


@dataclass(frozen=True, slots=True)
class Book:
    """`count` pages of `items` items each. The page `loop` leads back to the first, `broken` cannot be read, and
    `failing` answers with a 500; 0 is none."""

    count: int
    items: int
    loop: int = 0
    broken: int = 0
    failing: int = 0

    def reply(self, arrival: Arrival, query: Mapping[str, str], delay: float = 0.0) -> Reply:
        """The page that a request asks for by ``page``, ``cursor`` or ``offset``, in its query or its JSON body."""
        said = {**query, **_body_of(arrival)}
        page, first, size = self._place(said)
        if page == self.failing:
            return Reply(status=500, body=b"this page fails\n", delay=delay)
        following = self._following(page)
        url = None if following is None else _url(arrival, query, following)
        headers = [("Content-Type", "application/json")]
        if url is not None:
            headers.append(("Link", f'<{url}>; rel="next", </>; rel="first"'))
        if page == self.broken:
            return Reply(body=b"<p>no JSON", headers=[("Content-Type", "text/html"), ("Link", '<ftp://>; rel="next"')])
        last = self.count * self.items
        body = {
            "items": [*range(first, min(first + size, last))],
            "page": page,
            "pages": self.count,
            "total": last,
            "next": url,
            "next_cursor": None if following is None else f"c{following}",
        }
        return Reply(body=json.dumps(body).encode(), headers=headers, delay=delay)

    def _place(self, said: Mapping[str, Any]) -> tuple[int, int, int]:
        """The number of the page, its first item, and how many it has at most."""
        if "offset" in said:
            first, size = int(said["offset"]), int(said.get("limit", self.items))
            return first // max(1, self.items) + 1, first, min(size, self.items)
        page = int(str(said["cursor"]).removeprefix("c")) if said.get("cursor") else int(said.get("page", 1))
        if self.loop and "cursor" not in said:
            page = min(page, self.loop)
        return page, (page - 1) * self.items, self.items

    def _following(self, page: int) -> int | None:
        if page == self.loop:
            return 1
        return page + 1 if page < self.count else None


def _body_of(arrival: Arrival) -> dict[str, Any]:
    if not arrival.body:
        return {}
    found = json.loads(arrival.body)
    return found if isinstance(found, dict) else {}


def _url(arrival: Arrival, query: Mapping[str, str], page: int) -> str:
    path = arrival.path.partition("?")[0]
    return f"{path}?{urlencode({**query, 'page': page})}"
