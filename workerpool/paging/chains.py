"""Chains: the pages of each input one after the other, each asked for when the one before has come.

For the one thread that reads a stream's source and takes its outcomes. In memory is, for each chain that has begun and
not ended, its first request, and a number for each page of it that the server may lead back to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Protocol

from workerpool.errors import OptionError, PageError, RequestError
from workerpool.model import Outcome, Request
from workerpool.paging.asking import Position, as_page
from workerpool.paging.policies import MAX_PAGES, Answer, Pages
from workerpool.redact import redact


@dataclass(slots=True)
class Chain:
    """The pages of one input: what it began with, where the page at hand is, and which pages there were, as hashes."""

    start: Request
    page: int = 1
    position: Position | None = None  # None for the first page
    seen: set[int] = field(default_factory=set)
    last: int = 0  # the hash of the answer before, where pages are counted


class Journal(Protocol):
    """Keeps chains where they outlive the process."""

    def begun(self, request: Request) -> Chain | None:
        """Return the chain that an earlier execution has left, whose page this request is for; None for a new one."""

    def goes_on(self, chain: Chain) -> None:
        """Take note that a page has come, and the one that `chain` now stands at is asked for next."""


class Chains:
    """The chains of one stream, by the numbers of their inputs; `pages` says how they go on."""

    def __init__(self, pages: Pages, journal: Journal | None = None) -> None:
        check_pages(pages)
        self._pages = pages
        self._journal = journal
        self._open: dict[int, Chain] = {}

    def begin(self, number: int, request: Request) -> Request:
        """Begin a chain, or go on with one that was begun before; returns the request for its page at hand."""
        chain = None if self._journal is None else self._journal.begun(request)
        if chain is not None:
            self._open[number] = chain
            return request
        first = request
        if request.problem is None:
            try:
                first = self._pages.first(request)
            except Exception as error:  # junk for a query: it ends as an outcome
                first = replace(request, problem=redact(f"its first page cannot be asked for: {error}"))
        if first.problem is None:
            self._open[number] = Chain(request, seen={hash_of(first.url)} if self._pages.may_circle else set())
        if first.url != request.url:
            first = replace(first, key=request.label)
        return replace(first, page=1)

    def has(self, number: int) -> bool:
        """Whether that input's chain goes on."""
        return number in self._open

    def end(self, number: int, outcome: Outcome) -> Outcome:
        """Note how a page has ended; returns its outcome with what follows it, or with why nothing can."""
        chain = self._open.pop(number, None)
        if chain is None or outcome.error is not None or outcome.response is None:
            return outcome
        try:
            following = self._following(chain, outcome.response)
        except Exception as error:  # a policy of the user's own may raise anything
            return replace(outcome, error=self._error(outcome, error))
        if following is None:
            return outcome
        self._open[number] = chain
        if self._journal is not None:
            self._journal.goes_on(chain)
        return replace(outcome, following=following)

    def forget(self) -> None:
        """Let go of all chains."""
        self._open.clear()

    def _following(self, chain: Chain, answer: Answer) -> Request | None:
        position = self._pages.next(chain.start, chain.position, chain.page, answer)
        if position is None:
            return None
        most = self._pages.max_pages
        if most is None and chain.page >= MAX_PAGES:
            raise PageError(f"there are more than {MAX_PAGES:,} pages: say how many by max_pages=, if that is right")
        if most is not None and chain.page >= most:
            return None
        self._check_circle(chain, position, answer)
        request = as_page(self._pages.at(chain.start, position), chain.start, chain.page + 1)
        chain.page, chain.position = chain.page + 1, position
        return request

    def _check_circle(self, chain: Chain, position: Position, answer: Answer) -> None:
        """Raise `PageError` if a page comes again: by what is asked for, or, where that is counted, by what came."""
        if self._pages.may_circle:
            hashed = hash_of(position.value)
            if hashed in chain.seen:
                raise PageError(
                    f"the pages lead in a circle: page {chain.page:,} names one as the next that was there before"
                )
            chain.seen.add(hashed)
            return
        hashed = hash_of(answer.content)
        if chain.page > 1 and hashed == chain.last:
            raise PageError(
                f"page {chain.page:,} is the same as the one before it: the server seems not to know the parameter "
                "that counts them"
            )
        chain.last = hashed

    def _error(self, outcome: Outcome, error: Exception) -> RequestError:
        if isinstance(error, PageError):
            raised = error
        else:
            raised = PageError(redact(f"what follows the page cannot be told: {type(error).__name__}: {error}"))
            raised.__cause__ = error
        raised.key, raised.attempts = redact(outcome.request.label), len(outcome.attempts)
        raised.with_traceback(None)  # which would keep the page's JSON
        return raised


def check_pages(pages: object) -> None:
    """Raise `OptionError` if `pages` is no policy."""
    if isinstance(pages, type) or not isinstance(pages, Pages):
        raise OptionError(
            f"pages={pages!r} must say how pages follow each other: LinkHeader(), NextLink('meta.next'), "
            "Cursor('meta.cursor'), PageNumber() or Offset(), from workerpool.paging"
        )


def hash_of(value: str | int | bytes) -> int:
    """63 bits: of 10,000 pages two are mistaken for each other once in 180 thousand million chains."""
    data = value if isinstance(value, bytes) else f"{type(value).__name__} {value}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 1
