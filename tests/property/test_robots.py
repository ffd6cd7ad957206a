"""robots.txt: no bytes break its reading, and matching agrees with a simple model of RFC 9309, section 2.2.2."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from workerpool.robots import LONGEST_DELAY, Allowed, Answered, Robots, Unknown, read_rules

LINES = st.sampled_from(
    [
        "User-agent: *", "User-agent: workerpool", "user-agent:other", "User-agent", "Disallow: /", "Disallow: /a",
        "Allow: /a/b", "Allow:", "Disallow:", "Crawl-delay: 3", "Crawl-delay: 1e9", "Crawl-delay: x", "# only this",
        "Sitemap: https://x/", "", " ", "Disallow: /*$", "Allow: *", "Disallow: %", "Disallow: /%zz", ":", "junk",
    ]
)  # fmt: skip
PATHS = st.text(alphabet="ab/*$", min_size=1, max_size=6).map(lambda text: "/" + text)
RULES = st.lists(st.tuples(st.booleans(), PATHS), max_size=6)


@given(st.binary(max_size=300) | st.lists(LINES | st.text(max_size=8), max_size=12).map("\n".join).map(str.encode))
def test_whatever_the_bytes_are_there_are_rules(content: bytes) -> None:
    rules = read_rules(content, "workerpool")
    assert rules.delay is None or 0 < rules.delay <= LONGEST_DELAY
    for path in ("/", "/a", "/a/b?c", "/%zz", "/\x00"):
        objection = rules.objection(f"https://example.com{path}")
        assert objection is None or objection.isprintable()


@given(RULES, st.text(alphabet="ab/", max_size=8))
def test_matching_is_that_of_the_rfc(rules: list[tuple[bool, str]], tail: str) -> None:
    """Paths are plain ASCII; a dollar sign counts at the end alone, where the RFC and its readers agree."""
    rules = [(allow, path) for allow, path in rules if "$" not in path[:-1] and "index.html" not in path]
    content = "User-agent: *\n" + "".join(f"{'Allow' if allow else 'Disallow'}: {path}\n" for allow, path in rules)
    path = "/" + tail
    matching = [(len(pattern), allow) for allow, pattern in rules if _matches(pattern, path)]
    expected = max(matching)[1] if matching else True
    assert (read_rules(content.encode(), "workerpool").objection(f"https://example.com{path}") is None) is expected


def _matches(pattern: str, path: str) -> bool:
    is_whole = pattern.endswith("$")
    expression = ".*".join(map(re.escape, pattern.removesuffix("$").split("*")))
    return re.match(expression + ("$" if is_whole else ""), path) is not None


@given(
    st.lists(
        st.sampled_from(
            ["http://", "HTTPS://", "//", "a.test", "[", "]", "@", ":", ":80", "/robots.txt", "?", "#", "%"]
        )
        | st.text(max_size=2),
        max_size=7,
    ).map("".join)
)
def test_whatever_the_url_is_looking_raises_nothing(url: str) -> None:
    robots = Robots()
    verdict = robots.look(url, None, 0.0)
    if isinstance(verdict, Unknown):
        content = b"User-agent: *\nDisallow: /*a\nCrawl-delay: 1\n"
        robots.learn(verdict.site, *robots.read(verdict.site, Answered(200, content)), 0.0)
        assert not isinstance(robots.look(url, None, 0.0), Unknown)


@given(st.lists(st.sampled_from(["look", "learn", "fail", "forget", "later"]), max_size=30))
def test_a_site_is_fetched_once_at_a_time(steps: list[str]) -> None:
    robots, now, is_fetching = Robots(), 0.0, False
    for step in steps:
        if step == "look":
            verdict = robots.look("https://example.com/", None, now)
            if isinstance(verdict, Unknown):
                assert verdict.is_first is not is_fetching
                is_fetching = True
            else:
                assert not is_fetching
        elif step == "later":
            now += 40_000.0
        elif is_fetching:
            site = Unknown(_SITE, True).site
            if step == "forget":
                robots.forget(site)
            else:
                robots.learn(site, *robots.read(site, Answered(200 if step == "learn" else None, error="x")), now)
                assert isinstance(robots.look("https://example.com/robots.txt", None, now), Allowed)
            is_fetching = False


_SITE = Robots().look("https://example.com/", None, 0.0).site  # type: ignore[union-attr]
