"""What a job says last, and how two heaps of records are compared: values in, values out."""

from __future__ import annotations

from itertools import count

import pytest

from workerpool.batch.job.multiset import Multiset, bucket_of
from workerpool.batch.result import last_word


def inputs(**counts: int) -> dict[str, int]:
    return {**dict.fromkeys(("ok", "unchanged", "skipped", "failed", "unknown", "deferred"), 0), **counts}


WHOLE = inputs(ok=3_000, unchanged=900, failed=10, unknown=1, queued=0)


@pytest.mark.parametrize(
    ("name", "how", "code", "counts", "said"),
    [
        (
            "a.job: run 3", "finished", 1, WHOLE,
            "a.job: run 3 finished: 3,911 inputs, 3,000 ok, 900 unchanged, 10 failed, 1 unknown (exit 1)",
        ),
        ("a.job: run 3", "finished", 0, inputs(ok=1, queued=0), "a.job: run 3 finished: 1 input, 1 ok (exit 0)"),
        (
            "a.job: run 3", "stopped at the deadline", 4, inputs(ok=50, deferred=25, queued=25),
            "a.job: run 3 stopped at the deadline: 50 inputs done, 50 ok, 25 deferred, 25 queued; "
            "run it again, and it goes on (exit 4)",
        ),
        (
            "a.job: run 3", "interrupted by SIGTERM", 143, inputs(ok=1),
            "a.job: run 3 interrupted by SIGTERM: 1 input done, 1 ok, more queued; "
            "run it again, and it goes on (exit 143)",
        ),
        (
            "a.job: run 3", "broke off", 5, None,
            "a.job: run 3 broke off; run it again, and it goes on (exit 5)",
        ),
    ],
)  # fmt: skip
def test_the_last_word_counts_the_whole_run_and_says_how_to_go_on(
    name: str, how: str, code: int, counts: dict[str, int] | None, said: str
) -> None:
    assert last_word(name, how, code, counts) == said


def test_the_same_pairs_in_another_order_are_equal_and_one_swapped_for_another_of_its_part_is_not() -> None:
    first = ("a", "https://example.com/")
    same_part = next(
        (str(n), "https://example.com/")
        for n in count()
        if bucket_of(str(n), "https://example.com/") == bucket_of(*first)
    )
    one, other, swapped = Multiset(), Multiset(), Multiset()
    for pair in (first, same_part, same_part):
        one.add(*pair)
    for pair in (same_part, first, same_part):
        other.add(*pair)
    for pair in (first, first, same_part):
        swapped.add(*pair)
    assert list(one.differing(other)) == []
    assert list(one.differing(swapped)) == [bucket_of(*first)]
    assert one.total == swapped.total == 3


def test_a_key_and_url_are_not_taken_for_another_pair_with_the_same_letters() -> None:
    one, other = Multiset(), Multiset()
    one.add("ab", "c")
    other.add("a", "bc")
    assert list(one.differing(other))
