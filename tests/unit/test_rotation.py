"""Whose turn it is among proxies, and which of them are set aside, by times alone."""

from __future__ import annotations

import pytest

from workerpool import ConnectFailed, OptionError
from workerpool.proxies import ProxyList
from workerpool.transport.rotation import PERHAPS_MOST, Blame, Rotation, Route


class Time:
    """What a rotation asks for the time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def rotation(count: int, time: Time, **rules: float) -> Rotation:
    return Rotation(ProxyList([f"http://me:hunter2@p{n}:80" for n in range(count)], **rules), time)


def name(turns: Rotation, route: Route | None = None) -> str:
    return turns.pick(route or Route()).name.removeprefix("http://").removesuffix(":80")


def fail(turns: Rotation, blame: Blame = Blame.PROXY, route: Route | None = None) -> bool:
    route = route or Route()
    turns.pick(route)
    return turns.failed(route, blame, "refused")


def test_proxies_take_turns() -> None:
    turns = rotation(3, Time())
    assert [name(turns) for _ in range(7)] == ["p0", "p1", "p2", "p0", "p1", "p2", "p0"]


def test_a_send_that_was_not_made_keeps_its_proxy() -> None:
    turns, route = rotation(3, Time()), Route()
    assert [name(turns, route) for _ in range(3)] == ["p0"] * 3
    turns.answered(route)
    assert name(turns, route) == "p1"


def test_one_that_fails_is_set_aside_for_longer_each_time_and_tried_by_one_request() -> None:
    time = Time()
    turns = rotation(2, time, rest=5, longest=15)
    waits = []
    assert fail(turns)
    for _ in range(3):
        since = time.now
        while name(turns) != "p0":  # p0 is picked once its rest is over
            time.now += 0.5
        waits.append(time.now - since)
        probe = Route(*_at(turns, 0, time))
        assert name(turns) == "p1", "nobody else tries it meanwhile"
        turns.failed(probe, Blame.PROXY, "refused")
    assert waits == [5, 10, 15]


def _at(turns: Rotation, number: int, time: Time) -> tuple[object, float]:
    return turns._proxies[number], time.now


def test_one_that_answers_again_is_back() -> None:
    time = Time()
    turns = rotation(2, time, rest=5)
    fail(turns)
    assert {name(turns) for _ in range(4)} == {"p1"}
    time.now = 5.0
    probes = [Route(), Route()]
    assert {name(turns, probe) for probe in probes} == {"p0", "p1"}
    for probe in probes:
        turns.answered(probe)
    assert [name(turns) for _ in range(4)] in (["p0", "p1"] * 2, ["p1", "p0"] * 2)


def test_what_was_sent_before_it_was_known_says_nothing() -> None:
    time = Time()
    turns = rotation(1, time, rest=5, longest=100)
    sent = [Route() for _ in range(5)]
    for route in sent:
        turns.pick(route)
    time.now = 1.0
    for route in sent:
        turns.failed(route, Blame.PROXY, "refused")
    time.now = 6.0
    assert name(turns) == "p0", "six failures at once are one"


def test_what_may_be_the_servers_doing_sets_none_aside_before_another_has_an_answer() -> None:
    turns, route = rotation(5, Time()), Route()
    goes_on = [fail(turns, Blame.PERHAPS, route) for _ in range(PERHAPS_MOST + 1)]
    assert goes_on == [*[True] * PERHAPS_MOST, False], "a server that is down is not asked by every proxy"
    assert {name(turns) for _ in range(5)} == {f"p{n}" for n in range(5)}
    turns, route = rotation(5, Time()), Route()
    assert fail(turns, Blame.PERHAPS, route)
    assert name(turns, route) == "p1"
    turns.answered(route)
    assert "p0" not in {name(turns) for _ in range(8)}


def test_where_all_are_set_aside_the_error_says_so_and_when_to_try() -> None:
    time = Time()
    turns = rotation(5, time, rest=7)
    route = Route()
    assert [fail(turns, route=route) for _ in range(5)] == [True] * 4 + [False]
    time.now = 3.0
    with pytest.raises(ConnectFailed) as caught:
        turns.pick(Route())
    assert str(caught.value) == (
        "all 5 proxies are set aside for a while after failures "
        "(http://p0:80: refused; http://p1:80: refused; http://p2:80: refused; and 2 more)"
    )
    assert caught.value.rest == 4.0


def test_a_failure_of_nobodys_sets_none_aside() -> None:
    turns = rotation(2, Time())
    assert not fail(turns, Blame.NOT)
    assert {name(turns) for _ in range(2)} == {"p0", "p1"}


@pytest.mark.parametrize(
    ("urls", "rules", "why"),
    [
        ("http://a:80", {}, "takes a list of URLs"),
        (5, {}, "takes a list of URLs"),
        ([], {}, "has no proxy in it"),
        (["ftp://me:hunter2@a:80"], {}, r"'\*\*\*@a:80' is no proxy"),
        ([None], {}, "NoneType is no proxy"),
        (["http://a:80"], {"rest": 0}, "rest=0 must be seconds above zero"),
        (["http://a:80"], {"rest": 9, "longest": 5}, "raise that, too"),
    ],
)
def test_a_list_that_cannot_work_is_refused(urls: object, rules: dict[str, float], why: str) -> None:
    with pytest.raises(OptionError, match=why) as caught:
        ProxyList(urls, **rules)  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


def test_a_list_names_each_proxy_once_and_shows_no_login() -> None:
    proxies = ProxyList(["http://me:hunter2@a:80", "http://b:80", "http://b:80"])
    assert len(proxies.urls) == 2
    assert repr(proxies) == "ProxyList(['http://a:80', 'http://b:80'])"
