"""An account of a budget: the rate, the pause and the places of one host, or of the pool, over all processes.

Told the time; waits never. Called with the process's lock held, and, where it writes, with the file's.
"""

from __future__ import annotations

import mmap
from hashlib import blake2b

from workerpool.clock import LONG_AGO
from workerpool.limits.bucket import GROUPING
from workerpool.limits.file.claims import Claims, has_claims
from workerpool.limits.file.history import History
from workerpool.limits.file.mapped import Slot
from workerpool.limits.file.members import Members, Terms
from workerpool.limits.file.state import KEY_SIZE, State
from workerpool.limits.file.times import Times

POLL = 0.05
"""Seconds until a member that waits for another one's place looks again: nobody can wake it."""
USED_LATELY = 0.5
"""Seconds after which, or twice as many, a place counts as unused: it goes to whoever waits for one."""
MENDED = 1.0
"""Seconds for which an account that was damaged gives out nothing: meanwhile its members enter their claims again."""


class Account:
    """The account called `name`, and what of it this process uses.

    `in_flight`: this process's sends; the places that it holds for them, and for idle sockets, are `claims.mine.held`.
    """

    def __init__(self, name: str, members: Members, times: Times, *, is_pool: bool = False) -> None:
        self.key = blake2b(name.encode(), digest_size=KEY_SIZE).digest()
        self._members = members
        self._is_pool = is_pool
        self._terms: Terms | None = None
        self.state = State(self.key, times)
        self.claims = Claims()
        self.history = History(times)
        self.in_flight = 0
        self._most = self._most_before = 0  # sends at a time, lately: in this spell of `USED_LATELY` and the one before
        self._spell_began = LONG_AGO
        self.generation = -1  # of what was read last; kept by the budget

    def move(self, slot: Slot) -> None:
        """Be kept in another slot; `look` follows."""
        self.generation = -1
        self.state.move(slot.state)
        self.claims.move(slot.claims, slot.most_claims)
        self.history.move(slot.history)

    def serve(self, members: Members, slot: Slot) -> None:
        """Belong to other members, in another file, and be kept in a slot there."""
        self._members = members
        self.move(slot)

    @property
    def is_used(self) -> bool:
        """Whether this process has anything of it: it sends only where it holds a place."""
        return bool(self.claims.mine.held)

    def take_over(self, other: Account, now: float) -> None:
        """Count for another account, too."""
        self.in_flight += other.in_flight
        self.claims.hold(self.claims.mine.held + other.claims.mine.held, now)

    def look(self, file: mmap.mmap) -> bool:
        """Read what has changed; whether it is whole, and this account's own."""
        terms = self._members.terms
        if terms is not self._terms:
            self._terms = terms
            self.state.agree(terms.interval if self._is_pool else terms.host_interval, terms.burst)
            self.claims.limit = terms.connections if self._is_pool else terms.host_connections
            self.history.agree(terms.quotas if self._is_pool else terms.host_quotas)
        are_whole = self.state.look(file), self.claims.look(file, self._members), self.history.look(file)
        return all(are_whole)

    def mend(self, file: mmap.mmap, now: float, *, used_up_at: float) -> None:
        """Begin anew in an empty or a broken slot, as if all of it was used up at a time: in a broken one just now.

        For `MENDED` seconds from then on it gives out nothing: others may hold places of it, and enter them again.
        """
        if self.state.is_broken or self.claims.is_broken or self.history.is_broken:
            used_up_at = now
        self.claims.write(file, now)
        self.history.begin(file, now, used_up_at=used_up_at)
        self.state.begin(
            file, now, used_up_at=used_up_at, not_before=used_up_at + MENDED, counts_until=self.history.rests_at
        )

    def needed(self, now: float) -> int:
        """How many places this process has used lately."""
        if now - self._spell_began > USED_LATELY:
            self._most_before, self._most = self._most, self.in_flight
            self._spell_began = now
        return max(self._most_before, self._most)

    # -- asking -------------------------------------------------------------------------------------------------------

    def next_at(self, weight: int, now: float, *, has_place: bool = False) -> float:
        """When to ask again; in the past if a slot and a place are there now."""
        at = self.state.next_at(weight)
        if self.history:
            at = max(at, self.history.next_at(weight))
        interval = self.state.interval
        if interval:
            if at > now:
                at += GROUPING if interval < 0.001 else 0.0
            elif self.claims.others:
                at = self.claims.gives_way_until(now, interval)
        if not has_place and at <= now and not self._has_place(now):
            return now + POLL
        return at

    def is_unheard(self, at: float, now: float, *, has_place: bool = False) -> bool:
        """Whether others should hear, and have not, that this process waits until `at`, as `next_at` said."""
        if self._members.is_alone or self.state.not_before > now:
            return False
        if not has_place and not self._has_place(now):
            return not self._starts_anew_fully() and not self.claims.has_wished(now)
        return bool(self.state.interval) and not self.claims.awaits_slot(at)

    def wait(self, at: float, now: float, *, has_place: bool) -> bool:
        """Wait until `at`; whether the claims are to be written, so that others hear."""
        if not self.is_unheard(at, now, has_place=has_place):
            return False
        if not has_place and not self._has_place(now):
            self.claims.wish(now)
        else:
            self.claims.await_slot(at, now, self.state.interval)
        return True

    def _has_place(self, now: float) -> bool:
        claims, in_flight = self.claims, self.in_flight
        if self.state.places and self._starts_anew_fully():
            return False
        if in_flight < claims.usable(now):
            return True
        return in_flight >= claims.mine.held and claims.may_take_place(now)

    def _starts_anew_fully(self) -> bool:
        """Whether the host starts anew after a pause, and as much is under way to it as it may have now."""
        places = self.state.places
        return bool(places) and self.in_flight + sum(claim.flying for claim in self.claims.others) >= places

    # -- taking and giving back: under the file's lock ----------------------------------------------------------------

    def has_to_tell(self, busy: int) -> bool:
        """Whether the claim that others see is not what it should be; `busy`: places that are needed."""
        mine, flying = self.claims.mine, self.in_flight if self.state.places else 0
        return mine.held > busy or mine.flying != flying or not self.claims.is_told

    def claim(self, file: mmap.mmap, weight: int, now: float, *, has_place: bool) -> None:
        """Enter what a send takes of this account besides its slot, as `next_at` said that it is there."""
        claims, interval = self.claims, self.state.interval
        is_new = not claims.is_told
        if interval and claims.others:
            is_new |= claims.count(weight, now, interval)
        if not has_place:
            flying = self.in_flight + 1
            self._most = max(self._most, flying)
            if flying > claims.mine.held:
                claims.hold(flying, now)
                is_new = True
            if self.state.places:
                claims.mine.flying = flying
                is_new = True
        if is_new:
            claims.write(file, now)

    def take_slot(self, file: mmap.mmap, weight: int, now: float, since: float | None) -> float | None:
        """Take the slot that has come; returns its time, None if there is no rate."""
        if not self.state.interval:
            return None
        taken = self.state.take(now, weight, since)
        if self.history:
            self.history.take(file, weight, now)
            self.state.counts_until = self.history.rests_at
        self.state.write(file, now)
        return taken

    def note_end(self, file: mmap.mmap, now: float) -> None:
        """Note that one of the first sends after a pause has ended."""
        if self.state.places and now >= self.state.not_before:
            self.state.grow(self.claims.limit)
            self.state.write(file, now)
        self.tell(file, now)

    def tell(self, file: mmap.mmap, now: float) -> None:
        """Enter what this process holds and uses now."""
        self.claims.mine.flying = self.in_flight if self.state.places else 0
        self.claims.write(file, now)


def may_evict(slot: Slot, file: mmap.mmap, members: Members, times: Times, now: float) -> bool:
    """Whether the account in a slot may be forgotten, as it rests, and nobody claims anything of it."""
    resident = State(slot.state.payload[:KEY_SIZE], times)
    resident.move(slot.state)
    slot.claims.look(file)
    return resident.rests_at <= now and not has_claims(slot.claims, members, now)
