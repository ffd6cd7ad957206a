"""Answers for the learner of a rate, by the moments at which they were sent."""

from __future__ import annotations

from workerpool.limits import AdaptiveRate, Answer


def accept(limiter: AdaptiveRate, *sent: float, took: float = 0.05) -> float:
    """Tell it of accepted requests; returns the rate then."""
    for at in sent:
        limiter.hear(Answer(at, at + took, 200, refused=False), at + took)
    return limiter.rate


def refuse(limiter: AdaptiveRate, sent: float, *, at: float | None = None, pause: float | None = None) -> float:
    """Tell it, `at` a time, of a refusal; returns the rate then."""
    limiter.hear(Answer(sent, at or sent, 429, refused=True, pause=pause), at or sent)
    return limiter.rate
