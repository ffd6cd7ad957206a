"""Which request may be sent now. `Scheduler` alone is for others; its parts are entered by it, under its caller's lock.

| module | owns |
|---|---|
| `scheduler` | what comes in and goes out, one admission, and fairness between owners, callers and slow hosts |
| `ring` | where a lane stands, and when it is looked at again |
| `parked` | requests aside, until a time or until something is known |
| `aside` | requests of owners that may not send now |
| `callers` | threads that send for themselves |
| `hold_ups` | what requests wait for |
| `register` | hosts, their lanes, keys' quotas and the retry budgets |
| `hosts`, `lanes` | what may be sent to one host; its queues |
| `places` | the pool's places: who holds them, which hosts are slow, and what these may hold |

No module here has a lock, a clock or a thread.
"""

from workerpool.scheduler.register import POOLS_SHARE, QUOTAS
from workerpool.scheduler.scheduler import Scheduler

__all__ = ["POOLS_SHARE", "QUOTAS", "Scheduler"]
