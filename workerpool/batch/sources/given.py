"""Requests that a program gives itself, in place of sources that are files: an iterable of URLs and `Request`s.

They have the identity ("", ordinal), numbered from 1 in their order, which must be the same whenever they are given:
a run that goes on is given them from the beginning, and passes by those that have ended. One thread reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set, Sized
from dataclasses import replace

from workerpool.batch.sources.marks import Block, Fingerprint, Mark
from workerpool.batch.sources.reading import CountedReading
from workerpool.errors import OptionError, SourceError
from workerpool.model import Request, new_request

Given = Iterable[str | Request] | Callable[[], Iterable[str | Request]]


class GivenRequests:
    """One source without a name. `requests`: an iterable, or what makes a new one each time."""

    paths = ("",)
    unsought = frozenset({0})
    may_wait = False

    def __init__(self, requests: Given) -> None:
        if isinstance(requests, (str, bytes, Request, Set)) or not (
            callable(requests) or isinstance(requests, Iterable)
        ):
            raise OptionError(
                f"requests is a {type(requests).__name__}: give a list of URLs and Requests, or a function that makes "
                "an iterator of them, whose order is always the same"
            )
        self._requests = requests
        self._is_read = False
        self._is_stopped = False

    @property
    def can_be_read_again(self) -> bool:
        return callable(self._requests) or iter(self._requests) is not self._requests

    def check(self) -> None:
        """Make ready for another execution; raises `SourceError` if that would be given nothing."""
        if self._is_read and not self.can_be_read_again:
            raise SourceError("the requests can be read once: give a list, or a function that makes an iterator")
        self._is_stopped = False

    def count(self) -> int | None:
        """How many there are, None if that cannot be told before they are read."""
        return len(self._requests) if isinstance(self._requests, Sized) else None

    def stop(self) -> None:
        self._is_stopped = True

    def read(self, index: int, start: Mark | None = None) -> GivenReading:
        self._is_read = True
        if callable(self._requests):
            return GivenReading(self._requests(), lambda: self._is_stopped)
        return GivenReading(self._requests, lambda: self._is_stopped, comes_again=self.can_be_read_again)

    def where(self, index: int, ordinal: int) -> str:
        """Tell people where a request is."""
        return f"number {ordinal:,} of the requests"

    def fingerprint(self, index: int) -> Fingerprint | None:
        return None

    def verify(self, index: int, blocks: Iterable[Block]) -> Block | None:
        return None


class GivenReading(CountedReading):
    """A reading of requests that are given; what its checks add up is their methods, URLs and keys.

    `comes_again`: another reading gives the very same objects, so none may be used up by being sent.
    """

    def __init__(
        self, requests: Iterable[str | Request], is_stopped: Callable[[], bool], *, comes_again: bool = False
    ) -> None:
        super().__init__()
        self._requests = requests
        self._is_stopped = is_stopped
        self._comes_again = comes_again

    def __iter__(self) -> Iterator[Request]:
        for given in self._requests:
            if self._is_stopped():
                return
            ordinal = self._begin()
            request = as_request(given, ordinal)
            if self._comes_again and _is_used_up(request):
                raise OptionError(
                    f"number {ordinal:,} of the requests has a body that can be read once, and a list gives the "
                    "same one again when the run goes on: give bytes, or a function that makes the requests anew"
                )
            text = f"{request.method} {request.url} {request.key}\n".encode(errors="surrogatepass")
            yield request
            self._add(text)
        self._finish()


def as_request(given: str | Request, ordinal: int) -> Request:
    """Make a request of what was given, with its identity."""
    if isinstance(given, str):
        return new_request(given, ordinal=ordinal)
    if not isinstance(given, Request):
        raise OptionError(f"{type(given).__name__} is neither a URL nor a Request (number {ordinal:,} of the requests)")
    return replace(given, source="", ordinal=ordinal)


def _is_used_up(request: Request) -> bool:
    """Whether its body is an iterator, or an open file, which is at its end once it was sent."""
    if request.data is None and not request.files:
        return False
    files = request.files.items() if isinstance(request.files, Mapping) else request.files or ()
    bodies = [value[1] if isinstance(value, (tuple, list)) else value for _, value in files]
    return any(hasattr(body, "read") or hasattr(body, "__next__") for body in [request.data, *bodies])
