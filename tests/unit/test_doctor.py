"""The doctor's judgement, without a server: what headers mean, what samples show, what is advised, how it is said."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from workerpool.cli import main
from workerpool.cli.arguments import parse
from workerpool.cli.doctor_arguments import DoctorSettings
from workerpool.doctor.advice import advise
from workerpool.doctor.findings import (
    Answer,
    Compression,
    Cost,
    Examination,
    Failure,
    IdleLimit,
    Reuse,
    Sample,
    Tls,
    cost_of,
    reuse_of,
)
from workerpool.doctor.ratelimits import RateLimit, rate_limits
from workerpool.doctor.text import as_text
from workerpool.errors import OptionError
from workerpool.limits.headers import Allowance

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
NOW = 1_800_000_000.0
NOTHING = Allowance()


def found(**fields: Any) -> Examination:
    """An examination of a server that answered, with nothing to complain about."""
    given: dict[str, Any] = {
        "url": "https://example.com/",
        "final_url": "https://example.com/",
        "requests": 13,
        "connections": 5,
        "elapsed": 3.2,
        "answer": Answer(status=200, phrase="OK", http="HTTP/1.1"),
        "reuse": Reuse(reused=True, sends=9, over_used=9),
        "idle": IdleLimit(waited=10.0),
        "cost": Cost(dns=0.008, connect=0.02, tls=0.04, tls_resumed=0.02, answer=0.05),
        "tls": Tls(version="TLS 1.3", cipher="X", protocol="HTTP/1.1", resumed=True),
        "compression": Compression(encoding="gzip", sent=100, size=1_000),
    }
    return Examination(**{**given, **fields})


def advice(examination: Examination, allowed: Allowance = NOTHING) -> str:
    return "\n".join(advise(examination, allowed, NOW).advice)


# -- rate-limit headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "value", "meaning"),
    [
        ("RateLimit-Policy", '"default";q=100;w=60', "100 every 60 s"),
        ("RateLimit-Policy", "100;w=60", "100 every 60 s"),
        ("RateLimit-Policy", '"hour";q=1000;w=3600, "second";q=10;w=1', "1000 every 60 min and 10 every 1 s"),
        ("RateLimit", '"default";r=50;t=30', "50 left, for 30 s"),
        ("RateLimit", "limit=100, remaining=50, reset=5", "100 in all, 50 left, for 5 s"),
        ("RateLimit-Limit", "10, 10;w=1, 50;w=60", "10 every 1 s and 50 every 60 s"),
        ("X-RateLimit-Limit", "60", "60 in a window that it does not name"),
        ("X-Rate-Limit-Remaining", "0", "0 left in this window"),
        ("X-RateLimit-Reset", "1800000120", "the window ends in 2 min"),
        ("x-ratelimit-reset", "45", "the window ends in 45 s"),
        ("X-RateLimit-Reset", "2027-01-15T08:01:00Z", "the window ends in 60 s"),
        ("X-RateLimit-Reset", "next Tuesday", "not understood"),
        ("Retry-After", "30", "send nothing for 30 s"),
        ("Retry-After", "Fri, 15 Jan 2027 08:00:00 GMT", "send nothing until Fri, 15 Jan 2027 08:00:00 GMT"),
    ],
)
def test_a_rate_limit_header_is_put_into_words(header: str, value: str, meaning: str) -> None:
    assert rate_limits({"Date": "x", header: value}, NOW) == (RateLimit(header=header, value=value, meaning=meaning),)


def test_headers_about_other_things_are_no_rate_limits() -> None:
    assert rate_limits({"Server": "nginx", "X-Runtime": "5", "Strict-Transport-Security": "max-age=1"}, NOW) == ()


# -- what samples show ------------------------------------------------------------------------------------------------


def samples(pattern: str) -> list[Sample]:
    """N: over a new connection, u: over a used one; with ! the answer ends it, with ? because it was asked to."""
    return [
        Sample(reused=kind == "u", resumed=None, closes=bool(end), was_asked=end == "?")
        for kind, end in re.findall(r"([Nu])([!?]?)", pattern)
    ]


@pytest.mark.parametrize(
    ("pattern", "reused", "why", "requests"),
    [
        ("Nuuuuuuuuu?N?N", True, None, None),
        ("N!N!N!N!", False, "close", 1),
        ("NNNN", False, "silent", 1),
        ("Nuuuu!Nuuu", True, "limit", 5),
        ("NuuNuuNu", True, "limit", 3),
        ("uuNuu!Nu", True, "limit", 3),  # the first connection's beginning was not seen
        ("Nu", True, None, None),
        ("N", None, None, None),
        ("N!", False, "close", 1),
    ],
)
def test_what_ended_connections_is_told_from_which_requests_needed_a_new_one(
    pattern: str, reused: bool | None, why: str | None, requests: int | None
) -> None:
    got = reuse_of(samples(pattern), None, is_http10=False)
    assert (got.reused, got.why, got.requests) == (reused, why, requests)


def test_http_1_0_is_named_as_the_reason() -> None:
    assert reuse_of(samples("N!N!N!"), None, is_http10=True).why == "http10"


def test_the_cost_of_a_connection_is_told_from_clean_samples_only() -> None:
    def sample(reused: bool, resumed: bool | None, seconds: float, hops: int = 0) -> Sample:
        return Sample(
            reused=reused, resumed=resumed, closes=False, hops=hops, connect=seconds, tls=seconds, answer=seconds
        )

    taken = [sample(False, False, 9.0, hops=1), sample(False, False, 3.0), sample(True, None, 1.0)]
    taken += [sample(False, True, 2.0), sample(False, True, 2.0)]
    cost = cost_of(taken)
    assert (cost.connect, cost.tls, cost.tls_resumed, cost.answer) == (2.0, 3.0, 2.0, 1.0)
    assert cost.connection == 4.0
    assert cost_of(taken, handshake=0.5).tls == 0.5
    assert cost_of([]).connection is None


# -- advice -----------------------------------------------------------------------------------------------------------


def test_a_server_that_names_no_limit_gets_its_throughput_worked_out() -> None:
    assert advice(found()) == (
        "It names no limit, and at 50 ms an answer 6 sockets (--host-connections) carry up to 120 requests a second: "
        "say with --host-rate what it shall bear."
    )


def test_without_evidence_there_is_no_advice() -> None:
    bare = found(reuse=None, idle=None, cost=None, tls=None, compression=None)
    assert advice(bare) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reuse": Reuse(reused=False, sends=3, over_used=0, why="close")}, "Every request pays 40 ms for a new"),
        ({"reuse": Reuse(reused=True, sends=9, over_used=8, why="limit", requests=3)}, "Every 3rd request pays 40 ms"),
        ({"idle": IdleLimit(seconds=5.0, source="said")}, "rests for 5.0 s is closed, and the next request pays 40 ms"),
        ({"tls": Tls(version="TLS 1.3", protocol="HTTP/2")}, "offers HTTP/2, which workerpool does not speak"),
        ({"tls": Tls(version="TLS 1.3", resumed=False)}, "pays 40 ms for a whole handshake: if the server is yours, "
            "turn session tickets on"),
        ({"tls": Tls(expires_at=NOW + 7_200, days_left=0)}, "certificate ends in 2 h 00 min"),
        ({"compression": Compression(encoding=None, sent=5_000, size=5_000, gzipped=900)}, "would leave 900 bytes"),
        ({"answer": Answer(status=500, phrase="", http="HTTP/1.1")}, "It answered 500: what is said here is about"),
        ({"answer": Answer(status=200, phrase="", http="HTTP/1.1", redirects=("http://example.com/",))},
            "put https://example.com/ into the source"),
        ({"refused": 429}, "a --host-rate well below 4/s"),
        ({"refused": 429, "answer": Answer(status=429, phrase="", http="HTTP/1.1")}, "refuses the first request"),
        ({"refused": 503}, "overloaded or closed for a while"),
        ({"failure": Failure(reason="tls", message="self-signed certificate")}, "--ca-bundle FILE"),
        ({"failure": Failure(reason="tls", message="certificate has expired")}, "has to be renewed"),
        ({"failure": Failure(reason="timeout", message="did not answer")}, "--timeout"),
    ],
)  # fmt: skip
def test_each_finding_brings_its_advice(change: dict[str, Any], words: str) -> None:
    assert words in advice(found(**change))
    assert words not in advice(found())


@pytest.mark.parametrize(
    "change",
    [
        {"idle": IdleLimit(seconds=5.0, source="said"), "cost": Cost(connect=0.0002, answer=0.05)},  # it costs nothing
        {"reuse": Reuse(reused=True, sends=9, over_used=9, requests_said=1000)},
        {"tls": Tls(version="TLS 1.3", expires_at=NOW + 90 * 86_400, days_left=90)},
        {"compression": Compression(encoding=None, sent=5_000, size=5_000, gzipped=4_900)},
        {"failure": Failure(reason="connect", message="connection refused"), "cost": None},
    ],
)
def test_what_does_not_matter_is_not_advised_on(change: dict[str, Any]) -> None:
    assert "\n" not in advice(found(**change))  # nothing but the throughput


def test_a_rate_that_the_server_names_is_advised_as_a_setting() -> None:
    assert "use --host-rate 100/min" in advice(found(), Allowance(limit=100.0, window=60.0))
    assert "--host-rate 59/h keeps within" in advice(found(), Allowance(limit=60.0, remaining=59.0, reset=3600.0))
    assert "names no limit" not in advice(found(), Allowance(limit=100.0, window=60.0))


# -- text and JSON ----------------------------------------------------------------------------------------------------


def test_the_text_fits_80_columns_unless_a_word_does_not_and_steers_no_terminal() -> None:
    wild = found(
        url="https://example.com/" + "a/b " * 40,
        answer=Answer(status=200, phrase="O\x1b[31mK", http="HTTP/1.1"),
        rate_limits=(RateLimit(header="X-RateLimit-Limit", value="5\x9b2J\r\n " * 12, meaning="m"),),
        alt_svc='h3=":443"',
        stopped="why " * 40,
        advice=("do this " * 30,),
    )
    text = as_text(wild)
    assert max(map(len, text.splitlines())) <= 80
    assert text.replace("\n", "").isprintable()
    assert "HTTP/3 is offered too" in text


def test_secrets_are_in_neither_form() -> None:
    url = "https://user:hunter2@example.com/?token=hunter2"
    secret = found(url=url, final_url=url, stopped=f"see {url}", advice=(f"use {url}",), alt_svc=url)
    secret = dataclasses.replace(secret, answer=Answer(status=200, phrase="", http="", redirects=(url,)))
    assert "hunter2" not in as_text(secret)
    assert "hunter2" not in json.dumps(secret.as_json())
    assert "example.com" in as_text(secret)


def documented() -> dict[str, str]:
    table = REFERENCE.read_text().partition("The JSON object has these fields")[2]
    rows = re.findall(r"^\| (`[^|]+`) \| (.*) \|$", table, re.MULTILINE)
    return {field: text for names, text in rows for field in re.findall(r"`(\w+)`", names)}


def test_the_json_object_has_the_fields_that_the_reference_names() -> None:
    full = found(
        failure=Failure(reason="tls", message="m"), rate_limits=(RateLimit(header="h", value="v", meaning="m"),)
    )
    fields = full.as_json()
    assert set(fields) == set(documented())
    json.dumps(fields, allow_nan=False)
    for name, value in fields.items():
        for inner in value[:1] if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                assert {key for key in inner if f"`{key}`" not in documented()[name]} == set(), name


# -- arguments --------------------------------------------------------------------------------------------------------


def test_the_doctor_s_defaults_and_options_are_read() -> None:
    plain = parse(["doctor", "https://example.com"])
    assert plain == DoctorSettings(url="https://example.com", as_json=False, examiner={})
    words = "doctor http://x/ --json --timeout 2.5 --patience 0 --insecure --proxy socks5h://proxy:1080"
    told = parse(words.split())
    proxies = dict.fromkeys(("http", "https"), "socks5h://proxy:1080")
    examiner = {"timeout": 2.5, "patience": 0.0, "verify": False, "proxies": proxies}
    assert told == DoctorSettings(url="http://x/", as_json=True, examiner=examiner)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("example.com", "a URL starts with http:// or https://"),
        ("http://", "names no host"),
        ("http://user:hunter2@x:port/", "does not parse"),
        ("http://x/ --timeout 0", "--timeout"),
        ("http://x/ --patience soon", "--patience"),
        ("http://x/ --patience -1", "--patience"),
        ("http://x/ --ca-bundle /nowhere/ca.pem", "cannot be read: no such file or directory"),
        (f"http://x/ --ca-bundle {__file__}", "holds no certificate"),
        ("http://x/ --proxy proxy:3128", "--proxy"),
        ("http://x/ --proxy ftp://user:hunter2@proxy/", "http://proxy:3128"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence_without_secrets(
    words: str, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["doctor", *words.replace("--patience -1", "--patience=-1").split()]
    with pytest.raises(OptionError) as caught:
        parse(command)
    assert part in str(caught.value)
    assert main(command) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "hunter2" not in said.err


@pytest.mark.parametrize("words", ["doctor", "doctor http://x/ http://y/", "doctor http://x/ --insecure --ca-bundle f"])
def test_words_that_do_not_fit_are_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert "--help" in capsys.readouterr().err
