"""Finds the addresses of names: each name once at a time, remembered for a while, and never for longer than allowed.

`socket.getaddrinfo` cannot be interrupted and knows no timeout: where the name server is silent it takes 10 s and more.
So it runs on threads of its own, which exist only while names are looked up, and whoever asks waits for as long as its
own timeout says. Entered by every thread that connects. This module does not connect, and does not judge addresses
(that is the guard's).
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from urllib3.exceptions import LocationParseError
from urllib3.util import connection

TTL = 30.0
"""Seconds for which addresses are remembered. `getaddrinfo` does not tell the record's own; 30 s is what stub caches in
runtimes that have one commonly take, and a name that moves is followed within it."""

NEGATIVE_TTL = 2.0
"""Seconds for which it is remembered that a name does not resolve: a thousand URLs of a dead name cost one look-up, and
a retry after a hiccup of the name server asks it anew."""

NAMES_KEPT = 10_000
"""Names remembered, about 5 MB. Past that, the one that was not asked for for longest goes."""

THREADS = 16
"""Look-ups under way at once. As many names whose servers are silent hold up all other look-ups, until the system gives
up on one (by default after 5 s × 2 tries for each name server: resolv.conf(5))."""

LEFT_BEHIND = 1000
"""Look-ups that nobody waits for any more, kept in the queue for the next try. Past that the oldest goes."""

LookUp = Callable[..., Any]
"""What takes `socket.getaddrinfo`'s arguments and gives its results."""


class Address(NamedTuple):
    """Where to connect to: `family` (``AF_INET``, ``AF_INET6``), `ip` as text; `flow` and `scope` for IPv6 only."""

    family: int
    ip: str
    flow: int = 0
    scope: int = 0

    def sockaddr(self, port: int) -> tuple[Any, ...]:
        """Return what `socket.connect` takes."""
        return (self.ip, port, self.flow, self.scope) if self.family == socket.AF_INET6 else (self.ip, port)


@dataclass(slots=True)
class _Answer:
    """Addresses, or why there are none: a gaierror's arguments, or anything else that the look-up raised."""

    addresses: tuple[Address, ...] = ()
    failure: tuple[Any, ...] | None = None
    surprise: BaseException | None = None
    expires: float = 0.0

    def get(self, host: str) -> tuple[Address, ...]:
        """Return the addresses, or raise. Always a new exception: one that many threads raised would hold the frames
        of all of them."""
        if self.failure is not None:
            raise socket.gaierror(*self.failure)
        if self.surprise is not None:
            raise OSError(f"looking up {host!r} failed: {self.surprise!r}") from self.surprise
        return self.addresses


@dataclass(slots=True, eq=False)
class _Question:
    """A look-up that is queued or under way."""

    key: str
    waiting: int = 0
    answer: _Answer | None = None
    is_answered: threading.Event = field(default_factory=threading.Event)


class Resolver:
    """Looks names up, remembers the answers, and lets nobody wait for longer than it wants to.

    `ttl`, `negative_ttl`: seconds for which addresses, and failures, are remembered. `most`: names remembered.
    `threads`: look-ups under way at once; further ones queue. `look_up`: None is what `socket.getaddrinfo` is at the
    time, as programs put their own in its place. `look_up` and `now`: for tests.
    """

    def __init__(
        self,
        *,
        ttl: float = TTL,
        negative_ttl: float = NEGATIVE_TTL,
        most: int = NAMES_KEPT,
        threads: int = THREADS,
        look_up: LookUp | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._most = most
        self._most_threads = threads
        self._look_up = look_up
        self._now = now
        self._lock = threading.Lock()  # guards every field below, and those of the questions and answers in them
        self._answers: OrderedDict[str, _Answer] = OrderedDict()  # the one not asked for for longest is first
        self._questions: dict[str, _Question] = {}  # queued and under way: who asks the same waits for the same
        self._queue: dict[str, _Question] = {}  # not begun yet, oldest first
        self._threads: set[threading.Thread] = set()

    def resolve(self, host: str, timeout: float | None) -> tuple[Address, ...]:
        """Return the addresses of `host`, at least one, in the system's order (RFC 6724) save for a preferred one.

        `timeout` is in seconds, None for no limit. Raises `socket.gaierror` if the name does not resolve, TimeoutError
        if that is not known in time (the look-up goes on, for the next try), and urllib3's `LocationParseError` for
        what cannot be a name.
        """
        host = _without_brackets(host)
        literal = _literal(host)
        if literal is not None:
            return (literal,)
        key = host.lower()
        answer = self._remembered(key)
        if answer is not None:
            return answer.get(host)
        _check_labels(host)
        question, helper = self._ask(key)
        try:
            self._start(helper)
            if not question.is_answered.wait(timeout):
                raise TimeoutError(f"the name {host!r} was not resolved within {timeout:g} s")
        finally:
            with self._lock:
                question.waiting -= 1
        assert question.answer is not None
        return question.answer.get(host)

    def prefer(self, host: str, address: Address) -> None:
        """Put `address`, to which a connection was made, first for as long as the answer that holds it is remembered.

        So a host whose first address is dead costs the wait for it once in a TTL, not at every connection.
        """
        key = _without_brackets(host).lower()
        with self._lock:
            answer = self._answers.get(key)
            if answer is None or address not in answer.addresses or answer.addresses[0] == address:
                return
            others = [other for other in answer.addresses if other != address]
            answer.addresses = (address, *others)

    def _remembered(self, key: str) -> _Answer | None:
        with self._lock:
            answer = self._answers.get(key)
            if answer is None:
                return None
            if answer.expires <= self._now():
                del self._answers[key]
                return None
            self._answers.move_to_end(key)
            return answer

    def _ask(self, key: str) -> tuple[_Question, threading.Thread | None]:
        """Join the look-up of `key`, or queue one; then also return a thread to start, if one more may be."""
        with self._lock:
            question = self._questions.get(key)
            helper = None
            if question is None:
                question = self._questions[key] = self._queue[key] = _Question(key)
                if len(self._threads) < self._most_threads:
                    helper = threading.Thread(target=self._run, name="workerpool-resolver", daemon=True)
                    self._threads.add(helper)
            question.waiting += 1
            if len(self._queue) > LEFT_BEHIND:
                self._drop_left_behind()
            return question, helper

    def _drop_left_behind(self) -> None:
        """Let go of the oldest look-up that nobody waits for. The lock is held."""
        key = next((key for key, question in self._queue.items() if not question.waiting), None)
        if key is not None:
            del self._queue[key], self._questions[key]

    def _start(self, helper: threading.Thread | None) -> None:
        if helper is None:
            return
        try:
            helper.start()
        except BaseException as error:
            # No more threads, or Ctrl-C. Either way this one is struck off, and if it runs nevertheless it ends at
            # once. The others see to the queue; without others nobody would.
            with self._lock:
                self._threads.discard(helper)
                orphans = [] if self._threads else [*self._queue.values()]
            for question in orphans:
                self._settle(question, _Answer(surprise=error))
            if not isinstance(error, RuntimeError):
                raise

    def _run(self) -> None:
        while (question := self._next()) is not None:
            self._settle(question, self._answer(question.key))

    def _next(self) -> _Question | None:
        """Take the oldest look-up that somebody waits for, else the oldest; None lets the thread go."""
        me = threading.current_thread()
        with self._lock:
            if me not in self._threads or not self._queue:
                self._threads.discard(me)
                return None
            oldest = next(iter(self._queue))
            key = next((key for key, question in self._queue.items() if question.waiting), oldest)
            return self._queue.pop(key)

    def _answer(self, host: str) -> _Answer:
        try:
            look_up = self._look_up or socket.getaddrinfo
            found = look_up(host, None, connection.allowed_gai_family(), socket.SOCK_STREAM)
            addresses = _addresses(found)
        except socket.gaierror as error:
            return _Answer(failure=error.args)
        except BaseException as error:  # even SystemExit: whoever waits for the answer must not wait for ever
            return _Answer(surprise=error.with_traceback(None))
        if not addresses:
            return _Answer(failure=(socket.EAI_NONAME, "the name has no addresses"))
        return _Answer(addresses)

    def _settle(self, question: _Question, answer: _Answer) -> None:
        with self._lock:
            if self._questions.get(question.key) is question:
                del self._questions[question.key]
                self._queue.pop(question.key, None)
            if answer.surprise is None:
                self._remember(question.key, answer)
            question.answer = answer
        question.is_answered.set()

    def _remember(self, key: str, answer: _Answer) -> None:
        answer.expires = self._now() + (self._ttl if answer.failure is None else self._negative_ttl)
        self._answers[key] = answer
        self._answers.move_to_end(key)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)


def _without_brackets(host: str) -> str:
    return host.strip("[]") if host.startswith("[") else host


def _literal(host: str) -> Address | None:
    """Read an address that needs no look-up; None if `host` is a name, or looks like one (``127.1``)."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return Address(socket.AF_INET, host)
    return Address(socket.AF_INET6, host.partition("%")[0], 0, _scope(ip.scope_id) if ip.scope_id else 0)


def _scope(text: str) -> int:
    """The number of the interface that ``fe80::1%eth0`` names; raises what `getaddrinfo` does if there is none."""
    if text.isdecimal():
        return int(text)
    try:
        return socket.if_nametoindex(text)
    except OSError:
        raise socket.gaierror(socket.EAI_NONAME, f"there is no network interface {text!r}") from None


def _check_labels(host: str) -> None:
    """Refuse what urllib3 refuses, with its error."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise LocationParseError(f"'{host}', label empty or too long") from None


def _addresses(found: Any) -> tuple[Address, ...]:
    """Read getaddrinfo's results: each address once, in their order."""
    addresses: dict[Address, None] = {}
    for family, _, _, _, sockaddr in found:
        if family == socket.AF_INET:
            addresses[Address(family, sockaddr[0])] = None
        elif family == socket.AF_INET6:
            addresses[Address(family, sockaddr[0].partition("%")[0], sockaddr[2], sockaddr[3])] = None
    return tuple(addresses)
