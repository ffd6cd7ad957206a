"""Fetch a list of URLs, politely, and see what became of each.

    python examples/01_url_list.py [FILE]

FILE has one URL a line; without it, a server on this machine plays the part of the web.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import workerpool
from workerpool.testing import Origin


@contextmanager
def urls_to_fetch() -> Iterator[list[str]]:
    """Give the URLs of the file that was named, or of a loopback server of our own."""
    if len(sys.argv) > 1:
        yield Path(sys.argv[1]).read_text().split()
        return
    with Origin() as origin:
        paths = [f"/bytes/{100 * n}" for n in range(1, 21)]
        yield [origin.url(path) for path in (*paths, "/flaky/1", "/redirect/2", "/status/404")]


with urls_to_fetch() as urls:
    failed = 0
    for outcome in workerpool.fetch(urls, rate="100/s"):
        if outcome.ok and outcome.response is not None:
            print(f"{outcome.status}  {len(outcome.response.content):6} bytes  {outcome.url}")
        else:
            failed += 1
            print(f"{outcome.status or '---'}  {outcome.error}")

print(f"{len(urls) - failed} of {len(urls)} arrived")
