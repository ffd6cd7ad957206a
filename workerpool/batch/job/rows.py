"""The proof for a job with a schema: as many rows and rejects as its ledger has entered are where they should be.

Which input a row is of, rows do not say, so they are counted. Rows that were merged into a table by their key cannot be
told from those beside them. One thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.records import UNREADABLE, records_of
from workerpool.batch.job.schema import RunRow
from workerpool.batch.job.terms import columns_in
from workerpool.batch.schemas.rejects_file import count_in
from workerpool.redact import redact
from workerpool.wording import plural

if TYPE_CHECKING:
    from workerpool.batch.job.reconcile import Reconciliation


def compare_rows(ledger: LedgerReader, run: RunRow, found: Reconciliation, output: str | None) -> None:
    """Compare what was entered with what is there; `output` is None for one that cannot be read back."""
    found.held, _ = ledger.held()
    found.rows, found.rejects = run.entered, ledger.count_rejects()
    if run.is_finished:
        _compare_rejects(run, found, found.rejects)
    if output is None:
        return
    if run.settings.get("--upsert"):
        found.notes.append(
            f"{plural(run.entered, 'row')} were merged into {found.output} by their key, and are not told from others "
            "there: that they are there is not compared"
        )
        return
    try:
        there = sum(1 for _ in records_of(ledger, run, (_first_column(run),), output))
    except UNREADABLE as error:
        found.unproven.append(f"the rows cannot be read back: {redact(str(error))}")
        return
    found.records = there - found.held
    if there != run.entered:
        kind = "missing" if there < run.entered else "too many"
        found.wrong.append(
            f"{plural(run.entered, 'row')} should be there, and {there:,} are ({found.records:,} in {found.output}, "
            f"{found.held:,} in the ledger): {abs(run.entered - there):,} {kind}"
        )


def _compare_rejects(run: RunRow, found: Reconciliation, entered: int) -> None:
    path = str(run.settings["--rejects"])
    try:
        there = count_in(path)
    except OSError as error:
        found.unproven.append(f"the rejects cannot be read back: {error}")
        return
    if there != entered:
        found.wrong.append(f"{plural(entered, 'reject')} should be in {path}, and {there:,} are")


def _first_column(run: RunRow) -> str:
    columns = columns_in(run.settings)
    assert columns is not None
    return columns.names[0]
