"""Where each account is in a budget's file, and whether what was read of it still holds.

Others change the file at any time. What was read holds as long as nobody has *touched* the file since; `_generation`
counts the times when somebody may have, and an account that was read in this one need not be looked at again.

Called with the process's lock held, that of `FileBudget`. What needs the file's lock, too, says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from workerpool.clock import LONG_AGO, Clock
from workerpool.errors import BudgetError
from workerpool.limits.file.account import Account, may_evict
from workerpool.limits.file.machine import Machine
from workerpool.limits.file.mapped import BudgetFile, Slot
from workerpool.limits.file.members import Members, Terms
from workerpool.limits.file.times import Times

HOUSEKEEPING = 1.0
"""Seconds between two looks at whether members have died, and whether the file is still the one that others find."""
REMEMBERED = 4096
"""Accounts of hosts of which this process remembers where they are."""


class Table:
    """The accounts in the file at `path`, and this process's membership.

    `pool`: the account of all hosts together. `accounts`: those of hosts. `held`: those of them in which this process
    has places, and the pool's as None.
    """

    def __init__(self, path: str, terms: Terms, clock: Clock, machine: Machine) -> None:
        self.path = path
        self._terms = terms
        self._clock = clock
        self._machine = machine
        self._times = Times(clock, machine.boot())
        self._is_over = False
        self.file: BudgetFile | None = None
        self._forget()

    def _forget(self) -> None:
        """Be without a file, and without anything taken."""
        self.members: Members
        self.pool: Account
        self._spare: Account  # for hosts that find no slot
        self.accounts: dict[str, Account] = {}
        self.held: dict[str | None, Account] = {}  # those with places of this process
        self._is_stale = False  # whether members are to be looked at
        self._generation = 0  # counts the times when others may have changed what was read
        self._moved_at = LONG_AGO  # when this file took the place of one that was removed, which counts as used up then
        self._kept_house_at = LONG_AGO

    def start_anew(self) -> None:
        """In a forked child: let go of the parent's membership; the child's own begins with its first use."""
        file, self.file = self.file, None
        if file is not None:
            file.close()
        self._forget()

    def leave(self) -> None:
        """End the membership, and with it all that it claims. Safe to call again."""
        self._is_over = True
        file, self.file = self.file, None
        if file is not None:
            with self.locked(file):
                self.members.leave()
            file.close()

    def opened(self) -> BudgetFile:
        """The file; opens it, and joins, if that has not been done."""
        if self.file is None:
            if self._is_over:
                raise BudgetError(f"the budget in {self.path} has been left")
            file = BudgetFile(self.path)
            self.members = Members(file, self._machine, self._terms)
            self._join(file, self.members, self._clock.now())
            self.pool = Account("", self.members, self._times, is_pool=True)
            self._spare = Account("other hosts", self.members, self._times)
            self._place(file)
            self.file = file
        return self.file

    def seen(self, host: str | None) -> Account | None:
        """The account of a host, or of the pool, as it is now, and the pool's in any case; None if that cannot be told
        without the file's lock."""
        file = self.file
        if file is None:
            return None
        pool = self.pool
        account = pool if host is None else self.accounts.get(host)
        if account is None:
            return None
        if account.generation == pool.generation == self._generation and not file.is_touched():
            return account
        self._is_stale = file.look() or self._is_stale
        return account if not self._is_stale and pool.look(file.map) and account.look(file.map) else None

    @contextmanager
    def locked(self, file: BudgetFile | None = None) -> Iterator[BudgetFile]:
        """Hold the file's lock, in order to change something."""
        file = file or self.opened()
        try:
            file.lock()
            if file.is_touched():
                self._generation += 1
            file.touch()
            yield file
        finally:
            file.unlock()

    def known(self, host: str | None) -> Account | None:
        """The account of a host, or of the pool, as it was at the last look; None if there was none."""
        if self.file is None:
            return None
        return self.pool if host is None else self.accounts.get(host)

    def at(self, host: str | None, now: float) -> Account:
        """The account of a host, or of the pool, as it is now; that of the pool is looked at in any case.

        The file's lock is held, as for all that follows.
        """
        file, pool = self.file, self.pool
        assert file is not None
        if file.is_touched():
            self._generation += 1
        if pool.generation != self._generation:
            if file.look() or self._is_stale:
                self._meet(file, now)
            if not pool.look(file.map):
                file.touch()
                pool.mend(file.map, now, used_up_at=self._moved_at)
            pool.generation = self._generation
        if host is None:
            return pool
        account = self.accounts.get(host)
        if account is not None and account.generation == self._generation:
            return account
        if account is None:
            if len(self.accounts) >= REMEMBERED:
                self.accounts = {name: known for name, known in self.accounts.items() if known.is_used}
            account = self.accounts[host] = Account(host, self.members, self._times)
        if not account.look(file.map):
            file.touch()
            account = self.accounts[host] = self._settled(file, account, now)
            if host in self.held:
                self.held[host] = account
            self._generation += 1  # it may be in the slot of another one of these
        account.generation = self._generation
        return account

    def bury(self, now: float) -> None:
        """See whether members have died. The file's lock is held."""
        if self.members.bury(now):
            self._generation += 1

    def sockets(self, host: str | None, account: Account, opened: Mapping[str, int]) -> int:
        """How many sockets are open that count against an account."""
        if host is None:
            return sum(opened.values())
        if account is self._spare:
            return sum(opened.get(name, 0) for name, its in self.accounts.items() if its is account)
        return opened.get(host, 0)

    def keep_house(self, now: float) -> None:
        """Look after members, and after the file, once a second."""
        file = self.opened()
        if now - self._kept_house_at < HOUSEKEEPING:
            return
        self._kept_house_at = now
        if not file.is_in_place():
            self._move(file, now)
            return
        self._times.refresh()
        with self.locked():
            self._is_stale = True
            self._generation += 1
            self.at(None, now)
            self.bury(now)
            self.members.note_seen(now)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _join(self, file: BudgetFile, members: Members, now: float) -> None:
        try:
            with self.locked(file):
                members.join(now)
        except BaseException:
            file.close()
            raise

    def _place(self, file: BudgetFile) -> None:
        self.pool.move(file.pool_slot())
        self._spare.move(file.spare_slot())

    def _meet(self, file: BudgetFile, now: float) -> None:
        """Look at the members, who have changed, and enter again if nobody knows of this one any more."""
        file.mend()
        self.members.look()
        self._is_stale = False
        if not self.members.is_member():
            file.touch()
            self.members.join(now)
            self._tell_all(file, now)

    def _tell_all(self, file: BudgetFile, now: float) -> None:
        """Enter again what this process holds."""
        for account in self.held.values():
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
                    account.mend(file.map, now, used_up_at=self._moved_at)
                return account
        if not self._spare.look(file.map):
            self._spare.mend(file.map, now, used_up_at=self._moved_at)
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
            elif blank is None and forgotten is None and may_evict(slot, file.map, self.members, self._times, now):
                forgotten = slot
        return blank or forgotten

    def _move(self, old: BudgetFile, now: float) -> None:
        """Be a member in the file that others find now, as the one that this process has was removed."""
        try:
            file = BudgetFile(self.path)
        except BudgetError:
            return  # its directory is gone, too: those that are left go on with what they have
        members = Members(file, self._machine, self._terms)
        self._join(file, members, now)
        old.close()
        self._moved_at = now
        self.members, self.file = members, file
        for account in {self.pool, self._spare, *self.accounts.values()}:
            account.serve(members, file.spare_slot())  # which is not its own, so that another one is looked for
        self._place(file)
        with self.locked():
            for host in [*self.held]:
                self.at(host, now).tell(file.map, now)
