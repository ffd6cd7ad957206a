"""Sending over HTTP: the wire's protocol, both ways behind it, and the sockets. Alone in using requests and urllib3."""

from workerpool.transport.adapter import Governor, Send
from workerpool.transport.bodies import is_repeatable, read_first, rewind
from workerpool.transport.connections import SocketCounts
from workerpool.transport.failures import translate
from workerpool.transport.lazy import has_header
from workerpool.transport.session import Session
from workerpool.transport.wire import Carried, Exchange, RequestsTransport, Transport

__all__ = [
    "Carried",
    "Exchange",
    "Governor",
    "RequestsTransport",
    "Send",
    "Session",
    "SocketCounts",
    "Transport",
    "has_header",
    "is_repeatable",
    "read_first",
    "rewind",
    "translate",
]
