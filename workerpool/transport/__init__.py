"""Sending over HTTP: the wire's protocol, both ways behind it, and the sockets. Alone in using requests and urllib3."""

from workerpool.transport.bodies import is_repeatable, read_first, rewind
from workerpool.transport.connections import SocketCounts
from workerpool.transport.failures import translate
from workerpool.transport.governed import Governor, Send
from workerpool.transport.lazy import has_header
from workerpool.transport.sending import RequestsTransport
from workerpool.transport.session import Session
from workerpool.transport.wire import Carried, Exchange, Transport

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
