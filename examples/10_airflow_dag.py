"""A DAG for Airflow whose task goes on after a kill: each day's orders are fetched by a job, in that day's directory.

    cp examples/10_airflow_dag.py "$AIRFLOW_HOME/dags/"     # then as any DAG
    python "$AIRFLOW_HOME/dags/10_airflow_dag.py" 2026-11-01  # or that one day here, without a scheduler

ORDERS_URL has ``{id}`` in it, ORDERS_FOLDER is where jobs and files are: on a disk that the next try sees, too.
"""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

from workerpool import Job, Request


@dag(schedule="@daily", start_date=datetime(2026, 11, 1, tzinfo=UTC), catchup=False)
def orders() -> None:
    @task(retries=3, retry_delay=timedelta(seconds=10))
    def fetch(ds: str | None = None) -> dict[str, Any]:
        """Fetch the orders of a day into a Parquet file."""

        def requests() -> Iterator[Request]:
            for number in range(1, 301):
                yield Request(os.environ["ORDERS_URL"].format(id=number), key=str(number), params={"day": ds or ""})

        folder = Path(os.environ["ORDERS_FOLDER"])
        job = Job(
            folder / f"{ds}.job", requests=requests, output=folder / f"{ds}.parquet", include=["body"], wait_lock=60
        )
        result = job.run(deadline=3000, max_workers=4)
        if not result.is_whole:
            raise RuntimeError(f"{result}: {result.next}")  # so Airflow tries again, and the job goes on
        return result.to_dict()

    @task
    def check(result: dict[str, Any]) -> None:
        """Refuse a day of which too much has failed."""
        inputs = result["inputs"]
        if inputs["failed"] + inputs["unknown"] > 10:
            raise RuntimeError(f"too many orders have failed: {inputs}")
        print(f"{result['output']}: {inputs['ok']} orders, {result['read']} of them fetched in the last try")

    check(fetch())


made = orders()

if __name__ == "__main__":
    made.test(logical_date=datetime.fromisoformat(sys.argv[1]).replace(tzinfo=UTC))
