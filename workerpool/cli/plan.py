"""`workerpool plan`: reads the sources, and the records of an earlier run, and prints what the batch will take.

The plan goes to standard output; notes on the sources go to standard error. The main thread does everything.
"""

from __future__ import annotations

import json

from workerpool.batch.codes import NOT_WRITTEN, OK
from workerpool.batch.job.again import sources_again
from workerpool.batch.sources.choice import sources_for
from workerpool.batch.sources.files import FileSources
from workerpool.batch.sources.query import QueryRows
from workerpool.batch.template.making import making_of
from workerpool.cli.plan_arguments import PlanSettings
from workerpool.cli.speaker import put_out
from workerpool.errors import OptionError
from workerpool.plan import Plan, Records, as_text, estimate, read_workload, simulate
from workerpool.view.speech import speak


def plan(settings: PlanSettings) -> int:
    """Carry out `workerpool plan` and return its exit code; raises `WorkerPoolError` where nothing can be planned."""
    found = _plan(settings)
    text = json.dumps(found.as_json(), indent=2) if settings.as_json else as_text(found)
    return OK if put_out(text, "the plan") else NOT_WRITTEN


def _plan(settings: PlanSettings) -> Plan:
    tried = settings.settings
    key_of = next((each.options.key_of for each in tried if each.options.key_of is not None), None)
    records = None if settings.records is None else Records(settings.records)
    workload = read_workload(_sources(settings, records), key_of=key_of)
    if records is None:
        return estimate(workload, tried, settings.latency)
    return simulate(workload, tried, records)


def _sources(settings: PlanSettings, records: Records | None) -> FileSources | QueryRows:
    sources = _again(records) if records is not None and not settings.sources else _named(settings)
    sources.check()
    return sources


def _named(settings: PlanSettings) -> FileSources | QueryRows:
    making = making_of(settings.template)
    return sources_for(settings.sources, format=settings.input_format, query=settings.query, making=making, note=_note)


def _again(records: Records) -> FileSources | QueryRows:
    if records.run is None:
        raise OptionError(
            f"--from {records.name} has no sources that can be read again: name the SOURCE that is to be planned"
        )
    return sources_again(records.run, records.sources, _note)


def _note(sentence: str) -> None:
    speak(f"workerpool: {sentence}")
