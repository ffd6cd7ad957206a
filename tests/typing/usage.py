"""What a user's type checker sees. Checked by `make check`, never run."""

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, assert_type

import pandas
import pyarrow
from requests import Response

from workerpool import (
    Attempt,
    Job,
    Outcome,
    PoolStatistics,
    Request,
    RequestError,
    WorkerPool,
    fetch,
    rows,
    to_arrow,
    to_pandas,
)


def batch(pool: WorkerPool) -> None:
    for outcome in pool.stream(["https://example.com/", Request("https://example.com/2")], ordered=True):
        assert_type(outcome, Outcome)
        assert_type(outcome.response, Response | None)
        assert_type(outcome.error, RequestError | None)
        assert_type(outcome.ok, bool)
        assert_type(outcome.status, int | None)
        assert_type(outcome.attempts, tuple[Attempt, ...])
        assert_type(outcome.elapsed, float)
    assert_type(fetch(["https://example.com/"], rate="5/s"), Iterator[Outcome])


def futures(pool: WorkerPool) -> None:
    assert_type(pool.get("https://example.com/", params={"page": 2}), Future[Response])
    assert_type(pool.post("https://example.com/", json={"id": 1}), Future[Response])
    assert_type(pool.submit(pow, 2, 5).result(), int)
    assert_type(list(pool.map(str, [1, 2])), list[str])
    assert_type(pool.statistics(), PoolStatistics)


def jobs(folder: Path) -> None:
    def load(records: list[dict[str, Any]]) -> None:
        print(records[0]["url"])

    def requests() -> Iterator[Request]:
        yield Request("https://example.com/")

    result = Job(folder / "a.job", ["urls.txt", folder / "more.csv"], folder / "out.jsonl").run(deadline=60, rate="5/s")
    assert_type(result.ok, int)
    assert_type(result.stopped, str | None)
    Job("a.job", requests=["https://example.com/", Request("https://example.com/2")], output="out.csv", dedupe=True)
    Job("a.job", requests=requests, output=load, at_least_once=True).run(observe=lambda outcome: None)


def tables() -> None:
    outcomes = fetch(["https://example.com/"])
    assert_type(next(rows(outcomes)), list[dict[str, Any]])
    assert_type(to_arrow(outcomes, include=["body"]), pyarrow.Table)
    assert_type(to_pandas(outcomes), pandas.DataFrame)


def wrong(pool: WorkerPool) -> None:
    # A strict checker complains of an ignore that is not needed, so each of these has to be an error.
    WorkerPool(rates="5/s")  # type: ignore[call-arg]
    WorkerPool(cookies="some")  # type: ignore[arg-type]
    Job("a.job", requests=[1])  # type: ignore[list-item]
    pool.stream([1, 2])  # type: ignore[list-item]
    Outcome(Request("https://example.com/")).elapsed = 1.0  # type: ignore[misc]
