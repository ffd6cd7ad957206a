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

from workerpool.clock import LONG_AGO, Clock
from workerpool.config import Budgets
from workerpool.errors import BudgetError
from workerpool.forking import tell_of_forks
from workerpool.limits.file.account import POLL, Account, may_evict
from workerpool.limits.file.machine import Machine
from workerpool.limits.file.mapped import BudgetFile, Slot
from workerpool.limits.file.members import Members, Terms
from workerpool.limits.file.times import Times

HOUSEKEEPING = 1.0
"""Seconds between two looks at whether members have died, and whether the file is still the one that others find."""
REMEMBERED = 4096
"""Accounts of hosts of which this process remembers where they are."""


class FileBudget:
    """The budget in the file at `path`, as `budget_path` gives it; a `Shared` and a `Leases`.

    `budgets`: this process's own terms; of all members' terms the strictest hold. `serves_sockets`: whether a transport
    tells it of its sockets, and leaves it when the last one is closed. Raises `BudgetError` if the file
    cannot be used, `OptionError` for what such a budget cannot do.
    """

    def __init__(
        self, path: str, budgets: Budgets, clock: Clock, machine: Machine | None = None, *, serves_sockets: bool = False
    ) -> None:
        self.path = path
        self.serves_sockets = serves_sockets
        self._terms = Terms.of(budgets)
        self._clock = clock
        self._machine = machine or Machine()
        self._times = Times(clock, self._machine.boot())
        self._lock = threading.Lock()  # guards all of what follows, and the file's mapping
        self._inside = 0  # the thread that does something for the transport
        self._is_over = self._is_stale = False
        self._file: BudgetFile | None = None
        self._forget()
        with self._lock:
            self._opened()
        tell_of_forks(self)

    def start_anew(self) -> None:
        """In a forked child: let go of the parent's membership; the child's own begins with its first use."""
        self._lock = threading.Lock()
        self._inside = 0
        if self._file is not None:
            self._file.close()
            self._file = None
        self._forget()

    # -- the scheduler's side -----------------------------------------------------------------------------------------

    def next_at(self, host: str | None, weight: int, now: float) -> float:
        """When it is worth asking again, for a host, or (None) for any; in the past if that is now.

        A look locks no file. What cannot be told without that is worth asking for now, and so is what this process
        waits for and others have not heard of: `try_take` tells them.
        """
        if self._inside == get_ident():
            return now + POLL
        with self._lock:
            file = self._file
            account = None if file is None else self._seen(file, host)
            if account is None:
                return now
            at_pool = at_host = self._pool.next_at(weight, now, has_place=False)
            if host is not None:
                at_host = account.next_at(weight, now, has_place=False)
            at = max(at_pool, at_host)
            if at > now and any(
                one.is_unheard(at, now, has_place=False) for one in self._binding(account, at_pool, at_host)
            ):
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
            file, pool = self._file or self._opened(), self._pool
            try:
                file.lock()
                account = self._account(host, now)
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
                    self._holding[None], self._holding[host] = pool, account
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
            account, pool = self._accounts.get(host), self._pool
            if account is None or not account.in_flight:
                return  # it was taken before a fork, by the parent
            pool.in_flight -= 1
            account.in_flight -= 1
            file = self._opened()
            if account.state.places:
                with self._locked(file):
                    self._account(host, now).note_end(file.map, now)
            if not self.serves_sockets and not self._members.is_alone:
                self._shrink(file, {}, now, (host,))

    def pause(self, host: str, until: float, now: float) -> None:
        """Let no process send to `host` before `until`; then let it start with one request over all of them."""
        with self._lock, self._locked(file := self._opened()):
            account = self._account(host, now)
            account.state.pause(until)
            account.state.write(file.map, now)
            account.tell(file.map, now)

    # -- the transport's side -----------------------------------------------------------------------------------------

    def allows(self, host: str | None, sockets: int) -> bool:
        """Whether this process may have so many sockets open to `host`, or in all; takes a free place for one more."""
        with self._for_transport():
            known = self._pool if host is None else self._accounts.get(host)
            if known is not None and known.claims.mine.held >= sockets:
                return True
            now = self._clock.now()
            with self._locked(file := self._opened()):
                account = self._account(host, now)
                claims = account.claims
                if claims.mine.held == sockets - 1 and claims.may_take_place(now):
                    claims.hold(sockets, now)
                    self._holding[host] = account
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
        with self._for_transport():
            if self._file is None:
                return {}
            now = self._clock.now()
            self._keep_house(self._file, now)
            return self._shrink(self._file, opened, now, self._holding)

    def leave(self) -> None:
        """End this pool's membership, and with it all that it claims. Safe to call again."""
        with self._lock:
            self._is_over = True
            file, self._file = self._file, None
            if file is not None:
                with self._locked(file):
                    self._members.leave()
                file.close()
            self._forget()

    # -- inside: the file ---------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Be without a file, and without anything taken."""
        self._members: Members
        self._pool: Account
        self._spare: Account  # for hosts that find no slot
        self._accounts: dict[str, Account] = {}
        self._holding: dict[str | None, Account] = {}  # those with places of this process
        self._is_stale = False  # whether members are to be looked at
        self._generation = 0  # counts the times when others may have changed what was read
        self._replaces_removed = False  # whether this file stands in for one that was removed
        self._kept_house_at = LONG_AGO

    def _opened(self) -> BudgetFile:
        """The file; opens it, and joins, if that has not been done."""
        if self._file is None:
            if self._is_over:
                raise BudgetError(f"the budget in {self.path} has been left")
            file = BudgetFile(self.path)
            self._members = Members(file, self._machine, self._terms)
            self._join(file, self._members, self._clock.now())
            self._pool = Account("", self._members, self._times, is_pool=True)
            self._spare = Account("other hosts", self._members, self._times)
            self._place(file)
            self._file = file
        return self._file

    def _join(self, file: BudgetFile, members: Members, now: float) -> None:
        try:
            with self._locked(file):
                members.join(now)
        except BaseException:
            file.close()
            raise

    def _place(self, file: BudgetFile) -> None:
        self._pool.move(file.pool_slot())
        self._spare.move(file.spare_slot())

    def _seen(self, file: BudgetFile, host: str | None) -> Account | None:
        """The account of a host, or of the pool, as it is now, and the pool's in any case; None if that cannot be told
        without the file's lock."""
        pool = self._pool
        account = pool if host is None else self._accounts.get(host)
        if account is None:
            return None
        if account.generation == pool.generation == self._generation and not file.is_touched():
            return account
        self._is_stale = file.look() or self._is_stale
        return account if not self._is_stale and pool.look(file.map) and account.look(file.map) else None

    def _account(self, host: str | None, now: float) -> Account:
        """The account of a host, or of the pool, as it is now; that of the pool is looked at in any case.

        The file's lock is held, as for all that follows.
        """
        file, pool = self._file, self._pool
        assert file is not None
        if file.is_touched():
            self._generation += 1
        if pool.generation != self._generation:
            if file.look() or self._is_stale:
                self._meet(file, now)
            if not pool.look(file.map):
                file.touch()
                pool.mend(file.map, now, is_damaged=self._replaces_removed)
            pool.generation = self._generation
        if host is None:
            return pool
        account = self._accounts.get(host)
        if account is not None and account.generation == self._generation:
            return account
        if account is None:
            if len(self._accounts) >= REMEMBERED:
                self._accounts = {name: known for name, known in self._accounts.items() if known.is_used}
            account = self._accounts[host] = Account(host, self._members, self._times)
        if not account.look(file.map):
            file.touch()
            account = self._accounts[host] = self._settled(file, account, now)
            self._generation += 1  # it may be in the slot of another one of these
        account.generation = self._generation
        return account

    def _meet(self, file: BudgetFile, now: float) -> None:
        """Look at the members, who have changed, and enter again if nobody knows of this one any more."""
        file.mend()
        self._members.look()
        self._is_stale = False
        if not self._members.is_member():
            file.touch()
            self._members.join(now)
            self._tell_all(file, now)

    def _tell_all(self, file: BudgetFile, now: float) -> None:
        """Enter again what this process holds."""
        for account in self._holding.values():
            if account.look(file.map):
                account.tell(file.map, now)

    def _settled(self, file: BudgetFile, account: Account, now: float) -> Account:
        """Find the account's slot, or a slot for it; if there is none, the account that such hosts share."""
        if account is not self._spare:
            slots = file.slots_of(account.key)
            found = next((slot for slot in slots if slot.belongs_to(file.map, account.key)), None)
            slot = found or self._vacant(file, slots, now)
            if slot is None and file.grow():
                slot = file.slots_of(account.key)[len(slots)]
            if slot is not None:
                account.move(slot)
                if not account.look(file.map):
                    account.mend(file.map, now, is_damaged=self._replaces_removed)
                return account
        if not self._spare.look(file.map):
            self._spare.mend(file.map, now, is_damaged=self._replaces_removed)
        if account is not self._spare:
            self._spare.take_over(account, now)
        return self._spare

    def _vacant(self, file: BudgetFile, slots: Iterable[Slot], now: float) -> Slot | None:
        """A slot whose account is broken, or was never used, or may be forgotten."""
        blank = forgotten = None
        for slot in slots:
            if slot.is_broken:
                return slot
            if blank is None and slot.is_blank:
                blank = slot
            elif blank is None and forgotten is None and may_evict(slot, file.map, self._members, self._times, now):
                forgotten = slot
        return blank or forgotten

    # -- inside: what is waited for, and what is given back -----------------------------------------------------------

    def _binding(self, account: Account, at_pool: float, at_host: float) -> list[Account]:
        """Of the pool's account and a host's, what a send waits for the longest, or both."""
        at = max(at_pool, at_host)
        return [one for one, its in ((self._pool, at_pool), (account, at_host)) if its == at]

    def _tell(
        self, file: BudgetFile, account: Account, at_pool: float, at_host: float, now: float, *, has_place: bool
    ) -> None:
        """Let others see what is waited for, if they do not; if it is a place, see whether who holds it has died."""
        for one in self._binding(account, at_pool, at_host):
            if one.wait(max(at_pool, at_host), now, has_place=has_place):
                file.touch()
                one.claims.write(file.map, now)
                if one.claims.mine.wished_at == now and self._members.bury(now):
                    self._generation += 1

    def _shrink(
        self, file: BudgetFile, opened: Mapping[str, int], now: float, hosts: Iterable[str | None]
    ) -> dict[str | None, int]:
        """Give back what is neither used nor open; returns how many idle sockets others wait for."""
        surplus: dict[str | None, int] = {}
        to_tell: list[str | None] = []
        for host in {None, *hosts}:
            account = self._holding.get(host)
            if account is None:
                continue
            sockets = self._sockets(host, account, opened)
            if not account.look(file.map) or account.has_to_tell(max(account.in_flight, sockets)):
                to_tell.append(host)
            usable = max(account.in_flight, account.claims.usable(now, account.needed(now)))
            if sockets > usable:
                surplus[host] = sockets - usable
        if to_tell:
            with self._locked(file):
                for host in to_tell:
                    account = self._account(host, now)
                    sockets = self._sockets(host, account, opened)
                    account.claims.hold(min(account.claims.mine.held, max(account.in_flight, sockets)), now)
                    account.tell(file.map, now)
                    if not account.claims.mine.held:
                        self._holding.pop(host, None)
        return surplus

    def _sockets(self, host: str | None, account: Account, opened: Mapping[str, int]) -> int:
        """How many sockets are open that count against an account."""
        if host is None:
            return sum(opened.values())
        if account is self._spare:
            return sum(opened.get(name, 0) for name, its in self._accounts.items() if its is account)
        return opened.get(host, 0)

    def _keep_house(self, file: BudgetFile, now: float) -> None:
        """Look after members, and after the file, once a second."""
        if now - self._kept_house_at < HOUSEKEEPING:
            return
        self._kept_house_at = now
        if not file.is_in_place():
            self._move(file, now)
            return
        self._times.refresh()
        with self._locked(file):
            self._is_stale = True
            self._generation += 1
            self._account(None, now)
            if self._members.bury(now):
                self._generation += 1
            self._members.note_seen(now)

    def _move(self, old: BudgetFile, now: float) -> None:
        """Be a member in the file that others find now, as the one that this process has was removed."""
        try:
            file = BudgetFile(self.path)
        except BudgetError:
            return  # its directory is gone, too: those that are left go on with what they have
        members = Members(file, self._machine, self._terms)
        self._join(file, members, now)
        old.close()
        self._replaces_removed = True
        self._members, self._file = members, file
        for account in {self._pool, self._spare, *self._accounts.values()}:
            account.serve(members)
        self._place(file)
        with self._locked(file):
            for host in [*self._holding]:
                self._account(host, now).tell(file.map, now)

    @contextmanager
    def _for_transport(self) -> Iterator[None]:
        """Hold the lock on a thread of the transport's.

        Meanwhile the garbage collector may close a stream on it. That asks the scheduler, and so this budget, again,
        which sees that its own thread is inside, and answers "later" instead of waiting for itself.
        """
        with self._lock:
            self._inside = get_ident()
            try:
                yield
            finally:
                self._inside = 0

    @contextmanager
    def _locked(self, file: BudgetFile) -> Iterator[None]:
        """Hold the file's lock, in order to change something."""
        try:
            file.lock()
            if file.is_touched():
                self._generation += 1
            file.touch()
            yield
        finally:
            file.unlock()
