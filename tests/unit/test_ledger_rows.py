"""What is written into a job's ledger is what is read of it, and each step leaves the rest alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from workerpool.batch.job.answers import Answer, Follower
from workerpool.batch.job.ledger import Entries, Ledger
from workerpool.batch.job.reader import LedgerReader
from workerpool.batch.job.schema import Held, KeyRow, Seen, SourceRow, Underway
from workerpool.batch.job.states import BLOCK, Block, State, new_block
from workerpool.batch.sources.marks import Mark
from workerpool.errors import OptionError

FIRST = SourceRow(number=0, path="first.txt", size=10, mtime=20, lines=None)
SECOND = SourceRow(number=1, path="second.txt", size=None, mtime=None, lines=4)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(str(tmp_path))
    made.begin_run({"--output": "out.jsonl"}, "0", [FIRST, SECOND], ordered=True)
    yield made
    made.close()


def block(number: int, *, source: int = 0, state: State = State.OK) -> Block:
    made = new_block(source, number, Mark(number * BLOCK, number * 9000))
    made.states[3] = state
    return made


def held(*ordinals: int, later: bool = False) -> list[Held]:
    return [Held(0, ordinal, later, b"record %d" % ordinal) for ordinal in ordinals]


def fill(ledger: Ledger) -> None:
    """Let every table have something in it."""
    ledger.enter(
        Entries(
            held=[*held(1, 2), *held(3, later=True)],
            blocks=[block(0), block(1), block(0, source=1)],
            underway=[(0, 7, '["a"]')],
            answers=[Answer(70, State.OK, None, b"an answer")],
            keys=[KeyRow(99, 0, 1)],
            lines=[(5000, 0)],
        )
    )
    ledger.answers.follow([Follower(70, 0, 8, "key", "http://a.test/")])
    ledger.note_seen([Seen(70, 1000, '"v1"', None)])


def test_a_run_that_has_begun_is_what_it_was_told(ledger: Ledger) -> None:
    run = ledger.run()
    assert run is not None
    assert (run.number, run.phase, run.settings, run.position) == (1, "fetching", {"--output": "out.jsonl"}, "0")
    assert (run.ended, run.continued, run.kept, run.last, run.rounds) == (None, 0, None, None, 0)
    assert abs(run.began - time.time()) < 60
    assert ledger.sources() == [FIRST, SECOND]


def test_what_is_entered_is_what_is_read(ledger: Ledger) -> None:
    fill(ledger)
    assert ledger.held() == (3, 1)
    assert list(ledger.held_records()) == [b"record 1", b"record 2", b"record 3"]
    assert [*ledger.blocks(0)] == [block(0), block(1)]
    assert ledger.underway() == {(0, 7): Underway(False, '["a"]')}
    assert ledger.answers.answer(70) == Answer(70, State.OK, None, b"an answer")
    assert ledger.key(99) == (0, 1)
    assert [source.lines for source in ledger.sources()] == [5000, 4]


def test_an_input_that_waits_for_an_answer_has_any_key_and_url(ledger: Ledger) -> None:
    given = [Follower(70, 0, 1, "\ud800", "http://a.test/\udfff"), Follower(70, 0, 2, None, "http://a.test/\0")]
    ledger.answers.follow(given)
    assert ledger.answers.followers(70, (0, 0), 9) == given


def test_who_looks_from_elsewhere_sees_it_as_it_was_then(ledger: Ledger, tmp_path: Path) -> None:
    ledger.enter(Entries(held=held(1)))
    with closing(LedgerReader(str(tmp_path))) as reader:
        ledger.enter(Entries(held=held(2)))
        assert (reader.held(), reader.id, reader.sources()) == ((1, 0), ledger.id, [FIRST, SECOND])


def test_a_new_run_keeps_nothing_of_the_one_before_but_its_row(ledger: Ledger) -> None:
    name = ledger.id
    fill(ledger)
    ledger.begin_run({}, "9", [SECOND])
    run = ledger.run()
    assert run is not None
    assert (run.number, run.settings, run.position) == (2, {}, "9")
    assert ledger.sources() == [SECOND]
    assert ledger.held() == (0, 0)
    assert [*ledger.blocks(0)] == []
    assert ledger.underway() == {}
    assert ledger.key(99) is None
    assert ledger.answers.answer(70) is None
    assert ledger.answers.followers(70, (0, 0), 9) == []
    ledger.end_run("out.jsonl")
    assert not ledger.has_seen(), "the run was given up, so nobody was told of what it saw"
    assert ledger.id == name


def test_a_run_that_goes_on_has_the_options_and_files_of_now(ledger: Ledger) -> None:
    ledger.continue_run({"--rate": "5/s"}, [SourceRow(number=0, path="ignored", size=11, mtime=21, lines=None)])
    ledger.continue_run({"--rate": "6/s"}, [])
    run = ledger.run()
    assert run is not None
    assert (run.number, run.continued, run.settings) == (1, 2, {"--rate": "6/s"})
    assert ledger.sources() == [SourceRow(number=0, path="first.txt", size=11, mtime=21, lines=None), SECOND]


def test_only_the_last_run_changes(ledger: Ledger) -> None:
    ledger.note_last({"exit": 1})
    ledger.begin_run({}, "5", [])
    ledger.note_last({"exit": 0})
    ledger.confirm([], "6")
    run = ledger.run()
    assert run is not None
    assert run.last == {"exit": 0}
    rows = ledger._database.all("SELECT position, last FROM runs ORDER BY number")
    assert rows == [("0", '{"exit": 1}'), ("6", '{"exit": 0}')]


def test_what_was_kept_for_later_may_go_to_the_sink_once_the_run_closes(ledger: Ledger) -> None:
    ledger.enter(Entries(held=[*held(1), *held(2, 3, later=True)]))
    assert [record for _, record in ledger.waiting(0, 10**6)] == [b"record 1"]
    assert ledger.waiting_bytes() == len(b"record 1")
    ledger.confirm([1], "40")
    ledger.begin_closing()
    run = ledger.run()
    assert run is not None
    assert (run.phase, run.kept, run.position) == ("closing", "40", "40")
    assert [record for _, record in ledger.waiting(0, 10**6)] == [b"record 2", b"record 3"]
    assert ledger.held() == (2, 0)


def test_a_run_that_has_ended_says_what_it_made_and_what_it_saw(ledger: Ledger) -> None:
    fill(ledger)
    ledger.note_seen([Seen(70, 2000, '"v2"', "yesterday"), Seen(71, 2001, None, None)])
    assert (ledger.made, ledger.has_seen(), ledger.seen(70)) == (None, False, None)
    ledger.end_run("out.jsonl")
    run = ledger.run()
    assert run is not None
    assert run.is_finished
    assert run.ended is not None
    assert run.began <= run.ended <= time.time()
    assert ledger.made == "out.jsonl"
    assert ledger.has_seen()
    assert ledger.seen(70) == Seen(70, 2000, '"v2"', "yesterday")
    assert ledger.seen(71) == Seen(71, 2001, None, None)
    assert ledger.seen(72) is None
    assert (ledger.underway(), ledger.answers.answer(70), ledger.answers.followers(70, (0, 0), 9)) == ({}, None, [])
    ledger.begin_run({}, "0", [])
    ledger.end_run("other.jsonl")
    assert (ledger.made, ledger.seen(71)) == ("other.jsonl", Seen(71, 2001, None, None))


def test_a_finished_run_can_be_gone_on_with(ledger: Ledger) -> None:
    fill(ledger)
    ledger.begin_round([], State.FAILED)
    ledger.begin_closing()
    ledger.end_run("out.jsonl")
    ledger.reopen_run("77", [block(1, state=State.AGAIN)])
    run = ledger.run()
    assert run is not None
    assert (run.number, run.phase, run.ended, run.kept, run.rounds, run.position) == (
        1,
        "fetching",
        None,
        None,
        0,
        "77",
    )
    assert [*ledger.blocks(0)] == [block(0), block(1, state=State.AGAIN)]
    assert ledger.made == "out.jsonl"


@pytest.mark.parametrize("begins", ["begin_run", "reopen_run"])
def test_an_output_is_in_the_making_until_its_run_begins(ledger: Ledger, begins: str) -> None:
    with ledger.making("new.jsonl"):
        assert ledger.is_making("new.jsonl")
        assert not ledger.is_making("out.jsonl")
    assert ledger.is_making("new.jsonl"), "as a kill may come between"
    if begins == "begin_run":
        ledger.begin_run({}, "0", [])
    else:
        ledger.reopen_run("0", [])
    assert not ledger.is_making("new.jsonl")


@pytest.mark.parametrize(("error", "is_making"), [(OptionError, False), (OSError, True)])
def test_an_output_that_was_refused_is_not_in_the_making(
    ledger: Ledger, error: type[Exception], is_making: bool
) -> None:
    with pytest.raises(error), ledger.making("new.jsonl"):
        raise error("no")
    assert ledger.is_making("new.jsonl") is is_making


def test_what_is_made_is_noted_so_that_a_power_cut_does_not_lose_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(ledger._database, "sync", lambda: synced.append(ledger.is_making("new.jsonl")))
    with ledger.making("new.jsonl"):
        assert synced == [True]
    ledger.announce(0, 5)
    ledger.sync()
    assert len(synced) == 3


def test_an_input_that_is_tried_again_leaves_its_kept_failure_only(ledger: Ledger) -> None:
    ledger.enter(Entries(held=[*held(1, 2, later=True), *held(1)]))
    ledger.enter(Entries(tried_again=[(0, 1)], held=[Held(0, 1, True, b"again")]))
    assert list(ledger.held_records()) == [b"record 2", b"record 1", b"again"]


def test_what_is_under_way_is_as_it_was_entered_last_until_it_ends(ledger: Ledger) -> None:
    ledger.enter(Entries(underway=[(0, 1, "[1]"), (0, 2, "[2]"), (1, 1, "[3]")]))
    ledger.announce(0, 1)
    ledger.announce(0, 3)
    ledger.enter(Entries(underway=[(0, 1, "[1, 1]")], ended=[(0, 2)]))
    assert ledger.underway() == {
        (0, 1): Underway(True, "[1, 1]"),
        (0, 3): Underway(True, "[]"),
        (1, 1): Underway(False, "[3]"),
    }


def test_a_block_that_is_entered_again_replaces_what_may_change_of_it(ledger: Ledger) -> None:
    ledger.enter(Entries(blocks=[block(0), block(2)]))
    changed = block(2, state=State.FAILED)
    changed.end, changed.check, changed.is_read = Mark(3000, 99), 12345, True
    ledger.enter(Entries(blocks=[changed]))
    assert [*ledger.blocks(0, 1)] == [changed]
    assert (ledger.block(0, 0), ledger.block(0, 1), ledger.block(0, 2)) == (block(0), None, changed)
    assert ledger.block(0, 3) is None


@pytest.mark.parametrize("numbers", [[2, 3], [3, 2], [1, 3], [1, 4], [4], [1, 2, 3, 4], []])
def test_records_that_the_sink_has_are_forgotten_and_no_others(ledger: Ledger, numbers: list[int]) -> None:
    ledger.enter(Entries(held=held(1, 2, 3, 4)))
    ledger.confirm(numbers, "55", [Seen(70, 1, None, None)] if numbers else [])
    assert [number for number, _ in ledger.waiting(0, 10**6)] == [n for n in (1, 2, 3, 4) if n not in numbers]
    run = ledger.run()
    assert run is not None
    assert run.position == "55"
    ledger.end_run("out.jsonl")
    assert ledger.has_seen() is bool(numbers)


def test_records_wait_in_the_order_they_were_entered_in_or_in_that_of_their_inputs(ledger: Ledger) -> None:
    ledger.enter(Entries(held=[*held(9, 2), Held(1, 1, False, b"other"), *held(5, later=True), *held(3)]))
    assert [number for number, _ in ledger.waiting(0, 10**6)] == [1, 2, 3, 5]
    assert [number for number, _ in ledger.waiting(2, 10**6)] == [3, 5]
    assert [record for _, record in ledger.waiting(0, 9)] == [b"record 9", b"record 2"]
    assert [record for _, record in ledger.waiting_in_order((1, 0), 10**6)] == [b"record 2", b"record 3", b"record 9"]
    assert [record for _, record in ledger.waiting_in_order((0, 9), 10**6)] == [b"record 2", b"record 3"]
    assert [record for _, record in ledger.waiting_in_order((1, 2), 1)] == [b"record 2"]
    assert ledger.waiting_bytes() == 3 * len(b"record 9") + len(b"other")


def test_a_round_begins_with_its_blocks_and_without_the_answers_that_failed(ledger: Ledger) -> None:
    answers = [Answer(1, State.OK, None, b"one"), Answer(2, State.SPENT, "timeout", b"two")]
    ledger.enter(Entries(answers=answers))
    ledger.begin_round([block(0, state=State.AGAIN)], State.SPENT)
    assert [ledger.answers.answer(request) for request in (1, 2)] == [answers[0], None]
    assert [*ledger.blocks(0)] == [block(0, state=State.AGAIN)]
    run = ledger.run()
    assert run is not None
    assert run.rounds == 1


def test_more_blocks_and_records_than_are_read_at_once_come_out_in_order(ledger: Ledger) -> None:
    ledger.enter(Entries(blocks=[block(number) for number in range(1001)], held=held(*range(1001))))
    assert [each.number for each in ledger.blocks(0)] == [*range(1001)]
    assert [*ledger.held_records()] == [b"record %d" % number for number in range(1001)]


def test_a_ledger_is_found_whole_and_its_log_is_taken_to_its_place(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger)
    ledger.tidy()
    assert ledger.check() == []
    assert (tmp_path / "ledger.sqlite").read_bytes().count(b"an answer") == 1


def test_a_job_keeps_its_name_and_shares_it_with_no_other(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with closing(Ledger(str(tmp_path))) as again, closing(Ledger(str(tmp_path / "other"))) as other:
        assert len(ledger.id) == 32
        assert again.id == ledger.id != other.id


@pytest.mark.parametrize("ordered", [True, False])
def test_records_that_are_asked_for_in_the_order_of_inputs_have_an_index_for_it(ledger: Ledger, ordered: bool) -> None:
    ledger.begin_run({}, "0", [], ordered=ordered)
    indexes = ledger._database.all("SELECT name FROM sqlite_master WHERE type = 'index'")
    assert (("held_place",) in indexes) is ordered


def test_a_closed_ledger_has_no_file_open(ledger: Ledger, tmp_path: Path) -> None:
    ledger.close()
    assert [file.path for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))] == []
