"""Which request may be sent now. `Scheduler` alone is for others; its parts are entered by it, under its caller's lock.

| module | owns |
|---|---|
| `scheduler` | what comes in, what goes out, and when to look again |
| `ring` | where a lane stands, and when it is looked at again |
| `parked` | requests aside, until a time or until something is known |
| `head` | which request is next, when it may go, and its admission |
| `owners` | what each owner has queued and may send, and what is put aside meanwhile |
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
