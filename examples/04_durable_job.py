"""A durable job in a program: its first run is stopped half way, its second one goes on, and no item is fetched twice.

    python examples/04_durable_job.py [URL-TEMPLATE]

The template has ``{id}`` in it. Without one, a server on this machine plays the API's part. The records go to a
function, which loads them into SQLite. After a crash it may be given its last list once more, so it replaces rows by
their key.
"""

import json
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from workerpool import Job, Request
from workerpool.testing import Arrival, Origin, Reply


def item(arrival: Arrival) -> Reply:
    number = int(arrival.path.rpartition("/")[2])
    return Reply(body=json.dumps({"id": number, "price": number * 1.25}).encode(), delay=0.02)


with ExitStack() as stack:
    if len(sys.argv) > 1:
        template = sys.argv[1]
    else:
        origin = stack.enter_context(Origin())
        for number in range(1, 301):
            origin.script(f"/items/{number}", item)
        template = origin.url("/items/{id}")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

    # From here on it is the program itself.
    # The function is called in another thread than this one, though never in two at once.
    database = sqlite3.connect(folder / "items.sqlite", check_same_thread=False)
    database.execute("CREATE TABLE items (key TEXT PRIMARY KEY, price REAL, error TEXT)")

    def requests() -> Iterator[Request]:
        """Make the same requests, in the same order, whenever a run begins or goes on."""
        for number in range(1, 301):
            yield Request(template.format(id=number), key=str(number))

    def load(records: list[dict[str, Any]]) -> None:
        with database:
            for record in records:
                price = json.loads(record["body"])["price"] if record["ok"] else None
                database.execute("REPLACE INTO items VALUES (?, ?, ?)", (record["key"], price, record["error"]))

    job = Job(folder / "items.job", requests=requests, output=load, include=["body"], at_least_once=True)
    first = job.run(deadline=0.4, max_workers=4, rate="200/s")  # cron's time is up; a crash would do as well
    print("the first run was stopped by its", first.stopped)
    second = job.run(max_workers=4, rate="200/s")
    print("the second one went to its end:", second.is_whole)
    print("fetched", first.ok + second.ok, *database.execute("SELECT 'loaded', count(*) FROM items").fetchone())
    database.close()
