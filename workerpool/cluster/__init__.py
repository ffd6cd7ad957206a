"""A pool on the workers of a Dask cluster: the same streams, jobs and sinks, and more machines to send.

| module | owns |
|---|---|
| `pool`, `making`, `options` | what users see, and ask for |
| `coordinator` | what each worker is to do, and what comes of it; `berths` the books of that |
| `line` | the connection to the cluster: the only user of distributed |
| `holder` | a worker from within: a pool that stays alive between tasks |
| `messages` | what both say to each other |
"""

from workerpool.cluster.making import fetch, make_pool
from workerpool.cluster.pool import ClusterPool

__all__ = ["ClusterPool", "fetch", "make_pool"]
