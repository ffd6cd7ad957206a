"""Canonical URLs: one form for what is sent alike, and never a form that is sent otherwise."""

from __future__ import annotations

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from workerpool.canonical import canonical

PARTS = st.sampled_from(
    [
        "http://", "https://", "HTTP://", "ftp://", "//", "a", "a.test", "A-b_c", "xn--A", "127.0.0.1", "bücher", "ß",
        "K",
        "[::1]", "[FE80::1%25eth0]", "[", "]", "-", ".", "_", "@", "u:p@", "%41@", ":", ":0", ":80", ":443", ":080",
        ":65536", ":8080", ":٣", "/", "//", "/.", "/..", "/../", "/./", "/a", "?", "?a=b", "&b=%2e", "#",
        "#a", "\\", "%", "%2", "%20", "%2f", "%7E", "%7e", "%2E%2e", "%25", "%zz", "%C3%A9", " ", "\t", "\n", "\0",
        "\x7f", "é", "℀", "\ud800", "!$&'()*+,;=", "[x]|^`{}<>\"",
    ]
)  # fmt: skip
URLS = st.lists(PARTS | st.text(max_size=2), max_size=8).map("".join)


def sent(url: str) -> tuple[str, str] | None:
    """Return what requests makes of a URL, login included, without its fragment; None if it refuses it."""
    if not url.lstrip().lower().startswith(("http://", "https://")):
        return None
    try:
        prepared = requests.Request("GET", url).prepare()
    except (requests.RequestException, UnicodeError, ValueError):
        return None
    assert prepared.url is not None
    return prepared.url.partition("#")[0], prepared.headers.get("Authorization", "")


@given(URLS | URLS.map("http://a.test".__add__) | URLS.map("http://a.test/".__add__))
def test_the_canonical_form_of_a_canonical_url_is_itself(url: str) -> None:
    assert canonical(canonical(url)) == canonical(url)


@given(URLS | URLS.map("http://a.test".__add__) | URLS.map("http://a.test/".__add__))
@example("http://a.test/x/%2e%2e/../y")
@example("http://a.test/..//a")
@example("http://a.test/%zz%2f")
@example("http://a.test?")
@example("http://bücher.test:80")
def test_a_url_has_the_canonical_form_of_what_requests_sends_for_it(url: str) -> None:
    made = sent(url)
    if made is None:
        return
    again = sent(canonical(url))
    assert again is not None
    assert canonical(made[0]) == canonical(again[0])
    assert made[1] == again[1]


@given(URLS.map("http://a.test/".__add__))
def test_a_canonical_form_is_sent_as_it_stands(url: str) -> None:
    form = canonical(url)
    if form != url and "@" not in form:
        assert requests.Request("GET", form).prepare().url == form


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("HTTP://Example.COM:80", "http://example.com/"),
        ("https://example.com:443/a?b#c", "https://example.com/a?b"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com:00080/", "http://example.com/"),
        ("http://example.com/%7euser/%c3%a9%2f", "http://example.com/~user/%C3%A9%2F"),
        ("http://example.com/a/./b/../c", "http://example.com/a/c"),
        ("http://example.com/a/..", "http://example.com/"),
        ("http://example.com/../", "http://example.com/"),
        ("http://example.com/é b", "http://example.com/%C3%A9%20b"),
        ("http://example.com?b=2&a=1", "http://example.com/?b=2&a=1"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://User:Pass@Example.com/", "http://User:Pass@example.com/"),
        ("http://[FE80::1]:8080/", "http://[fe80::1]:8080/"),
        ("http://example.com/#", "http://example.com/"),
    ],
)
def test_what_is_written_otherwise_and_means_the_same_has_one_form(url: str, form: str) -> None:
    assert canonical(url) == form


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "ftp://A/../b", "http://", "http://[::1", "http://a:99999/", "http://a b/", "http://\ud800/",
     "http://a.test/\ud800", "mailto:A@B", "http://Ä_b.test/", "http://a%2eB/"],
)  # fmt: skip
def test_what_is_no_url_stays_as_it_is(url: str) -> None:
    assert canonical(url) == url


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a.test/?a=1&b=2", "http://a.test/?b=2&a=1"),
        ("http://a.test/A", "http://a.test/a"),
        ("http://a.test/a%2Fb", "http://a.test/a/b"),
        ("http://a.test/a", "http://a.test/a/"),
        ("http://a.test/", "https://a.test/"),
        ("http://a.test/", "http://u@a.test/"),
        ("http://a.test/?a=%26", "http://a.test/?a=&"),
    ],
)
def test_what_differs_stays_apart(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)
