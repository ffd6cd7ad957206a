"""`python -m benchmarks.manners`: arguments, the measurement, and its table."""

from __future__ import annotations

import argparse
import bisect
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import nginx
from benchmarks.manners.clients import CLIENTS, TOLD, Client, ClientFailed, Ended, Seat
from benchmarks.manners.hidden import HIDDEN, Hidden, Serving

LABEL = 24
HEAD = (
    f"{'':{LABEL}}{'accepted/s':>11}{'of limit':>10}{'of told':>9}{'refused':>9}{'share':>8}{'incidents':>11}"
    f"{'sockets':>9}{'ms each':>9}{'ok':>8}{'failed':>8}"
)


@dataclass(frozen=True)
class Row:
    """What the server counted of one client in its time.

    `sockets`: the most that were open. `each`: seconds from a request's head to the end of its answer, on average.
    """

    label: str
    accepted: int
    refused: int
    incidents: int
    sockets: int
    each: float
    ended: Ended


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    chosen = [hidden for hidden in HIDDEN if options.limits is None or hidden.name in options.limits]
    clients = [client for client in CLIENTS if client.name in options.clients]
    print(HEAD)
    try:
        for hidden in chosen:
            print(f"\n{hidden.name}: {hidden.title}", flush=True)
            for line in measured(hidden, clients, options.seconds, together=options.together):
                print(line, flush=True)
    except (nginx.NginxFailed, ClientFailed) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def measured(hidden: Hidden, clients: Sequence[Client], seconds: float, *, together: bool) -> Iterator[str]:
    """Measure one hidden limit, and give the lines of its table; all clients at once if `together`."""
    if hidden.needs_nginx and nginx.find() is None:
        yield "  left out: nginx is not installed"
        return
    able = [client for client in clients if client.missing() is None]
    for client in clients:
        if client not in able:
            yield f"  left out: {client.label}: {client.missing()}"
    told = None
    for group in [able] if together else [[client] for client in able]:
        for client, row in zip(group, run(hidden, group, seconds), strict=True):
            told = row.accepted if client.name == TOLD else told
            yield line_of(row, hidden.capacity(seconds), told, seconds)


def run(hidden: Hidden, clients: Sequence[Client], seconds: float) -> list[Row]:
    """Run these clients at the same time, each against a server of its own."""
    with ExitStack() as stack:
        servings, seats = [], []
        for client in clients:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            serving = stack.enter_context(hidden.serve(folder, seconds))
            servings.append(serving)
            seats.append(stack.enter_context(Seat(client, hidden, serving.url, seconds)))
        for seat in seats:
            seat.await_ready()
        began = time.monotonic()
        for seat in seats:
            seat.go()
        ended = [seat.leave() for seat in seats]
        span = (began, began + seconds)
        return [
            row_of(client, serving, span, end) for client, serving, end in zip(clients, servings, ended, strict=True)
        ]


def row_of(client: Client, serving: Serving, span: tuple[float, float], ended: Ended) -> Row:
    records = serving.records()
    arrived, refused = (_within(times, span) for times in (records.times, records.refusals))
    return Row(
        label=client.label,
        accepted=arrived - refused,
        refused=refused,
        incidents=records.incidents(1.0),
        sockets=records.sockets.peak,
        each=records.answers.seconds / max(1, records.answers.accepted),
        ended=ended,
    )


def _within(times: Sequence[float], span: tuple[float, float]) -> int:
    return bisect.bisect_left(times, span[1]) - bisect.bisect_left(times, span[0])


def line_of(row: Row, capacity: float, told: int | None, seconds: float) -> str:
    share = row.refused / max(1, row.accepted + row.refused)
    of_told = "" if not told else f"{row.accepted / told:.1%}"
    return (
        f"  {row.label:{LABEL - 2}}{row.accepted / seconds:>11.1f}{row.accepted / capacity:>10.1%}{of_told:>9}"
        f"{row.refused:>9}{share:>8.1%}{row.incidents:>11}{row.sockets:>9}{1000 * row.each:>9.1f}"
        f"{row.ended.ok:>8}{row.ended.failed:>8}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.manners",
        description="Meet hidden limits with clients that are not told them, and print what the servers counted.",
    )
    limits, clients = [hidden.name for hidden in HIDDEN], [client.name for client in CLIENTS]
    add = parser.add_argument
    add("--limits", type=_among(limits), metavar="NAMES", help=f"some of {','.join(limits)}")
    add("--clients", type=_among(clients), default=clients, metavar="NAMES", help=f"some of {','.join(clients)}")
    add("--seconds", type=float, default=60.0, metavar="S", help="that each client has (60)")
    add("--together", action="store_true", help="run the clients of a limit at the same time, each with its own server")
    return parser


def _among(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main())
