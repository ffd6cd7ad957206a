"""Which lines of a source are requests: the short look at a plain URL says what the whole check would."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from workerpool.batch.sources.rows import Place, from_url
from workerpool.model import problem_of

PARTS = st.sampled_from(
    [
        "http://", "https://", "HTTP://", "ftp://", "//", "://", "http:", "a", "a.test", "A-b_c", "xn--a", "127.0.0.1",
        "[::1]", "[", "]", "[v1.a]", "-", ".", "_", "@", "u:p@", ":", ":0", ":80", ":59999", ":60000", ":65535",
        ":65536", ":99999", ":٣", ":1_0", "/", "/a", "?", "?a=b", "#", "#a", "\\", "%", "%20", "%zz", " ", "\t", "\n",
        "\0", "\x1f", "\x7f", "\x85", "\xa0", "\u2028", "é", "℀", "\ud800",
    ]
)  # fmt: skip
LINES = st.lists(PARTS | st.text(max_size=2), max_size=6).map("".join)


def is_fine(url: str) -> bool:
    """What the whole check says, whatever the URL looks like."""
    try:
        url.encode()
    except UnicodeEncodeError:
        return False
    return problem_of(url) is None


@given(LINES | LINES.map("http://a".__add__))
@example("http://a:٣/")
@example("http://a:99999/")
@example("http://a.test/[")
@example("http://a?b")
@example("https://a_b.test#c")
def test_a_line_is_a_request_exactly_if_the_whole_check_has_no_problem_with_it(line: str) -> None:
    assert (from_url(line, Place("u.txt", "u.txt", 1)).problem is None) == is_fine(line)
