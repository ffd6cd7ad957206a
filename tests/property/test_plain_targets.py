"""Which URLs go out as they are: what the fast path takes for plain, requests and urllib3 would not change."""

from __future__ import annotations

import requests
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.util.url import _encode_target, parse_url

from workerpool.transport.messages import is_plain_target

PARTS = st.sampled_from(
    [
        "/", "//", "/.", "/..", "/a", "a.b", ".", "?", "#", "%", "%2", "%20", "%2f", "%2F", "%41", "%7E", "%7e", "%zz",
        "%C3%A9", "&", "=", "+", ";", ":", "@", "!", "$", "'", "(", ")", "*", ",", "~", "-", "_", "[", "]", "{", "|",
        "\\", "^", "`", '"', "<", ">", " ", "é", "\t", "\n", "\0", "\x7f",
    ]
)  # fmt: skip
TARGETS = st.lists(PARTS | st.characters(max_codepoint=0x7F), max_size=12).map(lambda parts: "/" + "".join(parts))


@given(TARGETS)
@example("/a/../b")
@example("/%2e%2e/")
@example("/a?b=/../c")
@example("/a?b?c=%2F")
def test_a_plain_target_is_what_requests_and_urllib3_make_of_it(target: str) -> None:
    if not is_plain_target(target):
        return
    url = f"http://host.test{target}"
    prepared = requests.Request("GET", url).prepare()
    assert (prepared.url, prepared.path_url) == (url, target)
    assert _encode_target(target) == target
    assert parse_url(url).url == url


@given(st.text("abcXYZ019-._~!$&'()*+,;=:@", min_size=1).filter(lambda text: not text.startswith(".")))
def test_usual_characters_are_plain(text: str) -> None:
    assert is_plain_target(f"/{text}?{text}={text}")
