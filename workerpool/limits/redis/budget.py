"""`RedisBudget`: a budget by name, for pools on any number of machines that know the same Redis or Valkey.

The scheduler and the transport take only what has been leased, and never wait for the server: a thread of the budget's
own, the keeper, asks it ahead of time. While the server is away each member keeps to its fair share by itself.

Entered by whoever holds the crew's lock, by the transport's threads, and by the keeper; has a lock of its own. After a
fork the child is a member of its own, from its first use on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import get_ident
from typing import Protocol

from workerpool import events
from workerpool.clock import LONG_AGO, Clock
from workerpool.config import Budgets
from workerpool.errors import BudgetError
from workerpool.forking import tell_of_forks
from workerpool.limits.redis.leased import Leased
from workerpool.limits.redis.link import Away
from workerpool.limits.redis.model import GONE, SILENCE, TICK
from workerpool.limits.redis.terms import SECOND, Answer, Call, terms_of
from workerpool.limits.redis.times import Times

SOON = 0.005
"""Seconds until it is worth asking again after an answer of the server's was due."""
URGENT = 0.01
"""Seconds between two calls at least, where others should hear of something: of a pause."""
RETRY = 0.25
"""Seconds until a server that is away is asked again."""
MOST_ASKED = 300
"""Accounts in one call; the others are asked for by the next ones."""
POOL = "pool"


class Asked(Protocol):
    """The server, as a member sees it: `Link`, or a test's own."""

    where: str

    def call(self, call: Call) -> Answer: ...

    def close(self) -> None: ...

    def disown(self) -> None: ...


class RedisBudget:
    """The budget called `name` on the server behind `link`; a `SharedBudget` and a `Leases`.

    `budgets`: this process's own terms; of all members' terms the strictest hold. `serves_sockets`: whether a transport
    tells it of its sockets, and leaves it when the last one is closed. `keeps`: whether there is a thread that asks the
    server; tests call `exchange` themselves. Raises `BudgetError` if the server cannot be asked.
    """

    def __init__(
        self,
        link: Asked,
        name: str,
        budgets: Budgets,
        clock: Clock,
        *,
        serves_sockets: bool = False,
        keeps: bool = True,
    ) -> None:
        self.serves_sockets = serves_sockets
        self.name = name
        self._link = link
        self._clock = clock
        self._terms = terms_of(budgets)
        self._keeps = keeps
        self._begin()
        try:
            self.exchange(raises=True)
        except Away as away:
            raise BudgetError(
                f"the budget '{name}' in Redis at {link.where} cannot be used: {str(away).rstrip('.')}. Start the "
                "server, or mend its URL in redis=; nothing is sent meanwhile, as nobody could tell how "
                "much others send"
            ) from None
        self._start_keeper()
        tell_of_forks(self)

    def _begin(self) -> None:
        # Guards all fields below; the keeper waits for it to be notified.
        self._changed = threading.Condition()
        self._insiders: set[int] = set()  # threads that do something for the transport or the keeper
        self._member = os.urandom(6).hex()
        self._times = Times()
        now = self._clock.now()
        self._pool = Leased(POOL, self._terms[0], now)
        self._hosts: dict[str, Leased] = {}
        self._tick = TICK / SECOND
        self._members, self._rank = 1, 0
        self._joined_at = self._heard_at = LONG_AGO
        self._called_at = LONG_AGO
        self._away_since: float | None = None
        self._was_away = 0.0  # seconds, before that
        self._may_go_alone = False
        self._is_wanted = False
        self._is_leaving = False
        self._keeper: threading.Thread | None = None

    def start_anew(self) -> None:
        """In a forked child: let go of the parent's membership; the child's own begins with its first use."""
        was_leaving = self._is_leaving
        self._link.disown()
        self._begin()
        self._is_leaving = was_leaving

    @property
    def away(self) -> float:
        """Seconds for which the server could not be asked, so far."""
        since = self._away_since
        return self._was_away + (0.0 if since is None else self._clock.now() - since)

    # -- the scheduler's side -----------------------------------------------------------------------------------------

    def next_at(self, host: str | None, weight: int, now: float, *, has_place: bool = False) -> float:
        """When it is worth asking again, for a host, or (None) for any; in the past if that is now.

        `has_place`: as for `try_take`. Who asks for a host has something to send there: what is missing is leased for
        it.
        """
        if get_ident() in self._insiders:
            return now + SOON
        with self._changed:
            news_at = self._news_at(now)
            pool = self._at_hand(self._pool, now)
            at = pool.ready_at(weight, now, news_at, has_place=has_place)
            if host is None:
                return at
            account = self._account(host, now)
            at = max(at, self._at_hand(account, now).ready_at(weight, now, news_at, has_place=has_place))
            if at > now:
                self._note_want(account, weight, now, has_place=has_place)
            return at

    def try_take(
        self, host: str, weight: int, now: float, *, since: float | None, has_place: bool = False
    ) -> float | None:
        """Take both slots and a place, of what is leased, or nothing; returns the time of the later slot.

        `has_place`: the send has a place already, and needs slots only.
        """
        if get_ident() in self._insiders:
            return None
        with self._changed:
            news_at = self._news_at(now)
            both = self._at_hand(self._pool, now), self._at_hand(self._account(host, now), now)
            if any(one.ready_at(weight, now, news_at, has_place=has_place) > now for one in both):
                self._note_want(both[1], weight, now, has_place=has_place)
                return None
            slots = [one.take(weight, now, since, has_place=has_place) for one in both]
            return max((slot for slot in slots if slot is not None), default=now)

    def give_back(self, host: str, now: float) -> None:
        """Give back the place of a send that has ended."""
        with self._changed:
            account = self._hosts.get(host)
            if account is not None and account.in_flight:
                account.give_back()
                self._pool.give_back()

    def pause(self, host: str, until: float, now: float) -> None:
        """Let nobody send to `host` before `until`: this pool from now on, the others as soon as they hear of it."""
        with self._changed:
            self._account(host, now).pause(until)
            self._wake_keeper(force=True)

    # -- the transport's side -----------------------------------------------------------------------------------------

    def allows(self, host: str | None, sockets: int) -> bool:
        """Whether this process may have so many sockets open to `host`, or in all."""
        with self._inside():
            now = self._clock.now()
            account = self._pool if host is None else self._account(host, now)
            if self._at_hand(account, now).allows(sockets):
                return True
            self._wake_keeper()
            return False

    def tidy(self, opened: Mapping[str, int]) -> dict[str | None, int]:
        """Note which sockets are open, by host; returns how many idle ones to close, as others wait."""
        with self._inside():
            self._pool.sockets = sum(opened.values())
            for host, account in self._hosts.items():
                account.sockets = opened.get(host, 0)
            accounts: list[tuple[str | None, Leased]] = [(None, self._pool), *self._hosts.items()]
            return {host: surplus for host, account in accounts if (surplus := account.surplus())}

    def leave(self) -> None:
        """End this pool's membership, and with it all that it has leased. Waits for nothing; safe to call again."""
        with self._inside():
            if self._is_leaving:
                return
            self._is_leaving = True
            self._changed.notify_all()
        if self._keeps:
            try:
                threading.Thread(target=self._say_goodbye, name="workerpool-goodbye").start()
            except RuntimeError:
                pass  # the interpreter ends: others hear of it by this member's silence
        else:
            self._say_goodbye()

    # -- the keeper's side --------------------------------------------------------------------------------------------

    def exchange(self, *, raises: bool = False) -> None:
        """Tell the server what is used and wanted, and take in its answer. Waits for the network, without the lock."""
        with self._inside():
            asked_at = self._called_at = self._clock.now()
            self._is_wanted = False
            accounts = self._due()
            call = Call(
                self._member,
                self._terms,
                tuple(account.ask(asked_at, self._tick, self._times) for account in accounts),
                known=self._members,
            )
        try:
            answer = self._link.call(call)
        except Away as away:
            if raises:
                raise
            self._note_away(str(away), [*zip(accounts, call.asks, strict=True)])
            return
        self._take_in(answer, accounts, asked_at)

    def _due(self) -> list[Leased]:
        """The accounts to ask for: the pool's, and those hosts' that have not been asked for the longest."""
        for host, account in [*self._hosts.items()]:
            if account.is_idle and account.until <= self._called_at:
                del self._hosts[host]
        names = [*self._hosts][:MOST_ASKED]
        for name in names:
            self._hosts[name] = self._hosts.pop(name)
        return [self._pool, *(self._hosts[name] for name in names)]

    def _take_in(self, answer: Answer, accounts: list[Leased], asked_at: float) -> None:
        with self._inside():
            now = self._clock.now()
            was_away, self._away_since = self._away_since, None
            is_new = self._times.note(answer.at, asked_at, now) or was_away is not None
            self._tick, self._members, self._rank = answer.tick / SECOND, answer.members, answer.rank
            self._heard_at = now
            if self._joined_at == LONG_AGO:
                self._joined_at = now
            if was_away is not None:
                self._was_away += now - was_away
            if is_new:
                for account in (self._pool, *self._hosts.values()):
                    account.forget_slots()
            for account, lease in zip(accounts, answer.leases, strict=True):
                account.take_in(lease, self._members, self._times)
        if was_away is not None:
            events.emit("budget.back", budget=self.name, seconds=now - was_away, members=answer.members)

    def _note_away(self, reason: str, told: list[tuple[Leased, object]]) -> None:
        with self._inside():
            now = self._clock.now()
            for account, asked in told:
                account.note_unheard(asked)  # type: ignore[arg-type]
            if self._away_since is not None:
                return
            self._away_since = now
            # Who has just come may not be known to the others yet, and who has not been heard of for long is taken for
            # dead by them: what it took for its share would be theirs, too.
            knows_all = self._members == 1 or self._heard_at - self._joined_at >= SILENCE * self._tick
            self._may_go_alone = knows_all and now - self._heard_at < GONE / SECOND
            for account in (self._pool, *self._hosts.values()):
                self._begin_alone(account)
        events.emit("budget.away", budget=self.name, reason=reason, members=self._members)

    def _begin_alone(self, account: Leased) -> None:
        if self._may_go_alone:
            # By then nobody has slots any more that were leased.
            account.begin_alone(self._members, self._heard_at + 4 * self._tick, 4 * self._tick)

    def _say_goodbye(self) -> None:
        keeper = self._keeper
        if keeper is not None and keeper.is_alive():
            keeper.join()
        with self._inside():
            now = self._clock.now()
            accounts = [self._pool, *self._hosts.values()]
            asks = tuple(account.ask(now, self._tick, self._times, leaves=True) for account in accounts)
        try:
            if self._away_since is None:
                self._link.call(Call(self._member, self._terms, asks, self._members, leaves=True))
        except Away:
            pass  # then it is by silence
        self._link.close()

    def _start_keeper(self) -> None:
        is_there = self._keeper is not None and self._keeper.is_alive()
        if self._keeps and not is_there and not self._is_leaving:
            keeper = threading.Thread(target=self._keep, name="workerpool-leases", daemon=True)
            try:
                keeper.start()
            except RuntimeError:
                return  # no more threads, or the interpreter ends: the next use tries again
            self._keeper = keeper

    def _keep(self) -> None:
        while True:
            with self._inside():
                while not self._is_leaving and (left := self._calls_at() - self._clock.now()) > 0:
                    self._changed.wait(min(left, 1.0))
                if self._is_leaving:
                    return
            try:
                self.exchange()
            except Exception as error:  # a defect of ours, or a log's: without a keeper nothing is leased again
                self._note_away(f"{type(error).__name__}: {error}", [])

    def _calls_at(self) -> float:
        """When the keeper calls next."""
        if self._away_since is not None:
            return self._called_at + RETRY
        if any(account.is_urgent for account in self._hosts.values()):
            return self._called_at + URGENT
        is_active = self._is_wanted or not self._pool.is_idle
        return self._called_at + self._tick * (1 if is_active else 2)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _account(self, host: str, now: float) -> Leased:
        account = self._hosts.get(host)
        if account is None:
            account = self._hosts[host] = Leased(f"h:{host}", self._terms[1], now)
            if self._away_since is not None:
                self._begin_alone(account)
        return account

    def _at_hand(self, account: Leased, now: float) -> Leased:
        """The account, with what it may give out by itself while the server is away."""
        if self._away_since is not None and self._may_go_alone:
            account.go_alone(now, self._members, self._rank, self._away_since, self._times)
        return account

    def _news_at(self, now: float) -> float:
        """When leases may have come that are not here yet."""
        return max(now, self._called_at + self._tick) + SOON

    def _note_want(self, account: Leased, weight: int, now: float, *, has_place: bool) -> None:
        if account.until > now:
            return
        for one in (self._pool, account):
            one.note_want(weight, now, has_place=has_place)
        self._wake_keeper()

    def _wake_keeper(self, *, force: bool = False) -> None:
        """Have the keeper call as soon as it may; without one, try again to start it."""
        self._start_keeper()
        if force or not self._is_wanted:
            self._is_wanted = True
            self._changed.notify_all()

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Hold the lock on a thread of the transport's, or the keeper.

        Meanwhile the garbage collector may close a stream on it. That asks the scheduler, and so this budget, again,
        which sees that its own thread is inside, and answers "later" instead of waiting for itself.
        """
        with self._changed:
            self._insiders.add(get_ident())
            try:
                yield
            finally:
                self._insiders.discard(get_ident())
