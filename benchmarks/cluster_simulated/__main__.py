"""A cluster's coordinator and its leases with a thousand workers and a hundred million URLs, on simulated time.

    python -m benchmarks.cluster_simulated [--workers 1000] [--hosts 1000000] [--urls 100000000] [--rate 200000]
        [--window 6000000] [--plot docs/design/cluster.svg] [--no-real]

Further options are the fields of `Setting`, which says what they mean. Printed are a table of what came of it, what the
real coordinator's objects need by measuring them, and what the simulation itself took.
"""

from __future__ import annotations

import argparse
import resource
import sys
from dataclasses import fields
from pathlib import Path

from benchmarks.cluster_simulated.course import Course, Found
from benchmarks.cluster_simulated.figures import Figures, figures
from benchmarks.cluster_simulated.plot import plot
from benchmarks.cluster_simulated.real import Need, measured
from benchmarks.cluster_simulated.setting import Setting

KINDS = {"int": int, "float": float, "int | None": int}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for one in fields(Setting):
        kind = KINDS.get(str(one.type))
        if kind is not None:
            parser.add_argument(f"--{one.name.replace('_', '-')}", type=kind, default=one.default)
    parser.add_argument("--no-splits", dest="splits", action="store_false")
    parser.add_argument("--plot", type=Path, help="write a drawing there, in SVG")
    parser.add_argument("--real", action=argparse.BooleanOptionalAction, default=True)
    given = vars(parser.parse_args())
    path, real = given.pop("plot"), given.pop("real")
    setting = Setting(**given)
    found = Course(setting, tell=lambda text: print(text, file=sys.stderr, flush=True)).run()
    print(table(found, figures(found)))
    if path is not None:
        path.write_text(plot(found), encoding="utf-8")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nThe simulation took {found.cpu:,.0f} s of CPU, and {peak:,.0f} MiB at most.")
    if real:
        print(f"\n{needs(measured(setting.hosts))}")
    return 0


def table(found: Found, seen: Figures) -> str:
    """What came of it, as Markdown."""
    setting = found.setting
    rows = {
        "batch": f"{setting.urls:,} URLs of {setting.hosts:,} hosts, at {setting.rate:,}/s, by {setting.workers:,} "
        f"workers; {setting.deaths} of them die",
        "time": f"{seen.seconds:,.1f} s, of which {seen.ideal:,.1f} s are the rate's",
        "lost at the start": f"nine tenths of the rate are reached after {seen.began} s",
        "lost to stragglers": f"all is read after {seen.read:,.1f} s, 99.9 % have ended after {seen.most_ended:,} s, "
        f"the last one after {seen.seconds:,.1f} s",
        "rate used": f"{seen.used:.1%} in the middle half",
        "busiest second": f"{seen.busiest:.3f} × the rate",
        "shares": f"{seen.least:.1%} to {seen.most:.1%} of the mean, slow workers aside; "
        f"{seen.near:.1%} of workers are within a tenth of it",
        "sent again": f"{seen.repeated:,} requests that dead workers had; told of twice: {found.twice:,}",
        "Dask": f"{seen.tasks:,.0f} tasks a second, {seen.dask:.0%} of what its scheduler can do",
        "Redis": f"{seen.calls:,.0f} calls a second of {seen.call_bytes:,.0f} bytes",
        "in the window": f"{found.most_in_window:,} URLs at most, {found.most_given:,} at one worker",
        "the coordinator's decisions": f"{found.deciding / setting.urls * 1e6:.2f} µs of CPU for a URL, "
        f"{found.deciding / found.tasks * 1e3:.2f} ms for a task",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())])


def needs(need: Need) -> str:
    """What real objects need, in sentences."""
    return (
        f"Real objects: {need.request:,.0f} bytes for a request of a host with many, {need.host:,.0f} for one of a "
        f"host of its own, {need.worker:,.0f} for a worker; {need.stays / 2**20:.1f} MiB stay after {need.hosts:,} "
        f"hosts. {need.seconds * 1e6:.0f} µs of the coordinator's process for a request."
    )


if __name__ == "__main__":
    sys.exit(main())
