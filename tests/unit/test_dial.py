"""A connection is made to an address that the guard has seen, within the time allowed, and no socket is left behind."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from urllib3.exceptions import LocationParseError

from workerpool.config import GuardRules
from workerpool.errors import Denied
from workerpool.transport import dial
from workerpool.transport.dial import ATTEMPT_CAP, Dialer
from workerpool.transport.dns import TTL, Resolver
from workerpool.transport.guard import Guard

LIMIT = 30.0
"""Seconds for whatever must end by itself."""

HOST = "host.test"
OPEN = GuardRules()
NO_PRIVATE = GuardRules(deny_private=True)


class Recorder(socket.socket):
    """A socket that is remembered, so that a test can see that it was closed."""

    made: list[Recorder]
    connect_as: Callable[[Recorder, Any], None] | None = None
    peer: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made.append(self)
        self.target: Any = None
        self.patience = self.gettimeout()

    def connect(self, sockaddr: Any) -> None:
        self.target, self.patience = sockaddr, self.gettimeout()
        connect = type(self).connect_as
        if connect is None:
            super().connect(sockaddr)
        else:
            connect(self, sockaddr)

    def getpeername(self) -> Any:
        return super().getpeername() if self.peer is None else self.peer


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    class Fresh(Recorder):
        made: list[Recorder] = []  # noqa: RUF012  # of this test alone

    monkeypatch.setattr(dial, "socket", SimpleNamespace(**{**vars(socket), "socket": Fresh}))  # for the dialer alone
    return Fresh


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listening(stack: ExitStack, ip: str, port: int = 0, backlog: int = 16) -> tuple[socket.socket, int]:
    listener = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET))
    listener.bind((ip, port))
    listener.listen(backlog)
    listener.settimeout(LIMIT)
    return listener, listener.getsockname()[1]


def silent(stack: ExitStack, ip: str, port: int) -> Callable[[], None]:
    """Let `ip` answer no connection: its listener's queue is full. Returns what makes room in it."""
    listener, _ = listening(stack, ip, port, backlog=0)
    for _ in range(8):
        filler = stack.enter_context(socket.socket())
        filler.settimeout(0.1)
        try:
            filler.connect((ip, port))
        except TimeoutError:
            filler.close()  # else it would try again, and take the room that is made
            return lambda: listener.accept()[0].close()
    pytest.fail("the listener's queue does not fill")


def free_port() -> int:
    """A port where nobody listens, on any loopback address."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def look_up_of(*ips: str) -> Callable[..., Any]:
    def look_up(*_: Any) -> Any:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (ip, 0, 0, 0))
            if ":" in ip
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0))
            for ip in ips
        ]

    return look_up


def dialer_to(*ips: str, rules: GuardRules = OPEN) -> Dialer:
    return Dialer(Resolver(look_up=look_up_of(*ips)), Guard(rules))


def is_nobody_waiting(listener: socket.socket) -> bool:
    listener.settimeout(0)
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return True
    return False


def test_a_name_is_connected_to_and_the_time_that_it_took_is_told(stack: ExitStack) -> None:
    listener, port = listening(stack, "127.0.0.1")
    dialed = dialer_to("127.0.0.1").dial(HOST, port, timeout=12.5)
    with dialed.sock, listener.accept()[0] as served:
        assert dialed.sock.gettimeout() == 12.5
        assert dialed.sock.getpeername() == ("127.0.0.1", port)
        served.sendall(b"hello")
        assert dialed.sock.recv(5) == b"hello"
    assert 0 < dialed.dns < LIMIT
    assert 0 < dialed.connect < LIMIT


def test_an_ipv6_literal_is_connected_to(stack: ExitStack, require: Callable[[object, str], None]) -> None:
    try:
        listener, port = listening(stack, "::1")
    except OSError:
        require(False, "IPv6 on the loopback")
    with dialer_to().dial("[::1]", port, timeout=None).sock as sock, listener.accept()[0]:
        assert sock.getpeername()[:2] == ("::1", port)
        assert sock.gettimeout() is None


def test_socket_options_and_the_source_are_set_before_connecting(stack: ExitStack) -> None:
    listener, port = listening(stack, "127.0.0.1")
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    dialed = dialer_to("127.0.0.1").dial(
        HOST, port, timeout=LIMIT, source_address=("127.0.0.9", 0), socket_options=iter(options)
    )
    with dialed.sock, listener.accept()[0] as served:
        assert served.getpeername()[0] == "127.0.0.9"
        assert dialed.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert dialed.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_source_of_the_other_family_is_no_failure_to_resolve_the_host(recorder: type[Recorder]) -> None:
    with pytest.raises(OSError, match=r"127\.0\.0\.1 cannot be the source") as caught:
        dialer_to("2001:db8::1").dial(HOST, 80, timeout=LIMIT, source_address=("127.0.0.1", 0))
    assert not isinstance(caught.value, socket.gaierror)
    assert [sock.fileno() for sock in recorder.made] == [-1]


def test_an_address_that_refuses_gives_way_to_the_next(stack: ExitStack, recorder: type[Recorder]) -> None:
    listener, port = listening(stack, "127.0.0.1")
    dialer = dialer_to("127.0.0.2", "127.0.0.3", "127.0.0.1")
    with dialer.dial(HOST, port, timeout=LIMIT).sock as sock, listener.accept()[0]:
        assert sock.getpeername()[0] == "127.0.0.1"
        assert [made.fileno() for made in recorder.made] == [-1, -1, sock.fileno()]


def test_an_address_that_is_silent_costs_a_quarter_of_a_second_once(stack: ExitStack) -> None:
    listener, port = listening(stack, "127.0.0.1")
    silent(stack, "127.0.0.2", port)
    dialer = dialer_to("127.0.0.2", "127.0.0.1")
    first = dialer.dial(HOST, port, timeout=LIMIT)
    second = dialer.dial(HOST, port, timeout=LIMIT)
    with first.sock, second.sock, listener.accept()[0], listener.accept()[0]:
        assert ATTEMPT_CAP <= first.connect < 10
        assert second.connect < ATTEMPT_CAP


def test_where_all_are_silent_the_timeout_holds_for_all_together(stack: ExitStack, recorder: type[Recorder]) -> None:
    port = free_port()
    for ip in ("127.0.0.2", "127.0.0.3"):
        silent(stack, ip, port)
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=rf"no connection to host\.test port {port} within 0\.6 s"):
        dialer_to("127.0.0.2", "127.0.0.3").dial(HOST, port, timeout=0.6)
    assert 0.6 <= time.monotonic() - started < 10
    assert {sock.fileno() for sock in recorder.made} == {-1}


def test_no_further_address_is_tried_once_time_is_out(stack: ExitStack, recorder: type[Recorder]) -> None:
    listener, port = listening(stack, "127.0.0.1")
    silent(stack, "127.0.0.2", port)
    with pytest.raises(TimeoutError):
        dialer_to("127.0.0.2", "127.0.0.3", "127.0.0.1").dial(HOST, port, timeout=0.1)
    assert [sock.target[0] for sock in recorder.made] == ["127.0.0.2"]
    assert recorder.made[0].patience is not None
    assert recorder.made[0].patience <= 0.1
    assert is_nobody_waiting(listener)


def test_an_address_that_is_only_slow_has_a_second_try_after_a_dead_one(
    stack: ExitStack, recorder: type[Recorder]
) -> None:
    port = free_port()
    make_room = silent(stack, "127.0.0.2", port)

    def connect(sock: Recorder, sockaddr: Any) -> None:
        if sockaddr[0] == "127.0.0.3":  # it refuses; and by now the first one can answer
            make_room()
        super(Recorder, sock).connect(sockaddr)

    recorder.connect_as = connect
    with dialer_to("127.0.0.2", "127.0.0.3").dial(HOST, port, timeout=LIMIT).sock as sock:
        assert sock.getpeername()[0] == "127.0.0.2"
        assert [made.target[0] for made in recorder.made] == ["127.0.0.2", "127.0.0.3", "127.0.0.2"]


def test_the_patience_with_each_address_is_a_share_of_what_is_left(recorder: type[Recorder]) -> None:
    def connect(sock: Recorder, sockaddr: Any) -> None:
        raise TimeoutError("timed out")

    recorder.connect_as = connect
    with pytest.raises(TimeoutError):
        dialer_to("127.0.0.2", "127.0.0.3", "127.0.0.4").dial(HOST, 80, timeout=LIMIT)
    tries = [(sock.target[0], sock.patience) for sock in recorder.made]
    assert tries == [
        ("127.0.0.2", ATTEMPT_CAP),
        ("127.0.0.3", ATTEMPT_CAP),
        ("127.0.0.4", pytest.approx(LIMIT / 3, abs=2)),
        ("127.0.0.2", pytest.approx(LIMIT / 2, abs=2)),
        ("127.0.0.3", pytest.approx(LIMIT, abs=2)),
    ]


def test_a_single_address_has_all_the_time_there_is(recorder: type[Recorder]) -> None:
    recorder.connect_as = lambda sock, sockaddr: None
    with dialer_to("127.0.0.2").dial(HOST, 80, timeout=LIMIT).sock:
        pass
    with dialer_to("127.0.0.2").dial(HOST, 80, timeout=None).sock:
        pass
    assert [sock.patience for sock in recorder.made] == [pytest.approx(LIMIT, abs=2), None]


def test_the_error_is_that_of_the_last_try(recorder: type[Recorder]) -> None:
    def connect(sock: Recorder, sockaddr: Any) -> None:
        raise ConnectionRefusedError(sockaddr[0])

    recorder.connect_as = connect
    with pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.3"):
        dialer_to("127.0.0.2", "127.0.0.3").dial(HOST, 80, timeout=LIMIT)
    assert [sock.fileno() for sock in recorder.made] == [-1, -1]


def test_an_interrupt_closes_the_socket(recorder: type[Recorder]) -> None:
    def connect(sock: Recorder, sockaddr: Any) -> None:
        raise KeyboardInterrupt

    recorder.connect_as = connect
    with pytest.raises(KeyboardInterrupt):
        dialer_to("127.0.0.2", "127.0.0.3").dial(HOST, 80, timeout=LIMIT)
    assert [sock.fileno() for sock in recorder.made] == [-1]


def test_an_interrupt_after_connecting_closes_the_socket(
    recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    recorder.connect_as = lambda sock, sockaddr: None
    dialer = dialer_to("127.0.0.2")
    monkeypatch.setattr(dialer.resolver, "prefer", interrupt)
    with pytest.raises(KeyboardInterrupt):
        dialer.dial(HOST, 80, timeout=LIMIT)
    assert [sock.fileno() for sock in recorder.made] == [-1]


def test_the_look_up_counts_against_the_timeout() -> None:
    def look_up(*_: Any) -> Any:
        raise AssertionError("not reached in time")

    with pytest.raises(TimeoutError, match=r"'host\.test' was not resolved within 0 s"):
        Dialer(Resolver(look_up=look_up, threads=0), Guard(OPEN)).dial(HOST, 80, timeout=0)


def test_what_the_look_up_took_is_not_given_again(monkeypatch: pytest.MonkeyPatch, recorder: type[Recorder]) -> None:
    dialer = dialer_to("127.0.0.2")
    resolve = dialer.resolver.resolve
    now = time.monotonic()

    def slow_resolve(host: str, timeout: float | None) -> Any:
        monkeypatch.setattr("workerpool.transport.dial.time.monotonic", lambda: now + 20)
        return resolve(host, timeout)

    monkeypatch.setattr("workerpool.transport.dial.time.monotonic", lambda: now)
    monkeypatch.setattr(dialer.resolver, "resolve", slow_resolve)
    recorder.connect_as = lambda sock, sockaddr: None
    with dialer.dial(HOST, 80, timeout=25).sock:
        pass
    assert [sock.patience for sock in recorder.made] == [pytest.approx(5)]


def test_a_name_that_does_not_resolve_raises_what_sockets_raise() -> None:
    def look_up(*_: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    dialer = Dialer(Resolver(look_up=look_up), Guard(OPEN))
    with pytest.raises(socket.gaierror, match="not known"):
        dialer.dial(HOST, 80, timeout=LIMIT)
    with pytest.raises(LocationParseError):
        dialer.dial("a..test", 80, timeout=LIMIT)


# -- the guard --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [HOST, "127.0.0.1", "2130706433", "0x7f.1", "::ffff:127.0.0.1", "[::1]"])
def test_with_deny_private_nothing_is_sent_to_the_loopback(
    stack: ExitStack, recorder: type[Recorder], host: str
) -> None:
    listener, port = listening(stack, "127.0.0.1")
    look_up = look_up_of("127.0.0.1") if host == HOST else socket.getaddrinfo  # which reads all odd spellings
    with pytest.raises(Denied, match="deny_private"):
        Dialer(Resolver(look_up=look_up), Guard(NO_PRIVATE)).dial(host, port, timeout=LIMIT)
    assert not recorder.made
    assert is_nobody_waiting(listener)


def test_a_proxys_own_address_is_not_the_guards_business(stack: ExitStack) -> None:
    listener, port = listening(stack, "127.0.0.1")
    dialer = dialer_to("127.0.0.1", rules=NO_PRIVATE)
    with dialer.dial(HOST, port, timeout=LIMIT, guarded=False).sock, listener.accept()[0]:
        pass


def test_only_the_public_ones_of_a_names_addresses_are_tried(recorder: type[Recorder]) -> None:
    recorder.connect_as = lambda sock, sockaddr: None
    recorder.peer = ("192.0.9.1", 80)
    with dialer_to("10.0.0.1", "192.0.9.1", "::1", rules=NO_PRIVATE).dial(HOST, 80, timeout=LIMIT).sock:
        pass
    assert [sock.target for sock in recorder.made] == [("192.0.9.1", 80)]


def test_a_name_that_is_rebound_to_the_loopback_is_not_connected_to(stack: ExitStack, recorder: type[Recorder]) -> None:
    listener, port = listening(stack, "127.0.0.1")
    answers = [look_up_of("192.0.9.1"), look_up_of("127.0.0.1")]
    now = 0.0
    resolver = Resolver(look_up=lambda *args: answers.pop(0)(), now=lambda: now)
    dialer = Dialer(resolver, Guard(NO_PRIVATE))
    recorder.connect_as = lambda sock, sockaddr: None
    recorder.peer = ("192.0.9.1", port)
    with dialer.dial(HOST, port, timeout=LIMIT).sock:
        pass
    assert len(answers) == 1, "what was judged is what is connected to, without a second look-up"
    recorder.connect_as = recorder.peer = None
    now += TTL
    with pytest.raises(Denied, match=r"127\.0\.0\.1, a loopback address"):
        dialer.dial(HOST, port, timeout=LIMIT)
    assert [sock.target for sock in recorder.made] == [("192.0.9.1", port)]
    assert is_nobody_waiting(listener)


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1"])
def test_a_connection_that_ends_up_at_a_private_address_is_closed_and_denied(
    recorder: type[Recorder], peer: str
) -> None:
    recorder.connect_as = lambda sock, sockaddr: None
    recorder.peer = (peer, 80)
    with pytest.raises(Denied, match=peer):
        dialer_to("192.0.9.1", "192.0.9.2", rules=NO_PRIVATE).dial(HOST, 80, timeout=LIMIT)
    assert [sock.fileno() for sock in recorder.made] == [-1]
