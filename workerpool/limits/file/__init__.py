"""One budget for all processes of a machine, by name, in a file: `FileBudget`, and `budget_path`, where its file is.

| module | owns |
|---|---|
| `budget` | the transactions: everything or nothing |
| `table` | where each account is, and whether what was read of it still holds; this process's membership |
| `account` | one host's account, or the pool's: `state` its rate and pause, `history` its quotas, `claims` its places |
| `members` | who uses the budget, and who of these has died; `machine` how that is known |
| `mapped` | the file: its lock, its parts, growing; `records` what a killed process cannot leave half-written |
| `times` | a clock that starts again with the machine |
| `place` | the directory |
"""

from workerpool.limits.file.budget import FileBudget
from workerpool.limits.file.place import budget_path

__all__ = ["FileBudget", "budget_path"]
