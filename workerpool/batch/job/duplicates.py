"""Inputs that ask for the same: the first one is fetched, and answers the others.

Two requests are the same if they would be sent alike: by method, canonical URL, parameters and headers, and if they
only ask for something. Answers and those that wait for one are in a database, so memory does not grow with their
number: it holds what is under way, and what the next transaction is to hold. The run's thread alone uses this.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from workerpool.batch.job.answers import Answer, Answers, Follower
from workerpool.batch.job.prepare import hash_of
from workerpool.batch.job.states import Identity, State
from workerpool.batch.record import Record
from workerpool.batch.sinks.jsonl import encode
from workerpool.errors import Cancelled, RequestError, StatusError
from workerpool.model import Outcome, Request
from workerpool.redact import redact

AT_ONCE = 1_000
"""Followers that are answered, or written down, at once."""


class Copy(NamedTuple):
    """The outcome of an input that another one was fetched for: its identity, what became of it, and its record.

    That is the other one's but for key and URL, and for what tells of sending: nothing was sent for this one.
    """

    identity: Identity
    outcome: Outcome
    state: State
    record: Record


class Duplicates:
    """Who waits for whom. `identity` gives that of a request."""

    def __init__(self, answers: Answers, identity: Callable[[Request], Identity]) -> None:
        self._kept = answers
        self._identity = identity
        self._leaders: dict[int, Identity] = {}
        self._led: dict[Identity, int] = {}
        self._answers: dict[int, Answer] = {}  # not in the database yet
        self._followers: list[Follower] = []  # not there yet, either

    def begin(self) -> None:
        """Begin a reading of the inputs: whoever waited for an answer is read again."""
        self._leaders.clear()
        self._led.clear()
        self._kept.forget_followers()

    def meet(self, request: Request) -> Copy | bool:
        """The outcome of a request if one like it has ended, True if it will have that of one under way, else False."""
        hashed = None if request.problem is not None or request.save is not None else hash_of(request)
        if hashed is None:
            return False
        identity = self._identity(request)
        answer = self._answers.get(hashed) or self._kept.answer(hashed)
        if answer is not None:
            return _copy(identity, request, answer, json.loads(answer.record))
        if hashed not in self._leaders:
            self._leaders[hashed] = identity
            self._led[identity] = hashed
            return False
        self._followers.append(Follower(hashed, *identity, request.key, request.url))
        if len(self._followers) >= AT_ONCE:
            self._write()
        return True

    def end(self, outcome: Outcome, state: State, record: Record) -> Iterator[list[Copy]]:
        """Note how a request has ended, and yield the outcomes of those that waited for it, some at a time.

        `state` is QUEUED for one that was given up.
        """
        hashed = self._led.pop(self._identity(outcome.request), None)
        if hashed is None:
            return
        del self._leaders[hashed]
        reason = None if outcome.error is None else outcome.error.reason
        answer = self._answers[hashed] = Answer(hashed, state, reason, encode(record))
        if self._followers:
            self._write()
        first: Identity = (-1, -1)
        while followers := self._kept.followers(hashed, first, AT_ONCE):
            yield [
                _copy((one.source, one.ordinal), Request(one.url, outcome.request.method, key=one.key), answer, record)
                for one in followers
            ]
            first = followers[-1].source, followers[-1].ordinal

    def give_up(self, request: Request) -> None:
        """Note that a request was given up: those that wait for it are read again when the run goes on."""
        hashed = self._led.pop(self._identity(request), None)
        if hashed is not None:
            del self._leaders[hashed]

    def take_answers(self) -> list[Answer]:
        """The answers that the database does not have yet, for its next transaction."""
        answers = [*self._answers.values()]
        self._answers.clear()
        return answers

    def write_answers(self) -> None:
        """Write the answers that the database does not have yet."""
        if self._answers:
            self._kept.write(self.take_answers())

    def _write(self) -> None:
        followers, self._followers = self._followers, []
        self._kept.follow(followers)


def _copy(identity: Identity, request: Request, answer: Answer, record: Record) -> Copy:
    text, status = record["error"], record["status"]
    error: RequestError | None = None
    if answer.reason == Cancelled.reason:
        error = Cancelled(text)
    elif answer.reason == StatusError.reason:
        error = StatusError(text, status=status)
    elif answer.reason is not None:
        error = RequestError(text)
        error.reason = answer.reason
    if error is not None:
        error.key = redact(request.label)
    own = {"key": request.label, "url": request.url, "attempts": 0, "elapsed": 0.0, "started_at": None}
    return Copy(identity, Outcome(request, None, error), State(answer.state), {**record, **own})
