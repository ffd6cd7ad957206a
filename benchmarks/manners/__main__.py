"""`python -m benchmarks.manners`: arguments, the measurement, and its table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence

from benchmarks import nginx
from benchmarks.manners.clients import CLIENTS, TOLD, Client, ClientFailed
from benchmarks.manners.hidden import HIDDEN, Hidden
from benchmarks.manners.measuring import Row, run

LABEL = 24
HEAD = (
    f"{'':{LABEL}}{'accepted/s':>11}{'of limit':>10}{'of told':>9}{'refused':>9}{'share':>8}{'incidents':>11}"
    f"{'sockets':>9}{'ms each':>9}{'ok':>8}{'failed':>8}"
)


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
