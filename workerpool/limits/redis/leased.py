"""What one member has of one account: slots that are to come, places, and how much of them it needs.

Told the time, waits never, knows no server: `ask` says what to ask it, `take_in` what it has answered. While the server
is away, `go_alone` gives out this member's fair share. Called with the budget's lock held.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import islice

from workerpool.clock import LONG_AGO
from workerpool.limits.bucket import LATENESS, LeakyBucket, slot_from
from workerpool.limits.redis.terms import SECOND, Ask, Lease, Terms
from workerpool.limits.redis.times import Times

GROWTH = 2.0
"""Who uses all that it gets, and is not done with that, asks for so many times as much."""
PROMPT = 0.002
"""Seconds after a send within which the next one is wanted by who had it waiting all the time. Who only waits for its
slot, and then has nothing to send, needs no more slots than it has."""
FIRST_SLOTS = 4
"""Slots in a tick that are asked for at first, where others may want them, too."""
DECAY = 0.7
"""Who does not asks for so much of what it asked for, at least, and for a bit more than it used."""
MARGIN = 1.15
RARELY = 20
"""Who has used none, and would not use one in so many ticks, wants no slots."""
FIRST_PLACES = 8
"""Places that are asked for at first; then for twice as many, as long as they do not suffice."""
USUAL = 0.8
"""Places that are not used any more are given back by this share at each call."""
PLACES_ALONE = 2.0
"""Seconds after which the share of an account's places that is due to this member may be used though it was not
leased: by then the others have shrunk to theirs."""
AHEAD_ALONE = 0.25
"""Seconds of slots that are made at once while the server is away."""
ANY = 1 << 50
"""What a quota leaves where there is none."""


class Leased:
    """One account's leases. `in_flight`: sends over its places; `sockets`: those that are open."""

    def __init__(self, name: str, terms: Terms, now: float) -> None:
        self.name = name
        self._places = terms.places  # of the strictest terms that are known
        self._slots = deque[tuple[float, int]]()  # here, and on the server's clock; 0 for one that is none of its
        self._quota = min((count for count, _ in terms.quotas), default=ANY)
        self._debt = 0  # slots of the future that were spent by what weighs more than the burst
        self._bucket = LeakyBucket(terms.interval / 1e9, terms.burst)  # so that this member by itself keeps the bound
        self.interval = terms.interval / 1e9
        self._members = 1
        self._is_short = False
        self._again_at = LONG_AGO
        self._left = -1
        self.until = LONG_AGO
        self.in_flight = self.sockets = 0
        self.held = 0
        self.most = self._flying = 0
        self._used = self._lost = self._ended = 0
        self._used_at = LONG_AGO
        self._lacks_slot = self._lacks_place = self._is_behind = False
        self._heaviest = 1
        self._demand = 0.0
        self._asked_at = now
        self._peak, self._usual = 0, 0.0  # sends at once, since the last call, and lately
        self._pauses = False
        self._alone_until = LONG_AGO  # up to where slots were made without the server
        self._alone_left = -1

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it is used, leased or wanted, so that it need not be asked for."""
        return not (
            self._slots or self.in_flight or self.sockets or self.held or self._lacks_slot or self._lacks_place
            or self._used or self._lost or self._pauses or self._demand or self._debt
        )  # fmt: skip

    @property
    def is_urgent(self) -> bool:
        """Whether others should hear of it soon."""
        return self._pauses

    # -- the scheduler's side -----------------------------------------------------------------------------------------

    def ready_at(self, weight: int, now: float, news_at: float, *, has_place: bool) -> float:
        """When to ask again; in the past if a slot and a place are there now. `news_at`: when leases may have come."""
        if self.until > now:
            return self.until
        at = LONG_AGO
        if self.interval:
            self._drop_late(now)
            due = min(weight, self._bucket.burst, self._quota)
            comes_at = self._slots[due - 1][0] if len(self._slots) >= due else max(news_at, self._again_at)
            at = max(comes_at, self._bucket.next_at(weight))
        if not has_place and not self.has_place:
            at = max(at, news_at)
        return at

    @property
    def has_place(self) -> bool:
        return self.in_flight < min(self.held, self.most, self._flying)

    def next_slots(self, count: int) -> list[float]:
        """When the next slots come that are leased, at most so many."""
        return [at for at, _ in islice(self._slots, count)]

    def note_want(self, weight: int, now: float, *, has_place: bool) -> None:
        """Note that a send waits for what is not there."""
        if self.interval and (len(self._slots) < weight or self._slots[0][0] > now):
            self._lacks_slot = True
            self._is_behind |= now - self._used_at <= PROMPT
            self._heaviest = max(self._heaviest, weight)
        if not has_place and not self.has_place:
            self._lacks_place = True

    def take(self, weight: int, now: float, since: float | None, *, has_place: bool) -> float | None:
        """Take what `ready_at` said is there; returns the slot's time, None if there is no rate."""
        if not has_place:
            self.in_flight += 1
            self._peak = max(self._peak, self.in_flight)
        if not self.interval:
            return None
        came = LONG_AGO
        for number in range(weight):
            if not self._slots:
                self._debt += weight - number
                break
            came = min(now, self._slots.popleft()[0])
        self._used += weight
        self._used_at = now
        return self._bucket.take(max(slot_from(now, since), came), weight)

    def give_back(self) -> None:
        if self.in_flight:
            self.in_flight -= 1
            self._ended += 1

    def pause(self, until: float) -> None:
        if until > self.until:
            self.until, self._pauses = until, True

    def allows(self, sockets: int) -> bool:
        """Whether so many may be open."""
        if sockets <= self.held:
            return True
        self._lacks_place = True
        return False

    def surplus(self) -> int:
        """How many idle sockets others wait for."""
        return max(0, self.sockets - max(self.in_flight, min(self.held, self.most)))

    # -- the server's side --------------------------------------------------------------------------------------------

    def ask(self, now: float, tick: float, times: Times, *, leaves: bool = False) -> Ask:
        """What to tell the server, and to ask it for. Until it has answered, only what is kept may be used."""
        elapsed = max(now - self._asked_at, 1e-3)
        self._drop_late(now)
        back: tuple[int, ...] = ()
        want = 0
        if self.interval:
            self._estimate(elapsed, tick)
            ahead = max(2.5 * tick, self.interval)
            keep = int(self._demand * ahead + 1) if self._demand else 0
            keep = max(keep, self._heaviest, self._bucket.burst) if self._lacks_slot else keep
            back = self._returned(0 if leaves else keep, now + 0.002)
            want = max(0, keep + self._debt - len(self._slots))
        busy = max(self.in_flight, self.sockets)
        self._usual = max(self._peak, USUAL * self._usual if self._usual > 0.1 else 0.0)
        wish = 0 if leaves else max(busy, math.ceil(self._usual))
        if self._lacks_place and not leaves:
            wish = max(wish, min(self._places, max(FIRST_PLACES, 2 * self.held)))
        self.held = max(busy, min(self.held, wish, self.most))
        pause = max(0.0, self.until - now) if self._pauses else 0.0
        asked = Ask(
            self.name, want, round(self._demand * 1000), back, len(back) + self._lost,
            0 if self._used_at == LONG_AGO else times.there(self._used_at), self.held, wish, self._ended,
            int(pause * SECOND),
        )  # fmt: skip
        self._used = self._lost = self._ended = 0
        self._lacks_slot = self._lacks_place = self._is_behind = self._pauses = False
        self._heaviest, self._peak, self._asked_at = 1, self.in_flight, now
        return asked

    def _estimate(self, elapsed: float, tick: float) -> None:
        used = self._used / elapsed
        if self._lacks_slot and (self._members == 1 or not self._demand):
            share = 1 / (self.interval * self._members)
            self._demand = share if self._members == 1 else min(share, FIRST_SLOTS / tick)
        elif self._is_behind and self._used >= 0.9 * (self._used + self._lost):
            self._demand = GROWTH * max(self._demand, used)
        elif self._used or not (self._lacks_slot or self._lacks_place):  # else it is something else that it waits for
            self._demand = max(MARGIN * used, DECAY * self._demand)
            if not self._used and self._demand * RARELY * tick < 1:
                self._demand = 0.0
        self._demand = min(self._demand, 1 / self.interval)

    def _returned(self, keep: int, soonest: float) -> tuple[int, ...]:
        """Take out the last of the slots that are to come, beyond so many; returns their times."""
        back = []
        while len(self._slots) > keep and self._slots[-1][0] > soonest:
            back.append(self._slots.pop()[1])
        return tuple(at for at in back if at)

    def note_unheard(self, asked: Ask) -> None:
        """Take back what was told in a call that has failed: it is to be told again."""
        self._pauses |= bool(asked.pause)
        self._ended += asked.ended
        self._lost += asked.unused

    def forget_slots(self) -> None:
        """What was leased before means nothing any more: a clock was set, or the server was away."""
        self._slots.clear()
        self._debt = 0

    def take_in(self, lease: Lease, members: int, times: Times) -> None:
        """Use what the server has answered."""
        self._members, self._places = members, lease.places
        self._is_short = lease.is_short
        if lease.interval:
            self.interval = self._bucket.interval = lease.interval / 1e9
            self._bucket.burst = lease.burst
        elif self.interval:
            self.interval = 0.0
            self._slots.clear()
        if lease.until:
            self.until = max(self.until, times.here(lease.until))
        self._again_at = times.here(lease.again_at)  # 0, where there is no such time, is long past
        self._left = lease.left
        if lease.held > self.held:  # kept for a while unused: what else a send needs may come with another answer
            self._usual = max(self._usual, min(lease.held, lease.most))
        self.held, self.most, self._flying = lease.held, lease.most, lease.flying
        paid = min(self._debt, len(lease.slots))
        self._debt -= paid
        came = sorted([*self._slots, *((times.here(at), at) for at in lease.slots[paid:])])
        self._slots = deque(came)

    def _drop_late(self, now: float) -> None:
        """Forget slots that have not been used in time, but for those that a burst may save up.

        Where there is enough for all, one is kept for whoever comes next: it waits for a slot of the host, and one
        of the pool, and they do not come together.
        """
        burst = self._bucket.burst
        kept = max(1, burst // self._members) if not self._is_short else (burst - 1) // self._members
        if self._quota != ANY:
            kept = 0  # what is kept beyond a quota's window would count in another one
        if self._lacks_slot:
            kept = max(kept, min(self._heaviest, burst) - 1)
        slots = self._slots
        if self._quota != ANY and slots and slots[0][0] < now - burst * self.interval - LATENESS:
            kept = 0
        while len(slots) > kept and slots[kept][0] < now - LATENESS:
            slots.popleft()
            self._lost += 1

    # -- without the server -------------------------------------------------------------------------------------------

    def begin_alone(self, members: int, starts_at: float, unheard: float) -> None:
        """From now on keep to a fair share: of so many members; of the rate when what was leased has been used.

        `unheard`: seconds of the rate that others may have leased since the server said what a quota leaves.
        """
        self._alone_until = starts_at + self.interval
        self._alone_left = -1
        if self._left >= 0 and self.interval:
            self._alone_left = max(0, self._left - int(unheard / self.interval) - 1) // members
        self._is_short = False
        share = self._places // members
        self.most = share or self.held
        self._flying = self.most

    def go_alone(self, now: float, members: int, rank: int, since: float, times: Times) -> None:
        """Give out this member's slots of the grid on which the members take turns, and its share of the places."""
        share = self._places // members
        if share and now >= since + PLACES_ALONE:
            self.held = max(self.in_flight, self.sockets, share)
        if not self.interval or self._alone_until > now + AHEAD_ALONE:
            return
        interval = round(self.interval * 1e9)  # whole numbers, as all members are to count alike
        begin = times.there(max(self._alone_until, now)) * 1000
        number = -(-(begin - rank * interval) // (interval * members))
        while self._alone_until <= now + AHEAD_ALONE and self._alone_left:
            here = times.here((number * members + rank) * interval // 1000)
            self._slots.append((here, 0))
            self._alone_until = here + self.interval * members / 2  # before the next one, after this one
            self._alone_left -= self._alone_left > 0
            number += 1
