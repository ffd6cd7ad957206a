"""Links, paths and policies: what they read of a page, and what request they make of it."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest

from workerpool import Request
from workerpool.errors import OptionError
from workerpool.paging import Cursor, LinkHeader, NextLink, Offset, PageError, PageNumber, Pages, Position
from workerpool.paging.asking import value_in, with_value
from workerpool.paging.links import Link, links_in
from workerpool.paging.reading import read_pages, said_of

START = Request("https://api.test/items?size=5&page=3#top", key="mine")


@dataclass
class Page:
    """An answer with this JSON."""

    value: Any = None
    status_code: int = 200
    url: str = "https://api.test/items"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.value if isinstance(self.value, bytes) else json.dumps(self.value).encode()


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ('<a>; rel="next"', [Link("a", {"rel": "next"})]),
        ("<a>;rel=next,<b>; REL = prev", [Link("a", {"rel": "next"}), Link("b", {"rel": "prev"})]),
        (
            '<a,b;c>; title="x, <y>; rel=\\"z\\""; rel="next last"',
            [Link("a,b;c", {"title": 'x, <y>; rel="z"', "rel": "next last"})],
        ),
        ("<a>; rel=first; rel=next", [Link("a", {"rel": "first"})]),
        ("<a>; crossorigin; rel=next ;", [Link("a", {"crossorigin": "", "rel": "next"})]),
        (", ,<a>,, <>; rel=next", [Link("a", {}), Link("", {"rel": "next"})]),
        ("no link; rel=next", []),
        ("<never ends; rel=next", []),
        ("", []),
    ],
)  # fmt: skip
def test_a_link_field_is_read_as_the_rfc_says(text: str, links: list[Link]) -> None:
    assert [*links_in([text])] == links


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("/items?page=2", "https://api.test/items?page=2"),
        ("?page=2", "https://api.test/items?page=2"),
        ("https://other.test/x#y", "https://other.test/x"),
        ("//cdn.test/x", "https://cdn.test/x"),
    ],
)
def test_a_link_is_relative_to_the_final_url(target: str, url: str) -> None:
    page = Page(headers={"Link": f'<{target}>; rel="NEXT"'})
    position = LinkHeader().next(START, None, 1, page)
    assert position is not None
    assert position.value == url
    assert position.has_left is not url.startswith("https://api.test")
    assert NextLink("next").next(START, None, 1, Page({"next": target})) == position


@pytest.mark.parametrize("target", ["ftp://a.test/", "mailto:x", "http://[", "https://:80/", "/a b"])
def test_a_link_that_leads_nowhere_is_an_error(target: str) -> None:
    with pytest.raises(PageError, match="leads nowhere"):
        NextLink("next").next(START, None, 1, Page({"next": target}))


def test_a_link_about_another_resource_is_not_followed() -> None:
    assert LinkHeader().next(START, None, 1, Page(headers={"Link": '</x>; rel=next; anchor="/other"'})) is None


@pytest.mark.parametrize("value", [None, "", False])
def test_nothing_at_its_path_is_the_last_page(value: object) -> None:
    assert NextLink("meta.next").next(START, None, 1, Page({"meta": {"next": value}})) is None
    assert Cursor("meta.next").next(START, None, 1, Page({"meta": {"next": value}})) is None
    assert Cursor("meta.next").next(START, None, 1, Page({})) is None
    assert Cursor("meta.next").next(START, None, 1, Page(b"", status_code=204)) is None


@pytest.mark.parametrize("value", [True, 1.5, {"a": 1}, [1]])
def test_what_is_no_cursor_and_no_link_is_an_error_that_does_not_show_it(value: object) -> None:
    for pages in (Cursor("next"), NextLink("next")):
        with pytest.raises(PageError, match="'next' the page has"):
            pages.next(START, None, 1, Page({"next": value}))


@pytest.mark.parametrize("body", [b"", b"<p>", b"[1", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_an_error(body: bytes) -> None:
    for pages in (Cursor("a"), NextLink("a"), PageNumber(), Offset()):
        with pytest.raises(PageError, match="JSON"):
            pages.next(START, None, 1, Page(body))


def test_a_jmespath_expression_may_compute_a_cursor() -> None:
    pages = Cursor("has_more && data[-1].id", param="starting_after")
    position = pages.next(START, None, 1, Page({"has_more": True, "data": [{"id": 1}, {"id": 7}]}))
    assert position == Position(7)
    assert pages.next(START, None, 1, Page({"has_more": False, "data": [{"id": 1}]})) is None
    with pytest.raises(PageError, match="cannot be looked up"):
        Cursor("length(a)").next(START, None, 1, Page({"a": 1}))


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("a..b", "character 3"),
        ("a[", "ends too early"),
        ("foo bar", "character 5"),
        ("'abc", "character 1"),
        ("", "write"),
        (3, "write"),
    ],
)  # fmt: skip
def test_a_bad_path_is_refused_when_it_is_said_with_its_place(path: Any, place: str) -> None:
    for make in (NextLink, Cursor, lambda path: PageNumber(items=path), lambda path: Offset(total=path)):
        with pytest.raises(OptionError, match=place):
            make(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LinkHeader("next last"),
        lambda: LinkHeader(max_pages=0),
        lambda: Cursor("a", param=""),
        lambda: PageNumber(start=-1),
        lambda: Offset(limit=0),
        lambda: Offset(limit_param=""),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_made(make: Any) -> None:
    with pytest.raises(OptionError):
        make()


def test_numbers_count_on_from_the_one_that_the_request_says() -> None:
    assert PageNumber().next(START, None, 1, Page({"items": [1]})) == Position(4)
    assert PageNumber().next(START, Position(4), 2, Page({"items": [1]})) == Position(5)
    assert PageNumber("p", start=0).next(START, None, 1, Page({"items": [1]})) == Position(1)
    assert PageNumber(total="pages").next(START, None, 1, Page({"pages": "4"})) == Position(4)
    assert PageNumber(total="pages").next(START, Position(4), 2, Page({"pages": 4})) is None
    with pytest.raises(PageError, match="page='x'"):
        PageNumber().next(Request("http://a.test/?page=x"), None, 1, Page({"items": [1]}))


@pytest.mark.parametrize("pages", [PageNumber(), Offset()])
def test_a_first_page_without_a_list_is_an_error_and_a_later_one_the_end(pages: Pages) -> None:
    with pytest.raises(PageError, match="is the path right"):
        pages.next(START, None, 1, Page({"other": []}))
    assert pages.next(START, Position(9), 2, Page({"other": []})) is None
    with pytest.raises(PageError, match="text"):
        pages.next(START, Position(9), 2, Page({"items": "none"}))


def test_a_value_takes_the_place_of_the_one_that_is_there_and_nothing_else_changes() -> None:
    url = "https://a.test/x?a=%20b&page=1&&c&page=2#f"
    assert with_value(Request(url), "page", "ü &", None).url == "https://a.test/x?a=%20b&c&page=%C3%BC+%26#f"
    assert with_value(Request("https://a.test"), "page", 2, None).url == "https://a.test?page=2"
    for params in ({"page": 1, "b": 2}, [("page", 1), ("b", 2)], "page=1&b=2", b"page=1&b=2"):
        request = with_value(Request("https://a.test/", params=params), "page", 3, None)
        assert [(name, str(value)) for name, value in request.params] == [("b", "2")]
        assert request.url == "https://a.test/?page=3"
        assert str(value_in(Request("https://a.test/", params=params), "page", None)) == "1"
    assert with_value(Request("https://a.test/", "POST", json={"a": 1}), "page", 3, None).json == {"a": 1, "page": 3}
    assert with_value(Request("https://a.test/", "POST", json={"a": 1}), "page", 3, False).url.endswith("?page=3")


POLICIES: list[Pages] = [
    LinkHeader(max_pages=3),
    NextLink("a.b", max_pages=3),
    Cursor("a[0]", param="x", in_body=True),
    PageNumber("p", start=0, items="@", total="n"),
    Offset("o", limit=5, limit_param="l", items="x", total="n"),
]


@pytest.mark.parametrize("pages", POLICIES)
def test_a_policy_can_be_pickled(pages: Pages) -> None:
    assert pickle.loads(pickle.dumps(pages)) == pages


@pytest.mark.parametrize("text", ["link", "next:a.b", "cursor:x=a[?b=='c'].d", "page:p=@", "offset:o=data.items"])
def test_a_policy_is_said_as_it_was_read(text: str) -> None:
    assert said_of(read_pages(text, "--pages")) == text


def test_policies_that_differ_are_said_differently_but_for_the_number_of_pages() -> None:
    assert len({said_of(pages) for pages in (*POLICIES, PageNumber(), PageNumber(start=0), Offset(limit=5))}) == 8
    assert said_of(LinkHeader(max_pages=3)) == "link"


@pytest.mark.parametrize("text", ["links", "next", "next:a..b", "cursor:a.b", "cursor:=a", "page:", "offset:x=", ""])
def test_what_is_no_policy_is_refused_with_the_flag(text: str) -> None:
    with pytest.raises(OptionError, match="--pages="):
        read_pages(text, "--pages")
