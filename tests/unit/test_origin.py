"""The loopback origin: what it says, how it misbehaves on request, and what it counts."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.unit.plain_client import LIMIT, Client
from workerpool.errors import OptionError
from workerpool.testing import Origin, Reply
from workerpool.testing.origin import Records, Sockets


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture
def client(origin: Origin) -> Iterator[Client]:
    with Client(origin) as client:
        yield client


# Its life


def test_a_stopped_origin_leaves_no_thread_and_no_socket_behind() -> None:
    threads = {*threading.enumerate()}
    origin = Origin().start()
    with Client(origin) as idle, Client(origin) as busy:
        idle.get("/")
        busy.send("GET /delay/60 HTTP/1.1\nHost: here\n\n")
        origin.wait_for(2)
        port = origin.port
        origin.stop()
        assert idle.is_closed()
        assert busy.is_closed()
    assert not {*threading.enumerate()} - threads
    assert origin.connections_open == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=LIMIT)


def test_stopping_and_starting_may_be_repeated() -> None:
    origin = Origin()
    origin.stop()
    for count in (1, 2):
        with origin:
            assert origin.start() is origin
            with Client(origin) as client:
                assert client.get("/")[0] == 200
            assert origin.requests == count
        origin.stop()
    with pytest.raises(RuntimeError, match="not started"):
        origin.url("/")


def test_a_port_that_is_taken_is_an_error_that_leaves_nothing_behind(origin: Origin) -> None:
    second = Origin(("127.0.0.2", "127.0.0.1"), origin.port)
    with pytest.raises(OSError, match="in use"):
        second.start()
    with Origin(("127.0.0.2",), origin.port) as third:
        assert third.port == origin.port


@pytest.mark.parametrize(
    "addresses", [(), "127.0.0.1", ("10.0.0.1",), ("localhost",), ("0.0.0.0",), ("127.0.0.1",) * 2]
)
def test_only_loopback_addresses_are_served(addresses: tuple[str, ...]) -> None:
    with pytest.raises(OptionError, match="addresses"):
        Origin(addresses)


def test_options_that_cannot_work_are_refused_by_name() -> None:
    for options in (
        {"idle_timeout": 0},
        {"idle_timeout_max": 1},
        {"requests_per_connection": 0},
        {"record": "some"},
        {"record_limit": 0},
    ):
        with pytest.raises(OptionError, match=next(iter(options))):
            Origin(**options)
    for fields in ({"status": 100}, {"delay": -1}, {"drip": -1}, {"truncate": -1}, {"encoding": "br"}):
        with pytest.raises(OptionError, match=next(iter(fields))):
            Reply(**fields)


def test_several_addresses_are_several_hosts_on_one_port() -> None:
    with Origin(("127.0.0.1", "127.0.0.2")) as origin:
        origin.script("/who", Reply(body=b"second"), address="127.0.0.2")
        origin.script("/who", Reply(body=b"any"))
        with Client(origin) as first, Client(origin, "127.0.0.2") as second, Client(origin, "127.0.0.2"):
            assert first.get("/who")[2] == b"any"
            assert second.get("/who")[2] == b"second"
            assert second.get("/who")[2] == b"second"
            origin.wait_until(lambda: origin.connections_open == 3)
        assert origin.url("/x", "127.0.0.2") == f"http://127.0.0.2:{origin.port}/x"
        with pytest.raises(OptionError, match=r"127\.0\.0\.3"):
            origin.url("/x", "127.0.0.3")
        records = origin.records()
        assert records.requests_at == {"127.0.0.1": 1, "127.0.0.2": 2}
        assert (origin.sockets("127.0.0.1").peak, origin.sockets("127.0.0.2").peak, origin.connections_peak) == (
            1,
            2,
            3,
        )
        assert [arrival.address for arrival in origin.arrivals] == ["127.0.0.1", "127.0.0.2", "127.0.0.2"]


def test_a_connection_that_its_client_has_closed_is_not_counted_beside_the_next_one(origin: Origin) -> None:
    """Also where the origin comes to it late: what is sent behind an unanswered request stays unread."""
    first = socket.create_connection(("127.0.0.1", origin.port), timeout=LIMIT)
    first.sendall(b"GET /delay/60 HTTP/1.1\r\nHost: here\r\n\r\n" + 600_000 * b"x")
    origin.wait_for(1)
    first.close()
    with Client(origin) as second:
        second.get("/")
        assert (origin.connections_opened, origin.connections_peak) == (2, 1)
    origin.wait_until(lambda: origin.connections_open == 0)


# Scripts


def test_a_script_gives_its_replies_in_order_and_repeats_the_last(origin: Origin, client: Client) -> None:
    origin.script("/item", Reply(status=503), lambda arrival: Reply(body=arrival.path.encode()), Reply(body=b"last"))
    assert [client.get("/item?a=1")[::2] for _ in range(4)] == [(503, b""), (200, b"/item?a=1")] + 2 * [(200, b"last")]


def test_a_script_with_a_query_goes_before_one_without(origin: Origin, client: Client) -> None:
    origin.script("/item", Reply(body=b"any"))
    origin.script("/item?n=1", Reply(body=b"one"))
    assert [client.get(path)[2] for path in ("/item?n=1", "/item?n=2", "/item")] == [b"one", b"any", b"any"]


def test_a_default_stands_in_for_the_built_in_paths_but_not_for_scripts(origin: Origin, client: Client) -> None:
    origin.script("/scripted", Reply(body=b"scripted"))
    origin.default = lambda arrival: Reply(status=418, body=arrival.method.encode())
    assert client.get("/scripted")[2] == b"scripted"
    assert client.get("/bytes/3")[::2] == (418, b"GET")
    origin.default = None
    assert client.get("/bytes/3")[::2] == (200, b"\0\1\2")


def test_a_callable_that_raises_is_a_500_that_says_so(origin: Origin, client: Client) -> None:
    origin.default = lambda arrival: Reply(status=int(arrival.path))
    status, _, body = client.get("/x")
    assert status == 500
    assert b"ValueError" in body


def test_a_script_needs_a_path_and_a_reply(origin: Origin) -> None:
    with pytest.raises(OptionError, match="at least one reply"):
        origin.script("/x")
    with pytest.raises(OptionError, match="slash"):
        origin.script("x", Reply())


# Replies


def test_headers_given_stand_in_place_of_the_origins_own_and_may_repeat(origin: Origin, client: Client) -> None:
    origin.script("/x", Reply(body=b"12345", headers=[("Content-Length", "3"), ("A", "1"), ("A", "2")], close=True))
    client.send("GET /x HTTP/1.1\nHost: here\n\n")
    text = client.file.read()
    assert text.count(b"Content-Length") == 1
    assert b"Content-Length: 3\r\n" in text
    assert b"A: 1\r\nA: 2\r\n" in text
    assert text.endswith(b"\r\n\r\n12345")


def test_bodies_may_be_compressed_and_chunked(origin: Origin, client: Client) -> None:
    body = b"abc" * 1000
    for encoding, decode in (("gzip", gzip.decompress), ("deflate", zlib.decompress)):
        for chunked in (True, False):
            origin.script("/x", Reply(body=body, encoding=encoding, chunked=chunked))  # type: ignore[arg-type]
            _, headers, got = client.get("/x")
            assert headers["content-encoding"] == encoding
            assert ("transfer-encoding" in headers, "content-length" in headers) == (chunked, not chunked)
            assert decode(got) == body


def test_a_chunked_body_comes_in_several_chunks(client: Client) -> None:
    client.send("GET /chunked?bytes=1000 HTTP/1.1\nHost: here\n\n")
    while client.file.readline() != b"\r\n":
        pass
    assert len(list(client.chunks())) >= 4


def test_a_delay_holds_back_the_first_byte(origin: Origin, client: Client) -> None:
    client.get("/delay/0.15")
    assert time.monotonic() - origin.arrivals[0].time >= 0.15


def test_a_reply_in_two_pieces_does_not_wait_for_the_clients_acknowledgement(origin: Origin, client: Client) -> None:
    """Nagle's algorithm and delayed acknowledgements would make each of these take 40 ms more, from the second on."""
    took = []
    for _ in range(10):
        client.get("/delay/0.001")
        took.append(time.monotonic() - origin.arrivals[-1].time)
    assert min(took[2:]) < 0.03


@pytest.mark.parametrize("reply", [Reply(body=b"12345", drip=0.02), Reply(body=b"", drip_head=0.003)])
def test_a_drip_spreads_bytes_over_time(origin: Origin, client: Client, reply: Reply) -> None:
    origin.script("/x", reply)
    status, _, body = client.get("/x")
    assert (status, body) == (200, reply.body)
    assert time.monotonic() - origin.arrivals[0].time >= 0.08


@pytest.mark.parametrize("chunked", [True, False])
def test_a_truncated_body_ends_short_of_what_was_announced(origin: Origin, client: Client, chunked: bool) -> None:
    origin.script("/x", Reply(body=b"0123456789", truncate=4, chunked=chunked))
    client.send("GET /x HTTP/1.1\nHost: here\n\n")
    head, _, body = client.file.read().partition(b"\r\n\r\n")
    assert (b"Content-Length: 10" in head) is not chunked
    assert body == (b"1\r\n0\r\n1\r\n1\r\n1\r\n2\r\n1\r\n3\r\n" if chunked else b"0123")


@pytest.mark.parametrize("after", [0, 30])
def test_a_reset_comes_as_one_after_the_bytes_that_were_asked_for(origin: Origin, client: Client, after: int) -> None:
    origin.script("/x", Reply(body=b"0123456789", reset=True, reset_after=after))
    client.send("GET /x HTTP/1.1\nHost: here\n\n")
    assert len(client.socket.recv(after, socket.MSG_WAITALL)) == after
    with pytest.raises(ConnectionResetError):
        client.socket.recv(1)
    origin.wait_until(lambda: origin.connections_open == 0)


def test_an_etag_is_answered_with_304_when_the_client_names_it(origin: Origin, client: Client) -> None:
    assert client.get("/etag/a")[1]["etag"] == '"a"'
    for value, expected in (('"b", W/"a"', 304), ("*", 304), ('"b"', 200), ("a", 200)):
        status, _, body = client.get("/etag/a", f"If-None-Match: {value}\n")
        assert (status, body) == (expected, b"" if expected == 304 else b"ok\n")


def test_raw_bytes_stand_for_a_whole_response(origin: Origin, client: Client) -> None:
    origin.script("/x", Reply(raw=b"not HTTP\r\n", close=True))
    client.send("GET /x HTTP/1.1\nHost: here\n\n")
    assert client.file.read() == b"not HTTP\r\n"


def test_an_early_reply_does_not_wait_for_the_body(origin: Origin, client: Client) -> None:
    client.send("POST /unread/0 HTTP/1.1\nHost: here\nContent-Length: 1000000\n\nbegun")
    status, headers, _ = client.response()
    assert (status, headers["connection"]) == (200, "close")
    assert client.is_closed()
    assert origin.requests == 1


def test_an_early_reply_reaches_a_client_that_is_still_sending(client: Client) -> None:
    """Closing at once would reset the connection, and the reset would overtake the reply."""
    client.send(f"POST /unread/0 HTTP/1.1\nHost: here\nContent-Length: {1 << 30}\n\n")
    client.send(b"x" * (2 << 20))
    assert client.response()[0] == 200
    assert client.is_closed()


def test_a_delayed_early_reply_stalls_a_large_upload(origin: Origin, client: Client) -> None:
    origin.script("/up", Reply(delay=60, early=True))
    client.send(f"POST /up HTTP/1.1\nHost: here\nContent-Length: {1 << 30}\n\n")
    client.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.socket.sendall(b"x" * (1 << 26))
    assert origin.arrivals[0].body_bytes < 1 << 20


def test_large_bodies_pass_both_ways(origin: Origin, client: Client) -> None:
    size = 20 << 20
    status, _, body = client.get(f"/bytes/{size}")
    assert (status, len(body)) == (200, size)
    client.send(f"POST /echo HTTP/1.1\nHost: here\nContent-Length: {size}\n\n")
    client.send(body)
    assert json.loads(client.response()[2])["body_bytes"] == size
    assert len(origin.arrivals[1].body) == 64 * 1024


# Built-in paths


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", 200),
        ("/status/204", 204),
        ("/status/599", 599),
        ("/redirect/0", 200),
        ("/limit?rate=0", 400),
        ("/status/99", 400),
        ("/bytes/-1", 400),
        ("/bytes/x", 400),
        ("/delay/nan", 400),
        ("/redirect-to", 400),
        ("/nothing", 404),
        ("/nothing/3?x=y", 404),
    ],
)
def test_built_in_paths_answer_with_the_status_that_fits(client: Client, path: str, expected: int) -> None:
    assert client.get(path)[0] == expected


def test_a_flaky_path_fails_so_many_times_for_each_url(client: Client) -> None:
    for query in ("", "?a=1", "?status=500"):
        failure = 500 if "500" in query else 503
        assert [client.get(f"/flaky/2{query}")[0] for _ in range(4)] == [failure, failure, 200, 200]


def test_retry_after_is_sent_once_word_for_word(client: Client) -> None:
    assert client.get("/retry-after/3")[1]["retry-after"] == "3"
    assert client.get("/retry-after/3")[0] == 200
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    status, headers, _ = client.get(f"/retry-after/3?status=503&value={date.replace(' ', '%20')}")
    assert (status, headers["retry-after"]) == (503, date)


def test_a_limited_path_lets_the_burst_through_and_then_its_rate(client: Client) -> None:
    statuses = [client.get(f"/limit?rate=0.001&burst=3&n={number}")[0] for number in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert 990 <= int(client.get("/limit?rate=0.001&burst=3")[1]["retry-after"]) <= 1000
    assert client.get("/limit?rate=0.001&burst=4")[0] == 200


def test_requests_follows_redirects_keeps_cookies_and_decodes(origin: Origin) -> None:
    with requests.Session() as session:
        response = session.get(origin.url("/redirect/3?status=307"), timeout=LIMIT)
        assert [hop.status_code for hop in response.history] == [307, 307, 307]
        assert session.get(origin.url("/redirect-to"), params={"url": origin.url("/bytes/4")}).content == b"\0\1\2\3"
        session.get(origin.url("/cookies/set?a=1&b=2"))
        assert session.get(origin.url("/cookies")).json() == {"a": "1", "b": "2"}
        texts = {session.get(origin.url(f"/{name}?bytes=5000")).text for name in ("gzip", "deflate", "chunked")}
        assert len(texts) == 1
        echo = session.put(origin.url("/echo?x=1"), data="ä".encode(), headers={"X-Thing": "here"}).json()
        assert (echo["method"], echo["path"], echo["body"]) == ("PUT", "/echo?x=1", "ä")
        assert echo["headers"]["X-Thing"] == "here"
        assert session.get(origin.url("/drip?bytes=5&seconds=0.05")).text == "The q"
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            session.get(origin.url("/truncate?bytes=100&after=50"))
        with pytest.raises(requests.exceptions.ConnectionError):
            session.get(origin.url("/reset"))


# Connections


def test_a_connection_is_kept_and_may_be_refused(origin: Origin, client: Client) -> None:
    assert "connection" not in client.get("/")[1]
    assert client.get("/", "Connection: close\n")[1]["connection"] == "close"
    assert client.is_closed()
    with Origin(keep_alive=False) as closing, Client(closing) as second:
        assert second.get("/")[1]["connection"] == "close"
        assert second.is_closed()


def test_the_last_request_that_a_connection_may_carry_says_so() -> None:
    with Origin(requests_per_connection=2) as origin, Client(origin) as client:
        assert "connection" not in client.get("/")[1]
        assert client.get("/")[1]["connection"] == "close"
        assert client.is_closed()


@pytest.mark.parametrize("requests_before", [0, 1])
def test_an_idle_connection_is_closed_without_a_word(requests_before: int) -> None:
    with Origin(idle_timeout=0.1, advertise_idle_timeout=True) as origin, Client(origin) as client:
        for _ in range(requests_before):
            assert client.get("/")[1]["keep-alive"] == "timeout=0"
        assert client.is_closed()
        origin.wait_until(lambda: origin.connections_open == 0)


def test_an_idle_limit_may_be_drawn_for_each_connection() -> None:
    with Origin(idle_timeout=0.01, idle_timeout_max=0.1) as origin, Client(origin) as client:
        client.get("/")
        assert client.is_closed()


def test_a_reply_under_way_is_not_idleness() -> None:
    with Origin(idle_timeout=0.05) as origin, Client(origin) as client:
        assert client.get("/delay/0.2")[0] == 200


def test_connections_are_counted_and_numbered(origin: Origin) -> None:
    with Client(origin) as first:
        first.get("/")
        with Client(origin) as second:
            second.get("/")
        origin.wait_until(lambda: origin.connections_open == 1)
        with Client(origin) as third:
            third.get("/")
            assert origin.sockets() == Sockets(opened=3, open=2, peak=2)
            origin.reset_records()
            assert origin.sockets() == Sockets(opened=0, open=2, peak=2)
            first.get("/")
            third.get("/")
    assert [arrival.connection for arrival in origin.arrivals] == [1, 3]


def test_a_client_that_goes_away_ends_its_delayed_reply(origin: Origin) -> None:
    with Client(origin) as client:
        client.send("GET /delay/60 HTTP/1.1\nHost: here\n\n")
        origin.wait_for(1)
    origin.wait_until(lambda: origin.connections_open == 0)


# Records


def test_an_arrival_says_what_came(origin: Origin, client: Client) -> None:
    before = time.monotonic()
    client.send("POST /echo?q=1 HTTP/1.1\nhost: name:1\nX-Two: a\nx-two: b\nContent-Length: 4\n\nbody")
    client.response()
    (arrival,) = origin.arrivals
    assert before <= arrival.time <= time.monotonic()
    assert (arrival.method, arrival.path, arrival.host, arrival.body) == ("POST", "/echo?q=1", "name:1", b"body")
    assert (arrival.headers["X-TWO"], list(arrival.headers)) == ("a, b", ["host", "X-Two", "Content-Length"])
    assert arrival.headers.pairs[1:3] == (("X-Two", "a"), ("x-two", "b"))
    with pytest.raises(AttributeError):
        arrival.method = "GET"  # type: ignore[misc]


def test_recording_may_be_limited_or_turned_off() -> None:
    for record, arrivals, times in ((True, 2, 3), ("times", 0, 3), (False, 0, 0)):
        with Origin(record=record, record_limit=2) as origin, Client(origin) as client:  # type: ignore[arg-type]
            for number in range(3):
                client.get(f"/?n={number}")
            assert [arrival.path for arrival in origin.arrivals] == ["/?n=1", "/?n=2"][:arrivals]
            assert (origin.requests, len(origin.records().times)) == (3, times)


def test_the_busiest_window_is_found() -> None:
    sockets = Sockets()
    records = Records(6, sockets, times_at={"a": [0.0, 1.0, 1.5, 1.99], "b": [2.0, 10.0]})
    assert [records.busiest(window) for window in (0.1, 1.0, 1.01, 100.0)] == [2, 3, 4, 6]
    assert (records.busiest(1.0, "a"), records.busiest(1.0, "b"), records.busiest(1.0, "c")) == (3, 1, 0)
    assert (records.rate(), records.rate("b"), records.rate("c")) == (0.5, 0.125, 0.0)
    with pytest.raises(OptionError, match="window_seconds"):
        records.busiest(0.0)


def test_waiting_for_arrivals_returns_when_they_come_and_gives_up_in_time(origin: Origin, client: Client) -> None:
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(origin.wait_for, 3)
        for _ in range(3):
            client.get("/")
        waiting.result(LIMIT)
    with pytest.raises(TimeoutError, match=r"3 requests came in 0\.01 s, not 4"):
        origin.wait_for(4, timeout=0.01)
    with pytest.raises(TimeoutError, match="did not come about"):
        origin.wait_until(lambda: False, timeout=0.01)


def test_concurrent_clients_are_all_counted(origin: Origin) -> None:
    def fetch(number: int) -> None:
        with Client(origin) as client:
            for _ in range(50):
                assert client.get(f"/bytes/{number}")[0] == 200

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(fetch, range(8)))
    assert (origin.requests, len(origin.arrivals), origin.connections_opened) == (400, 400, 8)
    assert origin.busiest(LIMIT) == 400
