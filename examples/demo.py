"""What `make demo` shows: the command line on a few hundred URLs, of which some fail, wait or lead elsewhere.

    python examples/demo.py

A server on this machine plays four hosts, one of which allows 10 requests a second and says 429 to more. Everything is
left in the folder demo-out for you to look at.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

from workerpool.testing import OriginProcess

FOLDER = Path("demo-out")
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4") if sys.platform == "linux" else ("127.0.0.1",)


def write_urls(origin: OriginProcess, file: Path) -> None:
    """Write the source: mostly good URLs, with a share of everything that goes wrong in practice."""
    *good, limiting = HOSTS if len(HOSTS) > 1 else HOSTS * 2
    kinds = {"/bytes/2000": 230, "/flaky/1": 30, "/redirect/2": 20, "/delay/0.3": 20, "/gzip?bytes=5000": 20}
    lines = [
        origin.url(f"{path}{'&' if '?' in path else '?'}page={n}", good[n % len(good)])
        for path, count in kinds.items()
        for n in range(count)
    ]
    lines += [origin.url(f"/status/404?page={n}", good[0]) for n in range(5)]
    lines += [origin.url(f"/limit?rate=10&burst=5&page={n}", limiting) for n in range(20)]
    lines += ["this line is no URL"]
    random.Random(1).shuffle(lines)
    file.write_text("\n".join(lines) + "\n")


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    source, output = FOLDER / "urls.txt", FOLDER / "results.jsonl"
    output.unlink(missing_ok=True)
    with OriginProcess(HOSTS) as origin:
        write_urls(origin, source)
        command = ["run", str(source), "-o", str(output), "--rate", "200/s"]
        print("$ workerpool", *command, flush=True)
        code = subprocess.run([sys.executable, "-m", "workerpool", *command], check=False, timeout=60).returncode
        records = origin.records()
    if code != 1 or not output.exists():
        print(f"\nThe command ended with exit code {code}; 1 was expected here.", file=sys.stderr)
        return 1
    print("\nExit code 1: finished, and some requests failed. (0 would mean that all were ok.)")
    print(f"The server counted {records.requests} requests, {records.busiest(1.0)} in its busiest second,")
    print(f"over {records.sockets.opened} sockets, at most {records.sockets.peak} at a time.")

    print(f"\n$ head -n 3 {output}")
    results = output.read_text().splitlines()
    print(*results[:3], sep="\n")
    failures = [record for record in map(json.loads, results) if not record["ok"]]
    print(f"\nThe {len(failures)} that failed, each with its reason:")
    for record in failures:
        print(f"  {record['url']}: {record['error']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
