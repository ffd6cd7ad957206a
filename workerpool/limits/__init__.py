"""How often, and how many at once, may be sent: budgets that are given, and budgets that are learned from answers.

The leaky bucket's arithmetic (`bucket`) and the home of its state (`memory`) keep a rate that is known. Where it is
not, `adaptive` learns a rate and `connections` how many requests at once a host bears; `learning` tells both of each
`answer`, and `announced` keeps within what hosts say in their `headers`.
"""

from workerpool.limits.adaptive import AdaptiveRate
from workerpool.limits.answer import Answer
from workerpool.limits.bucket import GROUPING, LATENESS, LeakyBucket
from workerpool.limits.connections import AdaptiveConnections
from workerpool.limits.headers import Allowance, allowance
from workerpool.limits.learning import tell
from workerpool.limits.memory import MemoryLimiter

__all__ = [
    "GROUPING", "LATENESS", "AdaptiveConnections", "AdaptiveRate", "Allowance", "Answer", "LeakyBucket",
    "MemoryLimiter", "allowance", "tell",
]  # fmt: skip
