"""What a run's end is as a value: its exit code, how to go on, and as JSON."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from workerpool import RunResult
from workerpool.errors import JobError, SinkError, SourceError

INPUTS = {"ok": 90, "unchanged": 5, "skipped": 0, "failed": 0, "unknown": 0, "deferred": 0, "queued": 0}
WHOLE = RunResult(
    output="a.jsonl", read=40, ok=38, failed=0, cancelled=0, sent=41, bytes=1024, written=38, elapsed=2.0,
    directory="a.job", run=3, inputs=INPUTS,
)  # fmt: skip
STRAIGHT = replace(WHOLE, directory=None, run=None, inputs=None)
DEFERRED = {**INPUTS, "deferred": 7}


def changed(result: RunResult = WHOLE, **changes: Any) -> RunResult:
    return replace(result, **changes)


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (WHOLE, 0),
        (changed(inputs={**INPUTS, "failed": 1}), 1),
        (changed(inputs={**INPUTS, "unknown": 1}), 1),
        (changed(failed=3), 0),  # which were tried again, and then were ok
        (changed(STRAIGHT, failed=3), 1),
        (changed(STRAIGHT, cancelled=3), 1),
        (changed(error=JobError("it was changed")), 2),
        (changed(error=SourceError("cut short")), 2),
        (changed(stopped="deadline", inputs={**DEFERRED, "failed": 1}), 4),
        (changed(error=SinkError("full")), 5),
        (changed(stopped="deadline", error=SinkError("full")), 5),
        (changed(stopped="SIGHUP"), 129),
        (changed(stopped="SIGINT"), 130),
        (changed(stopped="SIGTERM", error=SourceError("cut short")), 143),
        (changed(stopped="enough"), 130),
    ],
)
def test_the_exit_code_is_the_command_s(result: RunResult, code: int) -> None:
    assert result.exit_code == code


@pytest.mark.parametrize(
    ("result", "how", "then"),
    [
        (WHOLE, "finished", "Another run begins anew."),
        (
            changed(inputs={**INPUTS, "failed": 1}),
            "finished",
            "Another run begins anew, with retry_failed=True it fetches what has failed.",
        ),
        (changed(stopped="deadline"), "stopped at the deadline", "Run it again, and it goes on."),
        (changed(stopped="SIGTERM"), "interrupted by SIGTERM", "Run it again, and it goes on."),
        (
            changed(error=SinkError("full")),
            "stopped, as its results could not be written",
            "full. When that is mended, run it again, and it goes on.",
        ),
        (
            changed(error=SourceError("cut short")),
            "broke off",
            "cut short. When that is mended, run it again, and it goes on.",
        ),
        (STRAIGHT, "finished", "A rerun starts over."),
    ],
)
def test_it_says_how_it_ended_and_how_to_go_on(result: RunResult, how: str, then: str) -> None:
    assert (result.how, result.next) == (how, then)
    assert result.is_whole is (how == "finished")


def test_as_a_sentence_it_is_the_command_s_last_word() -> None:
    assert str(WHOLE) == "a.job: run 3 finished: 95 inputs, 90 ok, 5 unchanged (exit 0)"
    assert str(changed(STRAIGHT, stopped="SIGINT")) == (
        "a.jsonl interrupted by SIGINT; run it again, and it goes on (exit 130)"
    )


def test_as_json_it_has_its_fields_and_what_follows_from_them() -> None:
    told = changed(stopped="deadline", inputs=DEFERRED, error=SourceError("cut short")).to_dict()
    assert json.loads(json.dumps(told)) == told
    assert told == {
        "output": "a.jsonl", "read": 40, "ok": 38, "failed": 0, "cancelled": 0, "sent": 41, "bytes": 1024,
        "written": 38, "elapsed": 2.0, "directory": "a.job", "run": 3, "inputs": DEFERRED, "stopped": "deadline",
        "error": "cut short", "is_whole": False, "has_failed": False, "rate": 19.0, "exit_code": 4,
        "how": "broke off", "next": "cut short. When that is mended, run it again, and it goes on.",
    }  # fmt: skip
    assert STRAIGHT.to_dict()["inputs"] is None


def test_a_result_is_a_value() -> None:
    with pytest.raises(FrozenInstanceError):
        WHOLE.ok = 39  # type: ignore[misc]
    assert changed(elapsed=0.0).rate == 0.0
