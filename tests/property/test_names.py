"""Whatever a stranger writes into a URL, a file's name stays in its directory, and other URLs have other names."""

from __future__ import annotations

import os
from urllib.parse import quote, unquote_to_bytes

from hypothesis import example, given
from hypothesis import strategies as st

from workerpool.model import Request
from workerpool.saving import Name
from workerpool.saving.names import DEEPEST

TRICKS = st.sampled_from(
    ["..", ".", "%2e%2e", "%2E.", "/", "//", "%2f", "\\", "%5c", "\0", "%00", "~", "-", " ", "CON", "aux.txt", "%",
     "%zz", "%25", "%252e", "\u202e", "é", "e\u0301", "x" * 300, "a/" * 50, ":", "con.", "...", "\udc80", "\r\n"]
)  # fmt: skip
TEXTS = st.lists(TRICKS | st.text(max_size=6), max_size=8).map("".join)
TEMPLATES = st.sampled_from(
    ["{path}", "{host}/{path}", "{name}", "{path}{query}", "{query}", "{key}", "a/{key}/b", "{ext}", "x{path}y",
     "{key}{ext}", "{source}/{ordinal}", "{key:.3}"]
)  # fmt: skip


@given(TEMPLATES, TEXTS, TEXTS, TEXTS)
@example("{path}", "../../etc/passwd", "", "")
@example("{key}", "", "", "..")
def test_no_name_leads_out_of_its_directory(template: str, path: str, query: str, key: str) -> None:
    request = Request(f"https://a.test/{path.replace('?', '').replace('#', '')}?{query}", key=key, source=key)
    name = Name(template).of(request)
    assert os.path.normpath(os.path.join("/dir", name)) == f"/dir/{name}"
    assert not os.path.isabs(name)
    assert len(name) < 1100
    for piece in name.split("/"):
        assert piece
        assert not piece.startswith((".", "-"))
        assert len(piece.encode()) <= 255
        assert piece.isascii()
        assert piece.isprintable()
        assert not set(piece) & set('\\:*?"<>|')


SEGMENTS = st.lists(st.binary(max_size=6), min_size=1, max_size=5)
DEEP = [b"a"] * (DEEPEST - 1)


def meant(pieces: list[bytes]) -> list[bytes]:
    """The pieces of a path that are told apart."""
    return [*pieces[:-1], pieces[-1] or b"index"]


@given(SEGMENTS, SEGMENTS)
@example([b"a", b"", b"b"], [b"a", b"_", b"b"])
@example([b"a", b"", b"b"], [b"a", b"%", b"b"])
@example([*DEEP, b"b/c", b"d"], [*DEEP, b"b", b"c", b"d"])
@example([*DEEP, b"b", b"", b"2F"], [*DEEP, b"b", b"%2F"])
def test_different_paths_have_different_names(one: list[bytes], other: list[bytes]) -> None:
    first, second = ("/".join(quote(piece, safe="") for piece in pieces) for pieces in (one, other))
    names = {Name("{path}").of(Request(f"https://a.test/{path}")) for path in (first, second)}
    assert (len(names) == 1) == (meant(one) == meant(other))


@given(SEGMENTS)
@example([b"a", b"", b"b"])
def test_a_name_tells_its_path(pieces: list[bytes]) -> None:
    path = "/".join(quote(piece, safe="") for piece in pieces)
    name = Name("{path}").of(Request(f"https://a.test/{path}"))
    assert [b"" if piece == "%" else unquote_to_bytes(piece) for piece in name.split("/")] == meant(pieces)
