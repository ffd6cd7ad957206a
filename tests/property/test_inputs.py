"""The inputs of a job: whatever is done in whatever order, and however often it is opened anew, each is done once."""

from __future__ import annotations

import collections
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import sample_of
from workerpool.batch.job.inputs import Inputs, count_inputs
from workerpool.batch.job.ledger import Entries, Ledger
from workerpool.batch.job.schema import SourceRow
from workerpool.batch.job.states import BLOCK, State
from workerpool.batch.sources.files import FileSources
from workerpool.model import Idle, Request

ENDS = (State.OK, State.FAILED, State.SPENT, State.UNKNOWN)


class Execution:
    """One opening of a ledger over two files; `die` leaves it as a kill would."""

    def __init__(self, directory: Path, paths: list[str]) -> None:
        (directory / "job").mkdir(exist_ok=True)
        self.ledger = Ledger(str(directory / "job"))
        self.paths = paths
        if self.ledger.run() is None:
            rows = [SourceRow(number=n, path=path, size=1, mtime=1, lines=None) for n, path in enumerate(paths)]
            self.ledger.begin_run({}, "0", rows)
        self.inputs = Inputs(self.ledger, FileSources(paths))
        self.reading = self.inputs.to_do()

    def enter(self) -> None:
        blocks, lines = self.inputs.changes()
        self.ledger.enter(Entries(blocks=blocks, lines=lines))

    def die(self, directory: Path) -> Path:
        """Leave the ledger as a kill would, in another directory: closing it would tidy up."""
        after = Path(tempfile.mkdtemp(dir=directory))
        shutil.copytree(directory / "job", after / "job")
        self.reading.close()  # type: ignore[attr-defined]
        self.ledger.close()
        return after


def lines_of(counts: list[tuple[int, int]]) -> Iterator[str]:
    """Lines of URLs, and blank ones between them: so many of each, in turn."""
    number = 0
    for urls, blanks in counts:
        for _ in range(urls):
            number += 1
            yield f"http://a.test/{number}"
        yield from [""] * blanks


runs = st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 1500)), max_size=3)


@settings(
    max_examples=sample_of(12), deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate]
)  # shrinking takes minutes
@given(first=runs, second=runs, data=st.data())
def test_each_input_is_given_until_it_has_ended_and_never_after(
    first: list[tuple[int, int]], second: list[tuple[int, int]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        paths = []
        expected: dict[tuple[int, int], str] = {}
        for source, counts in enumerate((first, second)):
            lines = [*lines_of(counts)]
            paths.append(str(base / f"{source}.txt"))
            Path(paths[-1]).write_text("".join(f"{line}\n" for line in lines))
            expected |= {(source, number): line for number, line in enumerate(lines, 1) if line}
        ended: dict[tuple[int, int], State] = {}
        directory = base
        for _ in range(data.draw(st.integers(1, 4), "executions")):
            directory = execute(directory, paths, expected, ended, data)
        execution = Execution(directory, paths)
        rest = {execution.inputs.identity(item[0]) for item in execution.reading if not isinstance(item, Idle)}
        assert rest == expected.keys() - ended.keys()
        for place in rest:
            execution.inputs.set(place, State.OK)
        execution.enter()
        counts = count_inputs(execution.ledger)
        assert counts[State.QUEUED] == 0
        assert sum(counts.values()) == len(expected)
        assert [*execution.inputs.to_do()] == []
        execution.ledger.close()


def execute(
    directory: Path,
    paths: list[str],
    expected: dict[tuple[int, int], str],
    ended: dict[tuple[int, int], State],
    data: st.DataObject,
) -> Path:
    """Read so many inputs, end some of them, enter at times, and die; returns where the ledger is then."""
    execution = Execution(directory, paths)
    inputs, pending = execution.inputs, dict[tuple[int, int], State]()
    waiting: list[Request] = []
    met: set[tuple[int, int]] = set()
    behind = collections.deque(sorted(expected))
    limit = data.draw(st.sampled_from([0, 1, 100, BLOCK, 2 * BLOCK, 5 * BLOCK]), "inputs")
    spare = data.draw(st.sampled_from([0, 2, 300, 1000, 3000]), "of so many, one does not end")
    every = data.draw(st.sampled_from([1, 7, 100, 1000]), "ended at once")
    for item in execution.reading:
        assert not isinstance(item, Idle)
        place = inputs.identity(item[0])
        assert expected[place] == item[0].url
        assert place not in ended
        assert place not in met
        met.add(place)
        waiting.append(item[0])
        if len(waiting) >= every:
            for request in waiting:
                if spare and request.ordinal % spare == 0:
                    continue
                state = ENDS[request.ordinal % len(ENDS)]
                inputs.set(inputs.identity(request), state)
                pending[inputs.identity(request)] = state
            waiting.clear()
            while behind and behind[0] < inputs.front():
                place = behind.popleft()
                assert place in ended or place in pending
            if data.draw(st.booleans(), "enter"):
                execution.enter()
                ended |= pending
                pending.clear()
        limit -= 1
        if limit <= 0:
            break
    return execution.die(directory)
