"""From a Polars query to a typed frame: ids out of a LazyFrame, results by way of Arrow, JSON decoded by Polars.

    python examples/08_polars.py [URL-TEMPLATE]

The template has ``{id}`` in it. Without one, a server on this machine plays the API's part, and does not know every id.
"""

import json
import sys
from contextlib import ExitStack

import polars

import workerpool
from workerpool import Request
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
    orders = polars.LazyFrame({"item": range(1, 301), "pieces": [2] * 300})
    wanted = orders.select("item").unique().collect()["item"]
    requests = (Request(template.format(id=number), key=str(number)) for number in wanted)
    records = polars.DataFrame(workerpool.to_arrow(workerpool.fetch(requests, rate="500/s"), include=["body"]))

    # A body that is no such JSON would be an error here, and a column that it lacks is null.
    kind = polars.Struct({"name": polars.String, "price": polars.Float64, "stock": polars.Int64})
    items = (
        records.lazy()
        .filter("ok")
        .select(polars.col("key").cast(polars.Int64).alias("item"), polars.col("body").str.json_decode(kind))
        .unnest("body")
    )
    priced = orders.join(items, on="item", how="left").collect()
    failed = records.remove("ok").select("key", "status", "error")

print(dict(priced.schema))
print(len(priced), "orders,", priced["price"].count(), "priced,", priced["stock"].null_count(), "without stock")
print("sum", (priced["pieces"] * priced["price"]).sum(), "failed", sorted(map(int, failed["key"])))
