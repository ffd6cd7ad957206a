"""What `schema=`, `upsert=` and `rejects=` need of each other and of a job's other options. Checks, no work."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from workerpool.batch.columns import Columns
from workerpool.batch.schemas.schema import Schema
from workerpool.errors import OptionError
from workerpool.saving import Save

if TYPE_CHECKING:
    from collections.abc import Collection

    from workerpool.batch.job.job import Job


def check_schema(
    schema: Schema | None, *, upsert: bool, rejects: Any, include: Collection[str], save: Save | None = None
) -> None:
    """Raise `OptionError` for options that say nothing together."""
    if schema is None:
        for name, value in (("upsert", upsert), ("rejects", rejects)):
            if value:
                raise OptionError(f"{name}= needs schema=: without one every outcome is a record, and none is rejected")
        return
    if include:
        raise OptionError("schema= with include=: rows have the columns of the schema, so name what is wanted there")
    if save is not None:
        raise OptionError("schema= with save=: rows are made of bodies in memory, so leave one of the two out")
    if upsert and not schema.key:
        raise OptionError('upsert=True needs a key: write key = ["id"] into the schema')
    if rejects is not None and not isinstance(rejects, (str, os.PathLike)):
        raise OptionError(f"rejects={rejects!r} must be a path")


def check_typed(job: Job) -> None:
    """Raise `OptionError` if a job's options do not fit its schema."""
    check_schema(job.typed, upsert=job.upsert, rejects=job.rejects, include=job.include, save=job.save)
    if job.typed is None or job.only_changed or job.upsert:
        return
    for name, is_said in (("conditional=True", job.conditional), ("skip_recent=", job.skip_recent is not None)):
        if is_said:
            raise OptionError(
                f"{name} with schema=: what has not changed is not sent again, and its rows would be missing; give "
                "upsert=True, which keeps those that are there, or only_changed=True"
            )


def columns_for(job: Job) -> Columns | None:
    """The columns of a job's rows, None if these are records."""
    return None if job.typed is None else job.typed.columns(upsert=job.upsert)
