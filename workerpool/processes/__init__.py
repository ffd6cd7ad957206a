"""A pool on several processes of one machine: more cores than one process of Python can use.

| module | owns |
|---|---|
| `pool` | what users see; `elsewhere` what it has in common with the pool of a cluster |
| `fleet` | which process does which request; `berths` the books of that, `consumers` which stream hears of it |
| `supervisor` | when processes begin and end; `process` one of them from without; `options`, `scratch` what it gets |
| `child` | a process from within: what it does with each message; `telling` what it says |
| `messages`, `parcels` | what both say to each other; `figures` how their numbers are added up |
"""

from workerpool.processes.pool import ShardedPool

__all__ = ["ShardedPool"]
