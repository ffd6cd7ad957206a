"""The members of a budget: the pools that use it, in whatever process, and what each was told.

A member is known by its process's number and start, so that another process with the same number is not taken for it,
and by a number of its own, its tenure, which stands beside whatever it claims: once the member is gone, its claims are
nobody's. So one that was killed leaves nothing to be cleared up but its entry here.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from workerpool.clock import LONG_AGO, NEVER
from workerpool.config import Budgets
from workerpool.errors import BudgetError, OptionError
from workerpool.limits.file.history import MOST_QUOTAS, joined
from workerpool.limits.file.machine import Machine
from workerpool.limits.file.mapped import MEMBERS, BudgetFile
from workerpool.rate import Rate

GOODBYE = 0.25
"""Seconds for which a dead member's claims still count: its sockets are closed, but a busy server may not know yet."""
SILENCE = 60.0
"""Seconds after which a member is taken for dead that has not been heard of, where its process cannot be seen: it is a
container's."""

MOST_PLACES = 0xFFFF
"""The most sockets that a claim can count, and that a machine has ports for to a server. More are taken for so many."""
MOST_BURST = 0xFFFFFFFF
"""The largest burst that an entry has room for, more than anybody sends at once. A larger one is taken for that."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a budget allows: seconds between two slots of the pool and of a host (0: no rate), sockets, and quotas."""

    interval: float
    host_interval: float
    burst: int
    connections: int
    host_connections: int
    quotas: tuple[Rate, ...] = ()
    host_quotas: tuple[Rate, ...] = ()

    @classmethod
    def of(cls, budgets: Budgets) -> Terms:
        """What these budgets allow; raises `OptionError` for what there is no room for."""
        rate, host_rate = budgets.rate, budgets.host_rate
        for option, given in (("rate", rate), ("host_rate", host_rate)):
            if given is not None and len(given.quotas) > MOST_QUOTAS:
                raise OptionError(
                    f"{option}='{given}' has {len(given.quotas)} quotas beside its first rate; a budget that processes "
                    f"share has room for {MOST_QUOTAS}"
                )
        return cls(
            rate.interval if rate else 0.0,
            host_rate.interval if host_rate else 0.0,
            min(budgets.burst, MOST_BURST),
            min(budgets.max_connections, MOST_PLACES),
            min(budgets.host_connections, MOST_PLACES),
            rate.quotas if rate else (),
            host_rate.quotas if host_rate else (),
        )

    @classmethod
    def strictest(cls, all_terms: Iterable[Terms], path: str) -> Terms:
        """What keeps to all of them; raises `BudgetError` if there is no room for that in the file at `path`."""
        every = [*all_terms]
        rated = [terms for terms in every if terms.interval or terms.host_interval]
        return cls(
            max(terms.interval for terms in every),
            max(terms.host_interval for terms in every),
            min((terms.burst for terms in rated), default=1),
            min(terms.connections for terms in every),
            min(terms.host_connections for terms in every),
            joined([terms.quotas for terms in every], path),
            joined([terms.host_quotas for terms in every], path),
        )


class Member(NamedTuple):
    """A member's entry. Times are the clock's; `boot` and `space` say what its numbers mean."""

    pid: int
    started_at: int
    tenure: int
    boot: bytes
    space: int
    seen_at: float
    gone_at: float
    terms: Terms

    @classmethod
    def unpacked(cls, payload: bytes) -> Member:
        fields: tuple[Any, ...] = _MEMBER.unpack(payload)
        interval, host_interval, burst, connections, host_connections = fields[7:12]
        quotas = _quotas(fields[12:16]), _quotas(fields[16:])
        terms = Terms(interval, host_interval, burst, connections, host_connections, *quotas)
        return cls._make((*fields[:7], terms))

    def packed(self) -> bytes:
        terms = self.terms
        numbers = terms.interval, terms.host_interval, terms.burst, terms.connections, terms.host_connections
        return _MEMBER.pack(*self[:7], *numbers, *_numbers(terms.quotas), *_numbers(terms.host_quotas))


_MEMBER = struct.Struct("<IQI8sQddddIII8d")


def _quotas(numbers: tuple[float, ...]) -> tuple[Rate, ...]:
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return tuple(Rate(count, seconds) for count, seconds in pairs if seconds)


def _numbers(quotas: tuple[Rate, ...]) -> list[float]:
    numbers = [number for quota in quotas for number in (quota.count, quota.seconds)]
    return numbers + [0.0] * (2 * MOST_QUOTAS - len(numbers))


class Members:
    """The members of `file`, and this pool's own membership. Called with the process's lock held.

    `tenures`: those of all members, by their places; claims of others mean nothing. `terms`: the strictest of
    those that live.
    """

    def __init__(self, file: BudgetFile, machine: Machine, own_terms: Terms) -> None:
        self._file = file
        self._machine = machine
        self._boot = machine.boot()
        self._own_terms = own_terms
        self._pid = machine.pid()
        self._started_at = machine.started_at(self._pid) or 0
        self._records = [file.member(index) for index in range(MEMBERS)]
        self._members: dict[int, Member] = {}
        self.tenures: dict[int, int] = {}
        self.is_alone = True
        self.terms = own_terms
        self.place = -1
        self.tenure = 0

    def look(self) -> None:
        """Read them all: they have changed."""
        self._read()
        self._agree()

    def _read(self) -> None:
        self._members.clear()
        for index, record in enumerate(self._records):
            record.look(self._file.map)
            if record.payload:
                self._members[index] = Member.unpacked(record.payload)
        self.tenures = {index: member.tenure for index, member in self._members.items()}
        self.is_alone = len(self.tenures) == 1

    def _agree(self) -> None:
        """Find the terms of all who live: what the dead had named must not keep anybody out."""
        living = [member.terms for member in self._members.values() if member.gone_at == NEVER]
        self.terms = Terms.strictest([self._own_terms, *living], self._file.path)

    def is_member(self) -> bool:
        """Whether this pool's own entry stands."""
        return self.tenures.get(self.place) == self.tenure

    def join(self, now: float) -> None:
        """Enter this pool. The file's lock is held. Raises `BudgetError` if there is no room for it, or its terms."""
        self._read()
        self.bury(now)
        self._agree()
        vacant = next((index for index in range(MEMBERS) if index not in self._members), None)
        if vacant is None:
            raise BudgetError(
                f"the budget's file {self._file.path} is used by {MEMBERS} pools already, which is the most: "
                "end some, or take another name for this budget"
            )
        self.place, self.tenure = vacant, int.from_bytes(os.urandom(4), "little")
        numbers = self._pid, self._started_at, self.tenure
        space = self._machine.pid_space()
        self._enter(vacant, Member(*numbers, self._boot, space, now, NEVER, self._own_terms))
        self._changed()

    def leave(self) -> None:
        """Take this pool's entry out, and so all that it claims. The file's lock is held."""
        self._read()  # if it was taken for dead, its entry is gone, and its place another one's
        if self.is_member():
            self._strike(self.place)
            self._file.note_members()  # without a look: it need not agree with those that are left

    def note_seen(self, now: float) -> None:
        """Show that this pool lives to those who cannot see its process. The file's lock is held."""
        self._enter(self.place, self._members[self.place]._replace(seen_at=now))

    def bury(self, now: float) -> bool:
        """Note who has died, and take out who died a while ago; whether there was anybody. The file's lock is held."""
        others = [(index, member) for index, member in self._members.items() if index != self.place]
        fates = [(index, member, self._fate(member, now)) for index, member in others]
        news = [(index, member, fate) for index, member, fate in fates if fate != member.gone_at]
        for index, member, fate in news:
            if fate == LONG_AGO:
                self._strike(index)
            else:
                self._enter(index, member._replace(gone_at=fate))
        if news:
            self._changed()
        return bool(news)

    def _fate(self, member: Member, now: float) -> float:
        """When a member was found dead, long ago if it may be taken out: as noted, if nothing is new."""
        if member.boot != self._boot:
            return LONG_AGO
        if member.gone_at != NEVER:
            is_over = not member.gone_at <= now < member.gone_at + GOODBYE
            return LONG_AGO if is_over else member.gone_at
        if member.space != self._machine.pid_space():
            return LONG_AGO if not now - SILENCE < member.seen_at <= now + SILENCE else NEVER
        return NEVER if self._machine.lives(member.pid, member.started_at) else now

    def _enter(self, index: int, member: Member) -> None:
        self._records[index].write(self._file.map, member.packed())

    def _strike(self, index: int) -> None:
        self._records[index].write(self._file.map, b"")

    def _changed(self) -> None:
        self._file.note_members()
        self.look()
