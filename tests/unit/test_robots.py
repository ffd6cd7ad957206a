"""robots.txt by RFC 9309: what its rules mean, and what is known of each site."""

from __future__ import annotations

import itertools
import sys
import threading

import pytest

from workerpool.config import Budgets
from workerpool.errors import OptionError
from workerpool.model import Request
from workerpool.robots import (
    LONGEST,
    LONGEST_DELAY,
    Allowed,
    Answered,
    ClosedRules,
    Disallowed,
    OpenRules,
    Robots,
    Site,
    Unknown,
    read_rules,
    rules,
    sites,
)
from workerpool.scheduler import Scheduler
from workerpool.tickets import Ticket

SITE = Site("https://example.com:443", "workerpool")


def allows(robots: str | bytes, path: str, token: str = "workerpool") -> bool:
    content = robots.encode() if isinstance(robots, str) else robots
    return read_rules(content, token).objection(f"https://example.com{path}") is None


def fetched(robots: Robots, url: str, answered: Answered, now: float = 0.0) -> Site:
    """Look at a URL of a site that is unknown, and answer the fetch that this asks for."""
    unknown = robots.look(url, None, now)
    assert isinstance(unknown, Unknown)
    assert unknown.is_first
    robots.learn(unknown.site, *robots.read(unknown.site, answered), now)
    return unknown.site


# -- which group ------------------------------------------------------------------------------------------------------

TWO = "User-agent: *\nDisallow: /all\n\nUser-agent: Workerpool\nDisallow: /ours\n"


def test_the_group_that_names_the_robot_counts_in_any_case_and_no_other() -> None:
    assert not allows(TWO, "/ours")
    assert allows(TWO, "/all")
    assert not allows(TWO, "/all", token="other")
    assert allows(TWO, "/ours", token="other")


@pytest.mark.parametrize(
    "name", ["workerpool", "WORKERPOOL/1.0", "workerpool*", "workerpool (any)", " workerpool  # ours"]
)
def test_the_product_token_is_what_a_line_begins_with(name: str) -> None:
    assert not allows(f"User-agent: {name}\nDisallow: /", "/x")


@pytest.mark.parametrize("name", ["work", "workerpool-images", "pool", "my-workerpool", "workerpool2", ""])
def test_a_part_of_a_token_is_another_robot(name: str) -> None:
    assert allows(f"User-agent: {name}\nDisallow: /", "/x")


def test_groups_for_the_same_robot_are_one() -> None:
    twice = (
        "User-agent: workerpool\nDisallow: /a\n\nUser-agent: *\nDisallow: /c\n\nUser-agent: workerpool\nDisallow: /b"
    )
    assert [allows(twice, path) for path in ("/a", "/b", "/c")] == [False, False, True]


def test_several_agents_may_share_a_group_and_a_rule_ends_their_lines() -> None:
    for first, second in (("other", "workerpool"), ("workerpool", "other")):
        sitemap = "Sitemap: https://example.com/x"
        shared = f"User-agent: {first}\n\n# a comment\nUser-agent: {second}\n{sitemap}\nDisallow: /a\n"
        assert not allows(shared, "/a")
    assert allows("User-agent: workerpool\nDisallow: /a\nUser-agent: other\nDisallow: /b", "/b")


def test_an_empty_group_of_its_own_frees_the_robot() -> None:
    assert allows("User-agent: *\nDisallow: /\n\nUser-agent: workerpool\nDisallow:\n", "/x")
    assert allows("User-agent: *\nDisallow: /\n\nUser-agent: workerpool\n", "/x")


def test_rules_before_any_agent_are_nobodys() -> None:
    assert allows("Disallow: /\n", "/x")


# -- what rules match -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "path", "allowed"),
    [
        ("Disallow: /a", "/a", False),
        ("Disallow: /a", "/abc?x=1", False),
        ("Disallow: /a", "/A", True),
        ("Disallow: /a/", "/a", True),
        ("Disallow: /\nAllow: /open", "/open/x", True),
        ("Allow: /open\nDisallow: /", "/shut", False),
        ("Allow: /page\nDisallow: /page", "/page", True),  # equally long: allowed
        ("Allow: /p\nDisallow: /pa", "/page", False),
        ("Disallow: /*.gif$", "/x/y.gif", False),
        ("Disallow: /*.gif$", "/x/y.gif?1", True),
        ("Disallow: /*/private", "/a/b/private/c", False),
        ("Disallow: /*?", "/x?y", False),
        ("Disallow: /foo/bar/ツ", "/foo/bar/%E3%83%84", False),
        ("Disallow: /foo/bar/%E3%83%84", "/foo/bar/%e3%83%84", False),
        ("Disallow: /foo/bar/%62%61%7A", "/foo/bar/baz", False),
        ("Disallow: /path/file-with-a-%2A.html", "/path/file-with-a-*.html", False),
        ("Disallow: /path/file-with-a-%2A.html", "/path/file-with-a-b.html", True),
        ("Disallow:", "/x", True),
        ("Disallow /x", "/x", False),
        ("Dissallow: /x", "/x", False),
        ("Disallow: /x # but why", "/x", False),
        ("Noindex: /x", "/x", True),
    ],
)
def test_the_longest_rule_that_matches_decides(rules: str, path: str, allowed: bool) -> None:
    assert allows(f"User-agent: *\n{rules}\n", path) is allowed


def test_an_objection_names_the_rule_that_decided_it() -> None:
    rules = read_rules(b"User-agent: *\nDisallow: /a\nDisallow: /a/long/way  # because\nAllow: /a/l\n", "workerpool")
    assert rules.objection("https://example.com/a/long/way/x") == 'its rule "Disallow: /a/long/way"'
    assert rules.objection("https://example.com/a/b") == 'its rule "Disallow: /a"'


def test_a_long_list_of_rules_is_not_looked_through_for_the_one_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"Disallow: /some/where/{number}" for number in range(5000)]
    read = read_rules("\n".join(["User-agent: *", *lines, "Disallow: /x"]).encode(), "workerpool")
    tried = []
    monkeypatch.setattr(rules, "_alone", lambda line: (tried.append(line), rules._parsed([line]))[1])
    assert read.objection("https://example.com/x") == "its rules"
    assert read.objection("https://example.com/some/where/1000") == 'its rule "Disallow: /some/where/1000"'
    assert len(tried) < 200


def test_a_rule_is_shown_short_and_without_control_characters() -> None:
    rules = read_rules(f"User-agent: *\nDisallow: /*\x1b[31m{'x' * 200}$\nDisallow: /\x07".encode(), "workerpool")
    objection = rules.objection(f"https://example.com/\x1b[31m{'x' * 200}")
    assert objection is not None
    assert objection.isprintable()
    assert len(objection) < 120


# -- odd files --------------------------------------------------------------------------------------------------------


def test_a_byte_order_mark_hides_no_rule() -> None:
    assert not allows(b"\xef\xbb\xbfUser-agent: *\nDisallow: /\n", "/x")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_counts(end: str) -> None:
    assert not allows(end.join(["User-agent: *", "Disallow: /", ""]), "/x")


@pytest.mark.parametrize(
    "junk", [b"", b"\0" * 1000, b"\xff\xfe\xfd", b"<!doctype html><p>Disallow: /</p>", bytes(range(256)) * 40]
)
def test_junk_says_nothing(junk: bytes) -> None:
    assert allows(junk, "/x")


def test_only_the_first_500_kib_count_and_a_rule_cut_short_does_not() -> None:
    head = b"User-agent: *\nDisallow: /early\n"
    filled = head + b"#" * (LONGEST - len(head) - len(b"\nDisallow: /p")) + b"\nDisallow: /private\nDisallow: /late\n"
    assert filled[:LONGEST].endswith(b"\nDisallow: /p")
    assert not allows(filled, "/early")
    assert allows(filled, "/page")
    assert allows(filled, "/late")


# -- Crawl-delay ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "delay"),
    [("10", 10.0), ("0.5", 0.5), ("0", None), ("-1", None), ("soon", None), ("inf", None), ("nan", None), ("", None)],
)
def test_a_delay_is_seconds_above_zero(value: str, delay: float | None) -> None:
    assert read_rules(f"User-agent: *\nCrawl-delay: {value}\n".encode(), "workerpool").delay == delay


def test_the_delay_is_the_robots_own() -> None:
    content = b"User-agent: *\nCrawl-delay: 10\n\nUser-agent: workerpool\nCrawl-delay: 2\nDisallow: /x\n"
    assert read_rules(content, "workerpool").delay == 2
    assert read_rules(content, "other").delay == 10


def test_a_delay_that_nobody_waits_for_closes_the_site() -> None:
    content = b"User-agent: *\nCrawl-delay: 86400\n"
    assert read_rules(content, "workerpool").objection("https://example.com/") == (
        "its Crawl-delay is 86,400 s, and at most 3,600 s are waited for"
    )
    longest = f"User-agent: *\nCrawl-delay: {LONGEST_DELAY:.0f}\n".encode()
    assert read_rules(longest, "workerpool").delay == LONGEST_DELAY


# -- what is known of sites -------------------------------------------------------------------------------------------


def test_only_the_first_look_is_to_fetch() -> None:
    robots = Robots()
    assert robots.look("https://example.com/a", None, 0.0) == Unknown(SITE, is_first=True)
    assert robots.look("https://EXAMPLE.com:443/b", None, 0.0) == Unknown(SITE, is_first=False)
    assert robots.awaits(SITE)
    robots.learn(SITE, OpenRules(), 10.0, 0.0)
    assert not robots.awaits(SITE)
    assert robots.look("https://example.com/b", None, 0.0) == Allowed()


def test_only_one_of_many_threads_is_to_fetch(tiny_switch_interval: None) -> None:
    robots, firsts = Robots(), []
    begin = threading.Barrier(8)

    def look() -> None:
        begin.wait(10)
        for number in range(300):
            verdict = robots.look(f"https://h{number}.example/", None, 0.0)
            assert isinstance(verdict, Unknown)
            firsts.append(verdict.is_first)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(firsts) == 300


def test_schemes_ports_and_robots_are_sites_of_their_own() -> None:
    robots = Robots()
    for url, agent in [
        ("https://example.com/", None),
        ("http://example.com/", None),
        ("https://example.com:8443/", None),
        ("https://example.com/", "OtherBot/1.0"),
    ]:
        verdict = robots.look(url, agent, 0.0)
        assert isinstance(verdict, Unknown)
        assert verdict.is_first


@pytest.mark.parametrize(
    ("url", "robots_url"),
    [
        ("https://example.com/a", "https://example.com/robots.txt"),
        ("http://user:secret@Example.com:80/a?b", "http://example.com/robots.txt"),
        ("http://example.com:8080/", "http://example.com:8080/robots.txt"),
        ("http://[::1]:8080/x", "http://[::1]:8080/robots.txt"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/robots.txt"),
    ],
)
def test_the_robots_txt_is_at_the_origins_root(url: str, robots_url: str) -> None:
    verdict = Robots().look(url, None, 0.0)
    assert isinstance(verdict, Unknown)
    assert verdict.site.robots_url == robots_url


@pytest.mark.parametrize(
    "url",
    ["https://example.com/robots.txt", "https://example.com/robots.txt?x", "ftp://x/", "junk", "", "http://[bad/"],
)
def test_a_robots_txt_itself_and_what_cannot_be_sent_are_not_asked_about(url: str) -> None:
    assert Robots().look(url, None, 0.0) == Allowed()


def test_it_is_the_url_as_it_is_sent_that_counts() -> None:
    robots = Robots()
    fetched(robots, "https://example.com/", Answered(200, b"User-agent: *\nDisallow: /private\n"))
    for url in ("/private", "/open/../private/x", "/./private", "/%70rivate", "/open/%2e%2e/private"):
        assert isinstance(robots.look(f"https://example.com{url}", None, 0.0), Disallowed), url
    assert isinstance(robots.look("https://example.com/private/../open", None, 0.0), Allowed)


def test_a_refusal_names_the_rule_and_the_robots_txt() -> None:
    robots = Robots()
    fetched(robots, "https://example.com/", Answered(200, b"User-agent: *\nDisallow: /private\n"))
    assert robots.look("https://example.com/private/x", None, 0.0) == Disallowed(
        'https://example.com/robots.txt does not allow it: its rule "Disallow: /private"'
    )


def test_a_crawl_delay_is_a_pace_that_all_requests_of_the_site_share_whatever_they_weigh() -> None:
    robots = Robots()
    fetched(robots, "https://example.com/", Answered(200, b"User-agent: *\nCrawl-delay: 3\n"))
    one, other = robots.look("https://example.com/x", None, 0.0), robots.look("https://example.com/y", None, 0.0)
    assert isinstance(one, Allowed)
    assert isinstance(other, Allowed)
    assert one.pace is not None
    assert one.pace.try_take(10.0, weight=5) == 10.0
    assert other.pace is not None
    assert other.pace.next_at(weight=5) == 13.0
    assert other.pace.try_take(12.9) is None
    assert other.pace.rests_at == 13.0


def test_a_crawl_delay_that_changes_holds_for_a_host_that_is_busy_all_the_time() -> None:
    robots, scheduler = Robots(), Scheduler(Budgets(), places=1000)
    sent = []
    for now, delay in [(0.0, b"10"), (sites.KEPT, b"1"), (2 * sites.KEPT, b"20"), (3 * sites.KEPT, b"")]:
        text = b"User-agent: *\n" + (b"Crawl-delay: %b\n" % delay if delay else b"")
        fetched(robots, "https://example.com/", Answered(200, text), now)
        verdict = robots.look("https://example.com/", None, now)
        assert isinstance(verdict, Allowed)
        for _ in range(4):
            ticket = Ticket(Request("https://example.com/"), "https://example.com")
            ticket.pace = verdict.pace
            scheduler.add(ticket, now)
        times = []
        while (wakes_at := scheduler.wakes_at(now)) is not None:
            now = max(now, wakes_at)
            while (taken := scheduler.next(now)) is not None:
                times.append(now)
                scheduler.release(taken.host, now)
        sent.append([round(later - earlier) for earlier, later in itertools.pairwise(times)])
    assert sent == [[10, 10, 10], [1, 1, 1], [20, 20, 20], [0, 0, 0]]


CLOSING = b"User-agent: *\nDisallow: /\n"


@pytest.mark.parametrize("status", [301, 304, 400, 401, 403, 404, 410, 418, 451])
def test_without_a_robots_txt_everything_is_allowed(status: int) -> None:
    robots = Robots()
    fetched(robots, "https://example.com/", Answered(status, CLOSING, error=f"HTTP {status}"))
    assert isinstance(robots.look("https://example.com/x", None, 0.0), Allowed)


def test_too_many_redirects_mean_that_there_is_none() -> None:
    robots = Robots()
    fetched(robots, "https://example.com/", Answered(None, error="more", had_too_many_redirects=True))
    assert isinstance(robots.look("https://example.com/x", None, 0.0), Allowed)


@pytest.mark.parametrize("status", [None, 429, 500, 503, 599])
def test_what_cannot_be_fetched_closes_the_site_until_it_is_asked_again(status: int | None) -> None:
    robots = Robots()
    fetched(robots, "https://example.com/", Answered(status, error="no luck"))
    closed = Disallowed("https://example.com/robots.txt does not allow it: it could not be fetched: no luck", True)
    assert robots.look("https://example.com/x", None, 0.0) == closed
    assert robots.look("https://example.com/x", None, sites.UNREACHABLE_KEPT - 1) == closed
    assert robots.look("https://example.com/x", None, sites.UNREACHABLE_KEPT) == Unknown(SITE, is_first=True)


def test_rules_that_were_known_hold_on_while_the_file_cannot_be_fetched() -> None:
    robots = Robots()
    fetched(robots, "https://example.com/", Answered(200, b"User-agent: *\nDisallow: /private\n"))
    fetched(robots, "https://example.com/x", Answered(503, error="HTTP 503"), now=sites.KEPT)
    assert isinstance(robots.look("https://example.com/open", None, sites.KEPT), Allowed)
    assert isinstance(robots.look("https://example.com/private", None, sites.KEPT), Disallowed)
    assert isinstance(robots.look("https://example.com/", None, sites.KEPT + sites.UNREACHABLE_KEPT), Unknown)


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("", sites.KEPT),
        ("public", sites.KEPT),
        ("max-age=3600", 3600.0),
        ('Public, Max-Age="3600"', 3600.0),
        ("max-age=0", sites.LEAST_KEPT),
        ("max-age=99999999", sites.KEPT),
        ("s-maxage=600", sites.KEPT),
        ("max-age=junk", sites.KEPT),
        ("no-cache", sites.LEAST_KEPT),
        ("private, no-store", sites.LEAST_KEPT),
    ],
)
def test_rules_hold_as_long_as_cache_control_says_and_a_day_at_most(cache_control: str, seconds: float) -> None:
    robots = Robots()
    fetched(robots, "https://example.com/", Answered(200, b"", cache_control))
    assert isinstance(robots.look("https://example.com/", None, seconds - 0.001), Allowed)
    assert isinstance(robots.look("https://example.com/", None, seconds), Unknown)


def test_a_fetch_that_was_given_up_is_begun_again_by_the_next_look() -> None:
    robots = Robots()
    robots.look("https://example.com/", None, 0.0)
    robots.forget(SITE)
    assert robots.look("https://example.com/", None, 0.0) == Unknown(SITE, is_first=True)


def test_the_site_asked_about_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "MOST_SITES", 3)
    robots = Robots()
    for name in "abc":
        fetched(robots, f"https://{name}/", Answered(404))
    robots.look("https://a/", None, 1.0)
    fetched(robots, "https://d/", Answered(404))
    assert isinstance(robots.look("https://a/", None, 2.0), Allowed)
    assert isinstance(robots.look("https://b/", None, 2.0), Unknown)


def test_a_site_that_is_awaited_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "MOST_SITES", 2)
    robots = Robots()
    robots.look("https://a/", None, 0.0)
    for name in "bcd":
        fetched(robots, f"https://{name}/", Answered(404))
    assert robots.awaits(Site("https://a:443", "workerpool"))


def test_rules_are_kept_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "MOST_RULES", 100)
    robots = Robots()
    many = b"User-agent: *\n" + b"".join(b"Disallow: /%d\n" % number for number in range(60))
    fetched(robots, "https://a/", Answered(200, many))
    fetched(robots, "https://b/", Answered(200, many))
    assert isinstance(robots.look("https://b/", None, 0.0), Allowed)
    assert isinstance(robots.look("https://a/", None, 0.0), Unknown)
    huge = b"User-agent: *\n" + b"".join(b"Disallow: /%d\n" % number for number in range(200))
    fetched(robots, "https://c/", Answered(200, huge))
    assert isinstance(robots.look("https://c/", None, 0.0), Allowed)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "protego", None)
    with pytest.raises(OptionError, match=r"to obey robots\.txt needs protego.*workerpool-http\[crawl\]"):
        Robots()


def test_closed_rules_say_why() -> None:
    assert ClosedRules("because").objection("https://example.com/") == "because"
