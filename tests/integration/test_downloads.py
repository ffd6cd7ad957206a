"""Bodies that go to files: what is fetched once, what is put in its place, and what becomes of one that breaks off."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import answering, serving
from tests.shelf import ETAG, Shelf, content_of
from tests.waiting import eventually
from workerpool import Outcome, Request, RetryPolicy, Save, ShardedPool, WorkerPool
from workerpool.errors import (
    BadBody,
    ConnectionLost,
    InvalidRequest,
    NameTaken,
    NotSaved,
    TimedOut,
    TooLarge,
    WrongChecksum,
)
from workerpool.saving import parts
from workerpool.testing import Arrival, Origin, Reply

SIZE = 1_000_000


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


def fetch(*requests: Request, attempts: int = 4, **options: Any) -> list[Outcome]:
    """Fetch requests in their order, without waits between attempts that matter."""
    with WorkerPool(4, retry=RetryPolicy(attempts=attempts, backoff=0.01), **options) as pool:
        return [*pool.stream(requests, ordered=True)]


def download(origin: Origin, place: Path, replier: Any, name: str = "body", **more: Any) -> Outcome:
    """Fetch what a server answers on a path into a file of that name."""
    origin.script("/body", replier)
    options = {key: more.pop(key) for key in [*more] if key in ("attempts", "timeout", "max_body")}
    sha256, headers = more.pop("sha256", None), more.pop("headers", None)
    (outcome,) = fetch(
        Request(origin.url("/body"), save=Save(place, name, **more), sha256=sha256, headers=headers), **options
    )
    return outcome


def left(place: Path) -> list[str]:
    """What is in the directory for parts."""
    return sorted(path.name for path in (place / ".parts").iterdir())


# -- a body that comes whole -------------------------------------------------------------------------------------------


def test_a_body_is_in_its_file_and_not_in_memory(origin: Origin, tmp_path: Path) -> None:
    shelf = Shelf(content_of(SIZE))
    outcome = download(origin, tmp_path, shelf)
    assert outcome.ok
    assert outcome.saved is not None
    assert outcome.saved.path == str(tmp_path / "body")
    assert (outcome.saved.size, outcome.saved.sha256) == (SIZE, shelf.sha256)
    assert outcome.response is not None
    assert outcome.response.content == b""
    assert (tmp_path / "body").read_bytes() == shelf.content
    assert left(tmp_path) == []


def test_bodies_named_by_their_content_share_a_file(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.url(f"/bytes/1000?{number}") for number in range(5)]
    outcomes = fetch(*(Request(url, save=Save(tmp_path)) for url in urls))
    sha256 = hashlib.sha256((bytes(range(256)) * 4)[:1000]).hexdigest()
    assert {outcome.saved and outcome.saved.path for outcome in outcomes} == {f"{tmp_path}/{sha256[:2]}/{sha256}"}
    assert left(tmp_path) == []


def test_the_same_url_may_be_received_twice_at_once(origin: Origin, tmp_path: Path) -> None:
    url = origin.url("/drip?bytes=100&seconds=0.3")
    outcomes = fetch(*(Request(url, save=Save(tmp_path)) for _ in range(4)))
    assert [outcome.ok for outcome in outcomes] == [True] * 4
    assert left(tmp_path) == []


def test_a_body_is_asked_for_uncoded_and_one_that_is_coded_all_the_same_is_decoded(
    origin: Origin, tmp_path: Path
) -> None:
    content = b"text " * 100_000
    asked = []

    def answer(arrival: Arrival) -> Reply:
        asked.append(arrival.headers["accept-encoding"])
        return Reply(body=content, encoding="gzip")

    assert download(origin, tmp_path, answer).ok
    assert asked == ["identity"]
    assert (tmp_path / "body").read_bytes() == content


def test_who_asks_for_a_coding_gets_it(origin: Origin, tmp_path: Path) -> None:
    outcome = download(origin, tmp_path, lambda arrival: Reply(body=arrival.headers["accept-encoding"].encode()),
                       headers={"Accept-Encoding": "gzip"})  # fmt: skip
    assert outcome.ok
    assert (tmp_path / "body").read_bytes() == b"gzip"


@pytest.mark.parametrize("reply", [Reply(body=b"chunks" * 1000, chunked=True), Reply(body=b"", status=200)])
def test_a_body_without_a_length_or_without_bytes_is_a_file_too(origin: Origin, tmp_path: Path, reply: Reply) -> None:
    assert download(origin, tmp_path, reply).ok
    assert (tmp_path / "body").read_bytes() == reply.body


def test_the_answer_to_a_head_and_a_failing_answer_make_no_file(origin: Origin, tmp_path: Path) -> None:
    head, failed = fetch(
        Request(origin.url("/bytes/10"), "HEAD", save=Save(tmp_path, "head")),
        Request(origin.url("/status/404"), save=Save(tmp_path, "failed")),
    )
    assert head.ok
    assert (head.saved, failed.saved) == (None, None)
    assert failed.response is not None
    assert failed.response.content == b"status 404\n"
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_the_answer_to_a_post_can_be_saved(origin: Origin, tmp_path: Path) -> None:
    (outcome,) = fetch(Request(origin.url("/echo"), "POST", json={"a": 1}, save=Save(tmp_path, "answer")))
    assert outcome.ok
    assert b'"method": "POST"' in (tmp_path / "answer").read_bytes()


def test_a_file_is_named_by_the_request_and_not_by_where_it_leads(origin: Origin, tmp_path: Path) -> None:
    (outcome,) = fetch(Request(origin.url("/redirect/2"), save=Save(tmp_path, "{path}")))
    assert outcome.ok
    assert (tmp_path / "redirect" / "2").read_bytes() == b"arrived\n"


def test_a_future_has_the_file_too(origin: Origin, tmp_path: Path) -> None:
    with WorkerPool(2) as pool:
        response: Any = pool.get(origin.url("/bytes/10"), save=Save(tmp_path, "body")).result()
    assert response.saved.size == 10


def test_other_processes_save_bodies_as_well(origin: Origin, tmp_path: Path) -> None:
    with ShardedPool(2, 4) as pool:
        (outcome,) = pool.stream([Request(origin.url("/bytes/10"), save=Save(tmp_path, "body"))])
    assert outcome.saved is not None
    assert (outcome.saved.path, outcome.saved.size) == (str(tmp_path / "body"), 10)


def test_a_body_larger_than_memory_may_be_takes_none_of_it(tmp_path: Path) -> None:
    size, piece = 64 * 1024 * 1024, bytes(1024 * 1024)

    def serve(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            sock.sendall(piece)

    with serving(serve) as server:
        tracemalloc.start()
        try:
            (outcome,) = fetch(Request(server.url, save=Save(tmp_path, "body")), max_body=1000)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert outcome.ok, outcome.error
    assert os.path.getsize(tmp_path / "body") == size
    assert peak < 16 * 1024 * 1024


# -- one that breaks off -----------------------------------------------------------------------------------------------


def test_a_body_that_breaks_off_is_gone_on_with_and_no_byte_is_sent_twice(origin: Origin, tmp_path: Path) -> None:
    shelf = Shelf(content_of(SIZE), cuts=[400_000, 300_000, 0])
    outcome = download(origin, tmp_path, shelf)
    assert outcome.ok, outcome.error
    assert len(outcome.attempts) == 4
    assert sum(shelf.sent) == SIZE
    assert shelf.statuses == [200, 206, 206, 206]
    assert outcome.saved is not None
    assert outcome.saved.sha256 == shelf.sha256
    assert (tmp_path / "body").read_bytes() == shelf.content
    assert left(tmp_path) == []


def test_a_later_pool_goes_on_where_an_earlier_one_has_failed(origin: Origin, tmp_path: Path) -> None:
    shelf = Shelf(content_of(SIZE), cuts=[400_000])
    first = download(origin, tmp_path, shelf, attempts=1)
    assert isinstance(first.error, ConnectionLost)
    assert not (tmp_path / "body").exists()
    assert download(origin, tmp_path, shelf, attempts=1).ok
    assert sum(shelf.sent) == SIZE
    assert (tmp_path / "body").read_bytes() == shelf.content


def test_a_last_modified_that_is_old_enough_is_asked_by_where_there_is_no_etag(origin: Origin, tmp_path: Path) -> None:
    headers = {"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT", "Date": "Sun, 06 Nov 1994 09:49:37 GMT"}
    shelf = Shelf(content_of(SIZE), headers=headers, cuts=[400_000])
    assert download(origin, tmp_path, shelf).ok
    assert sum(shelf.sent) == SIZE


@pytest.mark.parametrize("headers", [{}, {"ETag": f"W/{ETAG}"}, {"ETag": ETAG, "Accept-Ranges": "none"}])
def test_a_body_that_nothing_names_is_fetched_again_from_its_beginning(
    origin: Origin, tmp_path: Path, headers: dict[str, str]
) -> None:
    shelf = Shelf(content_of(SIZE), headers=headers, cuts=[400_000])
    assert download(origin, tmp_path, shelf).ok
    assert shelf.asked == [None, None]
    assert (tmp_path / "body").read_bytes() == shelf.content
    assert left(tmp_path) == []


def test_a_body_that_has_changed_meanwhile_is_fetched_whole(origin: Origin, tmp_path: Path) -> None:
    old, new = Shelf(content_of(SIZE, 1), cuts=[400_000]), Shelf(content_of(SIZE, 2), headers={"ETag": '"second"'})
    origin.script("/body", old, new)
    (outcome,) = fetch(Request(origin.url("/body"), save=Save(tmp_path, "body")))
    assert outcome.ok
    assert new.statuses == [200]
    assert (tmp_path / "body").read_bytes() == new.content


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(origin: Origin, tmp_path: Path) -> None:
    shelf = Shelf(content_of(SIZE), cuts=[400_000], knows_ranges=False)
    assert download(origin, tmp_path, shelf).ok
    assert shelf.statuses == [200, 200]
    assert (tmp_path / "body").read_bytes() == shelf.content


@pytest.mark.parametrize(
    "wrong",
    [
        {"Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"},
        {"Content-Range": f"bytes 400000-{SIZE - 1}/{SIZE + 1}"},
        {"Content-Range": f"bytes 400000-{SIZE - 1}/{SIZE}", "ETag": '"other"'},
        {"Content-Range": "nonsense"},
        {},
    ],
)
def test_a_part_that_is_not_the_rest_has_the_body_fetched_from_its_beginning(
    origin: Origin, tmp_path: Path, wrong: dict[str, str]
) -> None:
    shelf = Shelf(content_of(SIZE), cuts=[400_000])
    origin.script("/body", shelf, Reply(status=206, body=b"junk", headers=wrong), shelf)
    (outcome,) = fetch(Request(origin.url("/body"), save=Save(tmp_path, "body")))
    assert outcome.ok, outcome.error
    assert (tmp_path / "body").read_bytes() == shelf.content
    assert shelf.asked == [None, None]


def test_a_part_that_ends_before_the_body_does_is_gone_on_with(origin: Origin, tmp_path: Path) -> None:
    shelf = Shelf(content_of(SIZE), cuts=[400_000])
    stingy = Reply(
        status=206,
        body=shelf.content[400_000:500_000],
        headers={"Content-Range": f"bytes 400000-499999/{SIZE}", "ETag": ETAG},
    )
    origin.script("/body", shelf, stingy, shelf)
    (outcome,) = fetch(Request(origin.url("/body"), save=Save(tmp_path, "body")))
    assert outcome.ok, outcome.error
    assert shelf.asked == [None, "bytes=500000-"]
    assert (tmp_path / "body").read_bytes() == shelf.content


def test_a_body_that_lacked_nothing_but_its_end_is_whole_when_the_server_says_so(
    origin: Origin, tmp_path: Path
) -> None:
    content = content_of(SIZE)
    head = f"HTTP/1.1 200 OK\r\nETag: {ETAG}\r\nTransfer-Encoding: chunked\r\n\r\n{SIZE:x}\r\n"
    shelf = Shelf(content)
    origin.script("/body", Reply(raw=head.encode() + content + b"\r\n", close=True), shelf)
    (outcome,) = fetch(Request(origin.url("/body"), save=Save(tmp_path, "body")))
    assert outcome.ok, outcome.error
    assert (shelf.statuses, shelf.sent) == ([416], [0])
    assert outcome.status == 200
    assert (tmp_path / "body").read_bytes() == content


def test_a_body_that_has_become_shorter_is_fetched_from_its_beginning(origin: Origin, tmp_path: Path) -> None:
    long, short = Shelf(content_of(SIZE), cuts=[400_000]), Shelf(content_of(1000))
    origin.script("/body", long, short)
    (outcome,) = fetch(Request(origin.url("/body"), save=Save(tmp_path, "body")))
    assert outcome.ok, outcome.error
    assert short.statuses == [416, 200]
    assert (tmp_path / "body").read_bytes() == short.content


def test_a_part_that_nobody_asked_for_is_a_failure(origin: Origin, tmp_path: Path) -> None:
    outcome = download(origin, tmp_path, Reply(status=206, body=b"x", headers={"Content-Range": "bytes 5-5/9"}))
    assert isinstance(outcome.error, BadBody)
    assert left(tmp_path) == []


def test_who_asks_for_a_range_gets_it_and_nothing_else(origin: Origin, tmp_path: Path) -> None:
    shelf = Shelf(content_of(1000), cuts=[10])
    outcome = download(origin, tmp_path, shelf, headers={"Range": "bytes=900-"})
    assert outcome.ok
    assert shelf.asked == ["bytes=900-", "bytes=900-"]
    assert (tmp_path / "body").read_bytes() == shelf.content[900:]


def test_a_body_is_gone_on_with_behind_a_redirect(origin: Origin, tmp_path: Path) -> None:
    shelf = Shelf(content_of(SIZE), cuts=[400_000])
    origin.script("/body", shelf)
    (outcome,) = fetch(Request(origin.url("/redirect-to?url=/body"), save=Save(tmp_path, "body")))
    assert outcome.ok, outcome.error
    assert sum(shelf.sent) == SIZE


def test_after_the_machine_went_down_only_what_was_synced_counts(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SYNC_EVERY", 100_000)
    shelf = Shelf(content_of(SIZE), cuts=[400_000])
    assert not download(origin, tmp_path, shelf, attempts=1).ok
    monkeypatch.setattr(parts, "boot_id", lambda: "another")
    assert download(origin, tmp_path, shelf, attempts=1).ok
    (asked,) = shelf.asked[1:]
    assert asked is not None
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    assert 100_000 <= start < 400_000 or start == 400_000 - 400_000 % 100_000
    assert (tmp_path / "body").read_bytes() == shelf.content


def test_a_note_that_was_torn_is_no_note(origin: Origin, tmp_path: Path) -> None:
    shelf = Shelf(content_of(SIZE), cuts=[400_000])
    assert not download(origin, tmp_path, shelf, attempts=1).ok
    (note,) = (tmp_path / ".parts").glob("*.json")
    note.write_text(note.read_text()[:20])
    assert download(origin, tmp_path, shelf, attempts=1).ok
    assert shelf.statuses == [200, 200]


# -- checksums ---------------------------------------------------------------------------------------------------------


def test_a_body_with_another_checksum_is_not_put_in_its_place(origin: Origin, tmp_path: Path) -> None:
    shelf = Shelf(content_of(1000))
    outcome = download(origin, tmp_path, shelf, sha256="0" * 64)
    assert isinstance(outcome.error, WrongChecksum)
    assert shelf.sha256 in str(outcome.error)
    assert "0" * 64 in str(outcome.error)
    assert len(outcome.attempts) == 1
    assert not (tmp_path / "body").exists()
    assert left(tmp_path) == []


def test_the_right_checksum_is_taken_in_capital_letters_too(origin: Origin, tmp_path: Path) -> None:
    shelf = Shelf(content_of(1000))
    assert download(origin, tmp_path, shelf, sha256=shelf.sha256.upper()).ok


def test_a_wrong_checksum_of_what_came_in_two_parts_has_it_fetched_whole(origin: Origin, tmp_path: Path) -> None:
    """The server has changed the body, and not its ETag: the two parts do not belong together."""
    old, new = Shelf(content_of(SIZE, 1), cuts=[400_000]), Shelf(content_of(SIZE, 2))
    origin.script("/body", old, new)
    (outcome,) = fetch(Request(origin.url("/body"), save=Save(tmp_path, "body"), sha256=new.sha256))
    assert outcome.ok, outcome.error
    assert new.statuses == [206, 200]
    assert (tmp_path / "body").read_bytes() == new.content


def test_a_body_in_memory_is_checked_as_well(origin: Origin) -> None:
    right = hashlib.sha256(b"ok\n").hexdigest()
    good, bad, junk = fetch(
        Request(origin.url("/etag/a"), sha256=right),
        Request(origin.url("/etag/a"), sha256="0" * 64),
        Request(origin.url("/etag/a"), sha256="none"),
    )
    assert good.ok
    assert isinstance(bad.error, WrongChecksum)
    assert isinstance(junk.error, InvalidRequest)


# -- time and size -----------------------------------------------------------------------------------------------------


def test_a_body_may_take_longer_than_the_timeout_if_it_keeps_its_pace(origin: Origin, tmp_path: Path) -> None:
    outcome = download(origin, tmp_path, Reply(body=b"x" * 100, drip=0.01), timeout=0.5, min_speed=10)
    assert outcome.ok, outcome.error
    assert outcome.elapsed > 0.5


def test_a_body_that_is_too_slow_fails_and_is_gone_on_with(origin: Origin, tmp_path: Path) -> None:
    shelf = Shelf(content_of(1000), drip=0.02)
    origin.script("/body", shelf)

    def hurry(arrival: Arrival) -> Reply:
        shelf.drip = None
        return shelf(arrival)

    origin.script("/body", shelf, hurry)
    (outcome,) = fetch(Request(origin.url("/body"), save=Save(tmp_path, "body", min_speed=1000, window=0.3)))
    assert outcome.ok, outcome.error
    assert "slower than 1000 bytes/s, over 0.3 s" in str(outcome.attempts[0].error)
    assert shelf.asked[1] is not None
    assert (tmp_path / "body").read_bytes() == shelf.content


def test_a_body_without_an_end_of_its_own_is_not_whole_because_it_was_too_slow(tmp_path: Path) -> None:
    """The deadline ends it by closing the socket, which looks like the end of such a body."""
    over = threading.Event()

    def serve(sock: socket.socket, request: str) -> bool:
        sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbeginning")
        over.wait(20)
        return False

    with answering(serve) as server:
        save = Save(tmp_path, "body", min_speed=1000, window=0.2)
        (outcome,) = fetch(Request(server.url, save=save), attempts=1)
        over.set()
    assert isinstance(outcome.error, TimedOut)
    assert not (tmp_path / "body").exists()


def test_headers_have_to_come_within_the_timeout(origin: Origin, tmp_path: Path) -> None:
    outcome = download(origin, tmp_path, Reply(body=b"x", delay=5), timeout=0.2, attempts=1)
    assert isinstance(outcome.error, TimedOut)


def test_retries_of_a_long_body_outlast_the_total_that_is_for_waits(origin: Origin, tmp_path: Path) -> None:
    """What a body takes while it comes is no part of `RetryPolicy.total`."""
    shelf = Shelf(content_of(100), cuts=[60], drip=0.01)
    origin.script("/body", shelf)
    policy = RetryPolicy(backoff=0.001, total=0.4)
    with WorkerPool(1, retry=policy) as pool:
        (outcome,) = pool.stream([Request(origin.url("/body"), save=Save(tmp_path, "body", min_speed=10))])
    assert outcome.ok, outcome.error
    assert len(outcome.attempts) == 2


def test_a_body_over_the_size_that_is_allowed_fails_as_too_large(origin: Origin, tmp_path: Path) -> None:
    outcome = download(origin, tmp_path, Reply(body=b"x" * 1001), max_size=1000)
    assert isinstance(outcome.error, TooLarge)
    assert not (tmp_path / "body").exists()
    assert download(origin, tmp_path, Reply(body=b"x" * 1000), max_size=1000).ok


def test_a_coded_body_is_measured_decoded(origin: Origin, tmp_path: Path) -> None:
    bomb = Reply(body=gzip.compress(bytes(1_000_000)), headers={"Content-Encoding": "gzip"})
    assert isinstance(download(origin, tmp_path, bomb, max_size=100_000).error, TooLarge)


# -- places ------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_not_replaced_and_nothing_is_sent(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "body").write_text("mine")
    outcome = download(origin, tmp_path, Reply(body=b"other"))
    assert isinstance(outcome.error, NameTaken)
    assert origin.requests == 0
    assert (tmp_path / "body").read_text() == "mine"


def test_a_file_that_may_be_overwritten_is_replaced(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "body").write_text("mine")
    assert download(origin, tmp_path, Reply(body=b"other"), overwrite=True).ok
    assert (tmp_path / "body").read_bytes() == b"other"


def test_of_two_requests_with_one_name_one_has_it_and_the_other_one_fails(origin: Origin, tmp_path: Path) -> None:
    save = Save(tmp_path, "body")
    outcomes = fetch(*(Request(origin.url(f"/delay/0.1?{number}"), save=save) for number in range(4)))
    assert sorted(type(outcome.error) is NameTaken for outcome in outcomes) == [False, True, True, True]
    assert left(tmp_path) == []


def test_a_directory_in_the_place_of_a_file_and_the_other_way_round_is_a_failure_of_its_request(
    origin: Origin, tmp_path: Path
) -> None:
    for overwrite in (False, True):
        (tmp_path / f"{overwrite}").mkdir()
        (tmp_path / f"file-{overwrite}").write_text("")
        outcomes = fetch(
            Request(origin.url("/bytes/1"), save=Save(tmp_path, f"{overwrite}", overwrite=overwrite)),
            Request(origin.url("/bytes/1"), save=Save(tmp_path, f"file-{overwrite}/x", overwrite=overwrite)),
        )
        assert [type(outcome.error) for outcome in outcomes] == [NameTaken, NameTaken]
    assert left(tmp_path) == []


def test_a_symbolic_link_leads_no_body_out_of_the_directory(origin: Origin, tmp_path: Path) -> None:
    outside, place = tmp_path / "outside", tmp_path / "place"
    outside.mkdir()
    place.mkdir()
    (place / "out").symlink_to(outside)
    (place / "link").symlink_to(outside / "target")
    outcomes = fetch(
        Request(origin.url("/bytes/1"), save=Save(place, "out/x", overwrite=True)),
        Request(origin.url("/bytes/1"), save=Save(place, "link", overwrite=True)),
    )
    assert type(outcomes[0].error) is NameTaken
    assert outcomes[1].ok
    assert not (place / "link").is_symlink()
    assert [*outside.iterdir()] == []


def test_a_file_named_by_its_content_that_was_damaged_is_replaced(origin: Origin, tmp_path: Path) -> None:
    shelf = Shelf(content_of(1000))
    (tmp_path / shelf.sha256).write_bytes(b"damaged")
    assert download(origin, tmp_path, shelf, name="{sha256}").ok
    assert (tmp_path / shelf.sha256).read_bytes() == shelf.content


def test_a_file_system_without_links_does_as_well(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "no links here")

    monkeypatch.setattr(os, "link", no_link)
    assert download(origin, tmp_path, Reply(body=b"one")).ok
    assert isinstance(download(origin, tmp_path, Reply(body=b"two")).error, NameTaken)
    assert (tmp_path / "body").read_bytes() == b"one"


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_is_told_and_what_is_there_is_gone_on_with(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    shelf, real, calls = Shelf(content_of(SIZE)), getattr(os, call), []

    def full(file: int, *args: Any) -> Any:
        if "/.parts/" not in os.readlink(f"/proc/self/fd/{file}"):
            return real(file, *args)
        calls.append(1)
        if call == "write" and len(calls) == 1:
            return real(file, args[0])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    outcome = download(origin, tmp_path, shelf)
    assert isinstance(outcome.error, NotSaved)
    assert "cannot be written: no space left on device" in str(outcome.error)
    assert len(outcome.attempts) == 1
    monkeypatch.undo()
    (size,) = (path.stat().st_size for path in (tmp_path / ".parts").iterdir() if path.suffix == "")
    assert size > 0
    assert download(origin, tmp_path, shelf).ok
    assert shelf.asked[1] == f"bytes={size}-"
    assert (tmp_path / "body").read_bytes() == shelf.content


def test_a_directory_that_cannot_be_made_is_told(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = download(origin, tmp_path / "file", Reply())
    assert isinstance(outcome.error, NotSaved)


def test_who_looks_sees_how_far_a_body_is(origin: Origin, tmp_path: Path) -> None:
    go_on = threading.Event()

    def serve(sock: socket.socket, request: str) -> bool:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!")
        go_on.wait(20)
        sock.sendall(b"five!")
        return False

    with answering(serve) as server, WorkerPool(2) as pool:
        future = pool.get(server.url, save=Save(tmp_path, "body"), key="mine")
        assert eventually(lambda: [one.received for one in pool.statistics().downloads] == [5])
        (download,) = pool.statistics().downloads
        assert (download.label, download.total) == ("mine", 10)
        go_on.set()
        future.result()
        assert pool.statistics().downloads == ()
        assert pool.statistics().bytes_saved == 10
