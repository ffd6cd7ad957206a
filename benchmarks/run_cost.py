"""What `workerpool run` adds to a request: CPU per request of everything around the pool's stream.

    python benchmarks/run_cost.py [--requests 20000] [--rounds 9] [--hosts 10] [--rate 10000] [--json FILE]

A pool that does nothing answers each request of a file of URLs with an outcome that was made before: 200, 1 KiB, one
attempt. Around it is what the command line puts around a real one: `Run`, its sources, a sink of JSON lines, the tally
and the live display, on a terminal that swallows everything. Prints the CPU time of the whole process per request in
microseconds, the least and the median of some rounds, for each part by itself and for the whole of them. From the
whole, what taking the same outcomes from the same pool costs by itself is subtracted. Sources and sinks of other
formats, which may stand in the place of the first ones, are told by themselves.

The display costs the same every second, however many requests end in it; its share is told for `--rate` of them a
second. Parts take turns within a round, so that a busy machine is busy for all.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workerpool import Attempt, Outcome, Request
from workerpool.batch.progress import Moment
from workerpool.batch.record import record_of
from workerpool.batch.run import Run
from workerpool.batch.sinks import Sink, sink_for
from workerpool.batch.sources.files import FileSources
from workerpool.batch.straight import StraightBooks
from workerpool.model import Idle, Underway
from workerpool.report.totals import Tally
from workerpool.statistics import PoolStatistics
from workerpool.transport.lazy import LazyResponse
from workerpool.view.live import Progress, make_progress

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024"
READY = 1_000
"""Outcomes that exist at once, as a stream's window has them: they are given out over and over."""

DISPLAYED = 3.0
"""Seconds for which the display is measured by itself."""


class ReadyPool:
    """Answers with outcomes that are there already, in one thread."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        self._outcomes = outcomes

    def batches(
        self, requests: Iterable[str | Request | Idle], **options: Any
    ) -> Generator[list[Outcome | Underway], None, None]:
        for _, outcome in zip(requests, itertools.cycle(self._outcomes), strict=False):
            yield [outcome]

    def drain(self) -> None:
        """Nothing is ever in flight."""

    rate = None

    def statistics(self) -> PoolStatistics:
        return PoolStatistics()


class Screen:
    """A terminal that shows nothing."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return True


class Bench:
    """The parts, each as a function that works on so many requests."""

    def __init__(self, directory: Path, requests: int, hosts: int) -> None:
        self.requests = requests
        self._directory = directory
        urls = [f"http://host{number % hosts}.test/path/{number}" for number in range(requests)]
        self._write("txt", urls)
        self._write("jsonl", [json.dumps({"url": url, "key": str(number)}) for number, url in enumerate(urls)])
        self._write("csv", ["url,key", *(f"{url},{number}" for number, url in enumerate(urls))])
        self._outcomes = [_outcome(number, url) for number, url in enumerate(urls[:READY])]
        self._records = [record_of(outcome) for outcome in self._outcomes]

    def _each(self) -> Iterator[Outcome]:
        return itertools.islice(itertools.cycle(self._outcomes), self.requests)

    def _write(self, format: str, lines: list[str]) -> None:
        (self._directory / f"urls.{format}").write_text("".join(f"{line}\n" for line in lines))

    def _sources(self, format: str = "txt") -> FileSources:
        return FileSources([str(self._directory / f"urls.{format}")])

    def _sink(self, format: str = "jsonl") -> Sink:
        sink = sink_for(str(self._directory / f"results.{format}"), overwrite=True)
        sink.open()
        return sink

    def nothing(self) -> None:
        pool = ReadyPool(self._outcomes)
        for _outcomes in pool.batches(itertools.repeat("", self.requests)):
            pass

    def source(self, format: str = "txt") -> None:
        for _request in self._sources(format):
            pass

    def record(self) -> None:
        for outcome in self._each():
            record_of(outcome)

    def sink(self, format: str = "jsonl") -> None:
        sink = self._sink(format)
        for record in itertools.islice(itertools.cycle(self._records), self.requests):
            sink.write(record)
        sink.close()

    def tally(self) -> None:
        tally = Tally()
        for outcome in self._each():
            tally.add(outcome)
        tally.totals()

    def whole(self) -> None:
        sources, sink, tally = self._sources(), self._sink(), Tally()
        books = StraightBooks(sources, sink)
        run = Run(ReadyPool(self._outcomes), books, total=sources.count(), observe=tally.add)
        progress = _display(run.moment)
        progress.start()
        result = run.execute()
        progress.stop()
        tally.totals()
        assert result.written == self.requests, result

    def display(self) -> float:
        """CPU seconds of a second of the display."""
        progress = _display(lambda: _half_way(self.requests))
        began = time.process_time()
        progress.start()
        time.sleep(DISPLAYED)
        progress.stop()
        return (time.process_time() - began) / DISPLAYED


def _outcome(number: int, url: str) -> Outcome:
    response = LazyResponse(200, url, 1024 * b"x", 1024, HEAD, lambda: None, 0.01, None, False)  # type: ignore[arg-type, return-value]
    elapsed = 0.01 + number % 97 / 9_700
    attempt = Attempt(1_795_000_000.0 + number / 10_000, elapsed, 200, fast_path=True)
    return Outcome(Request(url), response, None, (attempt,), elapsed)


def _half_way(total: int) -> Moment:
    done = total // 2
    return Moment(done=done, ok=done, total=total, pool=PoolStatistics(sent=done, in_flight=16))


def _display(look: Callable[[], Moment]) -> Progress:
    progress = make_progress(look)
    if type(progress).__name__ != "LiveProgress":
        raise SystemExit("no live display: pip install 'workerpool-http[cli]'")
    return progress


@contextmanager
def screen() -> Iterator[None]:
    """Put a terminal of 100 columns in the place of standard error."""
    os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    shown, sys.stderr = sys.stderr, Screen()
    try:
        yield
    finally:
        sys.stderr = shown


def seconds(part: Callable[[], None]) -> float:
    """CPU seconds of the process while `part` works."""
    gc.collect()
    began = time.process_time()
    part()
    return time.process_time() - began


def measure(bench: Bench, rounds: int, rate: float) -> dict[str, list[float]]:
    """Return each part's microseconds per request, one figure for each round."""
    parts: dict[str, Callable[[], None]] = {
        "nothing": bench.nothing,
        "source": bench.source,
        "record": bench.record,
        "encode and write": bench.sink,
        "tally": bench.tally,
        "whole": bench.whole,
        "source, .jsonl": lambda: bench.source("jsonl"),
        "source, .csv": lambda: bench.source("csv"),
        "encode ..., .csv": lambda: bench.sink("csv"),
    }
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            taken[name].append(1e6 * seconds(part) / bench.requests)
    taken["display"] = [1e6 * bench.display() / rate]
    nothing = min(taken.pop("nothing"))
    for name in ("record", "tally", "whole"):
        taken[name] = [figure - nothing for figure in taken[name]]
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--rate", type=float, default=10_000, help="requests a second that share the display")
    parser.add_argument("--json", type=Path, help="a file for the figures of each round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, screen():
        bench = Bench(Path(directory), options.requests, options.hosts)
        bench.whole()  # imports what is imported late
        taken = measure(bench, options.rounds, options.rate)
    if options.json:
        options.json.write_text(json.dumps(taken))
    print(f"{'part':18}{'least':>8}{'median':>8}   (CPU µs per request)")
    for name, figures in taken.items():
        print(f"{name:18}{min(figures):8.2f}{statistics.median(figures):8.2f}")


if __name__ == "__main__":
    main()
