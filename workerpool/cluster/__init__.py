"""A pool on the workers of a Dask cluster: the same streams, jobs and sinks, and more machines to send.

| module | owns |
|---|---|
| `pool`, `making`, `options` | what users see, and ask for |
| `coordinator` | what each worker is to do, and what comes of it; `berths` the books of that |
| `line` | the connection to the cluster: the only user of distributed |
| `holder` | a worker from within: a pool that stays alive between tasks |
| `messages` | what both say to each other |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workerpool.cluster.making import fetch, make_pool

if TYPE_CHECKING:
    from workerpool.cluster.pool import ClusterPool


def __getattr__(name: str) -> Any:
    """Import what only a batch on a cluster needs when it is first asked for."""
    if name == "ClusterPool":
        from workerpool.cluster.pool import ClusterPool

        return ClusterPool
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["ClusterPool", "fetch", "make_pool"]
