"""The names of bodies' files: what a template makes of a request."""

from __future__ import annotations

import pickle
from urllib.parse import quote

import pytest

from workerpool.errors import OptionError
from workerpool.model import Request
from workerpool.saving import Name, Save

SHA = "ab" * 32


@pytest.mark.parametrize(
    ("template", "url", "name"),
    [
        ("{host}/{path}", "https://example.com/a/b.pdf", "example.com/a/b.pdf"),
        ("{host}/{path}", "https://example.com", "example.com/index"),
        ("{host}/{path}", "https://example.com/a/", "example.com/a/index"),
        ("{host}/{path}", "https://EXAMPLE.com:8443/a", "example.com%3A8443/a"),
        ("{host}/{path}", "https://example.com:443/a", "example.com/a"),
        ("{host}/{path}", "http://[::1]:8000/a", "%3A%3A1%3A8000/a"),
        ("{path}", "https://example.com/a//b", "a/%/b"),
        ("{path}", "https://example.com/a?b=c", "a"),
        ("{path}{query}", "https://example.com/a?b=c/d", "ab=c%2Fd"),
        ("{path}", "https://example.com/caf%C3%A9 ü", "caf%C3%A9%20%C3%BC"),
        ("{path}", "https://example.com/a%2Fb", "a%2Fb"),
        ("{path}", "https://example.com/%7Eme", "~me"),
        ("{name}", "https://example.com/a/b.pdf?x", "b.pdf"),
        ("{sha256}{ext}", "https://example.com/a/b.pdf", f"{SHA}.pdf"),
        ("{sha256}{ext}", "https://example.com/a.b/c", SHA),
        ("{sha256}{ext}", "https://example.com/.profile", SHA),
        ("{sha256:.2}/{sha256}", "https://example.com/", f"ab/{SHA}"),
        ("{key}.json", "https://example.com/", "key%2F7.json"),
        ("{ordinal}-{source}", "https://example.com/", "5-urls.txt"),
        ("all/{{{ordinal}}}", "https://example.com/", "all/{5}"),
        ("one file", "https://example.com/", "one file"),
    ],
)
def test_a_template_is_filled_in_for_a_request(template: str, url: str, name: str) -> None:
    request = Request(url, key="key/7" if "{key}" in template else None, source="urls.txt", ordinal=5)
    assert Name(template).of(request, SHA) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd"),
        ("/%2e%2e/%2e%2e%2fetc", "%2E%2E/%2E.%2Fetc"),
        ("/.", "%2E"),
        ("/.htaccess", "%2Ehtaccess"),
        ("/.parts/x", "%2Eparts/x"),
        ("/-rf", "%2Drf"),
        ("/a%00b", "a%00b"),
        ("/a\\b", "a%5Cb"),
        ("/C:/x", "C%3A/x"),
        ("/nul", "%6Eul"),
        ("/COM1.txt", "%43OM1.txt"),
        ("/console", "console"),
        ("/trailing.", "trailing%2E"),
        ("/%0a%1b[2J", "%0A%1B%5B2J"),
    ],
)
def test_a_hostile_path_becomes_a_harmless_name(path: str, name: str) -> None:
    assert Name("{path}").of(Request(f"https://example.com{path}")) == name


def test_a_long_piece_is_cut_and_told_apart_by_a_hash_and_keeps_its_ending() -> None:
    one, other = (Name("{path}").of(Request(f"https://a.test/{'x' * 300}{end}.pdf")) for end in "12")
    assert one != other
    assert len(one) <= 200
    assert one.endswith(".pdf")
    assert Name("{path}").of(Request(f"https://a.test/{one}")) != one
    assert Name("{path}").of(Request(f"https://a.test/{quote(one)}")) != one


def test_a_deep_path_ends_in_one_piece() -> None:
    one, other = (Name("{path}").of(Request(f"https://a.test/{'a/' * 5000}{end}")) for end in "12")
    assert one != other
    assert len(one) < 1024
    assert one.count("/") < 40


@pytest.mark.parametrize(
    "template",
    ["", "/", "/etc/{name}", "../{name}", "a/../b", "a//b", ".{name}", "a/.hidden", "{name}/", "{nothing}", "{}", "{0}",
     "{name!r}", "{name:>9}", "{name:.0}", "{name", "a\\b", "a\0b", "{sha256:.2}", 7],
)  # fmt: skip
def test_a_template_that_leads_elsewhere_or_means_nothing_is_refused(template: str) -> None:
    with pytest.raises(OptionError, match=r"save\.name="):
        Name(template)


def test_a_save_travels_to_another_process() -> None:
    save = Save("bodies", "{host}/{path}", min_speed=None)
    copied = pickle.loads(pickle.dumps(save))
    assert copied == save
    assert copied.template.of(Request("https://a.test/x")) == "a.test/x"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"directory": ""}, "directory"),
        ({"directory": 5}, "directory"),
        ({"overwrite": "yes"}, "overwrite"),
        ({"min_speed": 0}, "min_speed"),
        ({"window": 0}, "window"),
        ({"max_size": 0}, "max_size"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(OptionError, match=f"save.{named}="):
        Save(**{"directory": "bodies", **wrong})  # type: ignore[arg-type]
