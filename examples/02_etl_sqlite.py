"""An ETL job: fetch JSON for many ids, load the rows into SQLite, keep the failures beside them.

    python examples/02_etl_sqlite.py [URL-TEMPLATE]

The template has ``{id}`` in it. Without one, a server on this machine plays the API's part: it fails now and then.
"""

import json
import sqlite3
import sys
from contextlib import ExitStack

from workerpool import Request, WorkerPool
from workerpool.testing import Arrival, Origin, Reply


def item(arrival: Arrival) -> Reply:
    number = int(arrival.path.rpartition("/")[2])
    body = json.dumps({"id": number, "name": f"item {number}", "price": number * 1.25})
    return Reply(status=200 if number % 50 else 404, headers={"Content-Type": "application/json"}, body=body.encode())


with ExitStack() as stack:
    if len(sys.argv) > 1:
        template = sys.argv[1]
    else:
        origin = stack.enter_context(Origin())
        for number in range(1, 301):
            origin.script(f"/items/{number}", *([Reply(status=503)] if number % 20 == 1 else []), item)
        template = origin.url("/items/{id}")

    # From here on it is the job itself.
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
    database.execute("CREATE TABLE failures (id INTEGER PRIMARY KEY, status INTEGER, error TEXT)")
    requests = (Request(template.format(id=number), key=str(number)) for number in range(1, 301))
    with WorkerPool(max_workers=8, rate="200/s") as pool, database:
        for outcome in pool.stream(requests):
            if outcome.ok and outcome.response is not None:
                database.execute("INSERT INTO items VALUES (:id, :name, :price)", outcome.response.json())
            else:
                failure = (outcome.request.key, outcome.status, str(outcome.error))
                database.execute("INSERT INTO failures VALUES (?, ?, ?)", failure)

for table in ("items", "failures"):
    print(table, *database.execute(f"SELECT count(*) FROM {table}").fetchone())
print("mean price", *database.execute("SELECT round(avg(price), 2) FROM items").fetchone())
database.close()
