"""What a pool knows of its token sources: a `Login` for each, and a `Bearer` for each request that shows a token.

They decide and return: when a token is to be fetched, who may be sent meanwhile, and who waits. The crew fetches. All
of it is used under the crew's lock, save `Logins` itself. Times are seconds on the pool's clock.

A token has a *number*. A 401 says that the token of that number is refused, so a hundred of them say it once, and what
was sent with an older one than there is now simply goes again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from workerpool.clock import LONG_AGO, NEVER
from workerpool.credentials.sources import Token, TokenSource
from workerpool.errors import RequestError, TokenFailed
from workerpool.model import Request, origin
from workerpool.redact import redact

KEPT = 10_000
"""Sources that are remembered, some 1 KB each. One that is forgotten is asked again."""

AHEAD, AHEAD_SHARE = 30.0, 0.1
"""A token is renewed so many seconds before it ends, or this share of its life if that is less."""

LEAST_LIFE = 1.0
"""Seconds that a token is used for at least: one that had ended when it came is still to be tried, once."""

IN_VAIN = 3
"""Renewals in a row that have helped nobody, after which a 401 is not taken for the token's doing. A single one may be
chance: a token that has ended again by the time that a request arrives."""

MOST_EXCUSED = 3
"""Times that a request goes again, after the first, because its token had ended by the time that it arrived. A service
whose tokens are good for few requests may end several that quickly."""

LONGEST_REST = 60.0
"""Seconds after which a source that keeps failing is asked again; the first time it is 1, and each time twice as long
as before. So long is also the rest between renewals that have changed nothing."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A token that a pool has. `header`: what ``Authorization`` says."""

    number: int
    header: str = field(repr=False)


class Login:
    """One source's token: whether there is one that is good, and whether another one is to be fetched."""

    def __init__(self, source: TokenSource, host_of: Callable[[str], str]) -> None:
        self.source = source
        self.request = source.request()
        self.host = "" if self.request is None else _host(host_of, self.request.url)
        self.issued: Issued | None = None
        self.fault: TokenFailed | None = None  # why the last fetch has brought none
        self.is_fetching = False
        self._is_fetched_by_thread = False
        self._began = 0.0  # the fetch
        self._ends_at = self._renew_at = LONG_AGO
        self._not_before = LONG_AGO  # when the source may be asked again
        self._refused = 0  # the number of the last token that was refused
        self._accepted = 0  # the number of the last token that was not
        self._failures = 0  # in a row
        self._in_vain = 0  # renewals in a row after which the new token was refused at once
        self._noted = 0  # the number of the last of these
        if not source.renews:
            self.succeed(source.fetch(), LONG_AGO)

    def __repr__(self) -> str:
        state = "being fetched" if self.is_fetching else "there" if self.issued else "not there"
        return f"<Login by {self.source.label}: its token is {state}>"

    # -- who may be sent ----------------------------------------------------------------------------------------------

    def waits_until(self, refused: int, now: float) -> float:
        """When what was refused with the token of that number, 0 if with none, may be sent: in the past if now, `NEVER`
        if it is told."""
        if self._is_good_for(refused, now):
            return LONG_AGO
        has_to_rest = not self.is_fetching and not self._is_hopeless and now < self._not_before
        return self._not_before if has_to_rest else NEVER

    def is_wanted(self, refused: int, now: float) -> bool:
        """Whether to `begin` for such a request: a token is to be fetched, or it is to hear that there is none."""
        if self.is_fetching:
            return False
        if self._is_good_for(refused, now):
            return now >= max(self._renew_at, self._not_before)
        return self._is_hopeless or now >= self._not_before

    def _is_good_for(self, refused: int, now: float) -> bool:
        issued = self.issued
        if issued is None or now >= self._ends_at or issued.number <= refused:
            return False
        return self._refused < issued.number or self._is_in_doubt or not self.source.renews

    @property
    def _is_in_doubt(self) -> bool:
        """Whether a 401 is rather about what is asked for than about the token."""
        return self._in_vain >= IN_VAIN

    @property
    def _is_hopeless(self) -> bool:
        """Whether the source has said that it will give none: nobody is to wait for it to be asked again."""
        return self.fault is not None and not self.fault.retry_helps

    # -- fetching -----------------------------------------------------------------------------------------------------

    def may_fetch(self, now: float) -> bool:
        """Whether a thread that has to wait for a token fetches it itself: nobody else may be able to, but another such
        thread."""
        return not self._is_fetched_by_thread and now >= self._not_before

    def begin(self, now: float, *, by_thread: bool = False) -> bool:
        """Note that a token is fetched from now on; False if only the last failure is to be told.

        `by_thread`: by one that waits for it.
        """
        self.is_fetching = True
        self._is_fetched_by_thread = by_thread
        self._began = now
        return now >= self._not_before

    def succeed(self, token: Token, now: float) -> None:
        """Take the token that was fetched."""
        number = 1 if self.issued is None else self.issued.number + 1
        self.issued = Issued(number, token.header)
        self.is_fetching = self._is_fetched_by_thread = False
        self.fault, self._failures = None, 0
        self._not_before = now + self._rest_in_doubt if self._is_in_doubt else LONG_AGO
        if token.expires_in is None:
            self._ends_at = self._renew_at = NEVER
        else:
            self._ends_at = max(self._began + token.expires_in, now + LEAST_LIFE)
            self._renew_at = self._ends_at - min(AHEAD, AHEAD_SHARE * (self._ends_at - now))

    def fail(self, error: TokenFailed, now: float) -> None:
        """Note that none was to be had."""
        self.is_fetching = self._is_fetched_by_thread = False
        self.fault = error
        self._failures += 1
        self._not_before = now + _rest(self._failures)

    def give_up(self) -> None:
        """Note that a fetch was given up, or that what was to be told has been."""
        self.is_fetching = self._is_fetched_by_thread = False

    def is_worth_waiting(self, attempts: int) -> bool:
        """Whether those who wait go on to wait after a failure: a function is called so many times. A request for a
        token has had its retries already."""
        fault = self.fault
        return self.request is None and fault is not None and fault.retry_helps and self._failures % attempts != 0

    def failure(self) -> TokenFailed:
        """What a request is told for which there is no token."""
        assert self.fault is not None
        error = TokenFailed(str(self.fault), retry_helps=self.fault.retry_helps)
        error.__cause__ = self.fault.__cause__
        return error

    def was_good(self, issued: Issued) -> bool:
        """Whether a token is known to have been good, so that one who is refused with it may have come too late."""
        return issued.number <= max(self._accepted, self._refused) and not self._is_in_doubt

    # -- what answers say ---------------------------------------------------------------------------------------------

    def refuse(self, number: int) -> None:
        """Note that a server has refused the token of that number (401)."""
        self._refused = max(self._refused, number)

    def accept(self, number: int) -> None:
        """Note that a server has taken the token of that number."""
        self._accepted = max(self._accepted, number)

    def note_renewed(self, number: int, now: float, *, is_refused: bool) -> None:
        """Note what came of a request that went again, with the token of that number, as an older one was refused.

        If that was refused, too, and so it was with the last ones, it is not the token: from now on it is renewed more
        and more seldom, and only who was refused waits for that.
        """
        if not is_refused:
            if self._is_in_doubt:
                self._not_before = LONG_AGO
            self._in_vain = 0
        elif number > self._noted:
            self._noted = number
            self._in_vain += 1
            if self._is_in_doubt:
                self._not_before = max(self._not_before, now + self._rest_in_doubt)

    @property
    def _rest_in_doubt(self) -> float:
        return _rest(1 + self._in_vain - IN_VAIN)


def _rest(times: int) -> float:
    """Seconds to rest after so many failures in a row."""
    return min(LONGEST_REST, 2.0 ** min(times - 1, 10))


class Bearer:
    """How one request says who sends it. `has_left`: a redirect has led it to another origin, which is to see no token.

    `refused`: the number of the token that was refused in this attempt, if one was. It goes again once in each attempt,
    and a few times more where its new token was good for others.
    """

    __slots__ = ("_excused", "has_left", "issued", "login", "refused")

    def __init__(self, login: Login) -> None:
        self.login = login
        self.issued: Issued | None = None  # what it was sent with
        self.refused = 0
        self._excused = 0  # times that it went again in this attempt, after the first
        self.has_left = False

    def waits_until(self, now: float) -> float:
        """When it may be sent; see `Login.waits_until`."""
        return LONG_AGO if self.has_left else self.login.waits_until(self.refused, now)

    def is_wanted(self, now: float) -> bool:
        """Whether a token is to be fetched, or not having one to be told, on its behalf."""
        return not self.has_left and self.login.is_wanted(self.refused, now)

    def take(self) -> None:
        """Take the token that it is sent with now."""
        self.issued = None if self.has_left else self.login.issued

    @property
    def header(self) -> str | None:
        """What ``Authorization`` is to say, None for nothing. Its worker's thread asks."""
        return None if self.issued is None or self.has_left else self.issued.header

    def may_go_again(self) -> bool:
        """Whether a 401 is perhaps the token's doing, so that it is to be sent with another one.

        Its worker asks, without the lock: that a token was good once, or has ended, is true for ever.
        """
        issued, login = self.issued, self.login
        if issued is None or self.has_left or not login.source.renews:
            return False
        return not self.refused or (self._excused < MOST_EXCUSED and login.was_good(issued))

    def be_refused(self, now: float) -> None:
        """Note that it was refused, and goes again."""
        assert self.issued is not None
        if self.refused:
            self._excused += 1
            self.login.note_renewed(self.issued.number, now, is_refused=True)
        self.refused = self.issued.number
        self.login.refuse(self.refused)

    def begin_attempt(self) -> None:
        """Note that it is tried again: by then the new token may have ended as well."""
        self.refused = self._excused = 0

    def conclude(self, status: int | None, now: float) -> None:
        """Note what came of a send."""
        if self.issued is None or status is None:
            return
        is_refused = status == UNAUTHORIZED
        if not (is_refused or self.has_left):
            self.login.accept(self.issued.number)
        if self.refused and self.issued.number > self.refused:
            self.login.note_renewed(self.issued.number, now, is_refused=is_refused)


UNAUTHORIZED = 401


class Logins:
    """The logins of one pool. `source`: whose tokens requests show that bring nothing of their own. Any thread.

    `host_of`: what a request for a token counts against.
    """

    def __init__(self, source: Any, host_of: Callable[[str], str]) -> None:
        self._source = source if isinstance(source, TokenSource) else None
        self._host_of = host_of
        self._logins: dict[Hashable, Login] = {}  # single reads and writes: no lock needed under the GIL

    def bearer(self, request: Request) -> Bearer | None:
        """How a new request says who sends it; None if that is not by a token."""
        if request.auth is None and self._source is None:
            return None
        source = self._source_for(request)
        return None if source is None else Bearer(self.login(source))

    def login(self, source: TokenSource) -> Login:
        """The login for a source."""
        key = _key_of(source)
        login = self._logins.get(key)
        if login is None:
            if len(self._logins) >= KEPT:
                self._logins.clear()
            login = self._logins.setdefault(key, Login(source, self._host_of))
        return login

    def _source_for(self, request: Request) -> TokenSource | None:
        auth = request.auth
        if isinstance(auth, TokenSource):
            source: TokenSource | None = auth
        else:
            source = self._source if auth is None and not _has_own(request) else None
        return source if source is not None and source.covers(request.url) else None


def _key_of(source: TokenSource) -> Hashable:
    """What tells one source from another: equal ones have one token. One whose function has no hash is by itself."""
    try:
        hash(source)
    except TypeError:
        return id(source)  # its login holds it, so that nothing else gets this number
    return source


def _host(host_of: Callable[[str], str], url: str) -> str:
    try:
        return host_of(url)
    except Exception:  # a user's function, which knows no such URL
        return origin(url)


def _has_own(request: Request) -> bool:
    """Whether a request brings an ``Authorization`` of its own."""
    try:
        return any(str(name).lower() == "authorization" for name in request.headers or ())
    except Exception:  # junk for headers: it fails by itself
        return False


def as_failure(error: BaseException) -> TokenFailed:
    """What a fetch has failed with, as `TokenFailed`."""
    if isinstance(error, TokenFailed):
        return error
    failed = TokenFailed(redact(f"no token: {type(error).__name__}: {error}"))
    failed.retry_helps = isinstance(error, RequestError) and error.retry_helps
    failed.__cause__ = error
    return failed
