"""One budget for pools on any number of machines, by name, in Redis or Valkey: `RedisBudget`, and `Link` to its server.

| module | owns |
|---|---|
| `budget` | what the pool sees: everything or nothing, of what is leased; the keeper, which asks the server |
| `leased` | one member's part of one account: slots to come, places, how many of each it needs; alone, its fair share |
| `model` | the server's part, pure arithmetic; `script` the same in Lua, `terms` what the two sides say to each other |
| `link` | the URL, the connection |
| `times` | the server's clock, as seen from here |
"""

from workerpool.limits.redis.budget import RedisBudget
from workerpool.limits.redis.link import Link, check_name

__all__ = ["Link", "RedisBudget", "check_name"]
