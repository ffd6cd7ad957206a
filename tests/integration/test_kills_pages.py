"""A job that is killed at any moment goes on in the middle of every chain of pages: each page is there once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import IN_FULL, some
from tests.jobs.trial import WORKERS, Batch, Doomed, Trial
from tests.outputs import rows_in
from workerpool.testing import Origin

INPUTS = 400 if IN_FULL else 20
KILLS = 30 if IN_FULL else 2
POLICIES = ("link", "next:next", "cursor:cursor=next_cursor", "page:page=items", "offset:offset=items")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 if IN_FULL else 120)]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(record_limit=1_000_000) as made:
        yield made


class Paged(Trial):
    """A job over inputs that have some pages each; `expected` says how many records each is to have."""

    def __init__(
        self, directory: Path, origin: Origin, doomed: Doomed, dice: random.Random, output: str, pages: str, *more: str
    ) -> None:
        self.expected: Counter[str] = Counter()
        by_count = pages.startswith(("page", "offset"))  # which need one page more to know that it was the last
        for number in range(INPUTS):
            count = dice.choice([1, 2, 3, 8, 20])
            url = origin.url(f"/pages/{count}?items=3&i={number}")
            self.expected[url] = count + by_count
        for number in range(INPUTS // 10):
            self.expected[origin.url(f"/pages/6?items=3&failing=4&i=f{number}")] = 4
            self.expected[origin.url(f"/pages/6?items=3&broken=3&i=b{number}")] = 3
        batch = Batch(urls=[*self.expected], sends=self.expected.total() + INPUTS // 10)  # one retry of what fails
        super().__init__(directory, origin, doomed, batch, output, "--pages", pages, *more)

    def check_pages(self, *, ordered: bool = False) -> None:
        rows = [(str(row["key"]), int(row["page"])) for row in rows_in(self.output) or []]
        assert Counter(key for key, _ in rows) == self.expected
        assert len(set(rows)) == len(rows), "a page is there twice"
        if ordered:
            assert rows == [(url, page + 1) for url, count in self.expected.items() for page in range(count)]
        assert self.repeats() <= WORKERS * self.kills, f"{self.repeats()} repeats after {self.kills} kills"


def finish(trial: Paged, dice: random.Random, *, ordered: bool = False) -> None:
    """Kill a run again and again, let it go on to its end, and look at what it has made."""
    code = 0
    for number in range(KILLS):
        if number % 3 == 0:
            code = trial.kill_after(seconds=dice.uniform(0.0, 0.3))
        else:
            code = trial.kill_after(arrivals=dice.randrange(1, max(2, trial.batch.sends * 2 // KILLS)))
        if code >= 0 or trial.is_finished():
            break
    if code < 0 and not trial.is_finished():
        code = trial.run()
    assert trial.is_finished(), trial.doomed.said
    trial.check_pages(ordered=ordered)
    assert trial.doomed.run(["reconcile", str(trial.directory / "job")]) == 0, trial.doomed.said
    print(f"{trial.kills} kills, {trial.repeats()} repeats")


@pytest.mark.parametrize("pages", some(POLICIES, 2))
def test_chains_of_a_run_killed_at_random_moments_have_each_page_once(
    tmp_path: Path, origin: Origin, doomed: Doomed, pages: str
) -> None:
    dice = random.Random(pages)
    finish(Paged(tmp_path, origin, doomed, dice, "out.jsonl", pages), dice)


@pytest.mark.parametrize(
    ("output", "more"),
    some(
        [
            ("out.jsonl", ("--processes", "2")),
            ("out.sqlite", ()),
            ("out.jsonl", ("--retry-rounds", "1")),
            ("out.jsonl", ("--ordered",)),
        ],
        2,
    ),
)
def test_and_so_have_those_of_other_kinds_of_runs(
    tmp_path: Path, origin: Origin, doomed: Doomed, output: str, more: tuple[str, ...]
) -> None:
    dice = random.Random(output)
    trial = Paged(tmp_path, origin, doomed, dice, output, "link", *more)
    if "--retry-rounds" in more:
        trial.batch.sends += 2 * (INPUTS // 10)  # a 500 may be tried again, in two attempts
    finish(trial, dice, ordered="--ordered" in more)


@pytest.mark.parametrize("at", range(12 if IN_FULL else 2))
def test_a_run_killed_at_one_of_its_calls_goes_on_with_its_chains(
    tmp_path: Path, origin: Origin, doomed: Doomed, at: int
) -> None:
    dice = random.Random(at)
    trial = Paged(tmp_path, origin, doomed, dice, "out.jsonl", dice.choice(POLICIES))
    kind = dice.choice(["sql", "sql", "write", "fsync"])
    code = trial.run(kind=kind, at=dice.randrange(1, 30), mode=dice.choice(["before", "after"]))
    if code < 0:
        trial.run()
    trial.check_pages()
    assert trial.doomed.run(["reconcile", str(trial.directory / "job")]) == 0, trial.doomed.said
