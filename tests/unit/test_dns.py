"""Names are looked up once at a time, remembered for a while, and waited for no longer than asked."""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from urllib3.exceptions import LocationParseError

from workerpool.transport import dns
from workerpool.transport.dns import Address, Resolver

LIMIT = 30.0
"""Seconds for whatever must end by itself."""


def found(*ips: str) -> list[Any]:
    """What `getaddrinfo` would return for a port of None."""
    return [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (ip, 0, 0, 0))
        if ":" in ip
        else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0))
        for ip in ips
    ]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Names:
    """A name server of our own: counts what it is asked, and answers when it is let."""

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[str] = []
        self.silent: set[str] = set()
        self.was_asked = threading.Event()
        self.may_answer = threading.Event()

    def __call__(self, host: str, port: Any, family: Any, kind: Any) -> Any:
        self.asked.append(host)
        self.was_asked.set()
        if host in self.silent:
            assert self.may_answer.wait(LIMIT)
        answer = self.answers.get(host, found("192.0.2.1"))
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def names() -> Iterator[Names]:
    names = Names()
    yield names
    names.may_answer.set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def occupy(resolver: Resolver, names: Names, *hosts: str) -> None:
    """Let one thread of the resolver wait for each of these silent names, and nobody for the thread."""
    for host in hosts:
        names.silent.add(host)
        names.was_asked.clear()
        with pytest.raises(TimeoutError):
            resolver.resolve(host, 0.001)
        assert names.was_asked.wait(LIMIT)


def ips(addresses: tuple[Address, ...]) -> list[str]:
    return [address.ip for address in addresses]


@pytest.mark.parametrize(
    ("host", "address", "sockaddr"),
    [
        ("192.0.2.7", Address(socket.AF_INET, "192.0.2.7"), ("192.0.2.7", 80)),
        ("::1", Address(socket.AF_INET6, "::1"), ("::1", 80, 0, 0)),
        ("[::1]", Address(socket.AF_INET6, "::1"), ("::1", 80, 0, 0)),
        ("[fe80::1%3]", Address(socket.AF_INET6, "fe80::1", 0, 3), ("fe80::1", 80, 0, 3)),
        ("fe80::1%lo", Address(socket.AF_INET6, "fe80::1", 0, socket.if_nametoindex("lo")), None),
    ],
)
def test_a_literal_address_needs_no_look_up(names: Names, host: str, address: Address, sockaddr: Any) -> None:
    resolver = Resolver(look_up=names)
    assert resolver.resolve(host, 1) == (address,)
    assert sockaddr is None or address.sockaddr(80) == sockaddr
    assert names.asked == []


def test_a_literal_address_on_an_unknown_interface_does_not_resolve(names: Names) -> None:
    with pytest.raises(socket.gaierror, match="no-such-interface"):
        Resolver(look_up=names).resolve("fe80::1%no-such-interface", 1)


def test_the_systems_own_look_up_finds_the_loopback() -> None:
    addresses = Resolver().resolve("localhost", LIMIT)
    assert {"127.0.0.1", "::1"} & {*ips(addresses)}


def test_addresses_come_in_the_systems_order_each_once(names: Names) -> None:
    names.answers["a.test"] = found("2001:db8::2", "192.0.2.2", "2001:db8::2", "192.0.2.1", "192.0.2.2")
    assert ips(Resolver(look_up=names).resolve("a.test", LIMIT)) == ["2001:db8::2", "192.0.2.2", "192.0.2.1"]


def test_the_scope_of_an_address_that_was_looked_up_is_kept(names: Names) -> None:
    names.answers["a.test"] = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::9%lo", 0, 5, 1))]
    (address,) = Resolver(look_up=names).resolve("a.test", LIMIT)
    assert address.sockaddr(443) == ("fe80::9", 443, 5, 1)


def test_addresses_are_remembered_for_the_ttl_whatever_the_names_case(names: Names, clock: Clock) -> None:
    resolver = Resolver(look_up=names, now=clock)
    for host in ("a.test", "A.test", "a.TEST"):
        resolver.resolve(host, LIMIT)
    clock.now += dns.TTL - 0.001
    resolver.resolve("a.test", LIMIT)
    assert names.asked == ["a.test"]
    clock.now += 0.001
    resolver.resolve("a.test", LIMIT)
    assert names.asked == ["a.test"] * 2


def test_a_failure_is_remembered_for_less_and_raised_as_a_new_exception(names: Names, clock: Clock) -> None:
    names.answers["no.test"] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    resolver = Resolver(look_up=names, now=clock)
    errors = []
    for _ in range(3):
        with pytest.raises(socket.gaierror) as caught:
            resolver.resolve("no.test", LIMIT)
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3
    assert {error.args for error in errors} == {(socket.EAI_NONAME, "Name or service not known")}
    assert names.asked == ["no.test"]
    clock.now += dns.NEGATIVE_TTL
    del names.answers["no.test"]
    assert ips(resolver.resolve("no.test", LIMIT)) == ["192.0.2.1"]


def test_a_name_without_addresses_does_not_resolve(names: Names) -> None:
    names.answers["empty.test"] = []
    with pytest.raises(socket.gaierror):
        Resolver(look_up=names).resolve("empty.test", LIMIT)


@pytest.mark.parametrize(
    "surprise", [ValueError("embedded null"), OSError(24, "no more files"), SystemExit(3)], ids=repr
)
def test_whatever_else_a_look_up_raises_reaches_who_waits_and_is_not_remembered(
    names: Names, surprise: BaseException
) -> None:
    names.answers["odd.test"] = surprise
    resolver = Resolver(look_up=names)
    for _ in range(2):
        with pytest.raises(OSError, match=r"odd\.test") as caught:
            resolver.resolve("odd.test", LIMIT)
        assert caught.value.__cause__ is surprise
    assert names.asked == ["odd.test"] * 2


@pytest.mark.parametrize("host", ["a..test", "x" * 64 + ".test"])
def test_a_label_that_is_empty_or_too_long_is_refused_as_by_urllib3(names: Names, host: str) -> None:
    with pytest.raises(LocationParseError, match="label empty or too long"):
        Resolver(look_up=names).resolve(host, LIMIT)
    assert names.asked == []


def test_of_too_many_names_the_least_recently_asked_for_is_forgotten(names: Names) -> None:
    resolver = Resolver(look_up=names, most=2)
    for host in ("a.test", "b.test", "a.test", "c.test", "a.test", "b.test"):
        resolver.resolve(host, LIMIT)
    assert names.asked == ["a.test", "b.test", "c.test", "b.test"]
    assert len(resolver._answers) == 2


def test_many_callers_of_one_name_share_one_look_up(names: Names) -> None:
    resolver = Resolver(look_up=names)
    occupy(resolver, names, "a.test")
    with ThreadPoolExecutor(8) as callers:
        for caller in [callers.submit(resolver.resolve, "A.test", 0.01) for _ in range(8)]:
            with pytest.raises(TimeoutError):
                caller.result(LIMIT)
        others = [callers.submit(resolver.resolve, "a.test", LIMIT) for _ in range(8)]
        names.may_answer.set()
        assert all(ips(caller.result(LIMIT)) == ["192.0.2.1"] for caller in others)
    assert names.asked == ["a.test"]


def test_a_caller_waits_no_longer_than_asked_and_the_answer_is_there_for_the_next(names: Names) -> None:
    names.silent.add("a.test")
    resolver = Resolver(look_up=names)
    with pytest.raises(TimeoutError, match=r"'a\.test' was not resolved within 0\.05 s"):
        resolver.resolve("a.test", 0.05)
    names.may_answer.set()
    assert ips(resolver.resolve("a.test", LIMIT)) == ["192.0.2.1"]
    assert names.asked == ["a.test"]


def test_where_every_thread_is_busy_look_ups_queue_and_timeouts_still_hold(names: Names) -> None:
    resolver = Resolver(look_up=names, threads=2)
    occupy(resolver, names, "slow.test", "slower.test")
    with pytest.raises(TimeoutError):
        resolver.resolve("queued.test", 0.05)
    assert names.asked == ["slow.test", "slower.test"]
    names.may_answer.set()
    assert ips(resolver.resolve("queued.test", LIMIT)) == ["192.0.2.1"]
    assert names.asked.count("queued.test") == 1


def test_a_name_that_somebody_waits_for_goes_before_those_given_up(names: Names) -> None:
    resolver = Resolver(look_up=names, threads=1)
    occupy(resolver, names, "slow.test")
    with pytest.raises(TimeoutError):
        resolver.resolve("given-up.test", 0.001)
    waited_for, _ = resolver._ask("waited-for.test")
    names.may_answer.set()
    assert waited_for.is_answered.wait(LIMIT)
    resolver.resolve("given-up.test", LIMIT)
    assert names.asked == ["slow.test", "waited-for.test", "given-up.test"]


def test_look_ups_that_nobody_waits_for_do_not_pile_up(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "LEFT_BEHIND", 3)
    resolver = Resolver(look_up=names, threads=1)
    occupy(resolver, names, "slow.test")
    for number in range(10):
        with pytest.raises(TimeoutError):
            resolver.resolve(f"{number}.test", 0.001)
    assert [*resolver._queue] == ["7.test", "8.test", "9.test"]
    assert {*resolver._questions} <= {"slow.test", *resolver._queue}
    names.may_answer.set()
    resolver.resolve("0.test", LIMIT)


def test_threads_exist_only_while_names_are_looked_up(names: Names) -> None:
    resolver = Resolver(look_up=names)
    occupy(resolver, names, "a.test")
    (thread,) = resolver._threads
    assert thread.daemon
    names.may_answer.set()
    thread.join(LIMIT)
    assert not thread.is_alive()
    assert not resolver._threads


def test_without_a_thread_to_be_had_the_caller_is_told(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    resolver = Resolver(look_up=names)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OSError, match="can't start new thread"):
            resolver.resolve("a.test", LIMIT)
    assert ips(resolver.resolve("a.test", LIMIT)) == ["192.0.2.1"]


def test_an_interrupted_caller_leaves_nothing_behind_that_hangs_the_next(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: threading.Thread) -> None:
        raise KeyboardInterrupt

    resolver = Resolver(look_up=names)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            resolver.resolve("a.test", LIMIT)
    assert ips(resolver.resolve("a.test", LIMIT)) == ["192.0.2.1"]


def test_a_preferred_address_comes_first_for_as_long_as_the_answer_lives(names: Names, clock: Clock) -> None:
    names.answers["a.test"] = found("2001:db8::1", "192.0.2.1", "192.0.2.2")
    resolver = Resolver(look_up=names, now=clock)
    *_, last = resolver.resolve("a.test", LIMIT)
    resolver.prefer("A.test", last)
    assert ips(resolver.resolve("a.test", LIMIT)) == ["192.0.2.2", "2001:db8::1", "192.0.2.1"]
    clock.now += dns.TTL
    assert ips(resolver.resolve("a.test", LIMIT)) == ["2001:db8::1", "192.0.2.1", "192.0.2.2"]


def test_an_address_that_the_name_does_not_have_is_not_preferred(names: Names) -> None:
    resolver = Resolver(look_up=names)
    before = resolver.resolve("a.test", LIMIT)
    resolver.prefer("a.test", Address(socket.AF_INET, "192.0.2.99"))
    resolver.prefer("unknown.test", before[0])
    assert resolver.resolve("a.test", LIMIT) == before


@pytest.mark.usefixtures("tiny_switch_interval")
def test_many_threads_get_right_answers_and_never_look_a_name_up_twice_at_once(clock: Clock) -> None:
    lock = threading.Lock()
    under_way: Counter[str] = Counter()
    complaints: list[str] = []
    most_at_once = 0

    def look_up(host: str, *_: Any) -> Any:
        nonlocal most_at_once
        with lock:
            under_way[host] += 1
            most_at_once = max(most_at_once, sum(under_way.values()))
            if under_way[host] > 1:
                complaints.append(f"{host} was looked up twice at once")
        number = int(host.partition(".")[0])
        with lock:
            under_way[host] -= 1
        if number % 5 == 0:
            raise socket.gaierror(socket.EAI_NONAME, host)
        return found(f"192.0.2.{number}", f"198.51.100.{number}")

    resolver = Resolver(look_up=look_up, now=clock, most=8, threads=3)

    def ask(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(400):
            number = choose.randrange(12)
            clock.now += 0.5
            try:
                addresses = resolver.resolve(f"{number}.test", LIMIT)
            except socket.gaierror as error:
                if number % 5 or error.args[1] != f"{number}.test":
                    complaints.append(f"{number}.test failed with {error!r}")
                continue
            if {*ips(addresses)} != {f"192.0.2.{number}", f"198.51.100.{number}"}:
                complaints.append(f"{number}.test led to {addresses}")
            resolver.prefer(f"{number}.test", choose.choice(addresses))

    with ThreadPoolExecutor(12) as callers:
        for caller in [callers.submit(ask, seed) for seed in range(12)]:
            caller.result(LIMIT)
    assert not complaints
    assert 1 <= most_at_once <= 3
    for thread in [*resolver._threads]:
        thread.join(LIMIT)
    assert not resolver._threads
    assert not resolver._questions
    assert not resolver._queue
    assert len(resolver._answers) <= 8


def test_a_program_may_put_its_own_getaddrinfo_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found("192.0.2.7"))
    assert ips(resolver.resolve("pinned.test", LIMIT)) == ["192.0.2.7"]
