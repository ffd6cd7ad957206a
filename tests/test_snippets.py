"""Every snippet of the documentation runs: its Python as one module for each page, its commands in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.snippets import Page, snippets, world
from tests.test_docs import PAGES, name_of, text_of
from tests.test_examples import SHOWN

MOST_MARKS = 20
"""Blocks that may be marked as not to be run: they need a server or a cluster that other tests have."""

GIVEN = {
    "speed.md": """
import tempfile, workerpool
urls = ["https://example.com/1", "https://example.com/2"]
token = "t0ken"
pool = workerpool.WorkerPool(2)
list(pool.stream(urls))
pool.shutdown()


def name_for(url):
    return tempfile.mktemp(dir=".")
""",
}
"""What a page takes to be there, as its reader has it."""

RUN = [page for page in PAGES if page.name not in SHOWN and any(snippet.runs for snippet in snippets(text_of(page)))]


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_the_snippets_of_a_page_run(
    page: Path,
    tmp_path: Path,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Page(page, tmp_path)
    with world(tmp_path, authority, monkeypatch):
        try:
            run.python(GIVEN.get(page.name, ""))
            for snippet in snippets(text_of(page)):
                if not snippet.why_not:
                    run.run(snippet)
        finally:
            run.close()
    events = [record for record in caplog.records if getattr(record, "event", "") == "request.failed"]
    assert not [event for event in events if event.fields["reason"] in ("connect", "tls", "timeout")], (
        "its world is broken"
    )


def test_few_snippets_are_marked_as_not_to_be_run() -> None:
    marks = [snippet.why_not for page in PAGES for snippet in snippets(text_of(page)) if snippet.why_not]
    assert len(marks) <= MOST_MARKS
