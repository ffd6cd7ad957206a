"""What a server says of a body's parts, and what that is worth."""

from __future__ import annotations

import pytest

from workerpool.saving import Known, Offer, Span

DATE = {"Date": "Sun, 06 Nov 1994 08:50:37 GMT"}


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": '"one"'}, '"one"'),
        ({"ETag": 'W/"one"'}, None),
        ({"ETag": "one"}, None),
        ({"ETag": '"a"b"'}, None),
        ({}, None),
        ({"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT", **DATE}, "Sun, 06 Nov 1994 08:49:37 GMT"),
        ({"Last-Modified": "Sun, 06 Nov 1994 08:49:38 GMT", **DATE}, None),
        ({"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
        ({"Last-Modified": "yesterday", **DATE}, None),
        ({"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT", "ETag": 'W/"one"', **DATE}, None),
        ({"ETag": '"one"', "Accept-Ranges": "none"}, None),
        ({"ETag": '"one"', "Content-Encoding": "gzip"}, None),
    ],
)
def test_only_what_names_this_very_version_is_asked_by(headers: dict[str, str], validator: str | None) -> None:
    assert Known.of(headers).validator == validator


@pytest.mark.parametrize(
    ("headers", "total"),
    [
        ({"Content-Length": "10"}, 10),
        ({"Content-Length": "ten"}, None),
        ({"Content-Length": "10", "Transfer-Encoding": "chunked"}, None),
        ({"Content-Length": "10", "Content-Encoding": "gzip"}, None),
        ({"Content-Length": "10", "Content-Encoding": "identity"}, 10),
    ],
)
def test_the_length_counts_where_it_is_that_of_what_is_written(headers: dict[str, str], total: int | None) -> None:
    assert Known.of(headers).total == total


def test_what_is_known_is_read_as_it_was_written_and_junk_is_nothing() -> None:
    known = Known('"\xe9"', 7)
    assert Known.from_json(known.to_json()) == known
    for junk in (b"", b"[]", b"{}", b'{"validator": 5, "total": "x"}', b'{"validator": "a\\r\\nb", "total": null}'):
        assert Known.from_json(junk) == Known()


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("bytes 5-9/10", Span(5, 9, 10)),
        ("bytes 5-9/*", Span(5, 9, None)),
        ("bytes */10", Span(None, None, 10)),
        ("bytes 9-5/10", None),
        ("bytes 5-10/10", None),
        ("items 5-9/10", None),
        ("bytes 5-", None),
        ("", None),
    ],
)
def test_a_content_range_is_read_or_means_nothing(text: str, span: Span | None) -> None:
    assert Span.of({"Content-Range": text}) == span


@pytest.mark.parametrize(
    ("text", "headers", "continues"),
    [
        ("bytes 5-9/10", {}, True),
        ("bytes 5-9/10", {"ETag": '"one"'}, True),
        ("bytes 5-9/10", {"ETag": '"two"'}, False),
        ("bytes 4-9/10", {}, False),
        ("bytes 0-9/10", {}, False),
        ("bytes 5-9/11", {}, False),
        ("bytes 5-7/10", {}, True),
        ("bytes */10", {}, False),
    ],
)
def test_a_part_continues_what_is_there_if_it_begins_there_and_is_of_the_same_version(
    text: str, headers: dict[str, str], continues: bool
) -> None:
    span = Span.of({"Content-Range": text})
    assert span is not None
    assert span.continues(Offer(5, Known('"one"', 10)), headers) is continues
