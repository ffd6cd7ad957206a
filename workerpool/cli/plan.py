"""`workerpool plan`: reads the sources, and the records of an earlier run, and prints what the batch will take.

The plan goes to standard output; notes on the sources go to standard error. The main thread does everything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from workerpool.batch.sources.files import FileSources
from workerpool.cli.budget_arguments import BudgetSettings
from workerpool.cli.plan_arguments import PlanSettings
from workerpool.cli.speaker import put_out, speak
from workerpool.config import RetryPolicy
from workerpool.errors import OptionError
from workerpool.keys import KeyOf, key_function
from workerpool.plan import Plan, Records, Setting, as_text, estimate, read_workload, simulate

OK, NOT_WRITTEN = 0, 5


def plan(settings: PlanSettings) -> int:
    """Carry out `workerpool plan` and return its exit code; raises `WorkerPoolError` where nothing can be planned."""
    found = _plan(settings)
    text = json.dumps(found.as_json(), indent=2) if settings.as_json else as_text(found)
    return OK if put_out(text, "the plan") else NOT_WRITTEN


def _plan(settings: PlanSettings) -> Plan:
    compared = [("", settings.budgets), *settings.compared]
    tried = [setting_of(budgets, label) for label, budgets in compared]
    keys = _key_of([budgets for _, budgets in compared])
    records = None if settings.records is None else Records(settings.records)
    workload = read_workload(_sources(settings, records), key_of=keys)
    if records is None:
        return estimate(workload, tried, settings.latency)
    return simulate(workload, tried, records)


def setting_of(budgets: BudgetSettings, label: str = "") -> Setting:
    """What a pool makes of these budgets; raises `OptionError`."""
    return Setting(
        workers=budgets.workers,
        budgets=budgets.budgets(),
        retry=RetryPolicy(attempts=budgets.retries + 1, budget=budgets.retry_budget),
        breaker=budgets.breaker,
        label=label,
        has_connections=isinstance(budgets.connections, int),
    )


def _key_of(compared: Sequence[BudgetSettings]) -> KeyOf | None:
    """What requests are counted by. One thing, as the sources are read once for all settings."""
    found = [budgets.limit_by for budgets in compared if budgets.limit_by is not None]
    if any(limit_by != found[0] for limit_by in found):
        raise OptionError("--compare counts by another --limit-by: make a plan for each of the two")
    return key_function(found[0], "--limit-by") if found else None


def _sources(settings: PlanSettings, records: Records | None) -> FileSources:
    paths, format = settings.sources, settings.input_format
    if not paths and records is not None:
        if not records.sources:
            raise OptionError(
                f"--from {records.name} has no sources that can be read again: name the SOURCE that is to be planned"
            )
        paths, format = records.sources, format or records.input_format
    sources = FileSources(paths, format=format, note=lambda sentence: speak(f"workerpool: {sentence}"))
    sources.check()
    return sources
