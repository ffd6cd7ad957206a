"""From a pandas frame of ids to one of typed columns: fetch a JSON object for each id, and join it to its row.

    python examples/07_pandas.py [URL-TEMPLATE]

The template has ``{id}`` in it. Without one, a server on this machine plays the API's part, and does not know every id.
"""

import json
import sys
from contextlib import ExitStack

import pandas

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
    orders = pandas.DataFrame({"item": range(1, 301), "pieces": 2})
    requests = (Request(template.format(id=number), key=str(number)) for number in orders["item"])
    records = workerpool.to_pandas(workerpool.fetch(requests, rate="500/s"), include=["body"])
    records = records.assign(item=records["key"].astype("int64")).set_index("item")

    # The columns have the types that they are given, whatever is in them: a missing whole number is <NA>.
    types = {"name": "string", "price": "float64", "stock": "Int64"}
    found = records[records["ok"]]
    items = pandas.DataFrame.from_records([json.loads(body) for body in found["body"]], index=found.index)
    priced = orders.join(items.astype(types), on="item")
    failed = records.loc[~records["ok"], ["status", "error"]]

print(priced.dtypes.to_string())
print(len(priced), "orders,", priced["price"].count(), "priced,", priced["stock"].isna().sum(), "without stock")
print("sum", (priced["pieces"] * priced["price"]).sum(), "failed", sorted(failed.index))
