"""Rows of a database as requests: a template fills the URL and a typed JSON body from each row's columns.

A server of its own stands in for the API. The third row lacks a value: it ends as a failed record, and is never sent.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from workerpool import Job, Template
from workerpool.testing import Origin

with tempfile.TemporaryDirectory() as directory, Origin() as api:
    path, output = Path(directory, "shop.sqlite"), Path(directory, "answers.jsonl")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
        rows = [("tea & biscuits", 2.5), ("milk/cream", 1.0), (None, 9.0)]
        database.executemany("INSERT INTO items (name, price) VALUES (?, ?)", rows)

    template = Template(
        api.url("/echo/items/{id}{?name}"),
        method="PUT",
        json={"name": "{name}", "price": "{price}"},
        key="{id}",
    )
    job = Job(
        Path(directory, "items.job"),
        [f"sqlite:///{path}"],
        output,
        query="SELECT id, name, price FROM items ORDER BY id",
        template=template,
        ordered=True,
    )
    job.run(host_rate="50/s")

    for arrival in sorted(api.arrivals, key=lambda arrival: arrival.path):
        print(arrival.method, arrival.path, json.loads(arrival.body))
    for line in output.read_text().splitlines():
        record = json.loads(line)
        print(record["key"], record["status"], (record["error"] or "").partition("row ")[2])
