"""One contract for every way to an origin: what a pool promises holds directly and through each kind of proxy."""

from __future__ import annotations

import base64
import io
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.contract.routes import ADDRESSES, NAMES, Route, fetch_one
from tests.waiting import LONG
from workerpool import Cancelled, ConnectionLost, Request, TimedOut
from workerpool.testing import Reply

LARGE = 1024 * 1024


def octets(count: int) -> bytes:
    """What the origin's ``/bytes/N`` answers."""
    return (bytes(range(256)) * (count // 256 + 1))[:count]


# -- what is sent and what comes back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("route", NAMES, indirect=True)
def test_the_route_leads_where_its_name_says(route: Route) -> None:
    """Else none of what follows would be about it."""
    with route.pool() as pool:
        assert fetch_one(pool, route.url()).ok
    assert route.origin.requests == 1
    if route.asked is not None:
        assert route.asked() == 1
        assert "Proxy-Authorization" not in route.origin.arrivals[0].headers


def test_get_head_and_post_are_answered(route: Route) -> None:
    with route.pool() as pool:
        assert pool.get(route.url("/bytes/1000")).result(LONG).content == octets(1000)
        head = pool.head(route.url("/bytes/1000")).result(LONG)
        assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", "1000")
        # A proxy may close its socket right after the answer to HEAD, without a word.
        echo = pool.post(route.url("/echo"), data=b"a body", idempotent=True).result(LONG).json()
        assert (echo["method"], echo["body"]) == ("POST", "a body")


def test_a_body_from_a_file_or_an_iterator_arrives_whole(route: Route) -> None:
    with route.pool() as pool:
        for body in (io.BytesIO(b"piece" * 2000), iter([b"piece"] * 2000)):
            echo = pool.post(route.url("/echo"), data=body).result(LONG).json()
            assert (echo["body_bytes"], echo["body"]) == (10_000, "piece" * 2000)


def test_params_headers_and_json_reach_the_origin(route: Route) -> None:
    with route.pool() as pool:
        echo = pool.post(
            route.url("/echo?a=1"), params={"b": ["2", "3 4"]}, headers={"X-Mine": "yes"}, json={"c": [5]}
        ).result(LONG)
    assert echo.json()["path"] == "/echo?a=1&b=2&b=3+4"
    assert echo.json()["headers"]["X-Mine"] == "yes"
    assert echo.json()["headers"]["Content-Type"] == "application/json"
    assert echo.json()["body"] == '{"c": [5]}'


@pytest.mark.parametrize("path", ["/gzip", "/deflate", "/chunked"])
def test_a_body_is_decoded_whatever_its_encoding(route: Route, path: str) -> None:
    with route.pool() as pool:
        response = pool.get(route.url(f"{path}?bytes=100000")).result(LONG)
    assert len(response.content) == 100_000
    assert response.content.startswith(b"The quick brown fox jumps over the lazy dog.\nThe quick")


def test_every_status_comes_through_as_it_is(route: Route) -> None:
    statuses = [200, 201, 204, 304, 400, 401, 403, 404, 410, 418, 500, 501, 503]
    with route.pool(retry=None) as pool:
        outcomes = {outcome.url: outcome for outcome in pool.stream(route.url(f"/status/{n}") for n in statuses)}
    for status in statuses:
        outcome = outcomes[route.url(f"/status/{status}")]
        assert (outcome.status, outcome.ok) == (status, status < 400)
        assert len(outcome.attempts) == 1


def test_relative_redirects_are_followed(route: Route) -> None:
    with route.pool() as pool:
        response = pool.get(route.url("/redirect/3")).result(LONG)
    assert (response.text, response.url) == ("arrived\n", route.url("/redirect/0"))
    assert [hop.status_code for hop in response.history] == [302, 302, 302]


def test_a_redirect_to_another_origin_is_followed_there(route: Route) -> None:
    there = route.url("/echo", ADDRESSES[1])
    with route.pool() as pool:
        response = pool.get(
            route.url(f"/redirect-to?url={there}"), headers={"Authorization": "Bearer mine", "X-Mine": "yes"}
        ).result(LONG)
    assert response.url == there
    assert route.origin.arrivals[-1].address == ADDRESSES[1]
    assert response.json()["headers"]["X-Mine"] == "yes"
    assert "Authorization" not in response.json()["headers"]


def test_a_post_through_307_keeps_its_body(route: Route) -> None:
    with route.pool() as pool:
        echo = pool.post(route.url("/redirect-to?url=/echo&status=307"), data=io.BytesIO(b"whole")).result(LONG).json()
    assert (echo["method"], echo["body"]) == ("POST", "whole")


def test_large_bodies_come_and_go_whole(route: Route) -> None:
    body = os.urandom(LARGE)
    route.origin.script("/large", Reply(body=body))
    with route.pool() as pool:
        assert pool.get(route.url("/large")).result(LONG).content == body
        assert pool.put(route.url("/echo"), data=body).result(LONG).json()["body_bytes"] == LARGE


def test_cookies_go_along_a_chain_of_redirects_and_no_further(route: Route) -> None:
    route.origin.script("/login", Reply(status=302, headers=[("Location", "/cookies"), ("Set-Cookie", "id=7; Path=/")]))
    with route.pool(1) as pool:
        assert pool.get(route.url("/login")).result(LONG).json() == {"id": "7"}
        assert pool.get(route.url("/cookies")).result(LONG).json() == {}


def test_a_login_reaches_the_origin(route: Route) -> None:
    with route.pool() as pool:
        echo = pool.get(route.url("/echo"), auth=("me", "mine")).result(LONG).json()
    assert echo["headers"]["Authorization"] == "Basic " + base64.b64encode(b"me:mine").decode()


def test_a_login_from_netrc_is_sent(route: Route, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with route.pool() as pool:
        echo = pool.get(route.url("/echo")).result(LONG).json()
        assert echo["headers"]["Authorization"] == "Basic " + base64.b64encode(b"me:mine").decode()
        own = pool.get(route.url("/echo"), auth=("me", "other")).result(LONG).json()
        assert own["headers"]["Authorization"] == "Basic " + base64.b64encode(b"me:other").decode()
        elsewhere = pool.get(route.url("/echo", ADDRESSES[1])).result(LONG).json()
        assert "Authorization" not in elsewhere["headers"]


# -- sockets -----------------------------------------------------------------------------------------------------------


def test_200_requests_share_the_sockets_of_their_host(route: Route) -> None:
    with route.pool(8) as pool:
        assert Counter(outcome.status for outcome in pool.stream([route.url("/bytes/10")] * 200)) == {200: 200}
        statistics = pool.statistics()
    assert route.origin.connections_peak <= 6
    if route.keeps_sockets:
        assert route.origin.connections_opened <= 6
        assert statistics.sockets_opened <= 6
        assert statistics.sockets_reused >= 194
        assert route.asked is None or route.asked() <= 6


def test_a_budget_of_three_sockets_holds_as_the_origin_counts(route: Route) -> None:
    """Idle ones count: those of one host make room for another's."""
    with route.pool(8, max_connections=3) as pool:
        for number in range(4):
            urls = [route.url("/delay/0.005", ADDRESSES[number % 2])] * 10
            assert all(outcome.ok for outcome in pool.stream(urls))
            assert pool.statistics().sockets_open <= 3
    assert 2 <= route.origin.connections_peak <= 3


def test_a_socket_that_the_origin_closes_after_each_answer_is_replaced(route: Route) -> None:
    route.origin.script("/", Reply(body=b"once", close=True))
    with route.pool() as pool:
        outcomes = [*pool.stream([route.url()] * 20)]
    assert [outcome.response.content for outcome in outcomes if outcome.response is not None] == [b"once"] * 20
    assert all(len(outcome.attempts) == 1 for outcome in outcomes)
    assert route.origin.connections_opened == 20


def test_a_pool_that_has_ended_leaves_no_socket_open(route: Route) -> None:
    with route.pool() as pool:
        assert all(outcome.ok for outcome in pool.stream([route.url("/delay/0.01")] * 8))
    route.origin.wait_until(lambda: route.origin.connections_open == 0)


def test_a_stream_that_is_left_leaves_no_socket_open(route: Route) -> None:
    with route.pool() as pool:
        stream = pool.stream([route.url(f"/delay/0.05?{n}") for n in range(50)])
        assert next(stream).ok
        stream.close()
    route.origin.wait_until(lambda: route.origin.connections_open == 0)
    assert route.origin.requests < 50


def test_cancelled_requests_leave_no_socket_open(route: Route) -> None:
    pool = route.pool(2)
    futures = [pool.get(route.url(f"/delay/0.1?{n}")) for n in range(20)]
    route.origin.wait_for(1)
    pool.shutdown(cancel_futures=True)
    assert all(future.done() for future in futures)
    assert 1 <= sum(not future.cancelled() and future.result().ok for future in futures) <= 4
    route.origin.wait_until(lambda: route.origin.connections_open == 0)


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_503_is_tried_again(route: Route) -> None:
    with route.pool() as pool:
        outcome = fetch_one(pool, route.url("/flaky/2"))
    assert outcome.ok
    assert [attempt.status for attempt in outcome.attempts] == [503, 503, 200]


def test_a_truncated_body_is_a_lost_connection_and_is_tried_again(route: Route) -> None:
    cut = Reply(body=b"x" * 1000, truncate=500)
    route.origin.script("/once", cut, Reply(body=b"whole"))
    route.origin.script("/always", cut)
    with route.pool() as pool:
        always = fetch_one(pool, route.url("/always"))
        assert isinstance(always.error, ConnectionLost)
        assert len(always.attempts) == 3
        once = fetch_one(pool, route.url("/once"))
    assert once.response is not None
    assert once.response.content == b"whole"
    assert [attempt.status for attempt in once.attempts] == [None, 200]


def test_a_truncated_chunked_body_is_a_lost_connection(route: Route) -> None:
    route.origin.script("/", Reply(body=b"x" * 1000, chunked=True, truncate=500))
    with route.pool(retry=None) as pool:
        assert isinstance(fetch_one(pool, route.url()).error, ConnectionLost)


def test_a_reset_is_tried_again(route: Route) -> None:
    """A proxy of plain requests makes a reset a 5xx answer, or ends the body early, and so it is as well."""
    route.origin.script("/early", Reply(reset=True), Reply(body=b"whole"))
    route.origin.script("/late", Reply(body=b"x" * 1000, reset=True, reset_after=300), Reply(body=b"whole"))
    with route.pool() as pool:
        for path in ("/early", "/late"):
            outcome = fetch_one(pool, route.url(path))
            assert outcome.response is not None
            assert outcome.response.content == b"whole"
            assert len(outcome.attempts) == 2


def test_a_post_that_may_have_been_acted_on_is_not_sent_again(route: Route) -> None:
    route.origin.script("/", Reply(reset=True), Reply(body=b"again"))
    with route.pool() as pool:
        outcome = fetch_one(pool, Request(route.url(), "POST", data=b"x"))
    assert not outcome.ok
    assert route.origin.requests == 1


def test_an_answer_that_drips_past_the_timeout_ends_in_time(route: Route) -> None:
    """A timeout of one number is the attempt's total, so a byte now and then does not stretch it."""
    route.origin.script("/", Reply(body=b"x" * 30, drip=0.1))
    with route.pool(retry=None, timeout=0.5) as pool:
        began = time.monotonic()
        outcome = fetch_one(pool, route.url())
        took = time.monotonic() - began
    assert isinstance(outcome.error, TimedOut)
    assert 0.4 <= took <= 2
    route.origin.wait_until(lambda: route.origin.connections_open == 0)


def test_an_answer_that_does_not_come_times_out(route: Route) -> None:
    with route.pool(retry=None, timeout=(5, 0.2)) as pool:
        outcome = fetch_one(pool, route.url("/delay/30"))
    assert isinstance(outcome.error, TimedOut)
    if route.keeps_sockets:  # tinyproxy goes on waiting for the answer, without us
        route.origin.wait_until(lambda: route.origin.connections_open == 0)


def test_an_origin_that_is_down_fails_after_its_attempts(route: Route) -> None:
    """Plain requests get an answer of the proxy's own."""
    url = route.url()
    route.origin.stop()
    with route.pool() as pool:
        outcome = fetch_one(pool, url)
    assert outcome.error is not None
    assert len(outcome.attempts) == 3
    assert outcome.error.reason == ("connect" if route.keeps_sockets else "status")


def test_100_mixed_requests_end_in_one_outcome_each(route: Route) -> None:
    paths = {
        "/bytes/5000": "ok",
        "/gzip?bytes=3000": "ok",
        "/redirect/2": "ok",
        "/delay/0.02": "ok",
        "/status/404": "status",
        "/flaky/1": "ok",
        "/truncate": "connection",
        "/chunked": "ok",
        "/echo": "ok",
        "/status/204": "ok",
    }
    requests = [
        Request(f"{route.url(path)}{'&' if '?' in path else '?'}n={n}", key=path) for n in range(10) for path in paths
    ]
    with route.pool(8, max_connections=5) as pool:
        outcomes = [*pool.stream(requests)]
    assert Counter(outcome.url for outcome in outcomes) == Counter(request.url for request in requests)
    ends = {(outcome.request.key, "ok" if outcome.error is None else outcome.error.reason) for outcome in outcomes}
    assert ends == set(paths.items())
    assert not any(isinstance(outcome.error, Cancelled) for outcome in outcomes)
    if route.asked is None:  # a proxy ends its side to the origin in its own time
        assert route.origin.connections_peak <= 5
