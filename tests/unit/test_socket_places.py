"""The count of open sockets, apart from the sockets."""

from __future__ import annotations

from collections import Counter, deque

from workerpool.transport.places import SocketPlaces


def test_a_place_is_one_of_its_host_and_one_of_all_until_it_is_given_back() -> None:
    places = SocketPlaces(3, 2, None)
    tickets = [places.take("a"), places.take("a"), places.take("b")]
    assert places.is_full("a")
    assert not places.is_full("b")
    assert places.is_full(None)
    places.leave(tickets[0])
    assert places.is_full("a")  # not yet: who leaves takes no lock
    assert places.let_go()
    assert not places.let_go()
    assert not places.is_full("a")
    assert not places.is_full(None)
    assert tickets[0] not in places
    assert tickets[1] in places
    assert places.by_host() == Counter(a=1, b=1)


def test_a_place_that_moves_to_another_host_leaves_room_at_the_first() -> None:
    places = SocketPlaces(9, 1, None)
    ticket = places.take("a")
    places.move(ticket, "b")
    assert places.is_full("b")
    assert not places.is_full("a")
    places.leave(ticket)
    places.let_go()
    places.move(ticket, "a")  # it was closed meanwhile
    assert not len(places)


def test_places_may_be_given_back_by_the_garbage_collector_while_they_are() -> None:
    class Interrupted(deque[int]):
        def __len__(self) -> int:
            places._gone = deque(self)
            assert places.let_go()
            self.clear()
            return 1  # what was there when it was asked

    places = SocketPlaces(9, 9, None)
    ticket = places.take("a")
    places._gone = Interrupted([ticket])
    assert not places.let_go()
    assert not len(places)
