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
    if connections is None or (answer.refused and rate is not None and not connections.explains(answer)):
        if rate is not None:
            rate.hear(answer, now)
        return
    connections.hear(answer, now)
    if rate is not None and not answer.refused:
        rate.hear(answer, now)
