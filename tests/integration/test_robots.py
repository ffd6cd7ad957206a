"""Pools that obey robots.txt: by the server's count, nothing is sent that a site does not allow."""

from __future__ import annotations

import gc
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import eventually, let_pass
from workerpool import Outcome, Request, RetryPolicy, RobotsDisallowed, WorkerPool, registered_domain
from workerpool.cli.arguments import parse
from workerpool.errors import Cancelled, Denied, OptionError, TooManyRedirects
from workerpool.gate import Sorting
from workerpool.meter import LOOK_EVERY
from workerpool.robots import LONGEST
from workerpool.testing import Answer, Arrival, ManualClock, Origin, Reply, ScriptedTransport
from workerpool.tickets import Ticket

A, B = "127.0.0.1", "127.0.0.2"
CONTACT = "https://example.com/bot"
LONG = 30.0
ONCE = RetryPolicy(attempts=1)
QUICK = RetryPolicy(attempts=2, backoff=0.01, backoff_max=0.01)

PRIVATE = Reply(body=b"User-agent: *\nDisallow: /private\n")


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin((A, B)) as origin:
        origin.default = Reply(body=b"page\n")
        yield origin


def polite(**options: Any) -> WorkerPool:
    return WorkerPool(**{"max_workers": 4, "retry": QUICK, **options}, robots=True, contact=CONTACT)


def fetch(pool: WorkerPool, *urls: str | Request) -> dict[str, Outcome]:
    return {outcome.url: outcome for outcome in pool.stream(urls)}


def sent(origin: Origin, address: str = A) -> Counter[str]:
    return Counter(arrival.path for arrival in origin.arrivals if arrival.address == address)


# -- what is sent ---------------------------------------------------------------------------------------------------


def test_what_is_allowed_is_fetched_what_is_not_is_never_sent_and_robots_txt_is_asked_for_once(origin: Origin) -> None:
    origin.script("/robots.txt", PRIVATE)
    urls = [origin.url(f"/{kind}/{n}") for n in range(50) for kind in ("open", "private")]
    with polite() as pool:
        outcomes = fetch(pool, *urls)
        told = pool.statistics()
    for url, outcome in outcomes.items():
        if "/open/" in url:
            assert outcome.ok
            continue
        assert isinstance(outcome.error, RobotsDisallowed)
        assert str(outcome.error) == (f'{origin.url("/robots.txt")} does not allow it: its rule "Disallow: /private"')
        assert outcome.attempts == ()
        assert outcome.error.key == url
        assert not outcome.error.retry_helps
    counted = sent(origin)
    assert counted.pop("/robots.txt") == 1
    assert set(counted) == {f"/open/{n}" for n in range(50)}
    assert (told.requests, told.ok, told.sent) == (100, 50, 51)
    assert told.parked == 0


def test_nothing_is_sent_to_a_site_before_its_robots_txt_has_come(origin: Origin) -> None:
    origin.script("/robots.txt", Reply(body=PRIVATE.body, delay=0.3), address=A)
    with polite() as pool:
        fetch(pool, *(origin.url(f"/{n}") for n in range(20)))
    arrivals = [arrival for arrival in origin.arrivals if arrival.address == A]
    assert arrivals[0].path == "/robots.txt"
    assert arrivals[1].time - arrivals[0].time >= 0.3


def test_the_window_of_other_sites_is_free_while_one_waits_for_its_robots_txt(origin: Origin) -> None:
    """Two workers, a stalled robots.txt, and more requests for that site than it has places: the other one goes on."""
    stalled = threading.Event()

    def answer(request: Request, url: str) -> Answer:
        if url.startswith("http://slow.test/robots.txt"):
            assert stalled.wait(LONG)
        return Answer()

    urls = [f"http://{'slow' if n % 2 else 'fast'}.test/{n}" for n in range(200)]
    with polite(max_workers=2, transport=ScriptedTransport(answer)) as pool:
        outcomes = pool.stream(urls)
        first = [next(outcomes) for _ in range(100)]
        assert all("fast.test" in outcome.url for outcome in first)
        stalled.set()
        assert len([*outcomes]) == 100


@pytest.mark.parametrize("status", [404, 403, 401, 410])
def test_without_a_robots_txt_everything_is_allowed(origin: Origin, status: int) -> None:
    origin.script("/robots.txt", Reply(status=status))
    with polite() as pool:
        assert all(outcome.ok for outcome in fetch(pool, origin.url("/a"), origin.url("/b")).values())


@pytest.mark.parametrize(
    "reply",
    [Reply(status=500), Reply(status=503), Reply(status=429), Reply(reset=True), Reply(body=b"x" * 99, truncate=9)],
)
def test_a_robots_txt_that_cannot_be_fetched_closes_the_site(origin: Origin, reply: Reply) -> None:
    origin.script("/robots.txt", reply, address=A)
    with polite() as pool:
        outcomes = fetch(pool, origin.url("/a"), origin.url("/b"), origin.url("/c", B))
    for path in ("/a", "/b"):
        error = outcomes[origin.url(path)].error
        assert isinstance(error, RobotsDisallowed)
        assert "could not be fetched: " in str(error)
        assert error.retry_helps  # later
    assert outcomes[origin.url("/c", B)].ok
    assert set(sent(origin)) == {"/robots.txt"}


def test_a_dead_site_is_knocked_at_for_its_robots_txt_alone() -> None:
    with socket.socket() as unused:
        unused.bind((A, 0))
        site = f"http://{A}:{unused.getsockname()[1]}"
        with polite() as pool:
            outcomes = fetch(pool, *(f"{site}/{n}" for n in range(20)))
            assert pool.statistics().sent == QUICK.attempts
    assert all(isinstance(outcome.error, RobotsDisallowed) for outcome in outcomes.values())
    assert "refused" in str(outcomes[f"{site}/0"].error)


def test_a_robots_txt_is_retried_as_anything_else(origin: Origin) -> None:
    origin.script("/robots.txt", Reply(status=503), PRIVATE)
    with polite() as pool:
        outcomes = fetch(pool, origin.url("/a"), origin.url("/private"))
    assert outcomes[origin.url("/a")].ok
    assert isinstance(outcomes[origin.url("/private")].error, RobotsDisallowed)
    assert sent(origin)["/robots.txt"] == 2


def test_a_robots_txt_may_be_five_redirects_away_at_another_site_and_counts_for_the_first(origin: Origin) -> None:
    for hop in range(4):
        after = origin.url(f"/private/{hop + 1}", B) if hop < 3 else origin.url("/private/rules", A)
        path, address = ("/robots.txt", A) if hop == 0 else (f"/private/{hop}", B)
        origin.script(path, Reply(status=301, headers={"Location": after}), address=address)
    origin.script("/private/rules", Reply(status=302, headers={"Location": "/elsewhere/robots.txt"}), address=A)
    origin.script("/elsewhere/robots.txt", PRIVATE, address=A)
    with polite() as pool:
        outcomes = fetch(pool, origin.url("/a"), origin.url("/private/x"))
    assert outcomes[origin.url("/a")].ok
    assert isinstance(outcomes[origin.url("/private/x")].error, RobotsDisallowed)


def test_a_robots_txt_that_redirects_without_end_is_none(origin: Origin) -> None:
    origin.script("/robots.txt", Reply(status=302, headers={"Location": "/robots.txt"}))
    with polite() as pool:
        assert fetch(pool, origin.url("/a"))[origin.url("/a")].ok


def test_of_a_huge_robots_txt_only_the_beginning_is_read(origin: Origin) -> None:
    head = b"User-agent: *\nDisallow: /private\n"
    cut = b"\nDisallow: /a"  # where the limit is, in the middle of a rule
    huge = head + b"#" * (LONGEST - len(head) - len(cut)) + cut + b"bc\n" + b"# and more\n" * 400_000 + b"Disallow: /\n"
    assert len(huge) > 8 * LONGEST
    origin.script("/robots.txt", Reply(body=huge))
    with polite(max_body=64 * 1024) as pool:
        outcomes = fetch(pool, origin.url("/a"), origin.url("/private"))
    assert outcomes[origin.url("/a")].ok
    assert isinstance(outcomes[origin.url("/private")].error, RobotsDisallowed)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"\xef\xbb\xbf" + PRIVATE.body),
        Reply(body=PRIVATE.body, encoding="gzip"),
        Reply(body=PRIVATE.body, chunked=True),
        Reply(body=b"\xff\xfe junk \x00\n" + PRIVATE.body, headers={"Content-Type": "text/html"}),
        Reply(body=PRIVATE.body, close=True),
    ],
)
def test_odd_ways_to_send_a_robots_txt_make_no_difference(origin: Origin, reply: Reply) -> None:
    origin.script("/robots.txt", reply)
    with polite() as pool:
        outcomes = fetch(pool, origin.url("/a"), origin.url("/private"))
    assert outcomes[origin.url("/a")].ok
    assert isinstance(outcomes[origin.url("/private")].error, RobotsDisallowed)


def test_its_robots_txt_counts_against_a_sites_budget(origin: Origin) -> None:
    began = time.monotonic()  # the first arrival may be late
    with polite(host_rate="10/s") as pool:
        fetch(pool, *(origin.url(f"/{n}") for n in range(5)))
    times = [arrival.time for arrival in origin.arrivals]
    assert len(times) == 6
    assert times[-1] - began >= 0.48


def test_parameters_count_as_part_of_the_url(origin: Origin) -> None:
    origin.script("/robots.txt", Reply(body=b"User-agent: *\nDisallow: /*secret=\n"))
    one, other = Request(origin.url("/a"), params={"secret": "1"}, key="s"), Request(origin.url("/a"), params={"b": 1})
    with polite() as pool:
        outcomes = {outcome.request.key: outcome for outcome in pool.stream([one, other])}
    assert isinstance(outcomes["s"].error, RobotsDisallowed)
    assert outcomes[None].ok


def test_a_future_raises_what_an_outcome_holds(origin: Origin) -> None:
    origin.script("/robots.txt", PRIVATE)
    with polite() as pool:
        assert pool.get(origin.url("/a")).result(LONG).ok
        with pytest.raises(RobotsDisallowed):
            pool.get(origin.url("/private")).result(LONG)
        assert pool.get(origin.url("/robots.txt")).result(LONG).text == PRIVATE.body.decode()


# -- redirects ------------------------------------------------------------------------------------------------------


def test_where_a_redirect_leads_is_asked_about_too(origin: Origin) -> None:
    origin.script("/robots.txt", PRIVATE, address=B)
    origin.script("/there", Reply(status=302, headers={"Location": origin.url("/private/x", B)}), address=A)
    origin.script("/fine", Reply(status=302, headers={"Location": origin.url("/open/x", B)}), address=A)
    for _ in range(2):  # the site is unknown at first, and known then
        with polite() as pool:
            outcomes = fetch(pool, origin.url("/there"), origin.url("/fine"))
            again = fetch(pool, origin.url("/there"), origin.url("/fine"))
        for told in (outcomes, again):
            refused = told[origin.url("/there")]
            assert isinstance(refused.error, RobotsDisallowed)
            assert [attempt.hops for attempt in refused.attempts] == [1]
            assert told[origin.url("/fine")].ok
    assert sent(origin, B) == {"/robots.txt": 2, "/open/x": 4}


def test_a_retry_after_a_redirect_goes_by_its_own_sites_pace(origin: Origin) -> None:
    origin.script("/robots.txt", Reply(body=b"User-agent: *\nCrawl-delay: 20\n"), address=B)
    origin.script("/there", Reply(status=302, headers={"Location": origin.url("/x", B)}), Reply(), address=A)
    origin.script("/x", Reply(status=500), address=B)
    with polite() as pool:
        began = time.monotonic()
        assert fetch(pool, origin.url("/there"))[origin.url("/there")].ok
        assert fetch(pool, origin.url("/other"))[origin.url("/other")].ok
    assert time.monotonic() - began < 10


# -- Crawl-delay -----------------------------------------------------------------------------------------------------


def test_a_crawl_delay_spaces_the_requests_of_its_site_alone(origin: Origin) -> None:
    origin.script("/robots.txt", Reply(body=b"User-agent: *\nCrawl-delay: 0.3\n"), address=A)
    urls = [origin.url(f"/{n}", address) for n in range(4) for address in (A, B)]
    with polite(host_rate="100/s") as pool:
        fetch(pool, *urls)
    delayed = [arrival.time for arrival in origin.arrivals if arrival.address == A and arrival.path != "/robots.txt"]
    others = [arrival.time for arrival in origin.arrivals if arrival.address == B]
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(delayed))
    assert others[-1] - others[0] < delayed[-1] - delayed[0]


def test_a_crawl_delay_holds_when_a_site_was_idle_and_for_requests_of_any_weight(origin: Origin) -> None:
    origin.script("/robots.txt", Reply(body=b"User-agent: *\nCrawl-delay: 0.4\n"), address=A)
    with polite(burst=5, rate="1000/s") as pool:
        for n in range(3):
            fetch(pool, Request(origin.url(f"/{n}"), weight=5))
    times = [arrival.time for arrival in origin.arrivals if arrival.path != "/robots.txt"]
    assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(times))


def test_a_site_whose_delay_nobody_waits_for_is_closed_and_says_so(origin: Origin) -> None:
    origin.script("/robots.txt", Reply(body=b"User-agent: *\nCrawl-delay: 86400\n"))
    with polite() as pool:
        error = fetch(pool, origin.url("/a"))[origin.url("/a")].error
    assert isinstance(error, RobotsDisallowed)
    assert "its Crawl-delay is 86,400 s" in str(error)


# -- pool.session ---------------------------------------------------------------------------------------------------


def test_a_callables_session_obeys_too(origin: Origin) -> None:
    origin.script("/robots.txt", PRIVATE)
    origin.script("/there", Reply(status=302, headers={"Location": "/private/x"}), address=A)

    def use() -> str:
        text: str = pool.session.get(origin.url("/a")).text
        for path in ("/private", "/there"):
            with pytest.raises(RobotsDisallowed, match="Disallow: /private"):
                pool.session.get(origin.url(path))
        return text

    with polite() as pool:
        assert pool.submit(use).result(LONG) == "page\n"
        assert pool.submit(use).result(LONG) == "page\n"
    assert sent(origin) == {"/robots.txt": 1, "/a": 2, "/there": 2}


def test_callables_that_keep_every_worker_busy_still_come_by_a_robots_txt(origin: Origin) -> None:
    """A request waits for it as well, and no worker is left to fetch it for that one."""
    origin.script("/robots.txt", Reply(body=PRIVATE.body, delay=0.1))
    together = threading.Barrier(3)

    def use() -> int:
        together.wait(LONG)
        status: int = pool.session.get(origin.url("/a")).status_code
        return status

    with polite(max_workers=2) as pool:
        calls = [pool.submit(use) for _ in range(2)]
        future = pool.get(origin.url("/b"))
        together.wait(LONG)
        assert [call.result(LONG) for call in calls] == [200, 200]
        assert future.result(LONG).ok


@pytest.mark.parametrize("reply", [Reply(status=500), Reply(reset=True)])
def test_a_callables_session_is_refused_where_a_robots_txt_cannot_be_fetched(origin: Origin, reply: Reply) -> None:
    origin.script("/robots.txt", reply)

    def use() -> None:
        with pytest.raises(RobotsDisallowed, match="could not be fetched"):
            pool.session.get(origin.url("/a"))

    with polite() as pool:
        pool.submit(use).result(LONG)
        assert isinstance(fetch(pool, origin.url("/b"))[origin.url("/b")].error, RobotsDisallowed)
    assert set(sent(origin)) == {"/robots.txt"}


def test_a_robots_txt_that_redirects_is_followed_for_a_callables_session(origin: Origin) -> None:
    origin.script("/robots.txt", Reply(status=301, headers={"Location": origin.url("/private/rules", B)}), address=A)
    origin.script("/private/rules", PRIVATE, address=B)

    def use() -> None:
        with pytest.raises(RobotsDisallowed, match="Disallow: /private"):
            pool.session.get(origin.url("/private"))

    with polite() as pool:
        pool.submit(use).result(LONG)
    assert "/robots.txt" not in sent(origin, B)


def test_a_callables_session_keeps_the_crawl_delay(origin: Origin) -> None:
    origin.script("/robots.txt", Reply(body=b"User-agent: *\nCrawl-delay: 0.3\n"))

    def use() -> None:
        for n in range(3):
            pool.session.get(origin.url(f"/{n}"))

    with polite() as pool:
        pool.submit(use).result(LONG)
    times = [arrival.time for arrival in origin.arrivals if arrival.path != "/robots.txt"]
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(times))


# -- who asks -------------------------------------------------------------------------------------------------------


def test_requests_name_the_contact_unless_they_bring_a_user_agent(origin: Origin) -> None:
    urls = [origin.url("/mine"), Request(origin.url("/own"), headers={"user-agent": "MyBot/1.0"})]
    with WorkerPool(2, contact=CONTACT) as pool:
        fetch(pool, *urls)
        pool.submit(lambda: pool.session.get(origin.url("/session"))).result(LONG)
    agents = {arrival.path: arrival.headers["user-agent"] for arrival in origin.arrivals}
    assert agents["/mine"] == agents["/session"]
    assert agents["/mine"].startswith("workerpool/")
    assert agents["/mine"].endswith(f" (+{CONTACT})")
    assert agents["/own"] == "MyBot/1.0"
    assert "/robots.txt" not in agents


def test_slow_path_requests_name_the_contact_too(origin: Origin) -> None:
    with WorkerPool(2, contact="me@example.com", fast_path=False) as pool:
        fetch(pool, origin.url("/a"))
    assert origin.arrivals[0].headers["user-agent"].endswith("(+me@example.com)")


def test_a_session_of_the_users_keeps_its_own_user_agent(origin: Origin) -> None:
    import requests

    def make(agent: str | None) -> requests.Session:
        session = requests.Session()
        if agent is not None:
            session.headers["User-Agent"] = agent
        return session

    for agent in (None, "Custom/2"):
        with WorkerPool(1, contact=CONTACT, session_factory=lambda agent=agent: make(agent)) as pool:
            fetch(pool, origin.url("/a"))
    first, second = (arrival.headers["user-agent"] for arrival in origin.arrivals)
    assert CONTACT in first
    assert second == "Custom/2"


def test_the_rules_are_those_for_the_robot_that_a_request_names(origin: Origin) -> None:
    origin.script("/robots.txt", Reply(body=b"User-agent: mybot\nDisallow: /\n\nUser-agent: *\nDisallow: /private\n"))
    mine = Request(origin.url("/a"), headers={"User-Agent": "MyBot/1.0"}, key="mine")
    with polite() as pool:
        outcomes = {outcome.request.label: outcome for outcome in pool.stream([mine, origin.url("/a")])}
    assert isinstance(outcomes["mine"].error, RobotsDisallowed)
    assert outcomes[origin.url("/a")].ok
    agents = {arrival.headers["user-agent"] for arrival in origin.arrivals if arrival.path == "/robots.txt"}
    assert {agent.partition("/")[0] for agent in agents} == {"MyBot", "workerpool"}


def test_a_login_in_a_url_is_not_sent_with_the_robots_txt(origin: Origin) -> None:
    url = origin.url("/a").replace("://", "://me:hunter2@")
    with polite() as pool:
        fetch(pool, url)
    (robots,) = (arrival for arrival in origin.arrivals if arrival.path == "/robots.txt")
    assert "authorization" not in robots.headers


# -- options --------------------------------------------------------------------------------------------------------


def test_robots_without_a_contact_is_refused_with_a_reason() -> None:
    with pytest.raises(OptionError, match=r"robots=True needs contact=, so that a site can say"):
        WorkerPool(robots=True)


def test_robots_with_too_few_redirects_is_refused() -> None:
    with pytest.raises(OptionError, match=r"max_redirects=4 with robots=True.*allow 5 or more"):
        polite(max_redirects=4)


def test_robots_is_true_or_false() -> None:
    with pytest.raises(OptionError, match=r"robots='yes' must be True or False"):
        WorkerPool(robots="yes", contact=CONTACT)  # type: ignore[arg-type]


def test_what_the_guard_denies_is_denied_and_not_robots_doing(origin: Origin) -> None:
    with polite(allow_hosts=[B]) as pool:
        outcomes = fetch(pool, origin.url("/a"), origin.url("/a", B))
    assert isinstance(outcomes[origin.url("/a")].error, Denied)
    assert outcomes[origin.url("/a", B)].ok


def test_a_robots_txt_that_the_guard_keeps_out_closes_the_site(origin: Origin) -> None:
    origin.script("/robots.txt", Reply(status=302, headers={"Location": origin.url("/robots.txt", B)}), address=A)
    with polite(allow_hosts=[A]) as pool:
        error = fetch(pool, origin.url("/a"))[origin.url("/a")].error
    assert isinstance(error, RobotsDisallowed)


@pytest.mark.parametrize("junk", ["http://", "ftp://example.com/", "nonsense", "http://[bad/"])
def test_what_cannot_be_sent_says_so_by_itself(junk: str) -> None:
    with polite(retry=ONCE) as pool:
        (outcome,) = pool.stream([junk])
    assert not isinstance(outcome.error, RobotsDisallowed)
    assert not outcome.ok


def test_junk_that_no_robots_txt_can_be_asked_about_ends_as_it_always_does(origin: Origin) -> None:
    junk: list[Any] = [
        Request(origin.url("/a"), headers=["no mapping"]),  # type: ignore[arg-type]
        Request(origin.url("/b"), params=3),
        Request(origin.url("/c"), headers={3: 4}),  # type: ignore[dict-item]
    ]
    with WorkerPool(2, retry=ONCE) as pool:
        before = [type(outcome.error) for outcome in pool.stream(junk, ordered=True)]
    with polite(retry=ONCE) as pool:
        after = [type(outcome.error) for outcome in pool.stream(junk, ordered=True)]
    assert after == before


def test_a_host_key_that_knows_no_robots_txt_does_no_harm(origin: Origin) -> None:
    def key(url: str) -> str:
        if url.endswith("robots.txt"):
            raise ValueError("no such shop")
        return "shop"

    with polite(host_key=key) as pool:
        assert fetch(pool, origin.url("/a"))[origin.url("/a")].ok


# -- the command line -----------------------------------------------------------------------------------------------


def test_a_run_obeys_robots_txt_and_counts_what_it_did_not_send(origin: Origin, tmp_path: Path) -> None:
    origin.script("/robots.txt", PRIVATE)
    (tmp_path / "urls.txt").write_text("".join(f"{origin.url(path)}\n" for path in ("/a", "/private", "/b")))
    words = ["run", "urls.txt", "-o", "out.jsonl", "--robots", "--contact", "me@example.com", "--no-progress"]
    command = [sys.executable, "-m", "workerpool", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "not allowed by robots.txt" in done.stderr
    found = {one["url"]: one for one in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())}
    refused = found[origin.url("/private")]
    assert (refused["ok"], refused["attempts"], refused["status"]) == (False, 0, None)
    assert 'its rule "Disallow: /private"' in refused["error"]
    assert set(sent(origin)) == {"/robots.txt", "/a", "/b"}
    assert {arrival.headers["user-agent"].partition("(")[2] for arrival in origin.arrivals} == {"+me@example.com)"}


def test_robots_on_the_command_line_needs_a_contact(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--robots needs --contact, so that a site can say"):
        parse(["run", "urls.txt", "-o", "out.jsonl", "--robots"])


def test_quotas_count_by_header_and_by_domain(origin: Origin) -> None:
    """Two keys at 5/s each, over both hosts; and one registered domain for two hosts of it."""
    requests = [
        Request(origin.url(f"/{n}", (A, B)[n % 2]), headers={"X-Api-Key": f"key {n % 4 // 2}"}) for n in range(12)
    ]
    with WorkerPool(8, key_rate="5/s", limit_by="x-api-key") as pool:
        assert all(outcome.ok for outcome in pool.stream(requests))
    for key in ("key 0", "key 1"):
        times = [arrival.time for arrival in origin.arrivals if arrival.headers["x-api-key"] == key]
        assert len(times) == 6
        assert times[-1] - times[0] >= 0.9
    transport = ScriptedTransport(record=True)
    with WorkerPool(8, key_rate="5/s", limit_by=registered_domain, transport=transport) as pool:
        began = time.monotonic()
        assert len([*pool.stream(f"http://{name}.example.co.uk/" for name in "abcdef")]) == 6
        assert time.monotonic() - began >= 0.9


# -- ending ---------------------------------------------------------------------------------------------------------


class Stalling:
    """A transport whose robots.txt stays away until it is told to come."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.comes = threading.Event()
        self.transport = ScriptedTransport(self._answer, record=True)

    def _answer(self, request: Request, url: str) -> Answer:
        if url.endswith("/robots.txt"):
            self.asked.set()
            assert self.comes.wait(LONG)
        return Answer()


def test_leaving_a_stream_forgets_what_waits_for_a_robots_txt() -> None:
    stalling = Stalling()
    with polite(transport=stalling.transport) as pool:
        outcomes = pool.stream(["nonsense"] + [f"http://slow.test/{n}" for n in range(10)])
        next(outcomes)  # the one that cannot be sent
        assert stalling.asked.wait(LONG)
        assert pool.statistics().parked == 10
        outcomes.close()
        assert eventually(lambda: not pool.statistics().parked)
        stalling.comes.set()
    assert stalling.transport.urls.count("http://slow.test/robots.txt") == len(stalling.transport.urls) - 1


def test_draining_ends_what_waits_for_a_robots_txt() -> None:
    stalling = Stalling()
    with polite(transport=stalling.transport) as pool:
        outcomes = pool.stream(f"http://slow.test/{n}" for n in range(10))
        ended: list[Outcome] = []
        reader = threading.Thread(target=lambda: ended.extend(outcomes))
        reader.start()
        assert stalling.asked.wait(LONG)
        pool.drain()
        reader.join(LONG)
        assert len(ended) == 10
        assert all(isinstance(outcome.error, Cancelled) for outcome in ended)
        stalling.comes.set()
    assert stalling.transport.urls == ["http://slow.test/robots.txt"]


def test_shutdown_waits_for_a_robots_txt_and_for_what_waits_for_it() -> None:
    stalling = Stalling()
    pool = polite(transport=stalling.transport)
    futures = [pool.get(f"http://slow.test/{n}") for n in range(5)]
    assert stalling.asked.wait(LONG)
    pool.shutdown(wait=False)
    stalling.comes.set()
    assert [future.result(LONG).status_code for future in futures] == [200] * 5
    pool.shutdown()


def test_shutdown_with_cancelling_ends_what_waits_for_a_robots_txt() -> None:
    stalling = Stalling()
    pool = polite(transport=stalling.transport)
    futures = [pool.get(f"http://slow.test/{n}") for n in range(5)]
    assert stalling.asked.wait(LONG)
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    stalling.comes.set()
    pool.shutdown()


def test_what_is_being_sent_ends_as_ever_after_a_shutdown_that_cancelled_what_was_held() -> None:
    stalling = Stalling()
    sent, answers = threading.Event(), threading.Event()

    def answer(request: Request, url: str) -> Answer:
        if url.startswith("http://slow.test/"):
            return stalling._answer(request, url)
        if not url.endswith("robots.txt"):
            sent.set()
            answers.wait(LONG)
        return Answer()

    pool = polite(transport=ScriptedTransport(answer))
    flying = pool.get("http://well.test/")
    assert sent.wait(LONG)
    held = pool.get("http://slow.test/")
    assert stalling.asked.wait(LONG)
    assert eventually(lambda: pool.statistics().waits.robots > 0)
    pool.shutdown(wait=False, cancel_futures=True)
    assert held.cancelled()
    let_pass(10 * LOOK_EVERY)  # so that the next change looks at what has held requests up
    answers.set()
    assert flying.result(LONG).status_code == 200
    stalling.comes.set()
    pool.shutdown()
    assert pool.statistics().waits.robots > 0


def test_a_pool_that_is_dropped_ends_its_threads() -> None:
    pool = polite(transport=ScriptedTransport(), thread_name_prefix="robots-dropped")
    fetch(pool, "http://a.test/")
    del pool
    gc.collect()
    assert eventually(lambda: not [one for one in threading.enumerate() if one.name.startswith("robots-dropped")])


def test_a_request_that_is_held_as_its_robots_txt_comes_is_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules come between the look and the hold. Shutdown, asked for meanwhile, waits for the request."""
    stalling = Stalling()
    pool = polite(transport=stalling.transport)
    gate = pool._crew._turns.gate
    assert gate is not None
    sort, sorts = gate.sort, itertools.count(1)

    def sort_late(tickets: Iterable[Ticket]) -> Sorting:
        way = sort(tickets)
        number = next(sorts)
        if number == 2:  # of the second request
            assert way.held
            stalling.comes.set()
            assert first.result(LONG).ok
        elif number == 4:  # of the second request again, which was held in vain; the third was that of the first
            assert threading.current_thread() is threading.main_thread()
            pool.shutdown(wait=False)
        return way

    monkeypatch.setattr(gate, "sort", sort_late)
    first = pool.get("http://slow.test/1")
    assert stalling.asked.wait(LONG)
    assert pool.get("http://slow.test/2").result(LONG).ok
    assert next(sorts) == 5
    pool.shutdown()


def test_a_drain_between_a_robots_txt_and_what_waited_for_it_ends_that(monkeypatch: pytest.MonkeyPatch) -> None:
    stalling = Stalling()
    with polite(transport=stalling.transport) as pool:
        gate = pool._crew._turns.gate
        assert gate is not None
        sort = gate.sort

        def drain_and_sort(tickets: Iterable[Ticket]) -> Sorting:
            way = sort(tickets)
            if stalling.comes.is_set():
                pool.drain()
                assert eventually(lambda: all(stream.is_over for stream in pool._streams))
            return way

        monkeypatch.setattr(gate, "sort", drain_and_sort)
        outcomes = pool.stream(f"http://slow.test/{n}" for n in range(10))
        ended: list[Outcome] = []
        reader = threading.Thread(target=lambda: ended.extend(outcomes))
        reader.start()
        assert stalling.asked.wait(LONG)
        stalling.comes.set()
        reader.join(LONG)
        assert [type(outcome.error) for outcome in ended] == [Cancelled] * 10
    assert stalling.transport.urls == ["http://slow.test/robots.txt"]


def test_a_redirect_that_nobody_wants_any_more_leaves_no_site_waiting() -> None:
    """It was the first to ask about a site; the next one that does gets its answer."""
    moves = threading.Event()
    sent_on = threading.Event()

    def answer(request: Request, url: str) -> Answer:
        if url == "http://a.test/moved":
            sent_on.set()
            assert moves.wait(LONG)
            return Answer(302, headers={"Location": "http://b.test/"})
        return Answer()

    with polite(transport=ScriptedTransport(answer)) as pool:
        outcomes = pool.stream(["http://a.test/moved"])
        reader = threading.Thread(target=lambda: [*outcomes])
        reader.start()
        assert sent_on.wait(LONG)
        pool.drain()
        assert eventually(lambda: all(stream.is_over for stream in pool._streams))
        moves.set()
        reader.join(LONG)
        assert pool.get("http://b.test/").result(LONG).ok


def test_receipts_and_journals_are_as_ever(origin: Origin) -> None:
    """Each request that is announced was sent, and one that is refused never is."""
    origin.script("/robots.txt", PRIVATE, address=A)
    origin.script("/robots.txt", PRIVATE, address=B)
    origin.script("/moved", Reply(status=307, headers={"Location": origin.url("/private/x", B)}), address=A)
    announced: list[str] = []
    requests = [Request(origin.url(path), "POST") for path in ("/a", "/private/b", "/moved")]
    ended: dict[str, Outcome] = {}
    with polite() as pool:
        for told in pool.batches(requests, receipts=True, before_send=lambda request: announced.append(request.url)):
            ended.update({one.url: one for one in told if isinstance(one, Outcome)})
        assert fetch(pool, origin.url("/later"))[origin.url("/later")].ok  # no place was lost
    assert sorted(announced) == [origin.url("/a"), origin.url("/moved")]
    assert [ended[request.url].ok for request in requests] == [True, False, False]
    assert "/private/x" not in sent(origin, B)


def test_many_sites_at_once_lose_no_request(tiny_switch_interval: None) -> None:
    """Threads that hold and threads that free meet at every site: each request ends once, and none is sent early."""
    known: set[str] = set()
    early: list[str] = []

    def answer(request: Request, url: str) -> Answer:
        site = url.split("/")[2]
        if url.endswith("/robots.txt"):
            known.add(site)
            return Answer(body=b"User-agent: *\nDisallow: /no\n")
        if site not in known:
            early.append(url)
        if url.endswith("/moved"):
            return Answer(302, headers={"Location": f"http://to-{site}/{'no' if 'no' in site else 'yes'}"})
        return Answer()

    urls = [
        f"http://{site}{n}.test/{path}"
        for n in range(60)
        for path in ("yes", "no", "moved", "yes?2", "no?2", "moved?2")
        for site in ("s", "no")
    ]
    with polite(max_workers=8, transport=ScriptedTransport(answer)) as pool:
        ended = Counter((outcome.url, outcome.ok) for outcome in pool.stream(urls))
        assert pool.statistics().parked == 0
    assert not early
    assert len(ended) == len(urls)
    assert set(ended.values()) == {1}
    for url, ok in ended:
        is_moved_to_no = url.endswith("/moved") and "://no" in url
        assert ok is not ("/no" in url.split("test", 1)[1] or is_moved_to_no), url


# -- time -----------------------------------------------------------------------------------------------------------


def test_rules_are_asked_for_again_after_a_day() -> None:
    clock = ManualClock()
    bodies = iter([b"", b"User-agent: *\nDisallow: /\n"])
    transport = ScriptedTransport(
        lambda request, url: Answer(body=next(bodies) if url.endswith("robots.txt") else b""), record=True
    )
    with polite(transport=transport, clock=clock) as pool:
        assert fetch(pool, "http://a.test/1")["http://a.test/1"].ok
        clock.advance(23 * 3600)
        assert fetch(pool, "http://a.test/2")["http://a.test/2"].ok
        clock.advance(3600)
        assert isinstance(fetch(pool, "http://a.test/3")["http://a.test/3"].error, RobotsDisallowed)


def test_too_many_redirects_of_pages_stay_what_they_are(origin: Origin) -> None:
    origin.script("/round", Reply(status=302, headers={"Location": "/round"}))
    with polite() as pool:
        error = fetch(pool, origin.url("/round"))[origin.url("/round")].error
    assert isinstance(error, TooManyRedirects)


def test_a_robots_txt_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch, origin: Origin) -> None:
    monkeypatch.setattr("workerpool.gate.READING", 0.3)

    def dripping(arrival: Arrival) -> Reply:
        return Reply(body=b"# slow\n" * 100, drip=0.05)

    origin.script("/robots.txt", dripping)
    with polite() as pool:
        error = fetch(pool, origin.url("/a"))[origin.url("/a")].error
    assert isinstance(error, RobotsDisallowed)
    assert "did not end within 0.3 s" in str(error)
