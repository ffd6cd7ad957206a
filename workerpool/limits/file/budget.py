"""`FileBudget`: a budget by name, for all processes of a machine that use the same file.

Whatever is taken is taken in one transaction, under the file's lock: the pool's slot, the host's, and a place for the
send in both accounts, or nothing. The order of its writes makes every part of a transaction safe by itself, should its
process be killed in the middle: what was taken is lost for a moment, never taken twice.

Entered by whoever holds the crew's lock, and by the transport's threads; has a lock of its own. After a fork the child
is a member of its own, from its first use on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import get_ident

from workerpool.clock import Clock
from workerpool.config import Budgets
from workerpool.forking import tell_of_forks
from workerpool.limits.file.account import POLL, Account
from workerpool.limits.file.machine import Machine
from workerpool.limits.file.mapped import BudgetFile
from workerpool.limits.file.members import Terms
from workerpool.limits.file.table import Table


class FileBudget:
    """The budget in the file at `path`, as `budget_path` gives it; a `SharedBudget` and a `Leases`.

    `budgets`: this process's own terms; of all members' terms the strictest hold. `serves_sockets`: whether a transport
    tells it of its sockets, and leaves it when the last one is closed. Raises `BudgetError` if the file
    cannot be used, `OptionError` for what such a budget cannot do.
    """

    def __init__(
        self, path: str, budgets: Budgets, clock: Clock, machine: Machine | None = None, *, serves_sockets: bool = False
    ) -> None:
        self.serves_sockets = serves_sockets
        self._clock = clock
        self._lock = threading.Lock()  # guards the table, and the file's mapping
        self._inside = 0  # the thread that does something for the transport
        self._table = Table(path, Terms.of(budgets), clock, machine or Machine())
        with self._lock:
            self._table.opened()
        tell_of_forks(self)

    @property
    def away(self) -> float:
        """Seconds for which it could not be used: none, as it is here."""
        return 0.0

    def start_anew(self) -> None:
        """In a forked child: let go of the parent's membership; the child's own begins with its first use."""
        self._lock = threading.Lock()
        self._inside = 0
        self._table.start_anew()

    # -- the scheduler's side -----------------------------------------------------------------------------------------

    def next_at(self, host: str | None, weight: int, now: float, *, has_place: bool = False) -> float:
        """When it is worth asking again, for a host, or (None) for any; in the past if that is now.

        `has_place`: as for `try_take`. A look locks no file. What cannot be told without that is worth asking for now,
        and so is what this process waits for and others have not heard of: `try_take` tells them.
        """
        if self._inside == get_ident():
            return now + POLL
        with self._lock:
            account = self._table.seen(host)
            if account is None:
                return now
            at_pool = at_host = self._table.pool.next_at(weight, now, has_place=has_place)
            if host is not None:
                at_host = account.next_at(weight, now, has_place=has_place)
            at = max(at_pool, at_host)
            binding = self._binding(account, at_pool, at_host)
            if at > now and any(one.is_unheard(at, now, has_place=has_place) for one in binding):
                return now
            return at

    def try_take(
        self, host: str, weight: int, now: float, *, since: float | None, has_place: bool = False
    ) -> float | None:
        """Take both slots and a place, or nothing; returns the time of the later slot.

        `since`: as for `MemoryLimiter`. `has_place`: the send has a place already, and needs slots only. What was not
        there is waited for from now on, as the others hear.
        """
        if self._inside == get_ident():
            return None
        with self._lock:
            table = self._table
            file = table.opened()
            try:
                file.lock()
                account, pool = table.at(host, now), table.pool
                at_pool = pool.next_at(weight, now, has_place=has_place)
                at_host = account.next_at(weight, now, has_place=has_place)
                if at_pool > now or at_host > now:
                    self._tell(file, account, at_pool, at_host, now, has_place=has_place)
                    return None
                file.touch()
                pool.claim(file.map, weight, now, has_place=has_place)
                account.claim(file.map, weight, now, has_place=has_place)
                slot = pool.take_slot(file.map, weight, now, since)
                host_slot = account.take_slot(file.map, weight, now, since)
                if not has_place:
                    table.held[None], table.held[host] = pool, account
                    pool.in_flight += 1
                    account.in_flight += 1
                if slot is None or host_slot is None:
                    return now if slot is host_slot else host_slot if slot is None else slot
                return max(slot, host_slot)
            finally:
                file.unlock()

    def give_back(self, host: str, now: float) -> None:
        """Give back the place of a send that has ended; it is kept for the next one while nobody else needs it."""
        with self._lock:
            table = self._table
            account = table.known(host)
            if account is None or not account.in_flight:
                return  # it was taken before a fork, by the parent
            table.pool.in_flight -= 1
            account.in_flight -= 1
            if account.state.places:
                with table.locked() as file:
                    table.at(host, now).note_end(file.map, now)
            if not self.serves_sockets and not table.members.is_alone:
                self._shrink(table, {}, now, (host,))

    def pause(self, host: str, until: float, now: float) -> None:
        """Let no process send to `host` before `until`; then let it start with one request over all of them."""
        with self._lock, self._table.locked() as file:
            account = self._table.at(host, now)
            account.state.pause(until)
            account.state.write(file.map, now)
            account.tell(file.map, now)

    # -- the transport's side -----------------------------------------------------------------------------------------

    def allows(self, host: str | None, sockets: int) -> bool:
        """Whether this process may have so many sockets open to `host`, or in all; takes a free place for one more."""
        with self._for_transport() as table:
            known = table.known(host)
            if known is not None and known.claims.mine.held >= sockets:
                return True
            now = self._clock.now()
            with table.locked() as file:
                account = table.at(host, now)
                claims = account.claims
                if claims.mine.held == sockets - 1 and claims.may_take_place(now):
                    claims.hold(sockets, now)
                    table.held[host] = account
                elif claims.has_wished(now):
                    return False
                else:
                    claims.wish(now)
                claims.write(file.map, now)
                return claims.mine.held >= sockets

    def tidy(self, opened: Mapping[str, int]) -> dict[str | None, int]:
        """Give back the places without a send or a socket, and tell how many idle sockets to close, as others wait.

        `opened`: sockets by host. The answer has a number of sockets for each host, and for the pool as None; closed,
        they are to be told by calling this again.
        """
        with self._for_transport() as table:
            if table.file is None:
                return {}
            now = self._clock.now()
            table.keep_house(now)
            return self._shrink(table, opened, now, table.held)

    def leave(self) -> None:
        """End this pool's membership, and with it all that it claims. Safe to call again."""
        with self._lock:
            self._table.leave()

    # -- inside: what is waited for, and what is given back -----------------------------------------------------------

    def _binding(self, account: Account, at_pool: float, at_host: float) -> list[Account]:
        """Of the pool's account and a host's, what a send waits for the longest, or both."""
        at = max(at_pool, at_host)
        return [one for one, its in ((self._table.pool, at_pool), (account, at_host)) if its == at]

    def _tell(
        self, file: BudgetFile, account: Account, at_pool: float, at_host: float, now: float, *, has_place: bool
    ) -> None:
        """Let others see what is waited for, if they do not; if it is a place, see whether who holds it has died."""
        for one in self._binding(account, at_pool, at_host):
            if one.wait(max(at_pool, at_host), now, has_place=has_place):
                file.touch()
                one.claims.write(file.map, now)
                if one.claims.mine.wished_at == now:
                    self._table.bury(now)

    def _shrink(
        self, table: Table, opened: Mapping[str, int], now: float, hosts: Iterable[str | None]
    ) -> dict[str | None, int]:
        """Give back what is neither used nor open; returns how many idle sockets others wait for."""
        surplus: dict[str | None, int] = {}
        file = table.opened()
        to_tell: list[str | None] = []
        for host, account in [(host, table.held[host]) for host in {None, *hosts} if host in table.held]:
            sockets = table.sockets(host, account, opened)
            if not account.look(file.map) or account.has_to_tell(max(account.in_flight, sockets)):
                to_tell.append(host)
            usable = max(account.in_flight, account.claims.usable(now, account.needed(now)))
            if sockets > usable:
                surplus[host] = sockets - usable
        if to_tell:
            with table.locked() as file:
                for host in to_tell:
                    account = table.at(host, now)
                    sockets = table.sockets(host, account, opened)
                    account.claims.hold(min(account.claims.mine.held, max(account.in_flight, sockets)), now)
                    account.tell(file.map, now)
                    if not account.claims.mine.held:
                        table.held.pop(host, None)
        return surplus

    @contextmanager
    def _for_transport(self) -> Iterator[Table]:
        """Hold the lock on a thread of the transport's.

        Meanwhile the garbage collector may close a stream on it. That asks the scheduler, and so this budget, again,
        which sees that its own thread is inside, and answers "later" instead of waiting for itself.
        """
        with self._lock:
            self._inside = get_ident()
            try:
                yield self._table
            finally:
                self._inside = 0
