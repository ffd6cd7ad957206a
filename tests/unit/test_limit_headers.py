"""What hosts say about their limits in headers: the draft's forms, the dialects in use, and junk."""

from __future__ import annotations

import time
import timeit
from email.utils import formatdate

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from workerpool.limits import Answer, answer_of
from workerpool.limits.headers import LONGEST_WAIT, Allowance, allowance, retry_after
from workerpool.rate import Rate

NOW = 1_800_000_000.0
DATE = "Fri, 15 Jan 2027 08:00:00 GMT"  # NOW


def read(headers: dict[str, str]) -> tuple[float | None, float | None, float | None, float | None]:
    found = allowance(CaseInsensitiveDict(headers), NOW) or Allowance()
    return found.limit, found.window, found.remaining, found.reset


def reply(status: int, headers: dict[str, str]) -> requests.Response:
    made = requests.Response()
    made.status_code = status
    made.headers.update(headers)
    return made


def x(limit: object = None, left: object = None, reset: object = None, prefix: str = "X-RateLimit") -> dict[str, str]:
    parts = {"Limit": limit, "Remaining": left, "Reset": reset}
    return {f"{prefix}-{part}": str(value) for part, value in parts.items() if value is not None}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        # draft-ietf-httpapi-ratelimit-headers-11, its own examples
        ({"RateLimit": '"default";r=50;t=30'}, (None, None, 50, 30)),
        ({"RateLimit": '"default";r=999;pk=:dHJpYWwxMjEzMjM=:'}, (None, None, 999, None)),
        (
            {"RateLimit-Policy": '"fixedwindow";q=100;w=60', "RateLimit": '"fixedwindow";r=99;t=50'},
            (100, 60, 99, 50),
        ),
        (
            {"RateLimit-Policy": '"burst";q=100;w=60,"daily";q=1000;w=86400', "RateLimit": '"daily";r=100;t=36000'},
            (1000, 86400, 100, 36000),
        ),
        # of several limits the one that is used up first
        ({"RateLimit": '"burst";r=90;t=60, "daily";r=100;t=36000'}, (None, None, 100, 36000)),
        ({"RateLimit": '"a";r=0;t=5, "b";r=0;t=30, "c";r=1;t=900'}, (None, None, 0, 30)),
        # quota units that are no requests
        ({"RateLimit-Policy": '"bytes";q=65535;qu="content-bytes";w=10;pk=:sdfjLJUOUH==:'}, (None, None, None, None)),
        (
            {
                "RateLimit-Policy": '"bytes";q=9;qu="content-bytes";w=9, "calls";q=10;w=1',
                "RateLimit": '"bytes";r=1;t=9, "calls";r=5;t=1',
            },
            (10, 1, 5, 1),
        ),
        # as long as it lasts: what has no reset binds least, and one that is over next to now for a second
        ({"RateLimit": '"a";r=1, "b";r=50;t=10'}, (None, None, 50, 10)),
        ({"RateLimit": '"a";r=5;t=0, "b";r=1;t=100'}, (None, None, 1, 100)),
        ({"RateLimit": '"a";r=5;t=1, "b";r=8;t=2'}, (None, None, 8, 2)),
        # of two headers the one that is used up first, and the limit of the one that has it
        (
            {"X-RateLimit": "limit=7, remaining=5, reset=9", "RateLimit": "limit=9, remaining=1, reset=9"},
            (9, None, 1, 9),
        ),
        (
            {"RateLimit": "limit=9, remaining=1, reset=9", "X-RateLimit": "limit=7, remaining=5, reset=9"},
            (9, None, 1, 9),
        ),
        ({"RateLimit-Limit": "100", "RateLimit": "a;r=5;t=3"}, (100, None, 5, 3)),
        # units: in quotes and capitals, and of limits without a name
        (
            {"RateLimit-Policy": '"a";q=9;w=9;qu="Requests"', "RateLimit": "a;r=1;t=9"},
            (9, 9, 1, 9),
        ),
        ({"RateLimit-Policy": "9;w=9;qu=content-bytes", "RateLimit": "limit=9, remaining=1, reset=9"}, (None,) * 4),
        ({"RateLimit-Policy": "9;w=9;qu=content-bytes", "RateLimit": "9;r=1;t=9"}, (None,) * 4),
        ({"RateLimit-Policy": '"a";q=9;w=9;qu="content-bytes"', "RateLimit": "a;r=1;t=9"}, (None,) * 4),
        # names that look like syntax
        ({"RateLimit": '"a,b;r=1;t=1";r=50;t=30;acme-x="r=2, t=3"'}, (None, None, 50, 30)),
        ({"RateLimit": '"say \\"r=1\\"";r=50;t=30'}, (None, None, 50, 30)),
        # older drafts
        ({"RateLimit": "limit=100, remaining=50, reset=5"}, (100, None, 50, 5)),
        ({"RateLimit": "default;r=50;t=30"}, (None, None, 50, 30)),
        (x("100, 100;w=60", 20, 30, "RateLimit"), (100, 60, 20, 30)),
        (x("100, 100;window=60, 10000;window=86400", 98, 3), (10000, 86400, 98, 3)),
        # GitHub, by its Date and without one; X; milliseconds
        ({**x(5000, 4990, 1_800_000_600), "Date": "Fri, 15 Jan 2027 07:50:00 GMT"}, (5000, None, 4990, 1200)),
        (x(5000, 4990, 1_800_000_600), (5000, None, 4990, 600)),
        (x(900, 0, 1_800_000_900, "x-rate-limit"), (900, None, 0, 900)),
        (x(60, 59, 1_800_000_060_500), (60, None, 59, 60.5)),
        (x(60, 59, 1_799_999_000), (60, None, 59, 0)),
        # Discord: a fraction; the span is preferred to the moment
        (
            {**x(5, 4, "1800000001.250"), "X-RateLimit-Reset-After": "0.75", "X-RateLimit-Bucket": "abcd1234"},
            (5, None, 4, 0.75),
        ),
        ({"X-RateLimit-Reset-After": "0.75", **x(5, 4, "1800000001.250")}, (5, None, 4, 0.75)),
        # spans and dates
        (x(30, 29, "2027-01-15T08:01:00Z"), (30, None, 29, 60)),
        (x(30, 29, "Fri, 15 Jan 2027 08:01:00 GMT"), (30, None, 29, 60)),
        (
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-reset-requests": "6m1.5s",
                "x-ratelimit-remaining-tokens": "0",
            },
            (60, None, 59, 361.5),
        ),
        (x(reset="12ms"), (None, None, None, 0.012)),
        ({"x-ratelimit-reset-after-requests": "7"}, (None, None, None, 7)),
        # the last span, the first moment, the last one in seconds, and the first one in milliseconds
        (x(reset=10**9), (None, None, None, 10**9)),
        (x(reset=10**9 + 1), (None, None, None, 0)),
        (x(reset=10**12), (None, None, None, 10**12 - NOW)),
        (x(reset=10**12 + 1), (None, None, None, 0)),
        # Kong: the window is in the name
        (
            {"X-RateLimit-Limit-Minute": "20", "X-RateLimit-Remaining-Minute": "18", "X-RateLimit-Limit-Hour": "500"},
            (500, 3600, None, None),
        ),
        ({"X-RateLimit-Limit-Minute": "20", "X-RateLimit-Limit-Day": "unlimited"}, (20, 60, None, None)),
        # nothing, and junk
        ({"Server": "nginx", "Strict-Transport-Security": "max-age=1", "X-Limit": "5"}, (None, None, None, None)),
        (x("", "many", "soon"), (None, None, None, None)),
        (x(-5, -1, -30), (None, None, None, None)),
        ({"RateLimit": '"open;r=1;t=2'}, (None, None, None, None)),
        ({"RateLimit": ";;;=,,\"\",:::"}, (None, None, None, None)),
        ({"RateLimit": "r=" + "9" * 400}, (None, None, None, None)),
        ({"RateLimit": '"\\' * 4000}, (None, None, None, None)),
        ({"X-RateLimit-Limit": "1" * 5000}, (None, None, None, None)),
        # the longest that is read
        ({"X-RateLimit-Limit": "7".rjust(1000)}, (7, None, None, None)),
        ({"X-RateLimit-Limit": "7".rjust(1001)}, (None, None, None, None)),
    ],
)  # fmt: skip
def test_what_a_host_says_is_put_together(
    headers: dict[str, str], expected: tuple[float | None, float | None, float | None, float | None]
) -> None:
    assert read(headers) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("headers", "rate"),
    [
        ({"RateLimit-Policy": '"default";q=100;w=60'}, Rate(100, 60)),
        ({"RateLimit-Policy": '"hour";q=1000;w=3600, "second";q=10;w=1'}, Rate(1000, 3600)),
        ({"RateLimit-Limit": "10, 10;w=1, 50;w=60", "RateLimit-Remaining": "9"}, Rate(50, 60)),
        ({"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "59", "X-RateLimit-Reset": "1800003600"}, Rate(59, 3600)),
        ({"RateLimit": '"default";r=50;t=30'}, Rate(50, 30)),
        ({"RateLimit": '"default";r=50;t=1'}, Rate(50, 1)),
        ({"X-RateLimit-Remaining": "50", "X-RateLimit-Reset-After": "0.9"}, None),
        ({"X-RateLimit-Limit": "60"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "60"}, None),
        ({"RateLimit-Policy": '"default";q=100'}, None),
        ({"RateLimit-Policy": ";;=,w"}, None),
        ({}, None),
    ],
)
def test_the_rate_that_headers_allow_is_the_strictest_policy_s_or_what_is_left(
    headers: dict[str, str], rate: Rate | None
) -> None:
    assert (allowance(headers, NOW) or Allowance()).rate == rate


def test_headers_of_these_families_that_cannot_be_read_are_none() -> None:
    assert allowance({"X-RateLimit-Limit": "soon"}, NOW) is None


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_a_date_without_a_zone_is_utcs_wherever_this_runs(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        assert read(x(reset="2027-01-15T08:01:00")) == (None, None, None, 60)
        assert read(x(reset="2027-01-15T10:01:00+02:00")) == (None, None, None, 60)
    time.tzset()


def test_a_wait_of_more_than_ten_years_is_one_of_ten_years() -> None:
    assert retry_after({"Retry-After": "999999999"}, NOW) == LONGEST_WAIT


def test_an_answer_says_what_its_status_and_headers_say() -> None:
    said = answer_of(reply(200, {"RateLimit": "a;r=5;t=30"}), 1.0, 2.0, NOW, latency=0.5, in_flight=3)
    left = Allowance(remaining=5, reset=30)
    assert said == Answer(1.0, 2.0, 200, False, None, left, latency=0.5, in_flight=3)
    assert said.accepted
    assert not answer_of(reply(500, {}), 1.0, 2.0, NOW, in_flight=1).accepted
    assert answer_of(reply(499, {}), 1.0, 2.0, NOW, in_flight=1).accepted


@pytest.mark.parametrize("status", [429, 503])
def test_an_answer_that_refuses_says_how_long_to_pause(status: int) -> None:
    headers = {"Retry-After": formatdate(NOW + 9, usegmt=True), "X-RateLimit-Reset": str(NOW + 30)}
    said = answer_of(reply(status, headers), 1.0, 2.0, NOW, in_flight=3)
    assert said == Answer(1.0, 2.0, status, True, 9.0, Allowance(reset=30.0), in_flight=3)
    assert not said.accepted


def test_a_time_to_retry_after_is_a_pause_of_those_only_who_refuse() -> None:
    assert answer_of(reply(301, {"Retry-After": "9"}), 1.0, 2.0, NOW, in_flight=1).pause is None


def test_no_answer_is_neither_refused_nor_accepted() -> None:
    said = answer_of(None, 1.0, 2.0, NOW, in_flight=3)
    assert said == Answer(1.0, 2.0, None, False, in_flight=3)
    assert not said.accepted


names = st.sampled_from(
    ["RateLimit", "RateLimit-Policy", "RateLimit-Limit", "X-RateLimit-Reset", "x-rate-limit-remaining", "Date",
     "X-RateLimit-Reset-After", "X-RateLimit-Limit-Minute", "ratelimit-"]
)  # fmt: skip
words = st.sampled_from([*'";,=-: \\²rtqw', "qu", "1", "99", "1e9", "inf", "nan"])
values = st.one_of(st.text(st.characters(max_codepoint=255), max_size=40), st.lists(words, max_size=30).map("".join))


@given(st.dictionaries(names, values), st.floats(0, 4e9))
def test_no_header_raises_and_what_is_read_is_finite_and_not_negative(headers: dict[str, str], now: float) -> None:
    found = allowance(headers, now)
    if found is not None:
        for value in (found.limit, found.window, found.remaining, found.reset):
            assert value is None or 0 <= value < 1e19
        assert found.rate is None or found.rate.per_second > 0


@pytest.mark.parametrize(
    "value", ['"\\' * 500, '"' * 999, '";' * 500, "1" * 1000, "1.1." * 250, ("9" * 9 + "m") * 100 + "x", "1" * 10**6]
)
def test_a_hostile_header_is_read_in_no_time(value: str) -> None:
    headers = {"RateLimit": value, "X-RateLimit-Reset": value}
    taken = timeit.repeat(lambda: allowance(headers, NOW), number=1, repeat=3, timer=time.process_time)
    assert min(taken) < 0.1


def test_an_answer_without_such_headers_costs_next_to_nothing() -> None:
    headers = CaseInsensitiveDict({"Date": DATE, "Server": "nginx", "Content-Type": "text/html", "ETag": "x"})
    assert min(timeit.repeat(lambda: allowance(headers, NOW), number=2000, repeat=7)) / 2000 < 10e-6
