"""How often may be sent: the leaky bucket's arithmetic (`bucket`) and the homes of its state (`memory`)."""

from workerpool.limits.bucket import GROUPING, LATENESS, LeakyBucket
from workerpool.limits.memory import MemoryLimiter

__all__ = ["GROUPING", "LATENESS", "LeakyBucket", "MemoryLimiter"]
