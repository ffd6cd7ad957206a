"""What the leases of a budget in Redis come to with up to a thousand members, by simulation.

    python -m benchmarks.leases_simulated [--seconds 20]

The server's part is the model that its script is held to; members ask as their keepers do, up to 2 ms late, and use
every slot that they get. Some need only a little. For each setting, over the second half of the time: the share of the
rate that was used, the most slots in any second against the rate, what the members who want all they can get had, the
least and the most of them against the mean, what those who need less had of what they need, and calls a second.
"""

from __future__ import annotations

import argparse
import heapq
import random
from dataclasses import dataclass

from workerpool.limits.redis.model import Budget
from workerpool.limits.redis.terms import SECOND, Ask, Call, Terms

BEGAN = 1_700_000_000 * SECOND
SETTINGS = ((1, 500, 0), (4, 500, 0), (4, 500, 2), (40, 500, 10), (1000, 500, 0), (1000, 5000, 0), (1000, 5000, 500))
"""Members, the rate, and how many of the members need a tenth of an even share."""


@dataclass(frozen=True)
class Found:
    used: float
    busiest: float
    least: float
    most: float
    modest: float
    calls: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20)
    seconds = parser.parse_args().seconds
    print("| members | needing little | rate | used | busiest second | least | most | these had | calls/s |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for members, rate, modest in SETTINGS:
        found = simulated(members, rate, modest, seconds)
        print(
            f"| {members:,} | {modest:,} | {rate:,}/s | {found.used:.1%} | {found.busiest:.3f} × | {found.least:.1%} | "
            f"{found.most:.1%} | {f'{found.modest:.0%}' if modest else '–'} | {found.calls:,.0f} |"
        )


def simulated(members: int, rate: int, modest: int, seconds: int, seed: int = 9) -> Found:
    """Let so many members use one rate."""
    dice, budget = random.Random(seed), Budget()
    terms = (Terms(10**9 // rate, 1, 1 << 20), Terms(0, 1, 1 << 20))
    needs = [rate * 100 // members] * modest + [rate * 1000] * (members - modest)  # in 1,000 s
    turns = [(BEGAN + dice.randrange(SECOND // 10), number) for number in range(members)]
    heapq.heapify(turns)
    ahead: list[list[int]] = [[] for _ in range(members)]
    slots: list[tuple[int, int]] = []
    calls, tick, half, end = 0, SECOND // 10, BEGAN + seconds * SECOND // 2, BEGAN + seconds * SECOND
    while turns[0][0] < end:
        now, number = heapq.heappop(turns)
        ahead[number] = [slot for slot in ahead[number] if slot > now]
        want = max(0, 1 + needs[number] * 5 * tick // 2 // 10**9 - len(ahead[number]))
        answer = budget.answer(Call(f"{number:04}", terms, (Ask("pool", want, needs[number]),)), now)
        calls, tick = calls + 1, answer.tick
        ahead[number] += answer.leases[0].slots
        slots += [(slot, number) for slot in answer.leases[0].slots]
        heapq.heappush(turns, (now + tick + dice.randrange(2000), number))
    slots.sort()
    had = [0] * members
    for slot, number in slots:
        had[number] += half <= slot < end
    hungry, span = had[modest:], seconds / 2
    mean = sum(hungry) / len(hungry)
    needed = sum(needs[:modest]) / 1000 * span
    return Found(
        used=sum(had) / (rate * span),
        busiest=busiest([slot for slot, _ in slots]) / rate,
        least=min(hungry) / mean,
        most=max(hungry) / mean,
        modest=sum(had[:modest]) / needed if needed else 1.0,
        calls=calls / seconds,
    )


def busiest(times: list[int]) -> int:
    """The most in any second."""
    most = start = 0
    for end, last in enumerate(times):
        while times[start] <= last - SECOND:
            start += 1
        most = max(most, end - start + 1)
    return most


if __name__ == "__main__":
    main()
