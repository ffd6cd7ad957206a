"""Options are checked where they come in, and an error names the option, the value and what would do."""

from __future__ import annotations

import inspect
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool import (
    Breaker,
    Job,
    OptionError,
    Rate,
    Request,
    RetryBudget,
    RetryPolicy,
    Timeout,
    WorkerPool,
)
from workerpool.config import Budgets
from workerpool.options.checking import default_connections
from workerpool.options.reading import duration, duration_or_0
from workerpool.pool import options_of
from workerpool.processes.options import packed_options
from workerpool.testing import ScriptedTransport


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [
        ("50/s", 50, 1),
        ("100/min", 100, 60),
        ("30/5min", 30, 300),
        ("1000/h", 1000, 3600),
        ("0.5/s", 0.5, 1),
        (" 10 per second ", 10, 1),
        ("1/100ms", 1, 0.1),
        ("7", 7, 1),
        (12.5, 12.5, 1),
        (3, 3, 1),
        (Rate(2, 7), 2, 7),
    ],
)
def test_a_rate_is_read_in_the_words_people_use(text: object, count: float, seconds: float) -> None:
    rate = Rate.of(text)  # type: ignore[arg-type]
    assert (rate.count, rate.seconds) == (count, pytest.approx(seconds))


@given(st.integers(1, 10**6), st.sampled_from([1.0, 60.0, 3600.0, 86400.0, 300.0]))
def test_a_rate_reads_back_what_it_prints(count: int, seconds: float) -> None:
    rate = Rate(count, seconds)
    assert Rate.of(str(rate)).per_second == pytest.approx(rate.per_second, rel=1e-5)


@pytest.mark.parametrize(
    "value", ["", "fast", "50/fortnight", "-5/s", "0/s", 0, -1, math.nan, math.inf, True, None, [50], "5/0s", "/s"]
)
def test_a_rate_that_cannot_be_is_refused_with_words_that_would_do(value: object) -> None:
    with pytest.raises(OptionError, match=r"host_rate=.*'50/s'") as caught:
        Rate.of(value, "host_rate")  # type: ignore[arg-type]
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1h 30m", 5400), ("0.5", 0.5)],
)
def test_a_duration_is_read_in_the_words_people_use(value: str, seconds: float) -> None:
    assert duration(value, "--deadline") == seconds


@pytest.mark.parametrize("value", ["", "soon", "10 parsecs", "-5s", "0", "-1", "0s", "nan", "inf"])
def test_a_duration_that_cannot_be_is_refused_by_name(value: str) -> None:
    with pytest.raises(OptionError, match="--deadline="):
        duration(value, "--deadline")


@pytest.mark.parametrize("text", ["0", "0s", "0.0"])
def test_no_time_at_all_is_a_duration_where_that_means_something(text: str) -> None:
    assert duration_or_0(text, "--wait-lock") == 0.0


WRONG: dict[type, dict[str, list[Any]]] = {
    WorkerPool: {
        "max_workers": ["16", 0],
        "thread_name_prefix": [5],
        "initargs": [5],
        "rate": ["fast", [50], 10**400],
        "burst": ["2", True],
        "host_rate": [0, {}],
        "key_rate": ["auto", "fast"],
        "limit_by": [5, "no header"],
        "slow_start": ["no", 0],
        "trace": ["yes", 1],
        "max_connections": ["many", 0],
        "host_connections": ["many", None],
        "budget": [5, "../there"],
        "redis": [6379, "a.test:6379", "http://a.test"],
        "retry": ["3", 2.5, True],
        "breaker": ["10", 10.0, True],
        "timeout": ["5", (1, 2, 3), 10**400],
        "cookies": ["all", True],
        "max_body": ["1GiB", 0],
        "max_redirects": ["5", -1],
        "allow_hosts": ["example.com", 5, [5]],
        "deny_private": ["yes", None],
        "trust_proxy": ["yes", 1],
        "auth": ["user:password", ("user",), ("user", 5), 5],
        "proxies": ["http://proxy:3128", {"http": 5}, {5: "http://proxy:3128"}],
        "verify": [5, None],
        "cert": [5, ("certificate.pem",), ("certificate.pem", 5)],
        "fast_path": ["no", None],
        "robots": ["yes", 1],
        "contact": [5, "me"],
        "session_factory": [5, "requests.Session"],
        "host_key": ["x", 5],
        "clock": [5, "now"],
        "transport": [5, "http"],
    },
    RetryPolicy: {
        "attempts": [0, "4"],
        "backoff": [-1, "1"],
        "backoff_max": [-1, "9"],
        "total": [0, "600"],
        "retry_after_max": [math.nan, "120"],
        "budget": [3, 0.2],
        "statuses": [["503"], "503", 503, [True]],
        "methods": ["GET", 5, [5]],
        "retry": [5, "always"],
        "stop": [5, "never"],
        "wait": [5, "1s"],
    },
    Job: {
        "directory": [5],
        "sources": ["urls.txt", []],
        "requests": [5, "http://a.test/"],
        "include": ["body", ["trailers"]],
        "ordered": ["yes"],
        "overwrite": ["yes"],
        "window": [0, "10"],
        "retry_rounds": [-1, "2"],
        "retry_failed": ["yes"],
        "restart": [1],
        "wait_lock": [-1, "10m"],
        "conditional": ["no"],
        "only_changed": ["yes"],
        "skip_recent": [-1, "12h"],
        "dedupe": ["yes"],
        "unique_keys": ["yes"],
        "idempotency_keys": ["yes"],
        "at_least_once": ["yes"],
        "note": ["print"],
        "pages": [5, "link"],
        "query": [5],
        "rejects": ["rejects.jsonl"],
        "save": ["bodies"],
        "schema": [5],
        "template": ["https://a.test/{id}"],
        "upsert": ["yes"],
    },
    RetryBudget: {"share": [-1, "20%"], "per_second": [0, "10"], "floor": [0, "many"]},
    Breaker: {
        "failures": [0, "10"],
        "share": [0, 2, "half"],
        "window": [0, "20"],
        "open_for": [0, "30", 301],
        "longest": [0, "300"],
        "fails_fast": ["no", 0],
    },
    Timeout: {"connect": [0, "30"], "read": [0, "30"], "total": [0, "30"]},
    Rate: {"count": [0, "50"], "seconds": [0, "1"], "quotas": [5, ("1000/h",)]},
}
"""Values that no option takes, by name."""

NEEDED: dict[type, dict[str, Any]] = {Rate: {"count": 1}, Job: {"directory": "a.job", "sources": ["urls.txt"]}}
"""What there has to be besides."""

TOGETHER: dict[str, dict[str, Any]] = {
    "requests": {"sources": []},
    "key_rate": {"limit_by": "X-Api-Key"},
    "limit_by": {"key_rate": 10},
    "contact": {"robots": True},
    "redis": {"budget": "shared"},
}
"""Options without which others are refused, whatever they say."""

ELSEWHERE = {"initializer", "output", "format", "input_format"}
"""The first is refused as `ThreadPoolExecutor` refuses it, by a `TypeError`; the others when a job is opened."""


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, value) for kind, names in WRONG.items() for name, values in names.items() for value in values],
)
def test_every_option_is_checked_where_it_comes_in_and_named(kind: type, name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=rf"^(?:\w+\.)*{'rate' if kind is Rate else name}\b") as caught:
        kind(**{**NEEDED.get(kind, {}), **TOGETHER.get(name, {}), name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", WRONG, ids=lambda kind: kind.__name__)
def test_no_option_is_without_a_check(kind: type) -> None:
    assert set(WRONG[kind]) == set(inspect.signature(kind).parameters) - ELSEWHERE


def test_a_breaker_is_a_number_of_failures_or_says_more() -> None:
    assert Breaker.of(7) == Breaker(failures=7)
    assert Breaker.of(Breaker(share=0.5)) == Breaker(share=0.5)
    assert Breaker.of(None) is None


def test_what_requests_takes_for_a_certificate_or_a_proxy_is_taken() -> None:
    for cert in ("both.pem", ("certificate.pem", "key.pem"), ["certificate.pem", "key.pem"]):
        WorkerPool(cert=cert, transport=ScriptedTransport()).shutdown()  # type: ignore[arg-type]
    proxies: Any = {"http": None, "https": "http://proxy:3128"}
    WorkerPool(proxies=proxies, verify="bundle.pem", transport=ScriptedTransport()).shutdown()


def test_a_number_of_sockets_that_was_said_is_the_most_that_is_found_out() -> None:
    def most(**options: Any) -> int:
        budgets = options_of(**options).budgets
        assert budgets.learns_connections
        return budgets.host_connections

    assert most(max_connections="auto", host_connections=2) == 2
    assert most(max_connections="auto", host_connections=20) == 16
    assert most(max_connections="auto") == most(host_connections="auto") == 16
    assert most(max_connections=9, host_connections="auto") == 9


def test_that_most_holds_in_each_process_too() -> None:
    given = {"max_connections": "auto", "host_connections": 2}
    with WorkerPool(16, transport=ScriptedTransport(), **given) as pool:  # type: ignore[arg-type]
        for packed in packed_options(given, pool._options, 2, {"budget": Path("/there")}):
            budgets = options_of(**{name: pickle.loads(packed[name]) for name in ("max_workers", *given)}).budgets
            assert budgets.learns_connections
            assert budgets.host_connections == 2


@pytest.mark.parametrize("requests", ["http://a.test/", b"http://a.test/"])
def test_a_text_is_refused_as_requests_as_its_letters_are_none(requests: Any) -> None:
    with WorkerPool(1, transport=ScriptedTransport()) as pool:
        for read in (pool.stream, pool.batches):
            with pytest.raises(OptionError, match=r"requests is a .*: give a list of URLs"):
                read(requests)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_workers": 0}, ["max_workers", "0"]),
        ({"max_workers": 2.5}, ["max_workers", "2.5"]),
        ({"rate": "quick"}, ["rate='quick'", "50/s"]),
        ({"host_rate": -3}, ["host_rate=-3", "50/s"]),
        ({"burst": 0}, ["burst=0", "1 or more"]),
        ({"burst": 1.5}, ["burst=1.5", "whole number"]),
        ({"max_connections": 0}, ["max_connections=0", "1 or more"]),
        ({"host_connections": -1}, ["host_connections=-1", "1 or more"]),
        ({"host_connections": True}, ["host_connections=True"]),
        ({"timeout": 0}, ["timeout=0", "above zero"]),
        ({"timeout": (1, 2, 3)}, ["timeout=(1, 2, 3)", "pair"]),
        ({"timeout": "5"}, ["timeout='5'"]),
        ({"allow_hosts": "example.com"}, ["list", "['example.com']"]),
        ({"allow_hosts": [".example.com"]}, ["'*.example.com'"]),
        ({"deny_private": "yes"}, ["deny_private='yes'", "True or False"]),
        ({"cookies": "all"}, ["cookies='all'", "'shared'"]),
        ({"retry": 0}, ["attempts=0", "1 or more"]),
    ],
)
def test_a_pool_refuses_an_option_that_cannot_work_and_says_what_would(options: dict, words: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        WorkerPool(**options)
    assert isinstance(caught.value, ValueError)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"attempts": 0}, "retry.attempts=0"),
        ({"backoff": -1}, "retry.backoff=-1"),
        ({"backoff_max": "9"}, "retry.backoff_max='9'"),
        ({"retry_after_max": math.nan}, "retry.retry_after_max=nan"),
        ({"total": 0}, "retry.total=0"),
    ],
)
def test_a_retry_policy_names_the_field_that_cannot_work(options: dict, name: str) -> None:
    with pytest.raises(OptionError) as caught:
        RetryPolicy(**options)
    assert name in str(caught.value)


def test_a_number_of_attempts_stands_for_a_policy_and_none_for_a_single_attempt() -> None:
    assert RetryPolicy.of(7).attempts == 7
    assert RetryPolicy.of(None).attempts == 1


def test_a_timeout_is_seconds_a_pair_or_none() -> None:
    assert Timeout.of(5) == Timeout(connect=5, read=5, total=5)
    assert Timeout.of((1, None)) == Timeout(connect=1, read=None, total=None)
    assert Timeout.of((1, 2), total=9) == Timeout(connect=1, read=2, total=9)
    assert Timeout.of(None) == Timeout(None, None, None)


def test_values_do_not_change_once_made() -> None:
    for value, name in ((Rate(1), "count"), (RetryPolicy(), "attempts"), (Budgets(), "burst"), (Request("u"), "url")):
        with pytest.raises(AttributeError):
            setattr(value, name, 9)


def test_a_weight_above_the_burst_is_refused_with_the_burst_that_would_do() -> None:
    with WorkerPool(1, rate=10, burst=2, transport=ScriptedTransport()) as pool:
        with pytest.raises(OptionError, match=r"weight=3 .* raise the burst to 3"):
            pool.get("http://a.test/", weight=3)
        with pytest.raises(OptionError, match="weight=0"):
            pool.get("http://a.test/", weight=0)


@pytest.mark.parametrize("option", ["rate", "host_rate", "key_rate"])
def test_a_weight_above_a_quota_is_refused_and_the_others_are_sent(option: str) -> None:
    keys: dict[str, Any] = {"limit_by": lambda request: "all"} if option == "key_rate" else {}
    requests = [Request("http://a.test/"), Request("http://b.test/", weight=4), Request("http://c.test/", weight=2)]
    rates: dict[str, Any] = {option: "10/s and 3/h"}
    with WorkerPool(2, **rates, **keys, burst=5, transport=ScriptedTransport()) as pool:
        outcomes = {outcome.url: outcome for outcome in pool.stream(requests)}
    assert [url for url, outcome in outcomes.items() if not outcome.ok] == ["http://b.test/"]
    assert "weight=4 is more than the quota of 3/h" in str(outcomes["http://b.test/"].error)


def test_an_unknown_argument_of_a_request_is_a_type_error_that_lists_what_there_is() -> None:
    with WorkerPool(1, transport=ScriptedTransport()) as pool, pytest.raises(TypeError, match=r"'colour'.*timeout"):
        pool.get("http://a.test/", colour="red")


def test_the_default_socket_budget_is_64_or_twice_the_workers() -> None:
    assert default_connections(1) == 64
    assert default_connections(100) == 200


def test_max_workers_may_be_none_as_in_the_executor_that_the_pool_stands_in_for() -> None:
    with WorkerPool(None) as pool:
        assert pool.statistics().workers >= 1
