"""Jobs over rows: a template and a query that go on after kills and changes, and keep no password anywhere."""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import IN_FULL
from tests.jobs.place import Enough, Place
from tests.jobs.trial import Batch, Doomed, Trial
from tests.postgres import PASSWORD, Server
from workerpool import Job, Outcome, Template
from workerpool.errors import JobError
from workerpool.testing import Origin

pytestmark = pytest.mark.slow

ROWS = 1500
QUERY = "select i, path from items order by i"


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(record_limit=100_000) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, capsys)


def fill(path: Path, count: int) -> str:
    """Make a table of so many rows, of which each hundredth has no path; returns the database's URL."""
    rows = [(i, None if i % 100 == 0 else f"bytes/1?i={i}") for i in range(1, count + 1)]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table items (i integer primary key, path text)")
        database.executemany("insert into items values (?, ?)", rows)
    return f"sqlite:///{path}"


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


def break_off(job: Job, after: int) -> None:
    seen = 0

    def observe(outcome: Outcome) -> None:
        nonlocal seen
        seen += 1
        if seen == after:
            raise Enough

    with pytest.raises(Enough):
        job.run(observe=observe, host_connections=16)


def test_a_job_over_a_query_goes_on_where_it_was_and_not_with_other_rows(place: Place, origin: Origin) -> None:
    url = fill(place.directory / "items.db", ROWS)
    template = Template(origin.url("/") + "{+path}", headers={"X-Row": "{i}"}, key="{i}")
    job = Job("a.job", [url], place.output, template=template, query=QUERY)
    break_off(job, 1200)
    change(place.directory / "items.db", "update items set path = 'bytes/2' where i = 7")
    assert f"from {url}, row 1 to 1,024 the source is not what it was" in str(job.run().error)
    change(place.directory / "items.db", "update items set path = 'bytes/1?i=7' where i = 7")
    job.run(host_connections=16)
    records = place.records()
    assert sorted(int(record["key"]) for record in records) == [*range(1, ROWS + 1)]
    assert sum(not record["ok"] for record in records) == ROWS // 100
    assert len(origin.arrivals) <= ROWS - ROWS // 100 + 16  # no more than workers were repeated
    assert place.proven(), place.said


def test_a_query_whose_rows_have_become_fewer_is_refused(place: Place, origin: Origin) -> None:
    url = fill(place.directory / "items.db", ROWS)
    job = Job("a.job", [url], place.output, template=Template(origin.url("/") + "{+path}"), query=QUERY)
    break_off(job, 1300)
    change(place.directory / "items.db", "delete from items where i > 1030")
    assert re.search(r"the source is not what it was|the source ends after", str(job.run().error))


class OfRows(Trial):
    """A trial whose requests are made of the rows of a query."""

    def __init__(self, directory: Path, origin: Origin, doomed: Doomed, count: int) -> None:
        made = [(origin.url(f"/bytes/1?i={i}"), i) for i in range(1, count + 1) if i % 100]
        bad = [(f"row {i}", f"row {i}") for i in range(100, count + 1, 100)]
        batch = Batch(of_urls=[(url, url) for url, _ in made] + bad, sends=len(made))
        super().__init__(directory, origin, doomed, batch, "out.jsonl")
        self.argv[1] = fill(directory / "items.db", count)
        self.argv += ["--query", "select path from items order by i", "--template", origin.url("/") + "{+path}"]


def test_a_run_over_a_query_killed_at_random_moments_ends_with_one_record_for_each_row(
    tmp_path: Path, origin: Origin, doomed: Doomed
) -> None:
    count, kills = (20_000, 20) if IN_FULL else (1_200, 2)
    dice = random.Random(7)
    trial = OfRows(tmp_path, origin, doomed, count)
    for _ in range(kills):
        if trial.kill_after(arrivals=dice.randrange(1, count // kills)) >= 0 or trial.is_finished():
            break
    assert trial.is_finished() or trial.run() == 1
    trial.check()
    assert doomed.run(["reconcile", str(tmp_path / "job")]) == 0, doomed.said
    assert trial.kills


def test_no_password_of_a_database_is_in_anything_that_a_job_writes_or_says(
    place: Place, origin: Origin, postgres: Server
) -> None:
    url = postgres.url().partition("?")[0]
    words = (
        "--query", "select i, 'k' || i as key from generate_series(1, 20) i order by i",
        "--template", origin.url("/status/{i}"), "--header", "Authorization: Bearer hunter2 {i}",
        "--json", '{"password": "hunter2", "i": "{i}"}', "--retries", "0",
    )  # fmt: skip
    said = []
    for template in (words, (*words[:3], origin.url("/status/9{i}"), *words[4:])):
        place.run("--log-format", "json", *template, source=url)
        said.append(place.said)
    for command in (["status", "a.job"], ["status", "a.job", "--json"]):
        place.command(*command)
        said.append(place.said)
    assert place.proven() is True
    assert "cannot be asked again, as its URL has a secret" in " ".join(place.said.split())
    said.append(place.said)
    written = b"".join(path.read_bytes() for path in place.directory.rglob("*") if path.is_file())
    for secret in (PASSWORD, "hunter2 ", '"hunter2"'):
        assert secret not in "".join(said)
        assert secret.encode() not in written
    assert '"sources": "postgresql://***@127.0.0.1:' in said[0]


def test_secrets_that_are_named_are_used_and_written_and_said_nowhere(
    place: Place, origin: Origin, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password in the source's URL and in the output's, and a header whose name tells nobody that it is secret."""
    monkeypatch.setenv("DB_PASSWORD", PASSWORD)
    (place.directory.parent / "shop").write_text("hunter4-Zyxxy\n")
    url = postgres.url("named_secrets", password="env:DB_PASSWORD")
    words = (
        "--query", "select i from generate_series(1, 5) i order by i", "--log-format", "json", "--retries", "0",
        "--template", origin.url("/status/40{i}"), "--header", "X-Shop: file:../shop", "--include", "headers",
    )  # fmt: skip
    place.run(*words, source=url.partition("?")[0], output=url)
    said = place.said
    assert {arrival.headers["X-Shop"] for arrival in origin.arrivals} == {"hunter4-Zyxxy"}
    with postgres.connect() as connection:
        assert connection.execute("select count(*) from named_secrets").fetchone() == (5,)
    place.command("status", "a.job")
    said += place.said
    assert place.command("reconcile", "a.job", "-o", url) == 0
    said += place.said
    written = b"".join(path.read_bytes() for path in place.directory.rglob("*") if path.is_file())
    for secret in (PASSWORD, "hunter4"):
        assert secret not in said
        assert secret.encode() not in written


def test_a_run_goes_on_with_another_secret_and_not_with_another_template(place: Place, origin: Origin) -> None:
    place.write("id,n", *(f"{number},{number}" for number in range(1, 41)), name="rows.csv")

    def job(url: str, token: str) -> Job:
        template = Template(origin.url(url), headers={"Authorization": f"Bearer {token}"})
        return Job("a.job", ["rows.csv"], place.output, template=template)

    break_off(job("/bytes/{id}", "old"), 10)
    with pytest.raises(JobError, match=r"with --template http.*/bytes/\{id\}, not http.*/bytes/\{n\}: run the command"):
        job("/bytes/{n}", "old").run()
    job("/bytes/{id}", "new").run()
    assert len(place.records()) == 40
    assert place.proven(), place.said


def test_the_command_line_makes_requests_of_rows(place: Place, origin: Origin) -> None:
    place.write("id;name;n", "1;a/b;5", "2;;6", name="rows.csv")
    (place.directory / "body.json").write_text('{"n": "{n:int}", "name": "{name}"}')
    words = ("--template", origin.url("/echo/{id}{?name}"), "--json", "@body.json", "--method", "PUT")
    more = ("--header", "X-Name: <{name}>", "--key", "{id}", "--optional", "name", "--include", "body", "--ordered")
    assert place.run(*words, *more, source="rows.csv") == 0, place.said
    first, second = place.records()
    assert (first["key"], first["method"], second["key"]) == ("1", "PUT", "2")
    one, two = sorted(origin.arrivals, key=lambda arrival: arrival.path)
    assert (one.path, json.loads(one.body)) == ("/echo/1?name=a%2Fb", {"n": 5, "name": "a/b"})
    assert (two.path, json.loads(two.body)) == ("/echo/2", {"n": 6, "name": None})
    assert one.headers["X-Name"] == "<a/b>"
    assert "X-Name" not in two.headers


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--header", "A: b"], "--header is about the requests of a template: give --template URL"),
        (["--template", "https://a.test/{x:int}"], "--template has {x:int} in it"),
        (["--template", "https://a.test/{id}", "--header", "A"], "--header must be a name, a colon and a text"),
        (["--template", "https://a.test/{id}", "--header", "A: b", "--header", "a: c"], "--header is given twice"),
        (["--template", "https://a.test/{id}", "--json", "{"], "--json is no JSON (line 1, column 2"),
        (["--template", "https://a.test/{id}", "--json", "@nowhere"], "--json='@nowhere' cannot be read: no such file"),
        (["--template", "https://a.test/{id}", "--json", "{}", "--data", "x"], "--json and --data: a request has one"),
        (["--template", "https://a.test/{id}"], "no column is named 'id', which the template names: there are url"),
        (["--query", "select 1"], "--query is asked of one database"),
    ],
)
def test_what_cannot_work_is_refused_in_the_words_of_the_command_line(
    place: Place, words: list[str], said: str
) -> None:
    place.write("url", "http://a.test/", name="rows.csv")
    assert place.run(*words, source="rows.csv") == 2
    assert said in place.said
