"""A pool on several processes of one machine: more cores than one process of Python can use.

`pool` is what users see; `fleet` decides which process does what, `consumers` which stream hears of it, and
`supervisor` what happens when one is killed; `process` is one of them from without, `child` from within; `messages` and
`parcels` are what they say to each other.
"""

from workerpool.processes.making import fetch, make_pool
from workerpool.processes.pool import ShardedPool

__all__ = ["ShardedPool", "fetch", "make_pool"]
