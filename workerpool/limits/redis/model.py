"""The protocol of the budget in Redis as a pure model: told the time and a call, it changes its state and answers.

`script` is the same in Lua, and a property test holds the two together; simulations run this one. Both are long, and
in one piece, as they are read side by side. Whole numbers only, in the units of `terms`. No clock, no lock, no I/O.

A *slot* has a time on a grid, which begins anew after a rest, so the grid is a leaky bucket's. What is leased of it is
counted by its cell: one slot, or what comes in 5 ms above 1,000 a second. Who asks gets slots of the near future:

- as many as it wants, where all members together want less than there is;
- otherwise as many as its *credit* says, which grows by its fair share (max-min: who wants less leaves the rest to the
  others), every so-many-th one, so that those of the others come in between. What has been left over and comes soon
  goes to whoever asks.

A member that is silent, though it did not leave, may be cut off, and go on with its fair share by itself: for a while
that is kept free. So is, after the server has forgotten everything, what is due to those that have not come back yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from workerpool.limits.redis.terms import SECOND, Answer, Ask, Call, Lease, Terms

TICK = 100_000
"""Microseconds between two calls of a member, at least."""
TICK_PER_MEMBER = 1_000
"""The same for each member: a thousand of them call once a second."""
SILENCE = 5
"""Ticks after which a member counts as silent."""
GONE, GONE_TICKS = 5 * SECOND, 10
"""Microseconds, and ticks at least, after which it is taken for dead."""
TURN = SECOND
"""Microseconds for which a member keeps its last place, where there are fewer of them than members."""
GROUP, GROUPED = 5_000_000, 1_000_000
"""The cell, and the interval below which there are cells of more than one slot. Nanoseconds."""
LATENESS = 10_000
"""Microseconds by which a slot may be used late."""
PARTS = 30
"""Of a quota's window: what was leased is counted by these."""
LONG = 1 << 50
"""More places than anybody has."""


@dataclass(slots=True)
class Member:
    seen: int
    terms: tuple[Terms, Terms]
    rank: int = 0


@dataclass(slots=True)
class Roster:
    """Who uses the budget. `counted_at`: when the figures below it were made."""

    born: int
    known: int
    last: int
    revived: int
    counted_at: int = -1
    count: int = 0
    silent: int = 0
    terms: tuple[Terms, Terms] = (Terms(0, 1, 1), Terms(0, 1, 1))
    members: dict[str, Member] = field(default_factory=dict)

    @property
    def tick(self) -> int:
        return max(TICK, self.count * TICK_PER_MEMBER)

    def missing(self, now: int) -> int:
        """How many have not come back since the server forgot them."""
        return max(0, self.known - self.count) if now < self.born + GONE else 0

    def enter(self, call: Call, now: int) -> Member:
        """Note a call; returns the caller's entry."""
        if (back := self.last - now) > LATENESS:  # the clock was set back
            self.born, self.revived, self.last, self.counted_at = self.born - back, self.revived - back, now, -1
        if now - self.last > SILENCE * self.tick:
            self.revived = now  # nobody could call: it was the server that was away
        self.last = now
        member = self.members.get(call.member)
        is_new = member is None or member.terms != call.terms
        if member is None:
            member = self.members[call.member] = Member(now, call.terms)
        member.seen, member.terms = now, call.terms
        if call.leaves:
            del self.members[call.member]
        if is_new or call.leaves or now - self.counted_at >= 2 * self.tick:
            self.count_all(now)
        return member

    def count_all(self, now: int) -> None:
        """Take out who has gone, and agree on the strictest terms of those that are left."""
        gone, silence = max(GONE, GONE_TICKS * self.tick), SILENCE * self.tick
        for name, member in [*self.members.items()]:
            member.seen = min(member.seen, now)
            if now - max(member.seen, self.revived) >= gone:
                del self.members[name]
        living = [self.members[name] for name in sorted(self.members)]
        self.silent = sum(now - max(member.seen, self.revived) >= silence for member in living)
        self.count, self.counted_at = len(living), now
        for rank, member in enumerate(living):
            member.rank = rank
        if living:
            self.terms = (strictest(one.terms[0] for one in living), strictest(one.terms[1] for one in living))


def strictest(every: Iterable[Terms]) -> Terms:
    """What keeps to all of them."""
    all_terms = [*every]
    rated = [terms.burst for terms in all_terms if terms.interval]
    quotas: dict[int, int] = {}
    for count, seconds in (quota for terms in all_terms for quota in terms.quotas):
        quotas[seconds] = min(count, quotas.get(seconds, count))
    return Terms(
        max(terms.interval for terms in all_terms),
        min(rated, default=1),
        min(terms.places for terms in all_terms),
        tuple((quotas[seconds], seconds) for seconds in sorted(quotas)),
    )


@dataclass(slots=True)
class Share:
    """What one member has of an account. `credit`: slots that are due to it, in parts of a thousand million."""

    demand: int = 0
    credit: int = -1
    asked_at: int = 0
    leased: int = 0
    held: int = 0
    wish: int = 0
    since: int = 0  # when it got the first of its places, or gave back the last

    def turn_back(self, now: int) -> None:
        """Go by a clock that was set back."""
        back = max(0, self.asked_at - now)
        self.asked_at, self.leased, self.since = self.asked_at - back, self.leased - back, self.since - back


@dataclass(slots=True)
class Account:
    """A pool's, or a host's. `last`: the time of the last slot that is leased; `past`: of those, the last one that has
    come. `level`: the most that each member may have, in 1,000 s, 0 if that is no matter."""

    interval: int = 0
    anchor: int = 0
    extra: int = 0
    past: int = 0
    last: int = 0
    taken: dict[int, int] = field(default_factory=dict)
    until: int = 0
    anew: int = 0
    ended: int = 0
    parts: dict[int, list[list[int]]] = field(default_factory=dict)
    level: int = 0
    place_level: int = 0
    held: int = 0
    waiting: int = 0
    levelled_at: int = -1
    shares: dict[str, Share] = field(default_factory=dict)

    # -- the grid ------------------------------------------------------------------------------------------------------

    @property
    def cell(self) -> int:
        return self.interval if self.interval >= GROUPED else GROUP

    @property
    def all_of_it(self) -> int:
        """The whole rate, as a demand."""
        return -(-1_000_000_000_000 // self.interval)

    def time(self, index: int) -> int:
        return self.anchor + index * self.cell // 1000

    def capacity(self, index: int) -> int:
        if index == 0:
            return 1 + self.extra
        interval = self.interval
        if interval >= GROUPED:
            return 1
        return index * GROUP // interval - (index - 1) * GROUP // interval

    def first(self, at: int) -> int:
        """The first cell at or after a time."""
        index = max(0, (at - self.anchor) * 1000 // self.cell)
        while self.time(index) < at:
            index += 1
        return index

    def settle(self, terms: Terms, now: int) -> None:
        """Bring the grid up to a time: it begins anew after a rest, and with other terms."""
        interval = -(-terms.interval // 1000)
        is_other = self.interval != terms.interval
        self.interval = terms.interval
        if is_other or (now >= self.last + interval and self.first(now) > 0):
            self.past = self.last
            self.anchor = max(now, self.last + interval)
            self.extra = min(terms.burst - 1, max(0, (now - self.last) // interval - 1))
            self.taken.clear()
        first = self.first(now)
        for index in [index for index in self.taken if index < first]:
            self.past = max(self.past, self.time(index))
            del self.taken[index]
        if first > 1_000_000 and not self.taken:
            self.anchor, self.extra = self.time(first), 0

    def take_back(self, times: Iterable[int], now: int) -> None:
        for time in times:
            index = self.first(time)
            if time >= now and self.time(index) == time and self.taken.get(index, 0) > 0:
                self.taken[index] -= 1
                if not self.taken[index]:
                    del self.taken[index]
        self.last = max(self.past, self.time(max(self.taken))) if self.taken else self.past

    def pick(self, now: int, near: int, far: int, aim: int, stride: int, want: int) -> list[int]:
        """Lease up to `want` slots: all that come before `near`, and beyond it one in every `stride` from `aim` on.

        The burst is all in the first cell.
        """
        index, slots, cell, taken = self.first(now), list[int](), self.cell, self.taken
        while len(slots) < want and (time := self.anchor + index * cell // 1000) <= far:
            is_any = index == 0 or time <= near
            if (is_any or time >= aim) and (free := self.capacity(index) - taken.get(index, 0)) > 0:
                many = min(free, want - len(slots))
                if not is_any:
                    many = min(many, (time - aim) // stride + 1) if stride else many
                    aim += stride * many
                slots += [time] * many
                taken[index] = taken.get(index, 0) + many
            index += 1
        if slots:
            self.last = max(self.last, slots[-1])
        return slots

    def turn_back(self, now: int) -> None:
        """Go by a clock that was set back: times move by how far the last division lies in the future.

        The clock has moved by that, and by what has passed since. So by a clock that is right, what was leased comes no
        later than these times say: the grid begins anew behind it, and quotas count it for no shorter than they should.
        Less than what a slot may be late by moves nothing.
        """
        back = self.levelled_at - now
        if back <= LATENESS:
            return
        self.interval, self.levelled_at = 0, -1  # so `settle` begins the grid anew
        self.past, self.last, self.until = self.past - back, self.last - back, max(0, self.until - back)
        for part in (part for parts in self.parts.values() for part in parts):
            part[0], part[1] = part[0] - back, part[1] - back

    # -- quotas --------------------------------------------------------------------------------------------------------

    def room(self, terms: Terms, now: int) -> tuple[int, int]:
        """How many slots the quotas leave, -1 for any number; and if it is none, when there will be some."""
        least, again_at = -1, 0
        for count, window in terms.quotas:
            parts = self.parts.setdefault(window, [])
            while parts and parts[0][1] + window + LATENESS <= now:
                parts.pop(0)
            left = max(0, count - sum(part[2] for part in parts))
            if left == 0:
                again_at = max(again_at, parts[0][1] + window + LATENESS)
            least = left if least < 0 else min(least, left)
        return least, again_at

    def charge(self, terms: Terms, slots: list[int]) -> None:
        for _, window in terms.quotas:
            parts = self.parts[window]
            if parts and slots[-1] - parts[-1][0] < window // PARTS:
                parts[-1][1] = max(parts[-1][1], slots[-1])
                parts[-1][2] += len(slots)
            else:
                parts.append([slots[-1], slots[-1], len(slots)])

    def refund(self, terms: Terms, unused: int) -> None:
        for _, window in terms.quotas:
            left = unused
            for part in reversed(self.parts.setdefault(window, [])):
                less = min(left, part[2])
                part[2] -= less
                left -= less

    # -- shares --------------------------------------------------------------------------------------------------------

    def divide(self, roster: Roster, places: int, now: int) -> None:
        """Find how much each member may have, of slots and of places."""
        for name in [name for name in self.shares if name not in roster.members]:
            del self.shares[name]
        fresh = [one for one in self.shares.values() if now - one.asked_at < SILENCE * roster.tick]
        self.level = 0
        if self.interval:
            away, all_members = roster.silent + roster.missing(now), roster.count + roster.missing(now)
            most = self.all_of_it * (all_members - away) // max(1, all_members)
            self.level = level(sorted(one.demand for one in fresh), max(1, most), up=True)
        wishes = sorted(one.wish for one in fresh if one.wish)
        self.place_level = level(wishes, places, up=False) if sum(wishes) > places else LONG
        self.held = sum(one.held for one in self.shares.values())
        self.waiting = sum(one.wish > one.held for one in fresh)
        self.levelled_at = now


def level(demands: list[int], most: int, *, up: bool) -> int:
    """The most that each may have if all together are to have `most`, 0 if they want less. `demands`: in order.

    `up`: rounded up, so that it is at least 1.
    """
    left = len(demands)
    for demand in demands:
        if demand * left > most:
            return -(-most // left) if up else most // left
        most -= demand
        left -= 1
    return 0


class Budget:
    """All that the server knows of one budget."""

    def __init__(self) -> None:
        self.roster: Roster | None = None
        self.accounts: dict[str, Account] = {}

    def answer(self, call: Call, now: int) -> Answer:
        """Carry out a call."""
        roster = self.roster
        if roster is None:
            roster = self.roster = Roster(now, call.known, now, now)
        member = roster.enter(call, now)
        leases = tuple(
            self._lease(roster, call, ask, roster.terms[min(index, 1)], now) for index, ask in enumerate(call.asks)
        )
        return Answer(now, roster.tick, roster.count, member.rank, leases)

    def _lease(self, roster: Roster, call: Call, ask: Ask, terms: Terms, now: int) -> Lease:
        account = self.accounts.setdefault(ask.account, Account())
        account.turn_back(now)
        share = account.shares.get(call.member)
        is_new = share is None
        if share is None:
            share = account.shares[call.member] = Share(held=ask.held, since=now)
            account.held += ask.held
        share.turn_back(now)
        was_waiting = not is_new and share.wish > share.held
        self._pause(account, ask, terms, now)
        less = max(0, share.held - ask.held)
        account.held -= less
        share.held -= less
        if less and not share.held:
            share.since = now
        share.demand, share.wish = ask.demand, ask.wish
        if call.leaves:
            account.held -= share.held
            del account.shares[call.member]
        elapsed, share.asked_at = now - share.asked_at, now
        if terms.interval:
            account.past = max(account.past, min(ask.used_at, now))
            account.last = max(account.last, account.past)
            if account.interval == terms.interval:
                account.take_back(ask.back, now)
            account.settle(terms, now)
            account.refund(terms, ask.unused)
        else:
            account.interval = 0
        if is_new or call.leaves or account.anew or now - account.levelled_at >= roster.tick // 2:
            account.divide(roster, terms.places, now)
            was_waiting = share.wish > share.held and not call.leaves
        slots, left, again_at = list[int](), -1, 0
        if terms.interval and not call.leaves:
            left, again_at = account.room(terms, now)
            slots = self._slots(roster, account, share, ask, 0 if is_new else elapsed, left, terms, now)
            left -= len(slots) if left >= 0 else 0
        most = self._places(roster, account, share, account.waiting - was_waiting, terms, now)
        flying = self._flying(account, call.member, now)
        return Lease(
            account.interval, terms.burst, terms.places, account.until, share.held, most, flying, account.level > 0,
            again_at, left, tuple(slots),
        )  # fmt: skip

    @staticmethod
    def _pause(account: Account, ask: Ask, terms: Terms, now: int) -> None:
        """Note a pause; after it, let the host start with one send over all members, and one more after each round."""
        if account.anew and now >= account.until:
            account.ended += ask.ended
            if account.ended >= account.anew:
                account.anew, account.ended = account.anew + 1, 0
            if account.anew >= terms.places:
                account.anew = 0
        if ask.pause:
            account.until = max(account.until, now + ask.pause)
            account.anew, account.ended = 1, 0

    @staticmethod
    def _slots(
        roster: Roster, account: Account, share: Share, ask: Ask, elapsed: int, left: int, terms: Terms, now: int
    ) -> list[int]:
        """Lease slots: as many as the member wants, its credit allows, and quotas leave."""
        interval = -(-account.interval // 1000)
        ahead = max(5 * roster.tick // 2, interval)
        is_short = account.level > 0
        rate = min(share.demand, account.level) if is_short else share.demand
        full = 1_000_000_000 + rate * ahead
        if not is_short or (share.credit < 0 and not roster.silent and not roster.missing(now)):
            share.credit = full
        elif share.credit < 0:
            share.credit = 1_000_000_000  # who is not here may use all that is due to it
        else:
            share.credit = min(full, share.credit + rate * min(elapsed, ahead))
        want = min(ask.want, share.credit // 1_000_000_000) if is_short else ask.want
        want = want if left < 0 else min(want, left)
        if want <= 0:
            return []
        begin = max(now, account.until)
        near = begin + max(roster.tick, interval) if is_short else begin - 1
        stride = account.interval // 1000 if rate >= account.all_of_it else 1_000_000_000 // max(1, rate)
        slots = account.pick(begin, near, now + ahead, max(near, share.leased + stride), stride, want)
        share.credit -= 1_000_000_000 * len(slots)
        if slots:
            share.leased = slots[-1]
            account.charge(terms, slots)
        return slots

    @staticmethod
    def _places(roster: Roster, account: Account, share: Share, others: int, terms: Terms, now: int) -> int:
        """Lease places; returns how many the member should keep. `others`: who wait for some."""
        missing = roster.missing(now)
        free = terms.places * roster.count // max(1, roster.count + missing) - account.held
        fair = account.place_level or 1
        allowed = min(share.wish, max(share.held, fair)) if others > 0 else share.wish
        more = max(0, min(allowed - share.held, free))
        if others > 0 and not account.place_level and now - share.since < 2 * roster.tick:
            more = 0  # it has had its turn just now
        if more:
            if not share.held:
                share.since = now
            share.held += more
            account.held += more
        if others <= 0:
            return LONG
        if not account.place_level and now - share.since >= TURN:
            return 0
        return fair

    @staticmethod
    def _flying(account: Account, name: str, now: int) -> int:
        """Over how many places a member may send while the host starts anew: those who wish to share them, in order."""
        if not account.anew:
            return LONG
        wishing = sorted(one for one, share in account.shares.items() if share.wish)
        if name not in wishing:
            return 0
        each, more = divmod(account.anew, len(wishing))
        return each + (wishing.index(name) < more)
