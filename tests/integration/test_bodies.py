"""`--bodies`: what a run or a job has in files, in which of them, and what its records say; also after a crash."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IN_FULL
from tests.jobs.place import Place
from tests.jobs.trial import WORKERS, Batch, Doomed, Trial
from tests.outputs import Row, rows_in
from tests.shelf import Shelf, content_of
from workerpool import Job, OptionError, Request, Save
from workerpool.errors import SinkError
from workerpool.testing import Origin, Reply

SIZE = 100_000


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(record_limit=1_000_000) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, capsys)


def run(place: Place, *words: str, output: str = "out.jsonl") -> int:
    """A run without a job."""
    return place.command("run", "urls.txt", "-o", output, "--no-progress", "--quiet", *words)


def check_files(records: list[Row]) -> None:
    """Hold every file to what its record says of it."""
    for record in records:
        assert bool(record["ok"]) == bool(record["file"])
        if record["file"]:
            body = Path(record["file"]).read_bytes()
            assert hashlib.sha256(body).hexdigest() == record["sha256"]
            assert len(body) == record["bytes"]


def files_in(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("--job", "a.job"), ("--processes", "2")], ids=["", "job", "processes"])
def test_each_body_is_in_a_file_that_its_record_names(place: Place, origin: Origin, words: tuple[str, ...]) -> None:
    place.write(*(origin.url(path) for path in ("/bytes/100", "/bytes/0", "/status/404", "/redirect/1")), "no URL")
    assert run(place, "--bodies", "bodies", *words) == 1
    records = place.records()
    assert Counter(record["ok"] for record in records) == {True: 3, False: 2}
    check_files(records)
    assert len(files_in(place.directory / "bodies")) == 3
    assert not (place.directory / "bodies" / ".parts").exists()


@pytest.mark.parametrize("output", ["out.csv", "out.sqlite", "out.parquet"])
def test_every_output_has_the_columns(place: Place, origin: Origin, output: str) -> None:
    place.write(origin.url("/bytes/100"))
    assert run(place, "--bodies", "bodies", "--body-name", "{name}", output=output) == 0
    (row,) = rows_in(output) or []
    assert row["file"] == "bodies/100"
    assert row["sha256"] == hashlib.sha256(Path("bodies/100").read_bytes()).hexdigest()


def test_without_the_option_records_are_as_ever(place: Place, origin: Origin) -> None:
    place.write(origin.url("/bytes/100"))
    assert run(place) == 0
    assert not {"file", "sha256"} & place.records()[0].keys()


@pytest.mark.parametrize("words", [(), ("--job", "a.job"), ("--overwrite",)], ids=["", "job", "overwrite"])
def test_of_two_inputs_with_one_name_the_second_is_not_sent_and_told_where_the_first_is(
    place: Place, origin: Origin, words: tuple[str, ...]
) -> None:
    place.write(origin.url("/bytes/1"), origin.url("/bytes/1?again"), origin.url("/bytes/2"))
    assert run(place, "--bodies", "bodies", "--body-name", "{host}/{path}", *words) == 1
    second = place.by_url()[origin.url("/bytes/1?again")]
    assert "urls.txt, line 2: its file would be" in second["error"]
    assert "as that of urls.txt, line 1" in second["error"]
    assert origin.requests == 2
    check_files(place.records())


def test_a_directory_that_has_files_is_refused_unless_it_may_be_overwritten(place: Place, origin: Origin) -> None:
    place.write(origin.url("/bytes/1"))
    (place.directory / "bodies").mkdir()
    (place.directory / "bodies" / "1").write_text("mine")
    for job in ((), ("--job", "a.job")):
        assert run(place, "--bodies", "bodies", "--body-name", "{name}", *job) == 2
        assert "has something in it already" in place.said
        assert "give --overwrite" in place.said
    assert (place.directory / "bodies" / "1").read_text() == "mine"
    assert origin.requests == 0
    assert run(place, "--bodies", "bodies", "--body-name", "{name}", "--overwrite") == 0
    assert (place.directory / "bodies" / "1").read_bytes() == b"\0"


def test_a_directory_of_contents_may_have_any(place: Place, origin: Origin) -> None:
    place.write(origin.url("/bytes/1"))
    for number in range(2):
        assert run(place, "--bodies", "bodies", output=f"{number}.jsonl") == 0


def test_what_lies_in_a_directory_of_contents_is_not_the_jobs_when_its_next_run_names_files_otherwise(
    place: Place, origin: Origin
) -> None:
    place.write(origin.url("/bytes/1"))
    (place.directory / "bodies").mkdir()
    (place.directory / "bodies" / "1").write_text("mine")
    assert place.run("--bodies", "bodies") == 0
    assert place.run("--bodies", "bodies", "--body-name", "{name}") == 2
    assert "has something in it already" in place.said
    assert (place.directory / "bodies" / "1").read_text() == "mine"


def test_the_next_run_of_a_job_replaces_the_files_of_the_one_before(place: Place, origin: Origin) -> None:
    origin.script("/page", Reply(body=b"old"), Reply(body=b"new"))
    place.write(origin.url("/page"))
    words = ("--bodies", "bodies", "--body-name", "{name}")
    assert place.run(*words) == 0
    assert place.run(*words) == 0
    assert (place.directory / "bodies" / "page").read_bytes() == b"new"


def test_a_job_asks_for_bodies_whether_they_have_changed_or_not(place: Place, origin: Origin) -> None:
    """A server's 304 would leave a record without a file."""
    place.write(origin.url("/etag/one"))
    for _ in range(2):
        assert place.run("--bodies", "bodies") == 0
        check_files(place.records())


def test_the_checksum_of_a_source_is_held(place: Place, origin: Origin) -> None:
    good = hashlib.sha256(b"\0").hexdigest()
    rows = [("/bytes/1", good), ("/bytes/1?bad", "0" * 64), ("/bytes/1?junk", "junk"), ("/bytes/1?none", "")]
    place.write("url,sha256", *(f"{origin.url(path)},{sha256}" for path, sha256 in rows), name="urls.csv")
    assert place.run("--bodies", "bodies", source="urls.csv") == 1
    records = place.by_url()
    assert [records[origin.url(path)]["ok"] for path, _ in rows] == [True, False, False, True]
    assert "64 hexadecimal digits" in records[origin.url("/bytes/1?junk")]["error"]
    assert "has the SHA-256" in records[origin.url("/bytes/1?bad")]["error"]


def test_inputs_that_ask_for_the_same_share_a_file(place: Place, origin: Origin) -> None:
    url = origin.url("/bytes/1")
    place.write(url, url, url)
    assert place.run("--bodies", "bodies", "--body-name", "{ordinal}", "--dedupe") == 0
    assert {record["file"] for record in place.records()} == {"bodies/1"}
    assert origin.requests == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--body-name", "{name}"), "--body-name is about the files that bodies go to: give --bodies DIR"),
        (("--min-speed", "1KB/s"), "--min-speed is about the files that bodies go to"),
        (("--bodies", "b", "--body-name", "../x"), "--body-name='../x' has a piece"),
        (("--bodies", "b", "--min-speed", "fast"), "--min-speed='fast' is no size"),
        (("--bodies", "b", "--include", "body"), "leave one of the two out"),
        (("--bodies", ""), "--bodies='' must name a directory"),
    ],
)
def test_words_that_do_not_go_together_are_refused(place: Place, words: tuple[str, ...], said: str) -> None:
    place.write("http://127.0.0.1:9/")
    assert run(place, *words) == 2
    assert said in place.said


def test_a_run_goes_on_only_with_the_same_directory_and_names(place: Place, origin: Origin) -> None:
    place.write(*(origin.url(f"/delay/0.2?{number}") for number in range(50)))
    words = ("--bodies", "bodies", "--body-name", "{ordinal}")
    assert place.run(*words, "--deadline", "0.3", "--workers", "2") == 4
    assert place.run("--bodies", "others", "--body-name", "{ordinal}") == 2
    assert "--bodies" in place.said
    assert place.run("--bodies", "bodies") == 2
    assert "--body-name" in place.said
    assert place.run(*words) == 0
    check_files(place.records())
    assert len(files_in(place.directory / "bodies")) == 50


# -- from Python -------------------------------------------------------------------------------------------------------


def test_a_job_of_a_program_has_files_too(tmp_path: Path, origin: Origin) -> None:
    records: list[Row] = []
    job = Job(
        tmp_path / "job",
        output=records.extend,
        requests=[Request(origin.url("/bytes/5"), key="five")],
        save=Save(tmp_path / "bodies", "{key}.bin"),
        at_least_once=True,
    )
    assert job.run().is_whole
    assert records[0]["file"] == str(tmp_path / "bodies" / "five.bin")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"save": "bodies"}, "must be a Save"),
        ({"save": Save("b"), "include": ["body"]}, "leave one of the two out"),
    ],
)
def test_a_job_refuses_what_cannot_work(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Job(tmp_path / "job", ["urls.txt"], tmp_path / "out.jsonl", **wrong)


# -- a disk that takes no more -----------------------------------------------------------------------------------------


def full(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let the disk be full for bodies after so many writes."""
    real, calls = os.write, []

    def write(file: int, data: Any) -> int:
        if "/.parts/" in os.readlink(f"/proc/self/fd/{file}"):
            calls.append(1)
            if len(calls) > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, data)

    monkeypatch.setattr(os, "write", write)


def test_a_job_whose_bodies_have_no_room_ends_and_goes_on_when_there_is(
    place: Place, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(*(origin.url(f"/bytes/100?{number}") for number in range(200)))
    with monkeypatch.context() as patched:
        full(patched, after=20)
        assert place.run("--bodies", "bodies", "--body-name", "{ordinal}") == 5
    assert "no space left on device" in place.said
    assert place.run("--bodies", "bodies", "--body-name", "{ordinal}") == 0
    records = place.records()
    assert len(records) == 200
    check_files(records)
    assert place.proven()


def test_a_post_whose_answer_could_not_be_saved_is_not_sent_again(
    place: Place, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(json.dumps({"url": origin.url("/echo"), "method": "POST"}), name="posts.jsonl")
    with monkeypatch.context() as patched:
        full(patched, after=0)
        assert place.run("--bodies", "bodies", source="posts.jsonl") == 5
    assert place.run("--bodies", "bodies", source="posts.jsonl") == 1
    assert origin.requests == 1
    assert "cannot be written" in place.records()[0]["error"]


def test_a_run_whose_bodies_have_no_room_ends_with_what_was_whole(
    place: Place, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(*(origin.url(f"/bytes/100?{number}") for number in range(200)))
    with monkeypatch.context() as patched:
        full(patched, after=20)
        assert run(place, "--bodies", "bodies", "--body-name", "{ordinal}") == 5
    assert "no space left on device" in place.said
    records = place.records()
    assert sum(record["ok"] for record in records) == 20
    check_files(records)


def test_a_directory_that_cannot_be_made_is_the_outputs_error(place: Place, origin: Origin) -> None:
    place.write(origin.url("/bytes/1"))
    (place.directory / "bodies").write_text("")
    for job in ((), ("--job", "a.job")):
        assert run(place, "--bodies", "bodies", *job) == 5
    with pytest.raises(SinkError):
        Job("b.job", ["urls.txt"], "b.jsonl", save=Save("bodies")).run()
    assert origin.requests == 0


# -- kills -------------------------------------------------------------------------------------------------------------


def shelves(origin: Origin, count: int, dice: random.Random) -> tuple[Batch, list[Shelf]]:
    """Bodies of several sizes, some of which break off."""
    batch, made = Batch(), []
    for number in range(count):
        cuts: list[int | None] = [dice.randrange(1, SIZE)] if number % 3 == 0 else []
        shelf = Shelf(content_of(dice.randrange(SIZE, 2 * SIZE), seed=number), cuts=cuts)
        origin.script(f"/{number}", shelf)
        made.append(shelf)
        url = origin.url(f"/{number}")
        batch.urls.append(url)
        batch.of_urls.append((url, url))
    batch.sends = count
    return batch, made


def finish(trial: Trial, made: list[Shelf], code: int) -> list[Row]:
    """Let it go on to its end; every body must be in its file, once, and nothing else in their directory."""
    while code < 0:
        code = 0 if trial.is_finished() else trial.run()
    assert code == 0, trial.doomed.said
    rows = rows_in(trial.output) or []
    assert Counter(row["url"] for row in rows) == Counter(trial.batch.urls)
    by_url = {row["url"]: row for row in rows}
    for url, shelf in zip(trial.batch.urls, made, strict=True):
        row = by_url[url]
        assert row["sha256"] == shelf.sha256
        assert Path(row["file"]).read_bytes() == shelf.content
    place = trial.directory / "bodies"
    assert files_in(place) == sorted(str(Path(row["file"]).relative_to(place)) for row in rows)
    return rows


@pytest.mark.slow
@pytest.mark.timeout(900 if IN_FULL else 120)
@pytest.mark.parametrize("name", ["{name}.bin", "{sha256:.2}/{sha256}"])
def test_a_job_killed_at_one_of_its_calls_ends_with_every_body_in_its_file(
    tmp_path: Path, doomed: Doomed, name: str
) -> None:
    dice = random.Random(name)
    counts: dict[str, int] = {}
    kills = 0
    for number in range((150 if IN_FULL else 2) + 1):
        directory = tmp_path / str(number)
        directory.mkdir()
        with Origin() as origin:
            batch, made = shelves(origin, 20 if IN_FULL else 8, random.Random(5))
            words = ("--bodies", str(directory / "bodies"), "--body-name", name)
            trial = Trial(directory, origin, doomed, batch, "out.jsonl", *words)
            if not counts:
                finish(trial, made, trial.run())
                counts = doomed.calls
                continue
            kind = dice.choice(sorted(counts))
            modes = ["before", "after", "torn"][: 3 if kind == "write" else 2]
            finish(trial, made, trial.run(kind=kind, at=dice.randint(1, counts[kind]), mode=dice.choice(modes)))
            kills += trial.kills
    print(f"{kills} kills at {counts}")


@pytest.mark.slow
@pytest.mark.timeout(900 if IN_FULL else 120)
def test_a_job_killed_at_random_moments_fetches_hardly_a_byte_twice(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    """What was received before a kill counts. What may come twice is in pipes then, and what was whole and not told."""
    dice = random.Random(7)
    batch, made = shelves(origin, 60 if IN_FULL else 30, dice)
    for shelf in made:
        shelf.cuts = []
    trial = Trial(tmp_path, origin, doomed, batch, "out.jsonl", "--bodies", str(tmp_path / "bodies"))
    code = -9
    for _ in range(8 if IN_FULL else 2):
        code = trial.kill_after(arrivals=dice.randrange(1, 20))
        if code >= 0 or trial.is_finished():
            break
    finish(trial, made, code)
    total = sum(len(shelf.content) for shelf in made)
    assert trial.repeats() <= WORKERS * trial.kills
    assert sum(sum(shelf.sent) for shelf in made) <= total + trial.kills * WORKERS * 2 * SIZE


def test_a_body_that_was_half_there_when_its_run_was_killed_is_gone_on_with(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    batch, (shelf,) = shelves(origin, 1, random.Random(1))
    shelf.cuts = []
    trial = Trial(tmp_path, origin, doomed, batch, "out.jsonl", "--bodies", str(tmp_path / "bodies"))
    notes: list[Path] = []
    at = 0
    while not notes:
        at += 1
        assert trial.run(kind="fsync", at=at, mode="before") < 0
        notes = [*(tmp_path / "bodies" / ".parts").glob("*.json")]
    os.truncate(notes[0].with_suffix(""), 10_000)
    sent = sum(shelf.sent)
    finish(trial, [shelf], -9)
    assert sum(shelf.sent) - sent == len(shelf.content) - 10_000


def test_a_body_that_was_in_its_place_when_its_run_was_killed_is_replaced_by_itself(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    batch, made = shelves(origin, 1, random.Random(1))
    words = ("--bodies", str(tmp_path / "bodies"), "--body-name", "{name}")
    trial = Trial(tmp_path, origin, doomed, batch, "out.jsonl", *words)
    at = 0
    while not (tmp_path / "bodies" / "0").exists():
        at += 1
        assert trial.run(kind="replace", at=at, mode="after") < 0
    finish(trial, made, -9)
