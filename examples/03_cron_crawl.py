"""A crawl that cron starts every hour, and what two of its hours are like.

    python examples/03_cron_crawl.py [FILE]

FILE has one URL a line; without it, a server on this machine is crawled. The command is what a crontab would have
(examples/cron holds one, and a systemd timer). The job's directory keeps what was done: had the first run been killed,
the second one would have gone on with it. As it was not, the second one asks only for what has changed.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workerpool.testing import Origin

COMMAND = [sys.executable, "-m", "workerpool"]


@contextmanager
def urls_to_crawl(folder: Path) -> Iterator[Path]:
    """Give the file that was named, or one with URLs of a loopback server of our own."""
    if len(sys.argv) > 1:
        yield Path(sys.argv[1])
        return
    with Origin() as origin:
        source = folder / "urls.txt"
        source.write_text("".join(f"{origin.url(f'/etag/v{n}')}\n" for n in range(40)))
        yield source


def crawl(source: Path, folder: Path) -> int:
    """Run the job once; returns its exit code."""
    words = ["run", str(source), "-o", str(folder / "pages.jsonl"), "--job", str(folder / "crawl.job")]
    course = ["--only-changed", "--host-rate", "200/s", "--deadline", "50m", "--wait-lock", "5m", "--no-progress"]
    done = subprocess.run([*COMMAND, *words, *course], stderr=subprocess.PIPE, text=True, check=False)
    print(done.stderr.splitlines()[-1].partition("crawl.job: ")[2])
    return done.returncode


with tempfile.TemporaryDirectory() as temporary:
    folder = Path(temporary)
    with urls_to_crawl(folder) as source:
        code = crawl(source, folder) or crawl(source, folder)
    print((folder / "pages.jsonl").read_text().count("\n"), "pages have changed")
    subprocess.run([*COMMAND, "reconcile", str(folder / "crawl.job")], check=True)
sys.exit(code)
