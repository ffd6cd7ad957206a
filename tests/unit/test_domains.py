"""Registered domains by the Public Suffix List: one for all hosts of an owner."""

from __future__ import annotations

import sys

import pytest

from workerpool import domains
from workerpool.domains import registered_domain
from workerpool.errors import OptionError
from workerpool.model import Request


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://www.example.com/page?x=1", "example.com"),
        ("http://EXAMPLE.com:8080/", "example.com"),
        ("https://a.b.example.co.uk/", "example.co.uk"),
        ("https://example.com.:443/", "example.com"),
        ("https://user:secret@api.example.com/", "example.com"),
        ("https://a.github.io/", "a.github.io"),
        ("https://www.city.kobe.jp/", "city.kobe.jp"),
        ("https://a.b.unknown-suffix/", "b.unknown-suffix"),
        ("https://shop.bücher.example/", "xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("https://www.straße.example/", "xn--strae-oqa.example"),
    ],
)
def test_the_registered_domain_is_one_label_more_than_the_public_suffix(url: str, domain: str) -> None:
    assert registered_domain(url) == domain
    assert registered_domain(Request(url)) == domain


@pytest.mark.parametrize(
    ("url", "itself"),
    [
        ("http://192.0.2.1:8000/x", "192.0.2.1"),
        ("http://[2001:DB8::1]/", "2001:db8::1"),
        ("http://localhost:8000/", "localhost"),
        ("https://co.uk/", "co.uk"),
        ("https://github.io/", "github.io"),
    ],
)
def test_addresses_single_labels_and_public_suffixes_are_themselves(url: str, itself: str) -> None:
    assert registered_domain(url) == itself


@pytest.mark.parametrize("junk", ["", "no url", "http://", "http://[bad/", "mailto:me@example.com", "http://a..b/"])
def test_junk_gives_some_text_and_raises_nothing(junk: str) -> None:
    assert isinstance(registered_domain(junk), str)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "publicsuffixlist", None)
    domains._suffixes.cache_clear()
    domains._domain_of.cache_clear()
    with pytest.raises(OptionError, match=r"publicsuffixlist.*workerpool-http\[crawl\]"):
        domains.prepare()
    with pytest.raises(OptionError, match=r"\[crawl\]"):
        registered_domain("https://example.com/")


def test_the_list_is_read_only_when_a_domain_is_asked_for() -> None:
    import subprocess

    script = "import sys, workerpool.domains, workerpool.keys; print('publicsuffixlist' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "False"
