"""robots.txt (RFC 9309): what sites allow (`rules`), and what is known of them (`sites`).

It decides and returns. The fetch of a robots.txt is the pool's, as that of anything else.
"""

from workerpool.robots.rules import LONGEST, LONGEST_DELAY, ClosedRules, OpenRules, Rules, read_rules
from workerpool.robots.sites import LEAST_KEPT, Allowed, Answered, Disallowed, Robots, Site, Unknown, Verdict

__all__ = [
    "LEAST_KEPT",
    "LONGEST",
    "LONGEST_DELAY",
    "Allowed",
    "Answered",
    "ClosedRules",
    "Disallowed",
    "OpenRules",
    "Robots",
    "Rules",
    "Site",
    "Unknown",
    "Verdict",
    "read_rules",
]
