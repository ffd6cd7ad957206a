"""Makes the documentation's pictures of a report, of a run that takes place for it: `make screenshots` does.

A server on this machine plays seven hosts, as for `make demo`: one is slow, one allows 12 requests a second, one fails
now and then. The job is run twice, so that there is something to compare with, and the second run is interrupted and
gone on with. Needs Chromium.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.browser import browser, browser_path
from workerpool.testing import OriginProcess

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "howto"
HOSTS = tuple(f"127.0.0.{number}" for number in range(1, 8))


def urls(origin: OriginProcess) -> list[str]:
    *good, slow, limiting, failing = HOSTS
    kinds = {"/bytes/2000": 1_500, "/redirect/2": 80, "/gzip?bytes=5000": 200, "/delay/0.05": 400}
    lines = [
        origin.url(f"{path}{'&' if '?' in path else '?'}page={n}", good[n % len(good)])
        for path, count in kinds.items()
        for n in range(count)
    ]
    lines += [origin.url(f"/delay/0.4?page={n}", slow) for n in range(150)]
    lines += [origin.url(f"/limit?rate=12&burst=6&page={n}", limiting) for n in range(150)]
    lines += [origin.url(f"/flaky/{1 + n % 2}?page={n}", failing) for n in range(120)]
    lines += [origin.url(f"/status/404?page={n}", good[0]) for n in range(30)]
    lines += [origin.url(f"/status/500?page={n}", good[1]) for n in range(6)]
    lines += [origin.url(f"/reset?page={n}", good[2]) for n in range(4)]
    random.Random(1).shuffle(lines)
    return [*lines, "this line is no URL"]


def workerpool(place: Path, *words: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "workerpool", *words], check=False, timeout=120, cwd=place, env=environment)


def run(place: Path, *words: str) -> None:
    command = ["run", "urls.txt", "-o", "results.jsonl", "--job", "crawl.job", "--connections", "32"]
    workerpool(place, *command, "--no-progress", "--quiet", *words)


def report(place: Path) -> Path:
    """Run the job, and make the report."""
    with OriginProcess(HOSTS) as origin:
        lines = urls(origin)
        for share, rate in ((0.8, "150/s"), (1.0, "200/s")):
            (place / "urls.txt").write_text("\n".join(lines[int(len(lines) * (1 - share)) :]) + "\n")
            run(place, "--rate", rate, "--deadline", "8s")
            run(place, "--rate", rate)
    page = place / "report.html"
    workerpool(place, "report", "crawl.job", "-o", page.name)
    return page


def main() -> int:
    path = browser_path()
    if path is None:
        print("No Chromium was found: install chromium-headless-shell.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name, browser(path) as page:
        made = report(Path(name))
        page.open(made, width=1280, height=1500)
        (PICTURES / "report.png").write_bytes(page.screenshot(whole=False))
        page.open(made, width=1280, height=1100, dark=True)
        page.run("document.querySelector('#filter').scrollIntoView()")
        page.run("document.querySelector('#filter').elements.host.selectedIndex = 1")
        page.run("document.querySelector('#filter').dispatchEvent(new Event('input'))")
        (PICTURES / "report-dark.png").write_bytes(page.screenshot(whole=False))
        if page.complaints:
            print(*page.complaints, sep="\n", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
