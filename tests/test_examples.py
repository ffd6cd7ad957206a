"""Every file in examples/ runs to its end, as its reader would start it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import IN_FULL

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

SAYS = {
    "01_url_list.py": "22 of 23 arrived",
    "02_etl_sqlite.py": "items 294\nfailures 6\n",
    "03_cron_crawl.py": "40 ok (exit 0)\nrun 2 finished: 40 inputs, 40 unchanged (exit 0)\n0 pages have changed",
    "04_durable_job.py": "stopped by its deadline\nthe second one went to its end: True\nfetched 300 loaded 300\n",
    "05_downloads.py": "1,000,000 bytes were sent for 1,000,000\n",
    "06_rows.py": "PUT /echo/items/2?name=milk%2Fcream {'name': 'milk/cream', 'price': 1.0}",
    "07_pandas.py": "300 orders, 294 priced, 48 without stock\nsum 110250.0 failed [50, 100, 150, 200, 250, 300]\n",
    "08_polars.py": "300 orders, 294 priced, 48 without stock\nsum 110250.0 failed [50, 100, 150, 200, 250, 300]\n",
    "09_duckdb.py": "300 orders, 294 priced, 48 without stock, sum 110250.0\nfailed [50, 100, 150, 200, 250, 300]\n",
    "demo.py": "Exit code 1: finished, and some requests failed.",
}
"""A part of what each prints."""

IN_HOSTS = {"10_airflow_dag.py", "11_dagster_asset.py"}
"""Those that tests/integration/test_hosts.py runs, in an environment of their own."""

LEFT_OUT = IN_HOSTS if IN_FULL else {*IN_HOSTS, "08_polars.py", "09_duckdb.py"}
"""In a sample, of the three data frames the first one stays."""

SHOWN = {
    "airflow.md": ["10_airflow_dag.py"],
    "dagster.md": ["11_dagster_asset.py"],
    "dataframes.md": ["07_pandas.py", "08_polars.py", "09_duckdb.py"],
}
"""How-to pages whose code is a part of an example, apart from its white space."""


def test_every_example_has_its_words_here() -> None:
    assert {path.name for path in EXAMPLES} == {*SAYS, *IN_HOSTS}


@pytest.mark.parametrize("page", sorted(SHOWN))
def test_the_code_of_a_page_is_what_its_example_runs(page: str) -> None:
    code = [squeezed((ROOT / "examples" / name).read_text()) for name in SHOWN[page]]
    shown = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "howto" / page).read_text(), re.MULTILINE | re.DOTALL)
    assert shown
    for block in shown:
        assert any(squeezed(block) in one for one in code), block


def squeezed(text: str) -> str:
    """Return code without its white space: lines are folded by how far they are indented."""
    return "".join(text.split())


@pytest.mark.parametrize(
    "example", [path for path in EXAMPLES if path.name not in LEFT_OUT], ids=lambda path: path.name
)
def test_the_example_runs(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert SAYS[example.name] in done.stdout
    if example.name == "demo.py":
        shown = re.search(
            r"^```\n(\$ workerpool run .*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
        )
        assert shown
        assert words_of(shown[1]) <= words_of(done.stdout + done.stderr), "README.md shows what it no longer prints"


def words_of(text: str) -> set[str]:
    """Return the words of an output: what stays the same from run to run, unlike its numbers, ports and units.

    What a run waited for, of its own machine's speed too, is another matter each time: of that, only the titles stay.
    """
    text = re.sub(r"^(  (?:waited for|what binds)).*\n(?: {17}.*\n)*", r"\1\n", text, flags=re.MULTILINE)
    return set(re.findall(r"(?<![\w.])[A-Za-z][a-z]{3,}(?![\w.])", text))
