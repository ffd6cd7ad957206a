"""An asset for Dagster, in daily partitions, that goes on where it was interrupted, and says what it has come to.

    python examples/11_dagster_asset.py 2026-11-01

ORDERS_URL has ``{id}`` in it, ORDERS_FOLDER is where jobs and files are: on a disk that the next try sees, too. Run as
a program it makes that one partition, with an instance of its own whose logs have the events of the pool.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from workerpool import Job, Request


@dg.asset(
    partitions_def=dg.DailyPartitionsDefinition(start_date="2026-11-01"), retry_policy=dg.RetryPolicy(max_retries=3)
)
def orders(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """The orders of a day, as a Parquet file."""
    day = context.partition_key

    def requests() -> Iterator[Request]:
        for number in range(1, 301):
            yield Request(os.environ["ORDERS_URL"].format(id=number), key=str(number), params={"day": day})

    folder = Path(os.environ["ORDERS_FOLDER"])
    job = Job(
        folder / f"{day}.job", requests=requests, output=folder / f"{day}.parquet", include=["body"], wait_lock=60
    )
    result = job.run(deadline=3000, max_workers=4)
    if not result.is_whole:
        raise dg.Failure(f"{result}: {result.next}", metadata=result.to_dict())  # tried again, it goes on
    return dg.MaterializeResult(metadata=result.to_dict())


@dg.asset_check(asset=orders)
def most_are_there(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Refuse a day of which too much has failed."""
    made = context.instance.get_latest_materialization_event(orders.key)
    assert made is not None
    assert made.asset_materialization is not None
    inputs = made.asset_materialization.metadata["inputs"].value
    return dg.AssetCheckResult(passed=inputs["failed"] + inputs["unknown"] <= 10, metadata={"inputs": inputs})


LOGS = {"python_logs": {"managed_python_loggers": ["workerpool"], "python_log_level": "INFO"}}
"""What goes into dagster.yaml, for the events of the pool to be in a run's log."""

if __name__ == "__main__":
    with dg.DagsterInstance.local_temp(os.environ["ORDERS_FOLDER"], overrides=LOGS) as instance:
        done = dg.materialize([orders, most_are_there], partition_key=sys.argv[1], instance=instance)
    sys.exit(not done.success)
