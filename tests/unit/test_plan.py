"""What a batch is said to take: the arithmetic of the budgets, what is read of sources and records, and the words."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workerpool.cli import main
from workerpool.cli.arguments import parse
from workerpool.cli.plan_arguments import PlanSettings
from workerpool.config import Breaker, Budgets, RetryPolicy
from workerpool.errors import JobError, OptionError
from workerpool.keys import key_function
from workerpool.model import Request
from workerpool.plan import Plan, Prediction, Records, Setting, Workload, as_text, estimate, read_workload, simulate
from workerpool.plan import workload as workload_module
from workerpool.plan.bounds import Load, bounds_of, least_time
from workerpool.plan.profile import KEPT, Profile, usual_waits
from workerpool.plan.records import FIELDS, Sent
from workerpool.plan.simulation import Simulation
from workerpool.pool import options_of
from workerpool.rate import Rate

A, B = "http://a.test:80", "http://b.test:80"


def make_setting(workers: int = 16, retries: int = 3, breaker: Breaker | None = None, **budgets: Any) -> Setting:
    policy = RetryPolicy(attempts=retries + 1)
    options = options_of(max_workers=workers, retry=policy, breaker=breaker)
    return Setting(options=replace(options, budgets=Budgets(**budgets)))


def workload_of(hosts: Mapping[str, int], **more: Any) -> Workload:
    """Requests to hosts in turn, one each, as long as there are some."""
    left = dict(hosts)
    order = array("Q")
    while any(left.values()):
        for number, host in enumerate(hosts):
            if left[host]:
                left[host] -= 1
                order.append(number)
    return Workload(requests=sum(hosts.values()), hosts=hosts, order=order, **more)


def sent(url: str = "http://a.test/", elapsed: float = 0.1, **changes: Any) -> Sent:
    defaults = Sent(url, ok=True, status=200, attempts=1, elapsed=elapsed, final_url=None)
    return defaults._replace(**changes)


def simulated(setting: Setting, hosts: Iterable[str], records: Iterable[Sent], seed: int = 0) -> Any:
    places = ((host, None) for host in hosts)
    return Simulation(setting, places, Profile(records).draws(seed), seed=seed).run()


# -- the arithmetic of the budgets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "sends", "burst", "seconds"),
    [
        (Rate(50), 1, 1, 0.0),
        (Rate(50), 5_001, 1, 100.0),
        (Rate(50), 5_001, 501, 90.0),
        (Rate(30, 300), 31, 1, 300.0),
        (Rate(10, 1, (Rate(1_000, 3_600),)), 1_000, 1, 99.9),
        (Rate(10, 1, (Rate(1_000, 3_600),)), 1_001, 1, 3_600.0),
        (Rate(10, 1, (Rate(1_000, 3_600), Rate(5_000, 86_400))), 10_001, 1, 2 * 86_400.0),
        (Rate(10), 0, 1, 0.0),
    ],
)
def test_a_rate_spaces_what_is_sent_and_a_quota_makes_it_wait(
    rate: Rate, sends: int, burst: int, seconds: float
) -> None:
    assert least_time(rate, sends, burst) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("budgets", "binds", "seconds", "host"),
    [
        ({}, "host-connections", 800 * 0.2 / 6, A),
        ({"host_connections": 64}, "workers", 1_000 * 0.2 / 16, None),
        ({"host_connections": 64, "max_connections": 4}, "connections", 1_000 * 0.2 / 4, None),
        ({"rate": Rate(10)}, "rate", 99.9, None),
        ({"rate": Rate(50), "host_rate": Rate(10)}, "host-rate", 79.9, A),
        ({"host_rate": Rate(100, 1, (Rate(100, 60),))}, "host-rate", 420.0, A),
    ],
)
def test_the_budget_that_leaves_the_longest_time_binds(
    budgets: dict[str, Any], binds: str, seconds: float, host: str | None
) -> None:
    (found,) = estimate(workload_of({A: 800, B: 200}), [make_setting(**budgets)], 0.2).predictions
    assert found.binding is not None
    assert (found.binding.budget, found.binding.host) == (binds, host)
    assert found.seconds == found.binding.seconds == pytest.approx(seconds)
    assert found.is_least


@pytest.mark.parametrize(
    ("rate", "latency", "asked"),
    [(50, 0.2, 10), (50, 0.21, 11), (1, 0.1, 1), (200, 1.0, 200), (1_000, 0.05, 50)],
)
def test_workers_are_asked_for_by_littles_law(rate: int, latency: float, asked: int) -> None:
    setting = make_setting(rate=Rate(rate), host_connections=1_000, max_connections=1_000)
    (found,) = estimate(workload_of({A: 100_001}), [setting], latency).predictions
    assert found.workers == asked


def test_with_as_many_workers_as_are_asked_for_workers_do_not_bind() -> None:
    workload = workload_of({A: 800, B: 200})
    asked = estimate(workload, [make_setting(workers=1)], 0.2).predictions[0].workers
    (enough,) = estimate(workload, [make_setting(workers=asked)], 0.2).predictions
    (few,) = estimate(workload, [make_setting(workers=asked - 1)], 0.2).predictions
    assert enough.binding is not None
    assert enough.binding.budget != "workers"
    assert few.binding is not None
    assert few.binding.budget == "workers"


def test_sockets_that_nobody_counted_out_grow_with_the_workers_and_bind_nothing() -> None:
    words = ("a.txt", "--workers", "16")
    (given,), (left,) = (said(*words, *more).settings for more in (["--connections", "64"], []))
    load = {A: Load(100, 100.0)}
    assert "connections" in {bound.budget for bound in bounds_of(load, Load(), given)}
    assert "connections" not in {bound.budget for bound in bounds_of(load, Load(), left)}
    few = replace(left, options=replace(left.options, workers=65))
    assert "connections" in {bound.budget for bound in bounds_of(load, Load(), few)}, (
        "as a limit of open files makes it"
    )


def test_hosts_that_are_counted_together_bind_the_budgets_of_the_pool_alone() -> None:
    bounds = bounds_of({A: Load(1, 1.0)}, Load(999, 999.0), make_setting(host_rate=Rate(1), rate=Rate(1)))
    assert {bound.budget: bound.seconds for bound in bounds} == {
        "rate": 999.0,
        "workers": 62.5,
        "connections": 15.625,
        "host-connections": pytest.approx(1 / 6),
        "host-rate": 0.0,
    }


def test_a_single_request_asks_for_one_worker() -> None:
    (found,) = estimate(workload_of({A: 1}), [make_setting()], 0.2).predictions
    assert (found.seconds, found.workers, found.binding) == (0.2, 1, None)


def test_nothing_takes_no_time() -> None:
    (found,) = estimate(workload_of({}), [make_setting(rate=Rate(1))], 0.2).predictions
    assert (found.seconds, found.rate, found.busy, found.binding, found.workers) == (0.0, 0.0, 0.0, None, 1)


# -- sources ----------------------------------------------------------------------------------------------------------


def test_requests_are_counted_by_host_and_what_is_none_is_told_with_its_place() -> None:
    problems = [Request("x", problem=f"urls.txt, line {line}: no URL: http://me:secret@") for line in range(5)]
    found = read_workload(
        [Request("http://a.test/1"), *problems, Request("http://A.test:80/2"), Request("http://b.test")]
    )
    assert (found.requests, found.hosts, found.problems) == (3, {A: 2, B: 1}, 5)
    assert len(found.examples) == 3
    assert found.examples[0] == "urls.txt, line 0: no URL: http://***@"
    assert [*found.sample()] == [(A, None), (A, None), (B, None)]
    assert found.scale == 1.0


def test_hosts_past_the_first_ones_are_counted_together_and_told_apart_in_the_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workload_module, "HOSTS", 2)
    found = read_workload(Request(f"http://{name}.test/") for name in "abcdcdc")
    assert (found.requests, found.hosts, found.others) == (7, {A: 1, B: 1}, 5)
    names = [host for host, _ in found.sample()]
    assert names[:2] == [A, B]
    assert names[2] == names[4] == names[6] != names[3] == names[5]


def test_the_sample_is_bounded_even_and_the_same_each_time() -> None:
    def requests() -> Iterator[Request]:
        return (Request(f"http://{'ab'[number % 4 == 0]}.test/") for number in range(10_000))

    found, again = (read_workload(requests(), sampled=1_000, seed=7) for _ in range(2))
    assert 500 <= len(found.order) <= 1_000
    assert found.order == again.order
    assert found.scale * len(found.order) == 10_000
    assert [*found.sample()].count((B, None)) / len(found.order) == pytest.approx(0.25, abs=0.05)
    assert found.order != read_workload(requests(), sampled=1_000, seed=8).order


def test_requests_are_counted_by_key_and_the_keys_are_not_kept() -> None:
    requests = [Request(f"http://{host}.test/", headers={"X-Key": f"secret{host}"}) for host in "abaa"]
    found = read_workload([*requests, Request("http://c.test/")], key_of=key_function("X-Key"))
    assert found.largest_key == 3
    assert [key for _, key in found.sample()] == ["0", "1", "0", "0", None]
    assert "secret" not in repr(found)
    (plan,) = estimate(found, [make_setting(key_rate=Rate(1))], 0.2).predictions
    assert (plan.binding and plan.binding.budget, plan.seconds) == ("key-rate", 2.0)


def test_a_sample_keeps_hosts_and_keys_together() -> None:
    requests = (Request(f"http://{'ab'[number % 3 == 0]}.test/") for number in range(5_000))
    found = read_workload(requests, key_of=lambda request: None if "a.test" in request.url else "b", sampled=1_000)
    assert {*found.sample()} == {(A, None), (B, "0")}


# -- records ----------------------------------------------------------------------------------------------------------


def test_a_walk_meets_each_record_of_a_host_once_before_it_meets_one_again() -> None:
    for count in (1, 2, 100, 101):
        times = [float(number + 1) for number in range(count)]
        draws = Profile(sent(elapsed=time) for time in times).draws()
        for _ in range(2):
            assert sorted(draws.next(A).last for _ in range(count)) == times


def test_a_sample_of_many_records_has_their_mean() -> None:
    """Also of those that came late: a server may have become faster."""
    draws = Profile(sent(elapsed=1.0 if number < 5_000 else 0.2) for number in range(20_000)).draws()
    mean = sum(draws.next(A).last for _ in range(KEPT)) / KEPT
    assert mean == pytest.approx(0.4, rel=0.1)


def test_what_the_last_attempt_and_the_usual_waits_leave_is_the_failed_attempts() -> None:
    mended = sent(attempts=3, elapsed=0.2 + 2 * 5.0 + usual_waits(3))
    draws = Profile([sent(elapsed=0.2), mended]).draws()
    histories = [draws.next(A), draws.next(A)]
    (retried,) = (one for one in histories if one.attempts == 3)
    assert usual_waits(3) == 0.25 + 0.5
    assert (retried.last, retried.failed) == (pytest.approx(0.2), pytest.approx(5.0))


def test_attempts_that_failed_take_no_longer_than_a_timeout() -> None:
    """A host that asks to be left alone for minutes holds no worker in that time."""
    draws = Profile([sent(attempts=2, elapsed=240.0)]).draws()
    assert draws.next(A).failed == 30.0


def test_a_host_without_records_is_taken_to_be_like_all_the_others() -> None:
    profile = Profile([sent("http://a.test/1", 0.1), sent("http://b.test/1", 0.3)])
    assert not profile.knows("http://c.test:80")
    draws = profile.draws()
    assert {draws.next("http://c.test:80").last, draws.next("http://d.test:80").last} == {0.1, 0.3}


@pytest.mark.parametrize(
    ("final_url", "hop"),
    [
        (None, None),
        ("http://a.test/%7Ex", None),
        ("http://a.test/~x/?page=2", None),
        ("http://a.test/other", A),
        ("http://b.test/~x", B),
    ],
)
def test_a_record_that_ended_elsewhere_was_redirected(final_url: str | None, hop: str | None) -> None:
    assert Profile([sent("http://a.test/~x", final_url=final_url)]).draws().next(A).hop == hop


# -- the simulation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budgets", "seconds"),
    [
        ({"workers": 4, "host_connections": 10}, 100 * 0.1 / 4),
        ({"workers": 16, "host_connections": 2}, 100 * 0.1 / 2),
        ({"workers": 16, "host_connections": 10, "max_connections": 5}, 100 * 0.1 / 5),
        ({"workers": 16, "rate": Rate(20)}, 99 / 20 + 0.1),
        ({"workers": 16, "host_rate": Rate(20), "burst": 10}, 90 / 20 + 0.1),
        ({"workers": 16, "rate": Rate(100, 1, (Rate(50, 60),))}, 60.0 + 0.01 + 49 / 100 + 0.1),
    ],
)
def test_the_simulation_takes_the_time_that_the_budgets_leave(budgets: dict[str, Any], seconds: float) -> None:
    course = simulated(make_setting(**budgets), [A] * 100, [sent()])
    assert course.seconds == pytest.approx(seconds, rel=0.03)
    assert course.hosts[A].sends == 100
    assert course.hosts[A].busy == pytest.approx(10.0)


def test_a_rate_by_key_holds_over_all_hosts_and_only_if_it_is_set() -> None:
    places = [(host, "key") for host in [A, B] * 20]
    for rate, seconds in ((Rate(10), 39 / 10 + 0.1), (None, 0.4)):
        draws = Profile([sent()]).draws()
        course = Simulation(make_setting(key_rate=rate), places, draws).run()
        assert course.seconds == pytest.approx(seconds, rel=0.05)
        assert course.keys == ({"key": 40} if rate else {})


def test_budgets_that_are_to_be_found_out_are_learned_as_in_a_pool() -> None:
    setting = make_setting(learns_rate=True, learns_connections=True, host_connections=16)
    assert 1.0 < simulated(setting, [A] * 500, [sent()]).seconds < 60.0
    notes = " ".join(estimate(workload_of({A: 1}), [setting], 0.2).notes)
    assert "taken to refuse nothing" in notes
    assert "taken to get no slower" in notes


def test_a_request_that_failed_then_fails_again_and_waits_without_a_worker() -> None:
    records = [sent(attempts=2, elapsed=0.2 + usual_waits(2)), sent(elapsed=0.1)]
    course = simulated(make_setting(workers=1), [A] * 100, records)
    assert course.hosts[A].sends == 150
    assert course.failed == 0
    assert course.seconds == pytest.approx(15.0, rel=0.05), "50 waits of up to 0.5 s are no work for the one worker"


@pytest.mark.parametrize(("retries", "sends"), [(0, 10), (1, 20), (5, 60)])
def test_what_failed_after_its_retries_fails_after_as_many_as_there_are_now(retries: int, sends: int) -> None:
    records = [sent(ok=False, status=None, attempts=4, elapsed=4.0 + usual_waits(4))]
    course = simulated(make_setting(retries=retries), [A] * 10, records)
    assert (course.hosts[A].sends, course.failed) == (sends, 10)


def test_what_failed_for_good_at_once_is_not_tried_again() -> None:
    course = simulated(make_setting(), [A] * 10, [sent(ok=False, status=404)])
    assert (course.hosts[A].sends, course.failed) == (10, 10)


def test_a_redirect_is_a_send_to_where_it_leads() -> None:
    course = simulated(make_setting(host_rate=Rate(10)), [A] * 20, [sent(final_url="http://b.test/", elapsed=0.2)])
    assert (course.hosts[A].sends, course.hosts[B].sends) == (20, 20)
    assert course.hosts[B].busy == pytest.approx(2.0)
    assert course.seconds == pytest.approx(1.9 + 0.2, rel=0.05)


def test_a_redirected_request_that_is_tried_again_begins_where_it_began_before() -> None:
    course = simulated(make_setting(), [A] * 20, [sent(final_url="http://b.test/", attempts=2, elapsed=1.0)])
    assert (course.hosts[A].sends, course.hosts[B].sends) == (40, 40)


def test_a_refusal_pauses_its_host_for_everyone() -> None:
    refused = [sent(ok=False, status=429, attempts=2, elapsed=0.02 + usual_waits(2))]
    fails = [refused[0]._replace(status=500)]
    paused, free = (simulated(make_setting(retries=1), [A] * 60, records) for records in (refused, fails))
    assert paused.hosts[A].sends == free.hosts[A].sends == 120
    assert paused.seconds > 5 * free.seconds


def test_a_breaker_ends_requests_unsent_if_it_is_to_fail_fast() -> None:
    down = [sent(ok=False, status=None, attempts=2, elapsed=0.1)]
    course = simulated(make_setting(breaker=Breaker(failures=5, fails_fast=True)), [A] * 100, down)
    assert course.unsent > 80
    gone = [sent(ok=False, status=404)]
    course = simulated(make_setting(breaker=Breaker(failures=5, fails_fast=True)), [A] * 100, gone)
    assert course.unsent == 0, "a page that is not there says nothing against its host"


def test_a_slow_host_at_the_front_of_the_sources_holds_up_nobody() -> None:
    """As in a pool: reading goes on past the host that has its share."""
    hosts = [A] * 1_000 + [B] * 5_000
    records = [sent("http://a.test/", 1.0), sent("http://b.test/", 0.1)]
    both = simulated(make_setting(), hosts, records)
    alone = simulated(make_setting(), hosts[:1_000], records)
    assert both.seconds == pytest.approx(alone.seconds, rel=0.01)


def test_the_same_seed_gives_the_same_course() -> None:
    records = [sent(elapsed=0.1 + number / 100, attempts=1 + number % 3) for number in range(50)]
    first, again, other = (simulated(make_setting(workers=3), [A] * 200, records, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.seconds != other.seconds


@pytest.mark.parametrize(("field", "value"), [("attempts", "one"), ("status", "ok"), ("elapsed", float("nan"))])
def test_records_with_a_value_that_none_can_have_cannot_be_read_back(tmp_path: Path, field: str, value: object) -> None:
    file = tmp_path / "out.jsonl"
    file.write_text(json.dumps(dict.fromkeys(FIELDS) | {"key": "", "attempts": 1, "elapsed": 1.0, field: value}))
    with pytest.raises(JobError, match=r"out\.jsonl cannot be read back"):
        list(Records(str(file)))


def test_a_sample_is_stretched_to_all_but_the_end_of_the_last_requests_is_not(tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    record = dict.fromkeys(FIELDS) | {"url": "http://a.test/", "key": "", "ok": True, "attempts": 1, "elapsed": 10.0}
    file.write_text(json.dumps(record))
    workload = Workload(requests=1_000, hosts={A: 1_000}, order=array("Q", [0] * 100))
    plan = simulate(workload, [make_setting(host_rate=Rate(1), host_connections=16)], Records(str(file)))
    (found,) = plan.predictions
    assert found.seconds == pytest.approx(99 * 10 + 10)
    assert (found.sends, found.busy) == (1_000, pytest.approx(10.0))
    assert "Simulated were 100 of the requests" in plan.notes[1]


# -- the words --------------------------------------------------------------------------------------------------------


def said(*words: str) -> PlanSettings:
    settings = parse(["plan", *words])
    assert isinstance(settings, PlanSettings)
    return settings


def test_what_is_compared_is_what_was_said_and_changed() -> None:
    settings = said(
        "a.txt", "--rate", "50/s", "--workers", "8", "--compare", "--workers 32", "--compare", "--rate 9/s --retries 0"
    )
    assert [
        (each.label, each.options.workers, each.options.budgets.rate, each.options.retry.attempts)
        for each in settings.settings
    ] == [("", 8, Rate(50), 4), ("--workers 32", 32, Rate(50), 4), ("--rate 9/s --retries 0", 8, Rate(9), 1)]


def test_budgets_that_are_not_said_are_the_pools() -> None:
    (setting,) = said("a.txt").settings
    assert setting.options.budgets == Budgets()
    assert setting.options == options_of()
    (wide,) = said("a.txt", "--workers", "200", "--connections", "auto").settings
    assert (wide.options.budgets.max_connections, wide.options.budgets.host_connections) == (400, 200)
    assert wide.words("host-connections") == "--host-connections auto, at most 200"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "SOURCE is missing"),
        (["a.txt", "--latency", "soon"], "--latency='soon' is no duration"),
        (["a.txt", "--latency", "1s", "--from", "job"], "leave out one"),
        (["--from", "job", "--input-format", "csv"], "--input-format without SOURCE"),
        (["--from", "job", "--query", "SELECT 1"], "--query without SOURCE"),
        (["--from", "job", "--template", "http://a/{x}"], "--template without SOURCE"),
        (["a.txt", "--compare", "--wokers 3"], "unrecognized arguments: --wokers 3"),
        (["a.txt", "--compare", "--workers 0"], "--compare='--workers 0': --workers='0' must be a whole number"),
        (["a.txt", "--compare", "--workers '3"], "No closing quotation"),
        (["a.txt", "--compare", "--output x"], "unrecognized"),
        (["a.txt", "--compare", "--key-rate 1/s"], "--key-rate and --limit-by go together"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_sentence(words: list[str], part: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse(["plan", *words])
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def text_of(plan: Plan) -> str:
    text = as_text(plan)
    assert all(len(line) <= 80 for line in text.splitlines()), text
    return " ".join(text.split())


def test_the_text_names_what_binds_what_comes_after_it_and_what_was_assumed() -> None:
    workload = workload_of({"https://a.example.com:443": 8_000, "http://b.example.com:8080": 2_000})
    plan = estimate(workload, [make_setting(host_rate=Rate(10), rate=Rate(50))], 0.2)
    text = text_of(plan)
    assert text.startswith("10,000 requests to 2 hosts: at least 13 min 20 s")
    assert "--host-rate 10/s: a.example.com has 8,000 of 10,000 requests, and takes 13 min 20 s by itself" in text
    assert "After it comes --host-connections 6, at 4 min 27 s" in text
    assert "3 suffice by Little's law (12.5/s × 200 ms), 16 are there" in text
    assert "each answer takes 200 ms (--latency), and nothing fails" in text


def test_the_text_says_how_many_workers_are_asked_for_where_they_bind() -> None:
    plan = estimate(workload_of({A: 500, B: 500}), [make_setting(workers=2)], 0.2)
    text = text_of(plan)
    assert "--workers 2: with 12 of them, the next would bind" in text
    assert "12 are asked for by Little's law (60.0/s × 200 ms), 2 are there" in text


def test_the_text_compares_settings_in_a_table() -> None:
    settings = [make_setting(), replace(make_setting(workers=64), label="--workers 64")]
    lines = as_text(estimate(workload_of({A: 500, B: 500, "http://c.test:80": 500}), settings, 0.2)).splitlines()
    head, first, second = next(lines[at : at + 3] for at, line in enumerate(lines) if "compared" in line)
    assert head.split() == ["compared", "at", "least", "sends/s", "in", "flight", "what", "binds"]
    assert first.split() == ["as", "said", "18.8", "s", "80.0", "16.0", "--workers"]
    assert second.split() == ["--workers", "64", "16.7", "s", "90.0", "18.0", "--host-connections"]


def test_a_plan_without_requests_says_so_and_what_the_inputs_were() -> None:
    plan = estimate(workload_of({}, problems=4, examples=("a.txt, line 1: no URL",) * 3), [make_setting()], 0.2)
    text = text_of(plan)
    assert text.startswith("No requests: nothing is to be sent")
    assert "4 inputs that cannot be sent: a.txt, line 1: no URL" in text
    assert text.endswith(", and 1 more")


def test_neither_secrets_nor_control_characters_reach_the_screen() -> None:
    plan = estimate(workload_of({"http://user:secret@a\x1b[2J.test:80": 2}), [make_setting()], 0.2)
    for text in (as_text(plan), json.dumps(plan.as_json())):
        assert "secret" not in text
    assert "\x1b" not in as_text(plan)


def test_no_budget_binds_where_single_requests_take_the_time() -> None:
    setting = make_setting()
    found = Prediction(
        setting=setting,
        seconds=100.0,
        is_least=False,
        sends=10,
        busy=0.1,
        most_at_once=1,
        workers=1,
        bounds=bounds_of({A: Load(10, 10.0)}, Load(), setting),
    )
    assert found.binding is None
    text = text_of(Plan(workload=workload_of({A: 10}), predictions=[found], source="job", records=10))
    assert "no budget: the time goes into single requests" in text


def test_the_command_prints_a_plan(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "urls.txt"
    source.write_text("http://a.test/1\nnothing\nhttp://a.test/2\n")
    assert main(["plan", str(source), "--rate", "1/s", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["requests"], found["no_requests"], found["latency"]) == (2, 1, 0.2)
    assert found["settings"][0]["binds"] == "rate"
    assert main(["plan", str(source)]) == 0
    assert "urls.txt, line 2: " in " ".join(capsys.readouterr().out.split())
    assert main(["plan", str(tmp_path / "none.txt")]) == 2
    words = ["plan", str(source), "--limit-by", "header:A", "--key-rate", "1/s", "--compare", "--limit-by header:B"]
    assert main(words) == 2
    assert "another --limit-by" in capsys.readouterr().err


def test_the_json_object_has_the_fields_that_the_reference_names() -> None:
    reference = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
    table = reference.read_text().partition("## Planning a batch")[2].partition("As JSON")[2].partition("\n## ")[0]
    named = {
        field
        for names in re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
        for field in re.findall(r"`(\w+)`", names)
    }
    found = estimate(workload_of({A: 1}), [make_setting()], 0.2).as_json()
    assert named == {*found, *found["settings"][0]}
