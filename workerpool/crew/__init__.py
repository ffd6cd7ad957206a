"""Which work a worker thread does next, and who wakes it. `Crew` is for others; its parts are entered by it.

| module | owns |
|---|---|
| `crew` | the turns of worker threads, choosing work, waking; the lock of crew and scheduler |
| `carrier` | the requests that one thread carries at once, those it leaves to others, those given to it |
| `load` | the sockets of those that are carried, and waiting for all of them |
| `threads` | the executor's threads, and how many are in a turn; what they run: turns, callables from `submit()` |
| `alarm` | the thread that waits for a time |
| `locking` | a lock whose holder, once it has let go, does what others could not wait for |
"""

from workerpool.crew.crew import Crew

__all__ = ["Crew"]
