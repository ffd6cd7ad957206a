"""What each member has of an account: how many places, what it waits for, how much it has had while others waited.

A *place* is the right to one open socket. A member keeps its places while its sockets are idle; where others wait, who
holds more than its share gives up what these need, and where there are fewer places than members, they take turns.
Slots are shared by what each has had: who is ahead leaves a slot, for a moment, to another that is waiting for it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from workerpool.clock import LONG_AGO
from workerpool.limits.bucket import LATENESS
from workerpool.limits.file.members import Members
from workerpool.limits.file.records import Record

GRACE = LATENESS / 2
"""Seconds for which a slot is left to a member that has had less; then whoever asks may take it, and in time still."""
LEAD = LATENESS
"""Who has had more than another, by this many seconds' worth of slots, leaves it the next one."""
SAVED = 0.5
"""How far behind, in seconds' worth of slots, a member may be and still catch up; what is beyond that is lost."""
ACTIVE = 1.0
"""Seconds after which a member that has not come for its slot does not count as waiting any more."""
WISH = 0.3
"""Seconds for which a wish for a place counts; who still waits renews it."""
TURN = 1.0
"""Seconds for which a member keeps its last place while others wait, where there are fewer places than members."""


_CLAIM = struct.Struct("<HIHHdddd")


@dataclass(slots=True)
class Claim:
    """One member's claim. Times are the clock's.

    `held`: places. `flying`: over how many of them something is sent now; told only while the host starts anew after a
    pause. `wished`, `wished_at`: since when it has waited for a place, and when it last said so. `had`: the weight that
    it has had while others waited. `due`: when it means to come for a slot.
    """

    member: int
    tenure: int
    held: int = 0
    flying: int = 0
    wished: float = LONG_AGO
    wished_at: float = LONG_AGO
    had: float = 0.0
    due: float = LONG_AGO

    def waits(self, now: float) -> bool:
        """Whether it waits for a place."""
        return self.wished_at > now - WISH

    def is_active(self, now: float) -> bool:
        """Whether it waits for slots, or did so a moment ago."""
        return self.due > now - ACTIVE

    def is_worth_keeping(self, now: float) -> bool:
        return bool(self.held or self.flying) or self.waits(now) or self.is_active(now)

    def packed(self) -> bytes:
        return _CLAIM.pack(
            self.member, self.tenure, self.held, self.flying, self.wished, self.wished_at, self.had, self.due
        )


class Claims:
    """The claims on one account, as they were at the last look.

    `mine`: what this process means its own claim to be; what the file says of it is only what others believe.
    `limit`: places in all.
    """

    __slots__ = ("_most", "_record", "_tenures", "_told", "held_since", "limit", "mine", "others")

    def __init__(self) -> None:
        self._record = Record(0, 0)
        self._most = 0
        self._tenures: dict[int, int] | None = None
        self._told = 0  # how many places others believe this process to hold
        self.mine = Claim(-1, 0)
        self.others: list[Claim] = []
        self.limit = 1
        self.held_since = LONG_AGO

    def move(self, record: Record, most: int) -> None:
        """Be kept in another record, with room for so many claims; `look` or `write` follows."""
        self._record = record
        self._most = most
        self._tenures = None

    def look(self, file: mmap.mmap, members: Members) -> bool:
        """Read them if they, or the members, have changed; whether they can be read."""
        if self._record.look(file) or self._tenures is not members.tenures:
            self._tenures = tenures = members.tenures
            self.mine.member, self.mine.tenure = members.place, members.tenure
            claims = _living(self._record, tenures)
            self.others = [claim for claim in claims if claim.member != members.place]
            self._told = next((claim.held for claim in claims if claim.member == members.place), 0)
        return self._record.state != "broken"

    @property
    def is_broken(self) -> bool:
        return self._record.state == "broken"

    @property
    def is_told(self) -> bool:
        """Whether others see how many places this process holds."""
        return self._told == self.mine.held

    def write(self, file: mmap.mmap, now: float) -> None:
        kept = [claim for claim in self.others if claim.is_worth_keeping(now)]
        if self.mine.is_worth_keeping(now):
            kept.append(self.mine)
        self._record.write(file, b"".join(claim.packed() for claim in kept[: self._most]))
        self._told = self.mine.held

    # -- places -------------------------------------------------------------------------------------------------------

    def usable(self, now: float, needed: int | None = None) -> int:
        """How many of the places that this member holds it may use: fewer where others wait for their share.

        `needed`: how many it has used lately; the others may go to anybody who waits. None: all of them.
        """
        held = self.mine.held
        if not self.others:
            return min(self.limit, held)
        share = self._share(now)
        too_many = held + sum(claim.held for claim in self.others) - self.limit
        waiting = [claim for claim in self.others if claim.waits(now)]
        spare = held if needed is None else max(needed, held - len(waiting) - too_many)
        lacking = too_many + sum(claim.held < max(1, share) for claim in waiting)
        if not share and now - self.held_since < TURN:
            share = 1
        return min(held, spare, max(share, held - lacking))

    def may_take_place(self, now: float) -> bool:
        """Whether this member may hold one place more: there is one, and nobody comes first who waits for it."""
        free = self.limit - self.mine.held
        if not self.others:
            return free > 0
        if sum(claim.is_worth_keeping(now) for claim in self.others) >= self._most:
            return False
        share = max(1, self._share(now))
        since = self.mine.wished if self.mine.waits(now) else now
        has_share = self.mine.held >= share
        for claim in self.others:
            free -= claim.held
            if claim.waits(now) and claim.held < share and (has_share or claim.wished < since):
                free -= 1
        return free > 0

    def hold(self, places: int, now: float) -> None:
        """Hold so many places from now on. `write` follows."""
        mine = self.mine
        if not mine.held:
            self.held_since = now
        if places > mine.held:
            mine.wished_at = LONG_AGO
        mine.held = places

    def has_wished(self, now: float) -> bool:
        """Whether others know for a while yet that this member waits for a place."""
        return self.mine.wished_at > now - WISH / 3

    def wish(self, now: float) -> None:
        """Wait for a place. `write` follows."""
        mine = self.mine
        if not mine.waits(now):
            mine.wished = now
        mine.wished_at = now

    def _share(self, now: float) -> int:
        """Everyone's even share of the places: 0 if there are fewer of them than members who want any."""
        return self.limit // (1 + sum(bool(claim.held) or claim.waits(now) for claim in self.others))

    # -- slots --------------------------------------------------------------------------------------------------------

    def gives_way_until(self, now: float, interval: float) -> float:
        """Until when a slot that has come is another member's; in the past if it is not. `interval`: between two."""
        until, lead = LONG_AGO, LEAD / interval
        for claim in self.others:
            if claim.due <= now < claim.due + GRACE and self.mine.had > claim.had + lead:
                until = max(until, claim.due + GRACE)
        return until

    def awaits_slot(self, at: float) -> bool:
        """Whether others know that this member comes for a slot at a time."""
        return at <= self.mine.due < at + ACTIVE

    def await_slot(self, at: float, now: float, interval: float) -> None:
        """Mean to come for a slot at a time. `write` follows."""
        self._catch_up(now, interval)
        self.mine.due = at

    def count(self, weight: int, now: float, interval: float) -> bool:
        """Note that this member has taken a slot; whether that is to be written, as others wait."""
        if not any(claim.is_active(now) for claim in self.others):
            return False
        self._catch_up(now, interval)
        self.mine.had += weight
        return True

    def _catch_up(self, now: float, interval: float) -> None:
        """Set what this member has had so that it competes from now on: who did not wait saves nothing up."""
        others = [claim.had for claim in self.others if claim.is_active(now)]
        if others:
            least = max(others) - max(2.0, SAVED / interval) if self.mine.is_active(now) else min(others)
            self.mine.had = max(self.mine.had, least)


def has_claims(record: Record, members: Members, now: float) -> bool:
    """Whether any member claims something in a record that has been looked at."""
    return record.state == "broken" or any(claim.is_worth_keeping(now) for claim in _living(record, members.tenures))


def _living(record: Record, tenures: Mapping[int, int]) -> list[Claim]:
    """The claims in a record that are those of members."""
    claims = (Claim(*fields) for fields in _CLAIM.iter_unpack(record.payload))
    return [claim for claim in claims if tenures.get(claim.member) == claim.tenure]
