"""What a job says last, and how two heaps of records are compared: values in, values out."""

from __future__ import annotations

from itertools import count

import pytest

from workerpool.batch.job.multiset import Multiset, bucket_of
from workerpool.batch.job.states import State
from workerpool.cli.last_word import Ending, last_word

COUNTS = {State.OK: 3_000, State.UNCHANGED: 900, State.FAILED: 6, State.SPENT: 4, State.UNKNOWN: 1}


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (
            Ending(directory="a.job", run=3, how="finished", code=1, counts=COUNTS),
            "a.job: run 3 finished: 3,911 inputs, 3,000 ok, 900 unchanged, 10 failed, 1 unknown (exit 1)",
        ),
        (
            Ending(directory="a.job", run=1, how="finished", code=0, counts={State.OK: 1}),
            "a.job: run 1 finished: 1 input, 1 ok (exit 0)",
        ),
        (
            Ending(
                directory="a.job",
                run=3,
                how="stopped at the deadline",
                code=4,
                counts={State.OK: 50, State.DEFERRED: 20, State.AGAIN: 5, State.QUEUED: 900},
                total=100,
            ),
            "a.job: run 3 stopped at the deadline: 50 inputs done, 50 ok, 25 deferred, 25 queued; "
            "run it again, and it goes on (exit 4)",
        ),
        (
            Ending(directory="a.job", run=3, how="interrupted by SIGTERM", code=143, counts={State.OK: 1}),
            "a.job: run 3 interrupted by SIGTERM: 1 input done, 1 ok, more queued; "
            "run it again, and it goes on (exit 143)",
        ),
        (
            Ending(directory="a.job", run=3, how="broke off", code=5, counts=None),
            "a.job: run 3 broke off; run it again, and it goes on (exit 5)",
        ),
    ],
)
def test_the_last_word_counts_the_whole_run_and_says_how_to_go_on(ending: Ending, said: str) -> None:
    assert last_word(ending) == said


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
