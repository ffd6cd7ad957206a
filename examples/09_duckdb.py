"""SQL over results while they come: DuckDB says what to fetch, reads the answers as Arrow batches, and keeps a table.

    python examples/09_duckdb.py [URL-TEMPLATE]

The template has ``{id}`` in it. Without one, a server on this machine plays the API's part, and does not know every id.
Nothing is held but a batch: DuckDB asks for the next one, and that lets the pool go on.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import duckdb

import workerpool
from workerpool import Request, WorkerPool
from workerpool.testing import Arrival, Origin, Reply


def item(arrival: Arrival) -> Reply:
    number = int(arrival.path.rpartition("/")[2])
    body = {"name": f"item {number}", "price": number * 1.25, "stock": None if number % 7 == 0 else number}
    return Reply(status=200 if number % 50 else 404, body=json.dumps(body).encode())


with ExitStack() as stack:
    if len(sys.argv) > 1:
        template = sys.argv[1]
    else:
        origin = stack.enter_context(Origin())
        for number in range(1, 301):
            origin.script(f"/items/{number}", item)
        template = origin.url("/items/{id}")

    # From here on it is the program itself.
    database = stack.enter_context(duckdb.connect())  # or the name of a file
    database.execute("CREATE TABLE orders AS SELECT range AS item, 2 AS pieces FROM range(1, 301)")

    def requests() -> Iterator[Request]:
        ids = database.cursor().execute("SELECT DISTINCT item FROM orders")  # a cursor of its own, read as it is needed
        while rows := ids.fetchmany(1000):
            for (number,) in rows:
                yield Request(template.format(id=number), key=str(number))

    pool = stack.enter_context(WorkerPool(rate="500/s"))
    answers = workerpool.arrow_batches(pool.stream(requests()), include=["body"])
    database.execute("CREATE TABLE answers AS SELECT key::BIGINT AS item, ok, status, error, body FROM answers")
    database.execute(
        """
        CREATE VIEW items AS SELECT item, unnest(from_json(body, '{"name": "VARCHAR", "price": "DOUBLE",
        "stock": "BIGINT"}')) FROM answers WHERE ok
        """
    )
    print(*database.execute("SELECT column_name, column_type FROM (DESCRIBE items)").fetchall())
    print(
        "{} orders, {} priced, {} without stock, sum {}".format(
            *database.execute(
                """
                SELECT count(*), count(price), count(*) - count(stock), sum(pieces * price)
                FROM orders LEFT JOIN items USING (item)
                """
            ).fetchall()[0]
        )
    )
    failed = database.execute("SELECT item FROM answers WHERE NOT ok ORDER BY item").fetchall()
    print("failed", [number for (number,) in failed])
