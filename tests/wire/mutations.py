"""Answers of the table, changed at random: bytes put in, taken away, doubled or exchanged for others' pieces.

How many are tried is said by the profile of hypothesis, or by the environment: ``WIRE_EXAMPLES=100000``.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.conftest import IN_FULL
from tests.wire.answers import all_cases
from workerpool.transport.http1 import parse_head

LONGEST = 4000
"""Bytes of an answer that is worth changing: of a longer one, most changes would hit its body."""

_CASES = [case for case in all_cases().values() if not case.data]
ANSWERS = sorted({answer for case in _CASES if 0 < len(answer := b"".join(case.pieces)) <= LONGEST})
_USUAL = [answer for answer in ANSWERS if parse_head(answer)]
_PIECES = sorted(
    {line for answer in ANSWERS for line in answer.split(b"\r\n")[:4] if len(line) < 80}
    | {
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\0",
        b":",
        b";",
        b",",
        b"0",
        b"5",
        b"-",
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"\x0b",
    }
    | {b"\x85", b"\xa0", b"\xff", b"chunked", b"close", b"gzip", b"Content-Length: 11\r\n", b"HTTP/1.1 200 OK\r\n\r\n"}
    | {
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Connection: close\r\n",
        b"b\r\nhello world\r\n",
    }
    | {
        b"Location: /land\r\n",
        b"Set-Cookie: a=b\r\n",
        b"Keep-Alive: timeout=1\r\n",
        b"304",
        b"204",
        b"302",
        b"HTTP/1.0",
    }
)
_places = st.integers(0, 1_000_000)
_edits = st.tuples(st.sampled_from(["put", "cut", "double", "exchange", "splice"]), _places, _places)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """An answer with up to four changes; two of three are such as the fast path reads itself."""
    data = draw(st.sampled_from(_USUAL) | st.sampled_from(_USUAL) | st.sampled_from(ANSWERS))
    for kind, first, second in draw(st.lists(_edits, max_size=4)):
        at = first % (len(data) + 1)
        until = min(len(data), at + 1 + second % 12)
        if kind == "put":
            data = data[:at] + _PIECES[second % len(_PIECES)] + data[at:]
        elif kind == "cut":
            data = data[:at] + data[until:]
        elif kind == "double":
            data = data[:until] + data[at:until] + data[until:]
        elif kind == "exchange":
            data = data[:at] + _PIECES[second % len(_PIECES)] + data[until:]
        else:
            other = ANSWERS[second % len(ANSWERS)]
            data = data[:at] + other[min(at, len(other)) :]
    return data


@st.composite
def split(draw: st.DrawFn, data: bytes) -> tuple[bytes, ...]:
    """The pieces of `data`, cut at up to eight places; its head comes whole, as a rule."""
    first = draw(st.sampled_from([data.find(b"\r\n\r\n") + 4] * 4 + [0]))
    cuts = sorted({0, len(data), *(first + place % (len(data) + 1) for place in draw(st.lists(_places, max_size=8)))})
    cuts = [place for place in cuts if place <= len(data)]
    return tuple(data[start:end] for start, end in itertools.pairwise(cuts))


split_answers = answers().flatmap(split).filter(bool)


def examples(number: int) -> Any:
    """How many are tried: a tenth as many in the suite, so many in full, or as many as the environment says."""
    return settings(
        max_examples=int(os.environ.get("WIRE_EXAMPLES", number if IN_FULL else number // 10)),
        deadline=None,
        derandomize="WIRE_EXAMPLES" not in os.environ,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
