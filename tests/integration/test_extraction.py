"""Rows in, typed rows out, through all that an API may do: pages, limits, tokens that end; and kills on the way.

What counts is the server's account: how often it gave each page, and how many tokens.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from benchmarks.items_api import ITEMS, PER_PAGE, SCHEMA, SHOPS, ItemsApi, bad_items, items_api
from tests.conftest import IN_FULL
from tests.jobs.trial import PATIENCE, Doomed
from tests.outputs import rows_in
from tests.postgres import Server

WORKERS = 8
KILLS = 3 if IN_FULL else 1
PAGES = SHOPS * ITEMS // PER_PAGE
GOOD = set(range(SHOPS * ITEMS)) - bad_items()


def words_of(directory: Path, api: ItemsApi, output: str) -> list[str]:
    """The command that extracts everything."""
    (directory / "shops.csv").write_text("shop\n" + "".join(f"{shop}\n" for shop in range(SHOPS)))
    (directory / "items.toml").write_text(SCHEMA)
    (directory / "login.toml").write_text(
        f'token_url = "{api.token_url}"\nclient_id = "me"\nclient_secret = "not on any command line"\n'
    )
    return [
        *("run", "shops.csv", "--template", api.url, "--pages", "link", "--schema", "items.toml"),
        *("--auth", "oauth2:login.toml", "--job", "job", "-o", output, "--rejects", "rejects.jsonl"),
        *("--workers", str(WORKERS), "--no-progress"),
    ]


def killed_on_the_way(directory: Path, api: ItemsApi, doomed: Doomed, words: list[str]) -> int:
    """Carry a job to its end, killed at `KILLS` moments; returns its exit code."""
    for number in range(KILLS):
        aim = (number + 1) * PAGES // (KILLS + 1)
        doomed.start(words, cwd=str(directory))
        api.origin.wait_until(lambda aim=aim: api.pages.total() >= aim, timeout=PATIENCE)
        os.kill(doomed.pid, signal.SIGKILL)
        assert doomed.wait() == -signal.SIGKILL
        api.origin.wait_until(lambda: api.origin.connections_open == 0)
    code = doomed.run(words, cwd=str(directory))
    assert "finished" in doomed.said, doomed.said
    return code


def check_the_account(api: ItemsApi, directory: Path) -> None:
    """Each page was given once, but for those in flight at a kill, and tokens as often as they ended."""
    assert len(api.pages) == PAGES
    assert api.pages.total() <= PAGES + KILLS * WORKERS
    assert api.refused  # there is a limit that nobody was told
    # A token is fetched when one has ended, and when a process begins, as it is kept in memory alone.
    assert PAGES // api.good_for - KILLS - 1 <= api.ended <= api.tokens <= api.ended + KILLS + 1
    rejects = [json.loads(line) for line in (directory / "rejects.jsonl").read_text().splitlines()]
    assert {(reject["column"], reject["value"]) for reject in rejects} == {("price", '"on request"')}
    assert len(rejects) == len(bad_items())
    for file in directory.rglob("*"):
        if file.is_file() and file.name != "login.toml":
            assert b"not on any command line" not in file.read_bytes(), file
            assert b"token-" not in file.read_bytes(), file


@pytest.mark.slow
def test_a_job_that_was_killed_has_every_item_once_in_a_parquet_file(tmp_path: Path, doomed: Doomed) -> None:
    with items_api() as api:
        words = words_of(tmp_path, api, "items.parquet")
        assert killed_on_the_way(tmp_path, api, doomed, words) == 1  # some are rejected
        rows = rows_in(str(tmp_path / "items.parquet")) or []
        assert sorted(row["id"] for row in rows) == sorted(GOOD)
        assert all(str(row["price"]) == f"{row['id']}.50" and row["shop"] == row["id"] // ITEMS for row in rows)
        check_the_account(api, tmp_path)


@pytest.mark.slow
def test_a_job_that_was_killed_has_every_item_once_in_postgresql(
    tmp_path: Path, doomed: Doomed, postgres: Server
) -> None:
    with items_api() as api:
        words = words_of(tmp_path, api, postgres.url("items"))
        assert killed_on_the_way(tmp_path, api, doomed, words) == 1
        with postgres.connect() as database:
            rows = database.execute("SELECT id, price, shop FROM items").fetchall()
        assert sorted(row[0] for row in rows) == sorted(GOOD)  # type: ignore[type-var]
        assert all(str(price) == f"{ordinal}.50" for ordinal, price, _ in rows)
        check_the_account(api, tmp_path)
