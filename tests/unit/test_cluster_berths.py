"""Which worker of a cluster has which host, and how much it is given: the coordinator's books, each by itself."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from workerpool.cluster.berths import AHEAD, MOST, Berth, Given
from workerpool.cluster.books import SPLIT_FROM, Books
from workerpool.cluster.messages import Errand
from workerpool.model import Outcome, Request
from workerpool.tickets import Owner, Ticket


class Wanted(Ticket):
    def deliver(self, outcome: Outcome) -> None: ...


OWNER = Owner()


def request(number: int, host: str, owner: Owner = OWNER) -> Given:
    url = f"http://{host}/{number}"
    return Given(Wanted(Request(url), host, owner), Errand(number, 1, host, (url, None)))


def books_of(workers: int, *, may_split: bool = False, threads: int = 4) -> Books:
    books = Books(may_split=may_split)
    for number in range(workers):
        books.join(Berth(f"w{number}", threads))
    return books


def enter(books: Books, hosts: dict[str, int]) -> None:
    numbers = count(1)
    for host, requests in hosts.items():
        for _ in range(requests):
            books.enter(request(next(numbers), host))


def hosts_at(books: Books, address: str) -> set[str]:
    return {*books.berths[address].lanes}


def fill_all(books: Books) -> dict[str, list[Given]]:
    return {address: books.fill(berth) for address, berth in books.berths.items()}


def test_a_host_is_one_workers_and_hosts_are_spread_evenly() -> None:
    books = books_of(2)
    enter(books, {f"h{n}": 3 for n in range(10)})
    assert not hosts_at(books, "w0") & hosts_at(books, "w1")
    assert len(hosts_at(books, "w0")) == len(hosts_at(books, "w1")) == 5


def test_a_worker_is_given_of_all_its_hosts_in_turn_and_in_each_hosts_order() -> None:
    books = books_of(1)
    enter(books, {"big": 100, "small": 3})
    (given,) = fill_all(books).values()
    assert [one.errand.host for one in given[:6]] == ["big", "small"] * 3
    assert [one.number for one in given if one.errand.host == "big"] == [*range(1, 10)]
    assert len(given) == 9 + 3


def test_hosts_that_never_answer_leave_a_part_of_a_worker_to_the_others() -> None:
    books, numbers = books_of(1), count(1)
    for number in range(500):
        for host in ("dead", "gone", f"h{number}"):
            books.enter(request(next(numbers), host))
    ended = 0
    for _ in range(100):
        for one in books.fill(books.berths["w0"]):
            if one.errand.host not in ("dead", "gone"):
                books.end(one.number)
                ended += 1
    assert ended > 100


def test_of_the_last_of_a_batch_a_worker_is_given_less_than_all_and_at_least_what_its_threads_can_begin() -> None:
    books = books_of(1)
    enter(books, {f"h{number}": 4 for number in range(100)})
    first = books.berths["w0"]
    for number in range(1, 8):
        books.join(Berth(f"w{number}", 4))
    first.target = MOST
    assert len(books.fill(first)) == 2 * 400 // 8
    queued = [number for number, given in books.given.items() if given.lane is None]
    for number in [*queued[8:], *first.given]:
        books.end(number)
    assert len(books.fill(first)) == first.threads


def test_what_a_lost_worker_had_goes_to_others_before_anything_else() -> None:
    books = books_of(2)
    enter(books, {"a": 20, "b": 20})
    given = fill_all(books)
    (lost,) = (address for address, berth in books.berths.items() if "a" in berth.lanes)
    (other,) = books.berths.keys() - {lost}
    assert {one.errand.host for one in given[lost]} == {"a"}
    books.leave(lost)
    assert hosts_at(books, other) == {"a", "b"}
    lane = books.berths[other].lanes["a"]
    assert [one.number for one in lane.queue] == [*range(1, 21)]
    assert books.berths[other].queued == 20 + 9


def test_what_was_given_to_a_lost_worker_ends_once_whoever_tells_of_it_first() -> None:
    books = books_of(2)
    enter(books, {"a": 1})
    (given,) = (one for some in fill_all(books).values() for one in some)
    assert given.lane is not None
    assert given.lane.berth is not None
    books.leave(given.lane.berth.address)
    assert books.end(1) is given  # it had told of it before it was lost
    assert books.end(1) is None
    assert not any(books.fill(berth) for berth in books.berths.values())
    assert not books.given
    assert books.waiting == 0


def test_without_a_worker_requests_wait_for_the_first_that_joins() -> None:
    books = books_of(0)
    enter(books, {"a": 2, "b": 2})
    books.join(Berth("w", 4))
    assert len(books.fill(books.berths["w"])) == 4
    books.leave("w")
    books.join(Berth("x", 4))
    assert len(books.fill(books.berths["x"])) == 4


def test_a_worker_that_has_nothing_takes_hosts_that_have_not_begun() -> None:
    books = books_of(1)
    enter(books, {f"h{n}": 10 for n in range(20)})
    first = {one.errand.host for one in books.fill(books.berths["w0"])}
    books.join(Berth("w1", 4))
    books.level()
    taken = hosts_at(books, "w1")
    assert taken
    assert not taken & first


def test_many_workers_without_anything_share_what_little_there_is() -> None:
    books = books_of(1, may_split=True)
    enter(books, {"a": 40, "b": 1})
    for number in range(1, 9):
        books.join(Berth(f"w{number}", 4))
    for _ in range(3):
        books.level()
        fill_all(books)
    assert sum(berth.queued + len(berth.given) for berth in books.berths.values()) == 41
    assert sum(bool(berth.given) for berth in books.berths.values()) >= 3


@pytest.mark.parametrize(("may_split", "parts"), [(True, 2), (False, 1)])
def test_a_large_host_is_split_by_range_only_where_budgets_are_counted_in_common(may_split: bool, parts: int) -> None:
    books = books_of(1, may_split=may_split)
    enter(books, {"only": 4 * SPLIT_FROM})
    books.fill(books.berths["w0"])
    books.join(Berth("w1", 4))
    books.level()
    shares = [lane for berth in books.berths.values() for lane in berth.lanes.values()]
    assert len(shares) == parts
    numbers = [one.number for lane in shares for one in lane.queue]
    assert numbers == sorted(numbers)


def test_a_worker_is_given_so_much_as_it_can_do_in_some_seconds() -> None:
    berth = Berth("w", 4)
    for second in range(1, 20):
        berth.note_rate(100, float(second))
    assert berth.target == pytest.approx(100 * AHEAD, rel=0.01)


def test_what_a_worker_is_given_grows_twofold_at_a_time_and_to_an_end() -> None:
    berth = Berth("w", 4)
    targets = []
    for second in range(1, 20):
        berth.note_rate(10 * MOST, float(second))
        targets.append(berth.target)
    assert targets[:3] == [2 * berth.least, 4 * berth.least, 8 * berth.least]
    assert targets[-1] == MOST


def test_a_slow_worker_is_given_no_more_than_keeps_its_threads_busy() -> None:
    berth = Berth("w", 4)
    for second in range(1, 20):
        berth.note_rate(1, float(second))
    assert berth.target == berth.least


def test_a_stream_with_too_much_to_read_is_sent_nothing_more_but_what_it_waits_for() -> None:
    owner = Owner()
    books = books_of(1)
    for number in (1, 2):
        books.enter(request(number, "a", owner))
    owner.is_full = True
    assert books.fill(books.berths["w0"]) == []
    owner.awaited = books.given[1].ticket
    assert [one.number for one in books.fill(books.berths["w0"])] == [1]


def test_what_is_queued_of_a_stream_is_taken_out_and_nothing_of_it_stays() -> None:
    books = books_of(2)
    enter(books, {"a": 30, "b": 30})
    given = [one for some in fill_all(books).values() for one in some]
    gone = books.take_out(1)
    assert len(given) + len(gone) == 60
    for one in given:
        assert books.end(one.number) is one
    assert not books.given
    assert not any(berth.lanes or berth.given for berth in books.berths.values())


STEPS = st.lists(
    st.tuples(st.sampled_from(["enter", "fill", "end", "back", "join", "leave", "level"]), st.integers(0, 5)),
    max_size=60,
)


@drawn(STEPS, st.booleans())
def test_whatever_workers_do_every_request_ends_once_and_counts_hold(
    steps: list[tuple[str, int]], may_split: bool
) -> None:
    books, numbers, names = Books(may_split=may_split), count(1), count(1)
    entered: set[int] = set()
    ended: list[int] = []

    def berth_of(choice: int) -> Berth | None:
        berths = [*books.berths.values()]
        return berths[choice % len(berths)] if berths else None

    def end_some(berth: Berth, most: int) -> None:
        ended.extend(number for number in [*berth.given][:most] if books.end(number) is not None)

    for what, choice in steps:
        berth = berth_of(choice)
        if what == "enter":
            for _ in range(40):
                one = request(next(numbers), f"h{choice}")
                one.size = 1 + one.number % 3
                entered.add(one.number)
                books.enter(one)
        elif what == "join":
            books.join(Berth(f"w{next(names)}", 2))
        elif what == "level":
            books.level()
        elif berth is None:
            continue
        elif what == "fill":
            books.fill(berth)
        elif what == "end":
            end_some(berth, 1 + choice)
        elif what == "back":
            books.take_back(berth, [*berth.given][:choice])
        else:
            books.leave(berth.address)
        for each in books.berths.values():
            queued = [given.size for lane in each.lanes.values() for given in lane.queue]
            assert each.queued == sum(lane.queued for lane in each.lanes.values()) == sum(queued)
            assert each.has == sum(lane.under_way for lane in each.lanes.values())
            assert each.has == sum(given.size for given in each.given.values())
        assert books.waiting == sum(given.size for given in books.given.values() if given.lane is None)
        busy = [one.errand.host for each in books.berths.values() for one in each.given.values()]
        at = {(one.errand.host, each.address) for each in books.berths.values() for one in each.given.values()}
        assert may_split or len(at) == len({*busy})  # a host is one worker's while anything of it is under way
    if not books.berths:
        books.join(Berth("last", 2))
    while books.given:
        for each in books.berths.values():
            books.fill(each)
            end_some(each, MOST)
    assert sorted(ended) == sorted(entered)
    assert not any(each.lanes for each in books.berths.values())
