"""Why a run took its time: parts that add up to it, what binds, and what to change."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool.config import Budgets
from workerpool.model import Timings
from workerpool.rate import Rate
from workerpool.report.why import IN_FLIGHT, PHASES, WAITS, Allowed, Course, advise, describe, split
from workerpool.statistics import HostWait, Wait, Waits

API = "https://api.example.com:443"
SHARES = st.dictionaries(st.sampled_from(sorted(WAITS)), st.floats(0, 1e5))


def course(waits: dict[str, float], **changes: Any) -> Course:
    """A run of 10 s, on a CPU that was mostly free, whose answers were mostly waited for."""
    hosts = changes.pop("hosts", 1)
    largest = tuple(HostWait(name, API, seconds) for name, seconds in waits.items()) if hosts == 1 else ()
    made = Course(
        elapsed=10.0, cpu=1.0, cores=2, waits=Waits(**waits, hosts=largest), spent=Timings(first_byte=30.0, body=6.0),
        sends=600, opened=6, hosts=hosts, reached=60.0,
    )  # fmt: skip
    return replace(made, **changes)


def test_every_wait_has_a_name_here_and_a_field_in_the_pools_statistics() -> None:
    assert [field.name for field in fields(Waits)] == [*(wait.name.lower() for wait in Wait), "hosts"]
    assert {*WAITS} | {"idle", "hosts"} == {field.name for field in fields(Waits)}
    assert {*WAITS} >= IN_FLIGHT
    assert {*PHASES} <= {field.name for field in fields(Timings)}


@given(SHARES, st.floats(0.001, 1e6), st.lists(st.floats(0, 1e5), min_size=5, max_size=5))
def test_the_parts_add_up_to_the_whole_and_the_phases_to_what_was_in_flight(
    waits: dict[str, float], elapsed: float, spent: list[float]
) -> None:
    parts = split(course(waits, elapsed=elapsed, spent=Timings(0, 0, 0, *spent)))
    assert sum(part.share for part in parts.parts) == pytest.approx(1)
    flying = sum(part.share for part in parts.parts if part.name in IN_FLIGHT)
    assert sum(part.share for part in parts.phases) == pytest.approx(flying if any(spent) else 0, abs=1e-9)
    assert [part.share for part in parts.parts] == sorted((part.share for part in parts.parts), reverse=True)


@given(SHARES)
def test_the_percentages_that_are_shown_add_up_to_100(waits: dict[str, float]) -> None:
    text = describe(split(course(waits, spent=Timings())))
    assert sum(int(word.rstrip("%,")) for word in text.split() if "%" in word) == 100


def test_the_phases_that_are_shown_add_up_to_the_share_of_what_was_in_flight() -> None:
    parts = split(course({"host_sockets": 7.45, "workers": 1.25, "rate": 1.0, "source": 0.3}, spent=Timings(
        dns=0.4, connect=2.0, tls=0.001, first_byte=30.0, body=6.0)))  # fmt: skip
    assert describe(parts) == (
        "sockets to a host 75%, workers 12%, the rate 10%, the source 3%; of this, in flight: first byte 68%, body "
        "14%, connecting 4%, DNS 1%"
    )


def test_what_the_pool_knows_nothing_of_is_the_outputs_time() -> None:
    parts = split(course({"rate": 4.0, "idle": 2.0}))
    assert {part.name: round(part.share, 6) for part in parts.parts} == {"sink": 0.6, "rate": 0.4}


def test_a_host_is_named_that_most_of_the_part_is_due_to() -> None:
    for seconds, named in [(7.0, False), (8.0, True)]:
        run = course({"host_sockets": 9.7}, hosts=2)
        hosts = (HostWait("host_sockets", API, seconds), HostWait("pause", "http://b:80", 9.7))
        sentence = advise(replace(run, waits=replace(run.waits, hosts=hosts)), ALLOWED)
        assert ("sockets to api.example.com were" in sentence) is named


def test_a_share_is_the_same_number_in_the_parts_and_in_the_sentence() -> None:
    run = course({"host_sockets": 6.945, "ready": 2.845, "source": 0.21})
    assert describe(split(run)).startswith("sockets to a host 70%, ")
    assert "were busy 70% of the time" in advise(run, ALLOWED)


def test_of_several_pools_each_has_a_share_of_the_time() -> None:
    parts = split(course({"rate": 12.0, "idle": 4.0}, pools=2))
    assert {part.name: round(part.share, 6) for part in parts.parts} == {"sink": 0.4, "rate": 0.6}


def test_waits_of_several_pools_are_added() -> None:
    one = Waits(rate=1.0, pause=2.0, hosts=(HostWait("pause", "a", 1.5), HostWait("pause", "b", 0.5)))
    two = Waits(rate=0.5, sink=1.0, pause=9.0, hosts=(HostWait("pause", "b", 9.0),))
    assert one + two == Waits(
        rate=1.5, pause=11.0, sink=1.0, hosts=(HostWait("pause", "b", 9.5), HostWait("pause", "a", 1.5))
    )
    assert one + Waits() == one


def test_a_run_of_no_time_at_all_is_no_error() -> None:
    assert describe(split(course({}, elapsed=0.0))) == ""


ALLOWED = Allowed(workers=16, budgets=Budgets(max_connections=64, host_connections=6))


def allowing(workers: int = 16, **budgets: Any) -> Allowed:
    return Allowed(workers=workers, budgets=replace(ALLOWED.budgets, **budgets))


CASES: dict[str, tuple[Course, Allowed, str]] = {
    "the sockets of one host": (
        course({"host_sockets": 9.7}), ALLOWED,
        "the 6 sockets to api.example.com were busy 97% of the time, mostly waiting for the first byte: "
        "--host-connections 12 would allow up to twice as much, if the server bears it",
    ),
    "a single socket, and too few workers for more": (
        course({"host_sockets": 9.7}), allowing(1, host_connections=1),
        "the one socket to api.example.com was busy 97% of the time, mostly waiting for the first byte: "
        "--host-connections 2 --workers 2 would allow up to twice as much, if the server bears it",
    ),
    "the sockets of each of many hosts": (
        course({"host_sockets": 9.7}, hosts=40), allowing(max_connections=8),
        "the 6 sockets that a host may have were busy 97% of the time, mostly waiting for the first byte: "
        "--host-connections 12 --connections 12 would allow up to twice as much, if the server bears it",
    ),
    "sockets that open for each request": (
        course({"host_sockets": 9.7}, spent=Timings(connect=5.0, tls=20.0, first_byte=9.0), opened=598), ALLOWED,
        "the 6 sockets to api.example.com were busy 97% of the time, mostly opening connections, as 598 of 600 sends "
        "needed a new one: --host-connections 12 would allow up to twice as much, if the server bears it",
    ),
    "a proxy, say, that is not there": (
        course({"host_sockets": 9.7}, spent=Timings(connect=5.0), opened=0), ALLOWED,
        "the 6 sockets to api.example.com were busy 97% of the time, mostly trying to open connections, of which none "
        "was made: see what their errors say",
    ),
    "all sockets": (
        course({"sockets": 6.0}, hosts=40, spent=Timings(first_byte=1.0, body=9.0)), allowing(max_connections=8),
        "all 8 sockets were busy 60% of the time, mostly reading bodies: --connections 16 would allow up to twice "
        "as much",
    ),
    "all sockets, with as many workers": (
        course({"sockets": 6.0}, hosts=40, spent=Timings()), allowing(max_connections=16),
        "all 16 sockets were busy 60% of the time: --connections 32 --workers 32 would allow up to twice as much",
    ),
    "workers": (
        course({"workers": 9.0}, hosts=40), ALLOWED,
        "all 16 workers were busy 90% of the time, mostly waiting for the first byte: --workers 32 would allow up "
        "to twice as much",
    ),
    "workers, whose two hosts would have no more sockets": (
        course({"workers": 9.0}, hosts=2, spent=Timings()), allowing(8),
        "all 8 workers were busy 90% of the time: --workers 16 --host-connections 8 would allow up to twice as much",
    ),
    "workers, with a CPU that is half used": (
        course({"workers": 9.0}, hosts=40, cpu=6.25, spent=Timings()), ALLOWED,
        "all 16 workers were busy 90% of the time: --workers 32 would allow up to 1.6 times as much, before the "
        "CPU is what binds",
    ),
    "workers, just below the rate": (
        course({"workers": 9.0}, hosts=40, spent=Timings()), allowing(rate=Rate(75)),
        "all 16 workers were busy 90% of the time: --workers 32 would allow up to 1.2 times as much, before the "
        "rate of 75/s is what binds",
    ),
    "workers, at the rate": (
        course({"workers": 9.0}, hosts=40, spent=Timings()), allowing(rate=Rate(61)),
        "all 16 workers were busy 90% of the time: --workers 32 would hardly help, as the rate of 61/s is what binds "
        "then",
    ),
    "sockets to a host, at the rate": (
        course({"host_sockets": 9.0}, spent=Timings()), allowing(rate=Rate(61)),
        "the 6 sockets to api.example.com were busy 90% of the time: --host-connections 12 would hardly help, as "
        "the rate of 61/s is what binds then",
    ),
    "the CPU": (
        course({"host_sockets": 9.7}, cpu=9.8), replace(ALLOWED, processes=1),
        "the program's own CPU was busy 98% of the time: more workers or sockets would not help; --processes 2 "
        "would share the work among cores",
    ),
    "the CPUs": (
        course({"ready": 19.4}, cpu=19.8, pools=2), replace(ALLOWED, processes=2),
        "the program's own CPU was busy 99% of the time: more workers or sockets would not help",
    ),
    "the CPU, without a way to use more": (
        course({"workers": 9.7}, cpu=9.8), ALLOWED,
        "the program's own CPU was busy 98% of the time: more workers or sockets would not help",
    ),
    "the only CPU": (
        course({"ready": 9.7}, cpu=9.8, cores=1), replace(ALLOWED, processes=1),
        "the program's own CPU was busy 98% of the time: more workers or sockets would not help",
    ),
    "the rate": (
        course({"rate": 9.9, "host_sockets": 0.1}, cpu=9.9), allowing(rate=Rate(50)),
        "the rate of 50/s in all held it up 99% of the time: a higher --rate, if the servers allow it",
    ),
    "a host's rate": (
        course({"host_rate": 9.9}), allowing(host_rate=Rate(100, 60)),
        "the rate of 100/min per host held it up 99% of the time at api.example.com: a higher --host-rate, if the "
        "server allows it",
    ),
    "a rate that was learned": (
        course({"host_rate": 9.9}), allowing(learns_rate=True, host_rate=Rate(500)),
        "the rate that was learned at api.example.com held it up 99% of the time: it is what the server took",
    ),
    "sockets that were found out": (
        course({"host_sockets": 9.7}, spent=Timings()), allowing(learns_connections=True, host_connections=16),
        "the sockets that api.example.com was found to take were busy 97% of the time: more would be for the server to "
        "bear",
    ),
    "a key's rate": (
        course({"key_rate": 9.9}), allowing(key_rate=Rate(1000, 3600)),
        "the rate of 1000/h for a key held it up 99% of the time: only a higher one would help",
    ),
    "a budget that is shared": (
        course({"shared": 9.9}), ALLOWED,
        "the budget that processes share held it up 99% of the time: raise it for all, or let fewer run at once",
    ),
    "a circuit breaker": (
        course({"breaker": 9.9}), ALLOWED,
        "api.example.com kept failing, and the circuit breaker kept requests back 99% of the time",
    ),
    "the retry budget": (
        course({"retry_budget": 9.9}), ALLOWED,
        "only retries were left 99% of the time, and had no token of the retry budget: so many failed that more would "
        "be added load",
    ),
    "robots.txt": (
        course({"robots": 9.9}), ALLOWED,
        "the robots.txt of api.example.com held it up 99% of the time: it was still to come, or asks for a delay "
        "between requests",
    ),
    "a window": (
        course({"window": 9.9}, spent=Timings()), ALLOWED,
        "all requests that may be in memory were in flight 99% of the time: a larger window would help",
    ),
    "a host's pause": (
        course({"pause": 8.0}), ALLOWED,
        "api.example.com refused, and had to be left alone, 80% of the time: --rate auto, or a --host-rate that it "
        "bears, would keep that from happening",
    ),
    "many hosts' pauses, while their rates were learned": (
        course({"pause": 8.0}, hosts=9), allowing(learns_rate=True),
        "hosts refused, and had to be left alone, 80% of the time: a --host-rate that they bear would keep that from "
        "happening",
    ),
    "backoff": (
        course({"backoff": 8.0}), ALLOWED,
        "only retries were left 80% of the time, and waited out their backoff: fewer --retries would give up sooner",
    ),
    "order": (
        course({"window": 8.0}), replace(ALLOWED, ordered=True),
        "--ordered held later results back 80% of the time, until an earlier one had come, mostly waiting for the "
        "first byte: leave it out if their order does not matter",
    ),
    "a source, even on a busy CPU": (
        course({"source": 8.0}, cpu=9.9), ALLOWED,
        "the source gave nothing 80% of the time, while there was room for more: only a faster source would help",
    ),
    "an output": (
        course({"sink": 6.0, "idle": 3.0}), ALLOWED,
        "results were being written 90% of the time, and all else waited: only a faster output would help",
    ),
    "the last answers": (
        course({"answers": 9.0}), ALLOWED,
        "nothing was left to send 90% of the time, and the last answers were waited for, mostly waiting for the "
        "first byte: only faster answers, or a shorter --timeout, would help",
    ),
    "a machine that does something else": (
        course({"ready": 8.0}, cpu=2.0), ALLOWED,
        "requests could be sent 80% of the time, and this program did not get to it, with a CPU for 20% of the time: "
        "the machine is busy with other things",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_binds_is_named_with_what_to_change(case: str) -> None:
    run, allowed, sentence = CASES[case]
    # What is left of the 10 s is a source's, so that it is nobody else's.
    left = run.elapsed - sum(getattr(run.waits, wait.name.lower()) for wait in Wait)
    waits = run.waits if run.waits.source else replace(run.waits, source=max(0.0, left))
    assert advise(replace(run, waits=waits), allowed) == sentence


@given(SHARES, st.floats(0.001, 1e6), st.floats(0, 1e6), st.integers(1, 9), st.integers(1, 100), st.integers(1, 100))
def test_there_is_always_a_sentence(
    waits: dict[str, float], elapsed: float, cpu: float, hosts: int, workers: int, places: int
) -> None:
    allowed = allowing(workers, max_connections=places, host_connections=places)
    sentence = advise(course(waits, elapsed=elapsed, cpu=cpu, hosts=hosts), allowed)
    assert sentence.strip() == sentence != ""
    assert not [words for words in ("None", "  ", ": would") if words in sentence]
