"""A stream's requests: made of what its source gives, whatever that is, and what they tell their stream.

`Maker` is for the consumer's thread. What cannot be used becomes a request with a `problem`, which ends as an outcome:
nothing that a source gives, and no function of the user's that looks at it, ends the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workerpool.intake import Item
from workerpool.model import Attempt, Outcome, Request, Underway
from workerpool.redact import redact
from workerpool.tickets import Ticket

if TYPE_CHECKING:
    from workerpool.stream import Stream


class Streamed(Ticket):
    """A request of a stream: the `number` of its place in the source, and once it has ended, its `outcome`.

    `read_for`: the host whose share of the window it takes; redirects do not change that. `size`: bytes of the body
    that waits in it.
    """

    __slots__ = ("_stream", "number", "outcome", "read_for", "size")
    outcome: Outcome
    is_light = True

    def __init__(self, stream: Stream, number: int, request: Request, host: str) -> None:
        super().__init__(request, host, stream)
        self._stream = stream
        self.number = number
        self.read_for = host
        self.size = 0

    def note_underway(self, attempts: tuple[Attempt, ...]) -> None:
        if self.holds_place:
            self.holds_place = False
            self._stream.tell(Underway(self.request, attempts))

    def deliver(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.trip = None  # it is over, and what it holds must not wait with the outcome
        self.size = body_size(outcome)
        self._stream.take(self)


class Announced(Streamed):
    """A request of a stream that is told of before it is sent."""

    __slots__ = ("_announce",)
    is_light = False

    def __init__(
        self, stream: Stream, number: int, request: Request, host: str, announce: Callable[[Request], object]
    ) -> None:
        super().__init__(stream, number, request, host)
        self._announce = announce

    def before_send(self) -> None:
        self._announce(self.request)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes requests and their tickets, by what the pool's user has said of both."""

    as_request: Callable[[Any], Request]  # raises for what is none
    host_of: Callable[[str], str]
    key_of: Callable[[Request], str | None] | None
    may_repeat: Callable[[Request], bool]

    def item(self, number: int, raw: Any) -> Item:
        """Make a request of what a source gave."""
        try:
            request = self.as_request(raw)
            host = "" if request.problem is not None else self.host_of(request.url)
        except Exception as error:  # a junk item, or a key function that failed
            given = raw if isinstance(raw, Request) else Request(_text(raw))
            request, host = replace(given, url=_text(given.url), problem=redact(_text(error))), ""
        return number, request, host

    def ticket(self, stream: Stream, item: Item, announce: Callable[[Request], object] | None) -> Streamed:
        """Make the ticket of a request. `announce` is to be told before it is sent, if it may not be repeated."""
        if announce is None or self._is_repeatable(item[1]):
            ticket = Streamed(stream, *item)
        else:
            ticket = Announced(stream, *item, announce)
        if self.key_of is not None and ticket.request.problem is None:
            try:
                ticket.key = self.key_of(ticket.request)
            except Exception as error:
                ticket.request = replace(ticket.request, problem=redact(f"limit_by failed: {_text(error)}"))
        return ticket

    def _is_repeatable(self, request: Request) -> bool:
        try:
            return self.may_repeat(request)
        except Exception:  # junk for headers: it will end as an outcome when it is to be sent
            return False


def _text(value: object) -> str:
    """What `value` says of itself, whatever it is."""
    try:
        return value if isinstance(value, str) else str(value)
    except Exception:
        return f"<{type(value).__name__} that has no text>"


def body_size(outcome: Outcome) -> int:
    """Bytes of the body that an outcome holds."""
    content = getattr(outcome.response, "_content", None)  # not `.content`, which would read a streamed response
    return len(content) if isinstance(content, bytes) else 0
