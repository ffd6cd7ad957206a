"""A cluster on simulated time, small: the coordinator's decisions and the leases hold what they promise together."""

from __future__ import annotations

import random

import pytest

from benchmarks.cluster_simulated.course import Course, Found
from benchmarks.cluster_simulated.figures import Figures, figures
from benchmarks.cluster_simulated.plot import plot
from benchmarks.cluster_simulated.setting import Setting, ranges, sizes
from workerpool.cluster.dispatch import DEPTH

EVEN = Setting(
    workers=8, hosts=500, urls=40_000, rate=1_600, range=4, window=10_000, slow_hosts=0.0, slow_workers=0.0, hangs=0.0,
    deaths=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def even() -> Found:
    return Course(EVEN).run()


@pytest.fixture(scope="module")
def seen(even: Found) -> Figures:
    return figures(even)


def test_the_rate_is_used_and_never_exceeded_in_any_second(seen: Figures) -> None:
    assert seen.used > 0.95
    assert seen.busiest <= 1.0


def test_workers_that_want_all_they_can_get_have_shares_within_a_tenth(seen: Figures) -> None:
    assert seen.least > 0.9
    assert seen.most < 1.1


def test_every_url_ends_once_and_without_deaths_is_sent_once(even: Found) -> None:
    assert sum(even.ended) == sum(even.sends) == EVEN.urls
    assert even.twice == 0


def test_the_window_bounds_what_is_in_memory_whatever_the_batch_has(even: Found) -> None:
    assert EVEN.window is not None
    assert EVEN.window - EVEN.range < even.most_in_window <= EVEN.window


def test_little_time_is_lost_at_the_end(seen: Figures) -> None:
    assert seen.ideal / 2 < seen.read < seen.seconds
    assert seen.lost < 5.0


def test_dask_has_few_tasks_at_once_and_in_each_second(even: Found) -> None:
    assert max(even.tasks_in) <= DEPTH * EVEN.workers * 4
    assert even.tasks / even.seconds < 3 * EVEN.workers


def test_what_dead_workers_had_is_sent_again_and_ends_once() -> None:
    found = Course(Setting(workers=6, hosts=200, urls=12_000, rate=1_200, range=4, window=6_000, deaths=3)).run()
    assert sum(found.ended) == 12_000
    assert sum(found.sends) > 12_000
    assert figures(found).busiest <= 1.0


def test_the_source_has_every_url_of_every_host_once() -> None:
    setting = Setting(hosts=100, urls=5_000, range=7)
    left = [*sizes(setting)]
    assert sum(left) == 5_000
    assert left == sorted(left, reverse=True)
    for host, size in ranges(setting, random.Random(1)):
        left[host] -= size
        assert 1 <= size <= 7
    assert not any(left)


def test_the_drawing_says_what_was_run(even: Found) -> None:
    drawn = plot(even)
    assert "8 workers, 500 hosts, 40,000 URLs, 1,600/s" in drawn
    assert drawn.count('<path class="line"') == 4
