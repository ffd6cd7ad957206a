"""What outputs that SQLAlchemy writes owe besides: no password is said, no file is made by looking, nothing is left."""

from __future__ import annotations

import os
from pathlib import Path

import pymysql
import pytest
import sqlalchemy

from tests.contract.test_sinks import Output, keys, rows
from tests.mariadb import PASSWORD, Server
from workerpool.batch.sinks import durable_sink_for
from workerpool.errors import OptionError, SinkError


def test_a_password_is_not_said_when_it_is_refused(mariadb: Server) -> None:
    wrong = "wrong-hunter3"
    sink = Output(mariadb.url("refused", password=wrong)).sink()
    with pytest.raises(SinkError, match=r"cannot be used: .*Access denied") as caught:
        sink.begin()
    assert wrong not in str(caught.value) + sink.name
    assert caught.value.__cause__ is None


def test_a_server_that_is_gone_is_said_without_the_password(mariadb: Server) -> None:
    sink = Output(mariadb.url("gone")).sink()
    sink.begin()
    sink.write(rows(1))
    _end_connections(mariadb)
    with pytest.raises(SinkError, match=r"cannot be written: .*; the 1 record before is whole, in the table") as caught:
        sink.write(rows(2))
    assert PASSWORD not in str(caught.value)
    sink.close()


def test_a_job_goes_on_after_its_connection_was_ended(mariadb: Server) -> None:
    output = Output(mariadb.url("ended"))
    sink = output.sink()
    sink.begin()
    position = sink.write(rows(1))
    _end_connections(mariadb)
    with pytest.raises(SinkError):
        sink.write(rows(2))
    sink.close()
    sink = output.sink()
    sink.resume(position)
    sink.write(rows(2))
    sink.finish()
    sink.close()
    assert output.read() == keys(1, 2)


def _end_connections(server: Server) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE id <> connection_id()")
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")


def test_what_a_rename_left_is_dropped_by_the_job_that_goes_on(mariadb: Server) -> None:
    output = Output(mariadb.url("renamed"))
    position = output.finished(rows(1, 2))[-1]
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE jobs.renamed_replaced (id int)")
        sink = output.sink()
        sink.resume(position)
        sink.finish()
        sink.close()
        with pytest.raises(pymysql.MySQLError, match="renamed_replaced"):
            cursor.execute("SELECT * FROM jobs.renamed_replaced")


def test_a_table_of_mariadb_has_types_that_lose_nothing(mariadb: Server) -> None:
    Output(mariadb.url("typed")).finished(rows(1))
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT column_name, column_type FROM information_schema.columns WHERE table_name = 'typed'")
        types = dict(cursor.fetchall())
    assert (types["id"], types["url"], types["started_at"]) == ("bigint(20)", "longtext", "datetime(6)")


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_table_with_other_columns_is_refused_before_anything_is_fetched(tmp_path: Path, kind: str) -> None:
    url = f"{kind}:///{tmp_path}/out.db"
    with sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE others (id bigint, url text)")
    sink = durable_sink_for(f"{url}?table=others")
    with pytest.raises(OptionError, match="has no column key: drop the table, or name another one"):
        sink.begin(overwrite=True)
    sink.close()


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_a_database_that_is_looked_at_is_not_made_and_a_lock_does_not_stay(tmp_path: Path, kind: str) -> None:
    output = Output(f"{kind}:///{tmp_path}/out.db?table=one")
    assert output.sink().leftover() is None
    sink = output.sink()
    with pytest.raises(SinkError, match="is gone"):
        sink.resume('{"rows": 1}')
    with pytest.raises(SinkError, match="has been removed"):
        list(sink.entries(None))
    sink.close()
    assert os.listdir(tmp_path) == []
    output.finished(rows(1))
    assert os.listdir(tmp_path) == ["out.db"]


def test_tables_of_one_file_are_jobs_of_their_own(tmp_path: Path) -> None:
    one, other = (Output(f"sqlite:///{tmp_path}/out.db?table={name}") for name in ("one", "other"))
    one.finished(rows(1))
    other.finished(rows(2))
    assert (one.read(), other.read()) == (keys(1), keys(2))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "is no file, as an output"),
        ("duckdb:///:memory:", "is no file, as an output"),
        ("mysql+pymysql://u:hunter2@h:port/d", "no database's URL"),
        ("mysql+nodriver://u:hunter2@h/d", "which is not installed"),
        ("mysql+pymysql://u:hunter2@h/d?table=a-b", "is no name"),
        ("nothing://u:hunter2@h/d", "no database that is known"),
    ],
)
def test_a_url_that_cannot_work_is_refused_at_once_without_its_password(url: str, words: str) -> None:
    with pytest.raises(OptionError, match=words) as caught:
        durable_sink_for(url)
    assert "hunter2" not in str(caught.value)
