"""Who of several members may use, or take, a place or a slot of a budget in a file: decided from what each claims."""

from __future__ import annotations

import mmap

import pytest

from workerpool.clock import LONG_AGO
from workerpool.limits.file.claims import ACTIVE, GRACE, LEAD, SAVED, TURN, WISH, Claim, Claims, has_claims
from workerpool.limits.file.records import Record

NOW = 1000.0


def member(held: int = 0, *, waits_since: float | None = None, had: float = 0.0, due: float = LONG_AGO) -> Claim:
    wish = {} if waits_since is None else {"wished": waits_since, "wished_at": NOW}
    return Claim(2, 1, held, had=had, due=due, **wish)


def claims(limit: int, mine: Claim, *others: Claim, most: int = 9) -> Claims:
    made = Claims()
    made.move(Record(0, 0), most)
    made.limit, made.mine, made.others = limit, mine, [*others]
    made.held_since = NOW - 2 * TURN
    return made


class Membership:
    """Who is a member, as seen by the one at `place`: two of them."""

    def __init__(self, place: int) -> None:
        self.tenures = {1: 7, 2: 8}
        self.place = place
        self.tenure = self.tenures[place]


HUNGRY = member(waits_since=NOW)


@pytest.mark.parametrize(
    ("limit", "held", "others", "may_use"),
    [
        (3, 2, [], 2),
        (3, 5, [], 3),  # the limit has fallen
        (9, 4, [member(5)], 4),  # nobody waits
        (4, 4, [HUNGRY], 3),  # one does, and needs one
        (4, 4, [HUNGRY, HUNGRY], 2),
        (4, 4, [HUNGRY] * 3, 1),
        (5, 4, [HUNGRY], 4),  # there is one free
        (4, 4, [member(4)], 2),  # the limit has fallen, and each gives up what is beyond its share
        (4, 2, [member(4, waits_since=NOW)], 2),  # not who has no more than its share
        (6, 4, [member(2, waits_since=NOW)], 3),  # who waits has less than its share
        (9, 5, [member(4, waits_since=NOW)], 5),  # not less
        (3, 2, [member(1, waits_since=NOW)], 2),
        (1, 1, [HUNGRY], 0),  # it has had its turn
    ],
)
def test_a_member_gives_up_what_others_wait_for_down_to_its_share(
    limit: int, held: int, others: list[Claim], may_use: int
) -> None:
    assert claims(limit, member(held), *others).usable(NOW) == may_use


def test_where_places_are_fewer_than_members_each_keeps_its_last_for_a_turn() -> None:
    one = claims(1, member(2), HUNGRY)
    for since, may_use in ((NOW - TURN / 2, 1), (NOW - TURN, 0)):
        one.held_since = since
        assert one.usable(NOW) == may_use


@pytest.mark.parametrize(
    ("limit", "held", "needed", "others", "keeps"),
    [
        (8, 4, 1, [member(4)], 4),
        (8, 4, 1, [member(4, waits_since=NOW)], 3),
        (8, 4, 4, [member(4, waits_since=NOW)], 4),
        (8, 4, 6, [member(4, waits_since=NOW)], 4),
        (10, 4, 1, [member(4, waits_since=NOW)], 4),  # there are two free
        (8, 5, 1, [HUNGRY, member(3, waits_since=NOW)], 3),
        (6, 4, 1, [member(3)], 3),  # one too many
    ],
)
def test_who_waits_may_have_what_is_not_needed_beyond_its_share_too(
    limit: int, held: int, needed: int, others: list[Claim], keeps: int
) -> None:
    assert claims(limit, member(held), *others).usable(NOW, needed) == keeps


@pytest.mark.parametrize(
    ("limit", "mine", "others", "may"),
    [
        (3, member(2), [], True),
        (3, member(3), [], False),
        (4, member(1), [member(2)], True),
        (4, member(1), [member(3)], False),
        # who has waited for longer comes first
        (1, member(waits_since=5), [member(waits_since=4)], False),
        (1, member(waits_since=5), [member(waits_since=5)], True),
        (2, member(waits_since=5), [member(waits_since=4)], True),
        (1, member(), [member(waits_since=4)], False),
        # but only up to its share
        (6, member(2, waits_since=5), [member(3, waits_since=4)], True),
        (6, member(3), [member(2, waits_since=4)], False),
        (3, member(1, waits_since=5), [member(1, waits_since=4)], True),
        # who has its own share comes last
        (4, member(2, waits_since=4), [member(1, waits_since=5)], False),
    ],
)
def test_a_place_goes_to_whoever_has_waited_longest_for_its_share(
    limit: int, mine: Claim, others: list[Claim], may: bool
) -> None:
    assert claims(limit, mine, *others).may_take_place(NOW) is may


def test_where_there_is_no_room_for_one_more_claim_none_is_made() -> None:
    assert not claims(9, member(), member(1), most=1).may_take_place(NOW)
    assert claims(9, member(), Claim(2, 1), most=1).may_take_place(NOW), "what nobody needs makes room"


def test_a_wish_is_over_once_it_is_granted_and_not_when_a_place_is_given_back() -> None:
    one = claims(9, member(2))
    one.wish(NOW)
    one.hold(1, NOW)
    one.hold(1, NOW)
    assert one.mine.waits(NOW)
    one.hold(2, NOW)
    assert not one.mine.waits(NOW)


def test_a_wish_holds_for_a_moment_and_is_told_again_before_it_is_over() -> None:
    one = claims(9, member())
    one.wish(NOW)
    assert (one.has_wished(NOW + 0.32 * WISH), one.has_wished(NOW + 0.34 * WISH)) == (True, False)
    assert one.mine.waits(NOW + 0.99 * WISH)
    assert not one.mine.waits(NOW + 1.01 * WISH)
    one.wish(NOW + 0.5 * WISH)
    assert (one.mine.wished, one.mine.wished_at) == (NOW, NOW + 0.5 * WISH)
    one.wish(NOW + 9)
    assert one.mine.wished == NOW + 9


def test_a_turn_begins_with_the_first_place() -> None:
    one = claims(9, member())
    one.hold(1, NOW)
    one.hold(2, NOW + 1)
    assert one.held_since == NOW


@pytest.mark.parametrize("interval", [0.1, 0.01])
@pytest.mark.parametrize(
    ("ahead", "gives_way"), [(0.0, False), (0.9 * LEAD, False), (1.1 * LEAD, True), (9.0, True), (-9.0, False)]
)
def test_who_has_had_clearly_more_leaves_a_slot_to_whoever_is_due(
    interval: float, ahead: float, gives_way: bool
) -> None:
    one = claims(9, member(had=50.0 + ahead / interval), member(had=50.0, due=NOW))
    assert one.gives_way_until(NOW, interval) == (NOW + GRACE if gives_way else LONG_AGO)


def test_a_slot_is_left_to_others_for_a_moment_only() -> None:
    one = claims(9, member(had=9), member(due=NOW), member(due=NOW - 0.4 * GRACE))
    assert one.gives_way_until(NOW, 0.1) == NOW + GRACE
    assert one.gives_way_until(NOW - 0.1 * GRACE, 0.1) == NOW + 0.6 * GRACE
    assert one.gives_way_until(NOW + GRACE, 0.1) == LONG_AGO


def test_others_know_of_who_is_due_at_a_slots_time_or_soon_after() -> None:
    one = claims(9, member())
    one.await_slot(NOW, NOW, 0.1)
    assert [one.awaits_slot(NOW - ahead) for ahead in (-0.01, 0.0, 0.9 * ACTIVE, ACTIVE)] == [False, True, True, False]


def test_what_was_had_counts_only_while_others_wait() -> None:
    idle = claims(9, member(had=3, due=NOW), member(5, due=NOW - ACTIVE))
    assert not idle.count(2, NOW, 0.1)
    assert idle.mine.had == 3
    busy = claims(9, member(had=3, due=NOW), member(had=3, due=NOW))
    assert busy.count(2, NOW, 0.1)
    assert busy.mine.had == 5
    new = claims(9, member(), member(had=40, due=NOW))
    assert new.count(2, NOW, 0.1)
    assert new.mine.had == 42, "as if it had had as much as the others before"


@pytest.mark.parametrize(
    ("due", "interval", "had"),
    [
        (LONG_AGO, 0.1, 40.0),  # who has just come competes with whoever has had least
        (NOW, 0.1, 60.0 - SAVED / 0.1),  # who waits may catch up what half a second brings
        (NOW, 1.0, 60.0 - 2),  # or two slots
    ],
)
def test_who_did_not_come_saves_nothing_up(due: float, interval: float, had: float) -> None:
    one = claims(9, member(due=due), member(had=60.0, due=NOW), member(had=40.0, due=NOW), member(had=1.0))
    one.await_slot(NOW + 1, NOW, interval)
    assert one.mine.had == had
    one.await_slot(NOW + 2, NOW, interval)
    assert one.mine.had >= had


# -- what is told -----------------------------------------------------------------------------------------------------


def test_each_member_finds_what_the_others_claim_and_whether_its_own_claim_is_as_it_was_told() -> None:
    with mmap.mmap(-1, 4096) as file:
        one, two = Claims(), Claims()
        memberships = Membership(1), Membership(2)
        for each, membership in zip((one, two), memberships, strict=True):
            each.move(Record(0, 1000), 9)
            assert each.look(file, membership)  # type: ignore[arg-type]
        assert one.is_told, "that it holds nothing"
        one.hold(2, NOW)
        assert not one.is_told
        one.write(file, NOW)
        assert one.is_told
        assert two.look(file, memberships[1])  # type: ignore[arg-type]
        assert [(claim.member, claim.tenure, claim.held) for claim in two.others] == [(1, 7, 2)]
        two.hold(3, NOW)
        two.wish(NOW)
        two.write(file, NOW)
        assert one.look(file, memberships[0])  # type: ignore[arg-type]
        assert one.others == [two.mine]
        assert one.is_told, "the other one has kept its claim"
        two.others = []
        two.write(file, NOW)
        assert one.look(file, memberships[0])  # type: ignore[arg-type]
        assert not one.is_told, "it has lost it"
        memberships[0].tenures = {1: 7, 2: 9}  # somebody else has its place now
        assert one.look(file, memberships[0])  # type: ignore[arg-type]
        assert one.others == []
        file[:28] = b"x" * 28
        assert not one.look(file, memberships[0])  # type: ignore[arg-type]
        assert one.is_broken


def test_a_claim_that_is_worth_nothing_is_not_kept() -> None:
    with mmap.mmap(-1, 4096) as file:
        one, record = Claims(), Record(0, 1000)
        one.move(record, 2)
        one.write(file, NOW)
        assert record.payload == b""
        one.others = [member(1), Claim(3, 1), member(1), member(1)]
        one.write(file, NOW)
        assert record.payload == member(1).packed() * 2, "there is no room for more"
        assert not has_claims(Record(0, 1000), Membership(1), NOW)  # type: ignore[arg-type]
        one.others = [Claim(2, 8, wished=NOW, wished_at=NOW)]
        one.write(file, NOW)
        assert has_claims(record, Membership(1), NOW)  # type: ignore[arg-type]
        assert not has_claims(record, Membership(1), NOW + 1)  # type: ignore[arg-type]
