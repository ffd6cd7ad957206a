"""Sending over HTTP: the wire's protocol, requests' own path behind it, and the sockets. The only user of requests."""

from workerpool.transport.adapter import Governor, Send, SharedAdapter
from workerpool.transport.bodies import is_repeatable, read_first, rewind
from workerpool.transport.connections import SocketCounts
from workerpool.transport.failures import translate
from workerpool.transport.lazy import has_header
from workerpool.transport.session import Session
from workerpool.transport.wire import Carried, CarryingTransport, Exchange, RequestsTransport, Transport

__all__ = [
    "Carried",
    "CarryingTransport",
    "Exchange",
    "Governor",
    "RequestsTransport",
    "Send",
    "Session",
    "SharedAdapter",
    "SocketCounts",
    "Transport",
    "has_header",
    "is_repeatable",
    "read_first",
    "rewind",
    "translate",
]
