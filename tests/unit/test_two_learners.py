"""A host's learners of a rate and of connections hear the same answers, and a refusal concerns one of them."""

from __future__ import annotations

import pytest

from workerpool.limits import AdaptiveConnections, AdaptiveRate, Answer, tell


def told(answer: Answer, rate: AdaptiveRate | None, connections: AdaptiveConnections | None) -> tuple[str, str]:
    """What the rate, and the number of connections, does when eight such answers come."""

    def levels() -> list[float]:
        return [rate.rate if rate else 0.0, connections.limit if connections else 0]

    before = levels()
    for _ in range(8):
        tell(answer, answer.ended_at, rate, connections)
    rate_moves, limit_moves = ((now > then) - (now < then) for now, then in zip(levels(), before, strict=True))
    words = {-1: "falls", 0: "stays", 1: "rises"}
    return words[rate_moves], words[limit_moves]


@pytest.mark.parametrize(
    ("status", "flying", "both", "rate_alone", "connections_alone"),
    [
        (200, 4, ("rises", "rises"), "rises", "rises"),
        (429, 4, ("stays", "falls"), "falls", "falls"),
        (429, 1, ("falls", "stays"), "falls", "falls"),
        (500, 4, ("stays", "stays"), "stays", "stays"),
    ],
)
def test_a_refusal_with_more_in_flight_than_usual_concerns_the_connections_and_any_other_the_rate(
    status: int, flying: int, both: tuple[str, str], rate_alone: str, connections_alone: str
) -> None:
    answer = Answer(1.0, 1.05, status, refused=status == 429, latency=0.05, in_flight=flying)
    assert told(answer, AdaptiveRate(), AdaptiveConnections(16)) == both
    assert told(answer, AdaptiveRate(), None) == (rate_alone, "stays")
    assert told(answer, None, AdaptiveConnections(16)) == ("stays", connections_alone)
    assert told(answer, None, None) == ("stays", "stays")
