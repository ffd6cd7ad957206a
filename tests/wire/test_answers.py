"""Every answer of the table, through plain requests and through all ways of a pool: the same response, or the same
class of error. What may differ is in `differences`."""

from __future__ import annotations

import functools
import queue
import threading
from dataclasses import dataclass, field
from typing import Any, cast
from unittest import mock

import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.conftest import some
from tests.wire import differences, paths, pictures
from tests.wire.answers import SPLIT, Case, all_cases
from tests.wire.pictures import Picture
from tests.wire.scripted import ScriptedServer
from workerpool import ConnectionLost, Request, WorkerPool
from workerpool.transport import connection, trace

CASES = all_cases()
ODD = [listed.cases for listed in (*differences.LISTED, *differences.BETWEEN_PATHS, *differences.WHEN_CARRIED)]
"""Cases of which something is listed, by what that is."""
SAMPLE = sorted({*some(CASES, 15), *(name for names in ODD for name in some(names, 4))})
"""Of each of those a fourth and at least one, and of all a fifteenth: those of a family differ in a byte."""
LANES = 8
"""Cases that run side by side: some wait."""


@dataclass(repr=False)  # pytest shows them with a failure
class Seen:
    """One case as each path saw it."""

    plain: Picture
    slow: Picture
    fast: Picture
    carried: Picture


@dataclass(repr=False)
class Survey:
    """Runs cases in lanes; each lane has a pool for each path, so that its sockets see all kinds of answers."""

    seen: dict[str, Seen] = field(default_factory=dict)
    faults: list[BaseException] = field(default_factory=list)

    def run(self, cases: list[Case]) -> None:
        todo: queue.SimpleQueue[Case] = queue.SimpleQueue()
        for case in sorted(cases, key=lambda case: not case.waits):
            todo.put(case)
        lanes = [threading.Thread(target=self._lane, args=(todo,)) for _ in range(min(LANES, len(cases)))]
        chardet: Any = requests.compat.chardet
        with (
            mock.patch.object(chardet, "detect", functools.cache(chardet.detect)),  # a quarter of the time, else
            # A thread that had to wait for the processor leaves its socket idle, and what it sends goes another way.
            mock.patch.object(connection, "IDLE_FROM", float("inf")),
            mock.patch.object(trace, "UNREPEATABLE_IDLE", trace.ANY_AGE),
        ):
            for lane in lanes:
                lane.start()
            for lane in lanes:
                lane.join()

    def _lane(self, todo: queue.SimpleQueue[Case]) -> None:
        try:
            with paths.slow_pool() as slow, paths.fast_pool() as fast, paths.carrying_pool() as carrying:
                while not todo.empty():
                    try:
                        case = todo.get_nowait()
                    except queue.Empty:
                        return
                    with ScriptedServer(case) as server:
                        self.seen[case.name] = Seen(
                            paths.plain(server, case),
                            paths.through(slow)(server, case),
                            paths.through(fast)(server, case),
                            paths.carried_by(carrying)(server, case),
                        )
        except BaseException as fault:
            self.faults.append(fault)


@pytest.fixture(scope="module")
def survey(request: pytest.FixtureRequest) -> Survey:
    """What became of the cases that were asked for."""
    items = [getattr(item, "callspec", None) for item in request.session.items if "survey" in item.fixturenames]
    names = {item.params["name"] for item in items if item is not None}
    survey = Survey()
    survey.run([CASES[name] for name in sorted(names)])
    if survey.faults:
        raise survey.faults[0]
    return survey


@pytest.mark.slow
@pytest.mark.timeout(300)  # the first one runs all
@pytest.mark.parametrize("name", SAMPLE)
def test_an_answer_is_the_same_on_every_path(survey: Survey, name: str) -> None:
    case, seen = CASES[name], survey.seen[name]
    for ours in (seen.fast, seen.slow, seen.carried):
        assert ours["after"][:2] == (200, b"/after"), f"the next request got something else: {ours['after']}"
    found = pictures.differences(seen.slow, seen.fast)
    apart = {part: (seen.slow.get(part), seen.fast.get(part)) for part in found}
    assert found == differences.between_paths(name), apart
    waited_for = {**seen.fast, "carried": is_plain(case)}
    assert pictures.differences(waited_for, seen.carried) == differences.when_carried(name)
    shared = {part: value for part, value in seen.slow.items() if part not in paths.OURS_ALONE}
    found = pictures.differences(seen.plain, shared)
    assert found - differences.EVERYWHERE.keys() == differences.expected(name)
    if case.waits == "everyone":
        assert "Timeout" in str(seen.slow.get("error")), "nobody runs out of time: it does not wait"


def is_plain(case: Case) -> bool:
    """Whether the case's request can be carried."""
    return case.data is None and not case.headers and case.method.upper() in ("GET", "HEAD", "OPTIONS", "DELETE")


@pytest.mark.slow
def test_what_differs_everywhere_differs_somewhere(survey: Survey) -> None:
    if survey.seen.keys() != {*SAMPLE}:
        pytest.skip("only a selection of the cases was run")
    found = {part for seen in survey.seen.values() for part in pictures.differences(seen.plain, seen.slow)}
    assert differences.EVERYWHERE.keys() <= found


def test_every_difference_is_about_a_case_that_is_there() -> None:
    assert CASES.keys() >= {name for names in ODD for name in names}


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("path", paths.POOLS)
def test_a_redirect_that_nobody_follows_is_not_cut_short_in_silence(path: str, streams: bool) -> None:
    case = CASES["redirect cut short"]
    with paths.POOLS[path]() as pool, ScriptedServer(case) as server, server.visit():
        (outcome,) = pool.stream([Request(server.url(), allow_redirects=False, stream=streams)])
        assert isinstance(outcome.error, ConnectionLost)
        (outcome,) = pool.stream([Request(server.url(), stream=streams)])
        assert outcome.ok
        assert outcome.response is not None
        outcome.response.close()


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("path", paths.POOLS)
def test_nor_is_one_that_a_callable_asked_for(path: str, streams: bool) -> None:
    case = CASES["redirect cut short"]
    with paths.POOLS[path]() as pool, ScriptedServer(case) as server, server.visit():

        def get(**options: Any) -> int:
            with pool.session.get(server.url(), stream=streams, **options) as response:
                return cast(int, response.status_code)

        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            pool.submit(get, allow_redirects=False).result(5)
        assert pool.submit(get).result(5) == 200


class Other(HTTPAdapter):
    """An adapter of the user's own."""


def test_nor_is_one_that_came_by_an_adapter_of_the_users_own() -> None:
    case = CASES["redirect cut short"]
    adapter = Other()
    with ScriptedServer(case) as server, server.visit():

        def mounting() -> requests.Session:
            session = requests.Session()
            session.mount("http://", adapter)
            return session

        with WorkerPool(1, retry=None, session_factory=mounting) as pool:
            cut, followed = pool.stream([Request(server.url(), allow_redirects=False), server.url()], ordered=True)
        assert isinstance(cut.error, ConnectionLost)
        assert followed.ok
        adapter.close()


@pytest.mark.parametrize("path", paths.POOLS)
def test_what_a_hook_sends_is_no_part_of_the_request_that_it_belongs_to(path: str) -> None:
    case = CASES["redirect cut short"]
    with paths.POOLS[path]() as pool, ScriptedServer(case) as server, server.visit():

        def hook(response: requests.Response, **_: Any) -> None:
            prepared = requests.Request("GET", server.url()).prepare()
            pool.session.send(prepared, allow_redirects=False)

        (outcome,) = pool.stream([Request(server.url("/after"), hooks={"response": hook})])
        assert outcome.error is None
        assert outcome.attempts[-1].fast_path is False  # the hook's send may have gone that way


@pytest.mark.parametrize("name", SPLIT)
@pytest.mark.parametrize("way", ["slow", "fast"])  # of what is carried, `test_carried` splits every answer
def test_where_an_answer_is_split_makes_no_difference(name: str, way: str) -> None:
    answer = SPLIT[name]
    seen = []
    make, send_by = paths.WAYS[way]
    with make() as pool:
        send = send_by(pool)
        for at in some(range(len(answer)), 4):
            case = Case(name, (answer[:at], answer[at:]) if at else (answer,))
            with ScriptedServer(case) as server:
                seen.append(send(server, case))
    assert all(picture["after"] == (200, b"/after", "None", 1) for picture in seen)
    assert [found for picture in seen if (found := _beyond_url(seen[0], picture))] == []


def _beyond_url(one: Picture, other: Picture) -> set[str]:
    return pictures.differences(one, other) - {"url", "request", "arrivals", "raw / connection", "pickled"}
