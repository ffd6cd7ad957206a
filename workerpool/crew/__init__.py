"""Who does a pool's work: which thread does what next, and who wakes it.

| module | owns |
|---|---|
| `crew` | what a pool and its streams ask: to do work, how it stands, to end |
| `door` | what `pool.session` asks: leave to send |
| `held` | requests that wait for a robots.txt |
| `turns` | what worker threads do, all of it without the lock; defects of ours |
| `dispatcher` | what is decided under the lock: which work next, what follows from a send, who is woken |
| `carrier` | the requests that one thread carries at once, those it leaves to others, those given to it |
| `load` | the sockets of those that are carried, and waiting for all of them |
| `threads` | the executor's threads, and how many are in a turn; what they run: turns, callables from `submit()` |
| `delays` | what holds the pool up at the moment (decision 21) |
| `alarm` | the thread that waits for a time |
| `locking` | a lock whose holder, once it has let go, does what others could not wait for |

From the top down: the first three ask the turns, these ask the dispatcher, and that one has the rest. Whoever holds the
turns keeps the pool alive: the pool, threads in a turn, and a door while it is used.
"""

from workerpool.crew.crew import Crew
from workerpool.crew.door import Door
from workerpool.crew.turns import Turns

__all__ = ["Crew", "Door", "Turns"]
