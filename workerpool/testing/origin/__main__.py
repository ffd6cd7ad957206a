"""``python -m workerpool.testing.origin``: the test origin as a process of its own. See `OriginProcess`."""

from __future__ import annotations

import argparse
import contextlib
import json
import select
import signal
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence

from workerpool.errors import OptionError
from workerpool.testing.origin.process import RECORD_WORDS
from workerpool.testing.origin.replies import Arrival, Reply
from workerpool.testing.origin.server import Origin

_RECORDS_PATH = "/_records"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the command's whole life.

    The first line of its output is the origin's URL, the second the URL of its records (JSON; DELETE resets them),
    which is on a port of its own so that asking is not counted.
    """
    options = _parser().parse_args(arguments)
    tls = None
    if options.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.certificate, options.key)
    with _signals() as stop_signal:
        try:
            origin = Origin(
                options.addresses,
                options.port,
                tls,
                options.keep_alive,
                requests_per_connection=options.requests_per_connection,
                idle_timeout=options.idle_timeout,
                idle_timeout_max=options.idle_timeout_max,
                advertise_idle_timeout=options.advertise_idle_timeout,
                record={word: mode for mode, word in RECORD_WORDS.items()}[options.record],
            )
        except OptionError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        with origin, Origin(record=False) as office:
            office.script(_RECORDS_PATH, lambda arrival: _records_reply(origin, arrival))
            sys.stdout.write(f"{origin.url()}\n{office.url(_RECORDS_PATH)}\n")
            sys.stdout.flush()
            select.select([stop_signal, *([sys.stdin] if options.until_stdin_closes else [])], [], [])
    return 0


def _records_reply(origin: Origin, arrival: Arrival) -> Reply:
    if arrival.method == "DELETE":
        origin.reset_records()
    return Reply(
        body=json.dumps(origin.records().to_json()).encode(), headers={"Content-Type": "application/json"}, close=True
    )


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Give a socket that becomes readable when SIGTERM or SIGINT comes.

    Setting a `threading.Event` in a handler could deadlock: the handler may interrupt the main thread inside that very
    event's lock.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.set_wakeup_fd(writer.fileno())
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workerpool.testing.origin",
        description="Serve the test origin's built-in paths on loopback until SIGTERM or SIGINT.",
        epilog="Prints its URL, then the URL of its records (JSON; DELETE resets them).",
    )
    parser.add_argument("--port", type=int, default=0, help="the port to listen on (default: a free one)")
    parser.add_argument("--addresses", nargs="+", default=["127.0.0.1"], metavar="ADDRESS", help="loopback addresses")
    parser.add_argument("--certificate", metavar="FILE", help="serve HTTPS with this certificate chain (PEM)")
    parser.add_argument("--key", metavar="FILE", help="its private key (default: in the certificate's file)")
    parser.add_argument("--no-keep-alive", dest="keep_alive", action="store_false", help="close after every reply")
    parser.add_argument("--requests-per-connection", type=int, metavar="N", help="close after N replies")
    parser.add_argument("--idle-timeout", type=float, metavar="SECONDS", help="close idle connections silently")
    parser.add_argument("--idle-timeout-max", type=float, metavar="SECONDS", help="after a time drawn up to this one")
    parser.add_argument("--advertise-idle-timeout", action="store_true", help="send a Keep-Alive: timeout= header")
    parser.add_argument("--record", choices=RECORD_WORDS.values(), default="times", help="what is kept of requests")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when standard input does, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
