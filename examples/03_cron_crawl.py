"""A crawl that cron starts every hour: it asks only for what changed, never runs twice at once, and says how it went.

    python examples/03_cron_crawl.py STATE-FOLDER [FILE]

FILE has one URL a line; without it, a server on this machine is crawled, twice, so that the second run can show what it
saved. STATE-FOLDER keeps each page's ETag between runs (a temporary one if it is left out). Exit codes are those of the
command line: 0 all ok, 1 some pages failed, 3 another run is still going.
"""

import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from workerpool import Request, RetryPolicy, WorkerPool
from workerpool.testing import Origin


def crawl(folder: Path, urls: Iterable[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run is still going", file=sys.stderr)
            return 3
        return _crawl_alone(folder / "etags.json", urls)


def _crawl_alone(state: Path, urls: Iterable[str]) -> int:
    etags: dict[str, str] = json.loads(state.read_text()) if state.exists() else {}
    counts = {"new": 0, "unchanged": 0, "failed": 0}

    def conditional(url: str) -> Request:
        return Request(url, headers={"If-None-Match": etags[url]} if url in etags else None)

    # Nobody is waiting at night: few workers, a slow rate, patient retries, and no request that drags on for ever.
    with WorkerPool(4, host_rate="100/s", host_connections=2, retry=RetryPolicy(attempts=6), timeout=20.0) as pool:
        for outcome in pool.stream(map(conditional, urls)):
            if not outcome.ok or outcome.response is None:
                counts["failed"] += 1
                print(outcome.error, file=sys.stderr)
            elif outcome.status == 304:
                counts["unchanged"] += 1
            else:
                counts["new"] += 1
                if "ETag" in outcome.response.headers:
                    etags[outcome.url] = outcome.response.headers["ETag"]

    # Written beside and renamed: a crash in between leaves the old file whole.
    beside = state.with_suffix(".new")
    beside.write_text(json.dumps(etags))
    os.replace(beside, state)
    print(json.dumps(counts))
    return 1 if counts["failed"] else 0


def main(arguments: list[str]) -> int:
    if len(arguments) > 1:
        return crawl(Path(arguments[0]), Path(arguments[1]).read_text().split())
    with Origin() as origin, tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments[0] if arguments else temporary)
        pages = [origin.url(f"/etag/v{n}") for n in range(40)]
        return crawl(folder, pages) or crawl(folder, pages)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
