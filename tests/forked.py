"""Processes that begin with everything imported: an import of the package takes half a second of the processor."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.sharded", "tests.shared.client", "tests.elsewhere", "structlog"])
