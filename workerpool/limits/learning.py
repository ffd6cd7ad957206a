"""Two learners that hear the same answers: which of them does a refusal concern?"""

from __future__ import annotations

from workerpool.limits.adaptive import AdaptiveRate
from workerpool.limits.answer import Answer
from workerpool.limits.connections import AdaptiveConnections


def tell(answer: Answer, now: float, rate: AdaptiveRate | None, connections: AdaptiveConnections | None) -> None:
    """Tell a host's learners of an answer.

    A refusal with more requests in flight than were ever accepted together is taken to be about connections, and the
    rate stays. If that was wrong, the next one comes with fewer in flight, and is the rate's.
    """
    is_theirs = connections is not None and connections.explains(answer)
    if connections is not None:
        connections.hear(answer, now)
    if rate is not None and not is_theirs:
        rate.hear(answer, now)
