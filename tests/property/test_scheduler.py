"""The scheduler loses no request, ends none twice, exceeds no budget, and serves hosts in turn, whatever happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.conftest import IN_FULL
from workerpool.config import Breaker, Budgets, RetryBudget
from workerpool.limits import LATENESS, Allowance, Answer, MemoryLimiter
from workerpool.model import Request
from workerpool.rate import Rate
from workerpool.scheduler import Scheduler
from workerpool.statistics import Wait
from workerpool.tickets import NOBODY, Caller, Owner, Ticket

HOSTS = ["a", "b", "c", "d"]
rates = st.sampled_from([None, Rate(1), Rate(10), Rate(200), Rate(30, 60)])
BREAKERS = [None, Breaker(failures=2, open_for=1), Breaker(failures=1, open_for=7, fails_fast=True)]


class Claimed(Ticket):
    """A request that asks the test whether it is wanted, and that the scheduler must not end: it performs nothing."""

    asked: Callable[[Ticket], bool]

    def claim(self) -> bool:
        return self.asked(self)


class Contended:
    """A budget that other processes empty between a look and a grab, every third time; it counts the places."""

    def __init__(self, rate: Rate | None, burst: int) -> None:
        self.limiter = None if rate is None else MemoryLimiter(rate, burst)
        self.places: Counter[str] = Counter()
        self.pauses: dict[str, float] = {}
        self.tries = 0

    def next_at(self, host: str | None, weight: int, now: float, *, has_place: bool = False) -> float:
        at = 0.0 if host is None else self.pauses.get(host, 0.0)
        return at if self.limiter is None else max(at, self.limiter.next_at(weight))

    def try_take(
        self, host: str, weight: int, now: float, *, since: float | None, has_place: bool = False
    ) -> float | None:
        self.tries += 1
        if self.tries % 3 == 0 or self.pauses.get(host, 0.0) > now:
            return None
        time = now if self.limiter is None else self.limiter.try_take(now, weight, since=since)
        if time is not None and not has_place:
            self.places[host] += 1
        return time

    def give_back(self, host: str, now: float) -> None:
        self.places[host] -= 1

    def pause(self, host: str, until: float, now: float) -> None:
        self.pauses[host] = max(until, self.pauses.get(host, 0.0))


class SchedulerMachine(RuleBasedStateMachine):
    """Does anything to a scheduler, in any order, with a model of where each request is."""

    @initialize(
        rate=rates,
        host_rate=rates,
        burst=st.integers(1, 4),
        most=st.integers(1, 6),
        per_host=st.integers(1, 3),
        room=st.integers(1, 4),
        key_rate=st.sampled_from([None, Rate(2), Rate(50), Rate(20, 1, (Rate(30, 60),))]),
        floor=st.sampled_from([None, 1, 3]),
        is_shared=st.booleans(),
        learns_rate=st.booleans(),
        learns_connections=st.booleans(),
        slow_start=st.booleans(),
        breaker=st.sampled_from(BREAKERS),
        places=st.sampled_from([1000, 1, 2, 5]),
    )
    def begin(
        self,
        rate: Rate | None,
        host_rate: Rate | None,
        burst: int,
        most: int,
        per_host: int,
        room: int,
        key_rate: Rate | None,
        floor: int | None,
        is_shared: bool,
        learns_rate: bool,
        learns_connections: bool,
        slow_start: bool,
        breaker: Breaker | None,
        places: int,
    ) -> None:
        self.budgets = Budgets(
            rate=rate,
            host_rate=host_rate,
            key_rate=key_rate,
            burst=burst,
            max_connections=most,
            host_connections=per_host,
            learns_rate=learns_rate,
            learns_connections=learns_connections,
            slow_start=slow_start,
        )
        self.breaker = breaker
        self.floor = floor
        self.tokens = None if floor is None else RetryBudget(share=0.25, per_second=0.5)
        self.shared = Contended(rate, burst) if is_shared else None
        if is_shared:
            self.budgets = replace(self.budgets, host_rate=None)
        self.scheduler = Scheduler(
            self.budgets, retries=self.tokens, floor=floor or 0, breaker=breaker, shared=self.shared, places=places
        )
        self.now = self.began = 100.0
        self.retried: dict[str, list[float]] = {}
        self.first: dict[str, list[float]] = {}
        self.keyed: dict[str, list[tuple[float, int]]] = {}
        self.added = 0
        self.owner = Owner()
        self.room = room
        self.journalling = Owner(room, needs_receipts=True)
        self.owed: list[Ticket] = []  # landed, and their owner has given no receipt
        self.queued: set[Ticket] = set()
        self.parked: dict[Ticket, float] = {}
        self.flying: list[Ticket] = []
        self.waiting: list[Caller] = []
        self.sending: list[Caller] = []
        self.claims: dict[Ticket, int] = {}
        self.cancelled: set[Ticket] = set()
        self.paused: dict[str, float] = {}
        self.refusing: dict[str, float] = {}
        self.to_retry: set[Ticket] = set()
        self.begun: set[Ticket] = set()
        self.held: list[Ticket] = []
        self.stamps: list[tuple[float, int]] = []
        self.sends: list[tuple[float, str, int]] = []

    # -- what may happen

    @rule(
        host=st.sampled_from(HOSTS),
        weight=st.integers(1, 4),
        whose=st.sampled_from(["nobody", "owner", "journal"]),
        key=st.sampled_from([None, "k", "l", "m"]),
    )
    def add(self, host: str, weight: int, whose: str, key: str | None) -> None:
        self.added += 1  # sets order by address, and what is drawn must not hang on that
        request = Request(host, weight=min(weight, self.budgets.burst), ordinal=self.added)
        owner = {"nobody": NOBODY, "owner": self.owner, "journal": self.journalling}[whose]
        ticket = Claimed(request, host, owner, key)
        ticket.asked = self._claim
        self.queued.add(ticket)
        self.scheduler.add(ticket, self.now)

    def _claim(self, ticket: Ticket) -> bool:
        self.claims[ticket] = self.claims.get(ticket, 0) + 1
        assert self.claims[ticket] == 1, "claimed twice"
        if ticket in self.cancelled:
            self.queued.discard(ticket)
        return ticket not in self.cancelled

    @rule(seconds=st.sampled_from([0.0, 0.0005, 0.004, 0.02, 0.1, 1.0, 7.0, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def wait_for_what_comes_next(self) -> None:
        wakes_at = self.scheduler.wakes_at(self.now)
        if wakes_at is not None:
            self.now = max(self.now, wakes_at)

    @rule()
    def take(self) -> None:
        self._take()

    def _take(self) -> Ticket | None:
        ready = self.scheduler.has_ready(self.now)
        ticket = self.scheduler.next(self.now)
        for parked in [parked for parked, until in self.parked.items() if until <= self.now]:
            del self.parked[parked]
            self.queued.add(parked)
        if ticket is None:
            return None
        assert ready or ticket.refused_until is not None, "nobody would have been called to send it"
        assert ticket in self.queued, "handed out from nowhere, or twice"
        self.queued.remove(ticket)
        self.flying.append(ticket)
        assert ticket.owner is not self.owner or not self.owner.is_full or ticket is self.owner.awaited, (
            "its owner is full"
        )
        if ticket.refused_until is None:
            assert self.paused.get(ticket.host, 0) <= self.now, "sent to a paused host"
            assert self.refusing.get(ticket.host, 0) <= self.now, "sent to a refusing host"
            assert ticket.granted_at <= self.now
            self._note_budgets(ticket)
            self.stamps.append((ticket.granted_at, ticket.request.weight))
            self.sends.append((self.now, ticket.host, ticket.request.weight))
        else:
            assert ticket.refused_until > self.now
        return ticket

    def _note_budgets(self, ticket: Ticket) -> None:
        if ticket.key is not None:
            self.keyed.setdefault(ticket.key, []).append((self.now, ticket.request.weight))
        if self.floor is None:
            return
        if ticket in self.to_retry:
            self.to_retry.discard(ticket)
            self.retried.setdefault(ticket.host, []).append(self.now)
        elif ticket not in self.begun:
            self.first.setdefault(ticket.host, []).append(self.now)
        self.begun.add(ticket)
        for host, retried in self.retried.items():
            earned = 0.25 * len(self.first.get(host, ())) + 0.5 * (self.now - self.began)
            assert len(retried) <= self.floor + earned + 1e-6, "more retries than the budget allows"

    def _land(self, index: int) -> Ticket:
        ticket = self.flying.pop(index % len(self.flying))
        if ticket.owner is self.journalling:
            assert ticket.holds_place
            ticket.holds_place = False
            self.owed.append(ticket)
        self.scheduler.release(
            ticket.host, self.now, since=ticket.granted_at, was_refused=ticket.refused_until is not None
        )
        return ticket

    @precondition(lambda self: self.flying)
    @rule(index=st.integers(0, 9))
    def end(self, index: int) -> None:
        self._land(index)

    @precondition(lambda self: self.flying)
    @rule(
        index=st.integers(0, 9),
        status=st.sampled_from([None, 200, 404, 429, 503, 500]),
        pause=st.sampled_from([None, 0.5, 90.0]),
        allowance=st.sampled_from([None, Allowance(remaining=0, reset=5), Allowance(limit=5, remaining=3, reset=1.5)]),
    )
    def hear(self, index: int, status: int | None, pause: float | None, allowance: Allowance | None) -> None:
        """An answer has come to one of those in flight."""
        ticket = self.flying[index % len(self.flying)]
        if ticket.refused_until is not None:
            return
        refused = status in (429, 503)
        answer = Answer(
            ticket.granted_at,
            self.now,
            status,
            refused=refused,
            pause=pause if refused else None,
            allowance=allowance if status is not None else None,
            latency=self.now - ticket.granted_at,
            in_flight=ticket.in_flight,
        )
        if self.scheduler.hear(ticket.host, answer, self.now):
            assert self.breaker is not None
            circuit = self.scheduler._hosts[ticket.host].circuit
            assert circuit is not None
            assert circuit.open_until is not None
            pauses = self.refusing if self.breaker.fails_fast else self.paused
            pauses[ticket.host] = max(pauses.get(ticket.host, 0), circuit.open_until)
        self.end(index)

    @precondition(lambda self: self.flying)
    @rule(index=st.integers(0, 9), seconds=st.sampled_from([0.0, 0.01, 0.5, 30.0]))
    def park(self, index: int, seconds: float) -> None:
        ticket = self._land(index)
        self.parked[ticket] = self.now + seconds
        self.to_retry.add(ticket)
        self.scheduler.park(ticket, self.now + seconds)

    @precondition(lambda self: self.flying)
    @rule(index=st.integers(0, 9))
    def hold(self, index: int) -> None:
        ticket = self._land(index)
        self.held.append(ticket)
        self.scheduler.hold(ticket, "something")

    @rule()
    def free(self) -> None:
        freed = self.scheduler.free("something")
        assert freed == self.held
        self.held.clear()
        for ticket in freed:
            self.queued.add(ticket)
            self.scheduler.add(ticket, self.now)

    @precondition(lambda self: self.flying)
    @rule(index=st.integers(0, 9), host=st.sampled_from(HOSTS))
    def redirect(self, index: int, host: str) -> None:
        ticket = self._land(index)
        ticket.host = host
        self.queued.add(ticket)
        self.scheduler.add(ticket, self.now)

    @rule(host=st.sampled_from(HOSTS), seconds=st.sampled_from([0.01, 1.0, 20.0]), refuse=st.booleans())
    def pause(self, host: str, seconds: float, refuse: bool) -> None:
        self.scheduler.pause(host, self.now + seconds, self.now, refuse=refuse)
        pauses = self.refusing if refuse else self.paused
        pauses[host] = max(pauses.get(host, 0), self.now + seconds)

    @precondition(lambda self: self.queued)
    @rule(index=st.integers(0, 9))
    def cancel(self, index: int) -> None:
        waiting = sorted(
            (ticket for ticket in self.queued if not ticket.started), key=lambda ticket: ticket.request.ordinal
        )
        if waiting:
            self.cancelled.add(waiting[index % len(waiting)])

    @rule()
    def discard(self) -> None:
        asked: list[Ticket] = []

        def is_unwanted(ticket: Ticket) -> bool:
            assert ticket not in asked, "asked twice: a thread may have changed the answer in between"
            asked.append(ticket)
            return ticket.owner is self.owner

        gone = self.scheduler.discard(is_unwanted, self.now)
        assert len(set(gone)) == len(gone)
        waiting = {*self.queued, *self.parked, *self.held}
        assert set(gone) == {ticket for ticket in waiting if ticket.owner is self.owner}
        self.held = [ticket for ticket in self.held if ticket not in gone]
        self.queued -= set(gone)
        for ticket in gone:
            self.parked.pop(ticket, None)

    @rule(index=st.integers(-9, 9))
    def the_owner_is_full(self, index: int) -> None:
        self.owner.is_full = True
        waiting = sorted(
            (one for one in self.queued if one.owner is self.owner), key=lambda ticket: ticket.request.ordinal
        )
        self.owner.awaited = waiting[index % len(waiting)] if waiting and index >= 0 else None
        if self.owner.awaited is not None:
            self.scheduler.urge(self.owner.awaited, self.now)

    @rule()
    def the_owner_has_room(self) -> None:
        self.owner.is_full = False
        self.scheduler.resume(self.owner, self.now)

    @rule(count=st.integers(1, 4))
    def receipts_come(self, count: int) -> None:
        given, self.owed = self.owed[:count], self.owed[count:]
        self.scheduler.give_places(self.journalling, len(given), self.now)

    @rule(
        host=st.sampled_from(HOSTS),
        key=st.sampled_from([None, "k", "l"]),
        has_place=st.booleans(),
        is_retry=st.booleans(),
    )
    def caller_enters(self, host: str, key: str | None, has_place: bool, is_retry: bool) -> None:
        is_retry = is_retry and not has_place
        caller = Caller(host, lambda: None, key=key, has_place=has_place, is_retry=is_retry, since=self.now)
        self.waiting.append(caller)
        self.scheduler.enter(caller, self.now)

    @rule(all_busy=st.booleans())
    def callers_are_admitted(self, all_busy: bool) -> None:
        self._admit(all_busy)

    def _admit(self, all_busy: bool) -> None:
        self.scheduler.admit(self.now, all_busy=all_busy)
        for caller in [caller for caller in self.waiting if caller.is_refused]:
            assert self.refusing[caller.host] > self.now
            self.waiting.remove(caller)
            self.scheduler.withdraw(caller, self.now)
        for caller in [caller for caller in self.waiting if caller.admitted]:
            self.waiting.remove(caller)
            self.sending.append(caller)
            self.sends.append((self.now, caller.host, 1))
            if caller.key is not None:
                self.keyed.setdefault(caller.key, []).append((self.now, 1))
            if self.floor is not None and not caller.has_place:
                (self.retried if caller.is_retry else self.first).setdefault(caller.host, []).append(self.now)
            assert self.paused.get(caller.host, 0) <= self.now, "a caller sends to a paused host"
            assert caller.has_place or self.refusing.get(caller.host, 0) <= self.now, "a refusing host is sent to"

    @precondition(lambda self: self.waiting or self.sending)
    @rule(index=st.integers(0, 9))
    def caller_leaves(self, index: int) -> None:
        callers = self.waiting + self.sending
        caller = callers[index % len(callers)]
        (self.waiting if caller in self.waiting else self.sending).remove(caller)
        self.scheduler.withdraw(caller, self.now)

    # -- what must hold

    @invariant()
    def counters_match_the_model(self) -> None:
        scheduler = self.scheduler
        assert scheduler.in_flight == len(self.flying) + sum(not caller.has_place for caller in self.sending)
        assert scheduler.queued + scheduler.parked == len(self.queued) + len(self.parked) + len(self.held)
        sending = any(not caller.has_place for caller in self.sending)
        idle = not (self.queued or self.parked or self.held or self.flying or self.waiting or sending)
        assert scheduler.is_idle == idle

    @invariant()
    def no_more_is_sent_beyond_the_receipts_than_there_is_room(self) -> None:
        held = len(self.owed) + sum(ticket.owner is self.journalling for ticket in self.flying)
        assert self.journalling.room == self.room - held >= 0
        waiting = sum(ticket.owner is self.journalling for ticket in self.queued)
        ripening = sum(ticket.owner is self.journalling for ticket in self.parked)
        assert waiting <= self.journalling.queued <= waiting + ripening

    @invariant()
    def what_is_shared_is_held_by_what_flies(self) -> None:
        if self.shared is not None:
            refused = sum(ticket.refused_until is not None for ticket in self.flying)
            sending = sum(not caller.has_place for caller in self.sending)
            assert self.shared.places.total() == len(self.flying) - refused + sending

    @invariant()
    def each_waiting_request_is_held_up_by_something(self) -> None:
        scheduler = self.scheduler
        found = scheduler.hold_ups(self.now, Wait.WORKERS)
        assert sum(found.values()) == (scheduler.queued + len(scheduler.callers) or scheduler.parked)
        if self.shared is None:
            is_ready = scheduler.has_ready(self.now)
            waits = {wait for wait, _ in scheduler.hold_ups(self.now, Wait.WORKERS)}
            assert Wait.WORKERS in waits or not is_ready
            # A lighter request, or a caller, that could go may have to wait for its turn; and a slow host for others.
            is_light = all(ticket.request.weight == 1 for ticket in [*self.queued, *self.parked])
            lanes = [lane for host in scheduler._hosts.values() for lane in host.lanes.values()]
            if is_light and not scheduler.callers and not any(lane.stands_back for lane in lanes):
                assert is_ready or Wait.WORKERS not in waits

    @invariant()
    def no_more_fly_than_the_budgets_allow(self) -> None:
        assert self.scheduler.in_flight <= self.budgets.max_connections
        for host in HOSTS:
            sending = [caller for caller in self.sending if not caller.has_place]
            requests = [ticket for ticket in self.flying if ticket.refused_until is None]
            flying = [one for one in [*requests, *sending] if one.host == host]
            assert len(flying) <= self.budgets.host_connections

    @invariant()
    def no_lane_waits_for_a_place_that_is_free(self) -> None:
        """Unless another one waits for the host's time before it, or would have that place, but stands back."""
        for host in self.scheduler._hosts.values():
            standing_back = sum(lane.stands_back for lane in host.lanes.values())
            is_full = host.in_flight + host.listed + standing_back >= host.places
            assert is_full or host.timed is not None or not host.waiting

    def teardown(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        self._everything_drains()
        self._the_rates_held()

    def _everything_drains(self) -> None:
        """First without receipts: nobody but their own owner waits for them. Then with them."""
        self.the_owner_has_room()
        self.free()
        self._drain(with_receipts=False)
        assert not self.waiting
        assert all(ticket.owner is self.journalling for ticket in [*self.queued, *self.parked])
        self._drain(with_receipts=True)
        assert self.scheduler.is_idle, "it does not drain"
        self.now += 1e6
        assert self.scheduler.next(self.now) is None
        assert self.scheduler.host_count == 0, "a lane is kept for ever"

    def _drain(self, *, with_receipts: bool) -> None:
        for _ in range(1000):
            if with_receipts:
                self.receipts_come(len(self.owed))
            self._admit(all_busy=with_receipts)
            sent = bool(self.sending)
            while self.sending:
                self.scheduler.withdraw(self.sending.pop(), self.now)
            if self._take() is None and not self.flying and not sent:
                if self.scheduler.is_idle:
                    break
                self._admit(all_busy=with_receipts)  # as whoever looked in vain does
                if self.sending:
                    continue
                times = [self.scheduler.wakes_at(self.now), *(caller.wakes_at for caller in self.waiting)]
                known = [time for time in times if time is not None and time != float("inf")]
                if not known and not with_receipts and self.journalling.queued and not self.journalling.room:
                    break
                assert known, "something waits, and nothing would ever wake it"
                self.now = max(self.now, min(known))
            while self.flying:
                self._land(0)

    def _the_rates_held(self) -> None:
        burst = self.budgets.burst
        if self.budgets.key_rate is not None:
            for sends in self.keyed.values():
                assert_bounded(sends, self.budgets.key_rate, burst, LATENESS)
                for quota in self.budgets.key_rate.quotas:
                    for at, _ in sends:
                        assert sum(more for when, more in sends if at <= when <= at + quota.seconds) <= quota.count
        if self.budgets.rate is not None:
            assert_bounded(self.stamps, self.budgets.rate, burst, 0.0)
            assert_bounded([(at, weight) for at, _, weight in self.sends], self.budgets.rate, burst, LATENESS)
        if self.budgets.host_rate is not None and not self.budgets.learns_rate:
            for host in HOSTS:
                sends = [(at, weight) for at, where, weight in self.sends if where == host]
                assert_bounded(sends, self.budgets.host_rate, burst, LATENESS)


def assert_bounded(grants: list[tuple[float, int]], rate: Rate, burst: int, lateness: float) -> None:
    """No window holds more weight than burst + rate x (its length and the lateness that is forgiven)."""
    grants = sorted(grants)
    for i, (first, _) in enumerate(grants):
        weight = 0
        for at, more in grants[i:]:
            weight += more
            assert weight <= burst + rate.per_second * (at - first + lateness) + 1e-6 * weight, (first, at)


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=60 if IN_FULL else 20, stateful_step_count=40, deadline=None)


def ticket(host: str) -> Ticket:
    return Ticket(Request(host), host)


def test_a_stream_without_room_that_others_pass_serves_its_hosts_in_turn_all_the_same() -> None:
    """One request of it is sent at a time, and each time the rest is put aside for somebody's who cannot be sent."""
    scheduler, owner = Scheduler(Budgets(), places=1000), Owner(room=1, needs_receipts=True)
    for number in range(30):
        scheduler.add(Ticket(Request(f"http://h{number % 5}.test/"), f"h{number % 5}", owner), 0.0)
    scheduler.pause("away", 1e6, 0.0)
    scheduler.add(ticket("away"), 0.0)
    hosts = []
    while (taken := scheduler.next(0.0)) is not None:
        hosts.append(taken.host)
        assert not scheduler.has_ready(0.0)
        scheduler.release(taken.host, 0.0)
        scheduler.give_places(owner, 1, 0.0)
    assert len(hosts) == 30
    assert all(sorted(hosts[n : n + 5]) == ["h0", "h1", "h2", "h3", "h4"] for n in range(0, 30, 5))


@given(
    crowds=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    places=st.integers(1, 4),
    before=st.integers(0, 20),
)
def test_a_host_with_one_request_waits_for_at_most_one_send_of_each_other_host(
    crowds: list[int], places: int, before: int
) -> None:
    scheduler = Scheduler(Budgets(max_connections=places, host_connections=places), places=1000)
    for host, size in enumerate(crowds):
        for _ in range(size):
            scheduler.add(ticket(f"crowd {host}"), 0.0)
    flying: list[Ticket] = []

    def send() -> Ticket | None:
        if len(flying) == places:
            scheduler.release(flying.pop(0).host, 0.0)
        taken = scheduler.next(0.0)
        if taken is not None:
            flying.append(taken)
        return taken

    for _ in range(before):
        send()
    single = ticket("single")
    scheduler.add(single, 0.0)
    sent: list[str] = []
    while True:
        taken = send()
        assert taken is not None
        if taken is single:
            break
        sent.append(taken.host)
    assert len(set(sent)) == len(sent)


@given(rate=st.integers(1, 500), hosts=st.integers(1, 5), delays=st.lists(st.floats(0, 0.009), max_size=60))
def test_a_steady_demand_gets_its_whole_rate_though_every_waking_is_a_little_late(
    rate: int, hosts: int, delays: list[float]
) -> None:
    scheduler, now = Scheduler(Budgets(rate=Rate(rate)), places=1000), 0.0
    for n in range(len(delays) + 1):
        scheduler.add(ticket(f"h{n % hosts}"), now)
    stamps = []
    for delay in [0.0, *delays]:
        wakes_at = scheduler.wakes_at(now)
        assert wakes_at is not None
        if wakes_at > now:
            now = wakes_at + delay
        taken = scheduler.next(now)
        assert taken is not None
        stamps.append(taken.granted_at)
        scheduler.release(taken.host, now)
    assert stamps[-1] - stamps[0] <= len(delays) / rate + 1e-6


@pytest.mark.parametrize("weight", [1, 2])
def test_callers_and_requests_of_one_host_under_two_equal_rates_all_get_their_turn(weight: int) -> None:
    """Nobody takes the slot that another waits for, over and over, so that none ever has both."""
    scheduler, now = Scheduler(Budgets(rate=Rate(1), host_rate=Rate(1), burst=2), places=1000), 100.0
    callers = [Caller(host, lambda: None) for host in "bcaab"]
    scheduler.pause("a", now + 1, now)
    for _ in range(4):
        one = ticket("a")
        one.request = Request("a", weight=weight)
        scheduler.add(one, now)
    for caller in callers:
        scheduler.enter(caller, now)
        scheduler.admit(now, all_busy=True)
    for _ in range(200):
        scheduler.admit(now, all_busy=True)
        admitted = [caller for caller in callers if caller.admitted]
        for caller in admitted:
            callers.remove(caller)
            scheduler.withdraw(caller, now)
        taken = scheduler.next(now)
        if taken is not None:
            scheduler.release(taken.host, now)
        elif not admitted and not scheduler.is_idle:
            times = [scheduler.wakes_at(now), *(caller.wakes_at for caller in callers)]
            now = max(now, min(time for time in times if time is not None))
    assert scheduler.is_idle
    assert now <= 100 + 1 + 5 + 4 * weight


def test_weights_differ_and_nothing_waits_for_ever() -> None:
    """A slot that was reserved for one weight is exchanged when a host with another weight is first in turn."""
    scheduler, now = Scheduler(Budgets(rate=Rate(10), burst=3), places=1000), 0.0
    for n in range(30):
        one = ticket(f"h{n % 4}")
        one.request = Request(one.host, weight=1 + n % 3)
        scheduler.add(one, now)
    taken = 0
    while taken < 30:
        one_or_none = scheduler.next(now)
        if one_or_none is None:
            wakes_at = scheduler.wakes_at(now)
            assert wakes_at is not None
            assert wakes_at > now
            now = wakes_at
        else:
            scheduler.release(one_or_none.host, now)
            taken += 1
    assert now <= (60 - 3) / 10 + 0.01
