"""Download files whose connections break off: no byte is fetched twice, and each file is checked.

    python examples/05_downloads.py

A server on this machine plays the part of the web, and ends every connection early.
"""

import hashlib
import random
from tempfile import TemporaryDirectory

from workerpool import Request, RetryPolicy, Save, WorkerPool
from workerpool.testing import Arrival, Origin, Reply

FILES = {f"/files/{number}.bin": random.Random(number).randbytes(200_000) for number in range(1, 6)}
MOST_AT_ONCE = 80_000
sent = 0


def answer(arrival: Arrival) -> Reply:
    """Send a file, or what is missing of it, but not all."""
    global sent
    body = FILES[arrival.path]
    start = int(arrival.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    headers = {"ETag": f'"{arrival.path}"'}
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
    sent += min(MOST_AT_ONCE, len(body) - start)
    return Reply(status=206 if start else 200, body=body[start:], headers=headers, truncate=MOST_AT_ONCE)


with Origin() as origin, TemporaryDirectory() as directory:
    origin.default = answer
    save = Save(directory, "{path}")
    requests = [
        Request(origin.url(path), save=save, sha256=hashlib.sha256(body).hexdigest()) for path, body in FILES.items()
    ]
    with WorkerPool(max_workers=4, retry=RetryPolicy(attempts=10, backoff=0.01)) as pool:
        for outcome in pool.stream(requests, ordered=True):
            if outcome.saved is None:
                print(outcome.error)
            else:
                name = outcome.saved.path.removeprefix(f"{directory}/")
                print(f"{name}  {outcome.saved.size:,} bytes in {len(outcome.attempts)} attempts")

print(f"{sent:,} bytes were sent for {sum(map(len, FILES.values())):,}")
