"""What travels between processes, and how: options, requests, outcomes, errors. Pure functions, any thread.

What is sent by the thousand is packed as plain tuples, which pickle several times as fast as the values themselves. A
parcel that one side cannot pack, or the other one not unpack, costs its own request or option and nothing else.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from operator import attrgetter, is_
from types import FunctionType
from typing import Any, TypeAlias

from workerpool.errors import RequestError, UnexpectedError, WorkerPoolError
from workerpool.model import Attempt, Outcome, Request, Timings, maker, new_request
from workerpool.redact import redact
from workerpool.transport.parcels import Parcel, pack_response, reduce_auth, unpack_response

LONGEST_CHAIN = 10
"""Causes of an error that travel with it."""

NOT_SENT = frozenset({"url", "source", "ordinal", "page", "problem"})
"""Fields of a request that its sending does not depend on, or that travel by themselves."""

RequestParcel: TypeAlias = tuple[str, bytes | None]
"""A request's URL, and its other fields, as far as they say something, pickled."""
AttemptParcel: TypeAlias = tuple[Any, ...]
OutcomeParcel: TypeAlias = tuple[
    Parcel | None, list[bytes] | None, list[AttemptParcel], float, tuple[float, ...] | None
]
"""Response, error with its causes, attempts, seconds, and timings, None where they are those of the only attempt."""

_FIELDS: Mapping[str, Any] = {one.name: one.default for one in fields(Request) if one.name not in NOT_SENT}
_NAMES = tuple(_FIELDS)
_USUAL = tuple(_FIELDS.values())
_values_of: Callable[[Request], tuple[Any, ...]] = attrgetter(*_NAMES)
_timings_of: Callable[[Timings], tuple[float, ...]] = attrgetter(*(one.name for one in fields(Timings)))
_attempt_of: Callable[[Attempt], tuple[Any, ...]] = attrgetter(*[one.name for one in fields(Attempt)][:-1])
"""All but the timings, which stand last."""

new_attempt: Callable[..., Attempt] = maker(Attempt)
new_outcome, new_timings = maker(Outcome), maker(Timings)


class Unsendable(Exception):
    """A value cannot be sent to another process; the text, which follows its name, says why."""


class _Pickler(pickle.Pickler):
    """Refuses what only the main module of this program has, as no other process can import that.

    Libraries' errors it pickles as what they are, whatever they say of it themselves: many name arguments that their
    constructor does not take, or hold the connection that failed.
    """

    within: frozenset[int] = frozenset()
    """Errors of whose attributes this is one, by their ids: what leads back to them is left out."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, FunctionType)) and obj.__module__ == "__main__":
            raise Unsendable(f"needs {obj.__qualname__}, which only the program's main module has")
        if isinstance(obj, Exception) and type(obj).__module__ != "builtins":
            if id(obj) in self.within:
                raise Unsendable("leads back to itself")
            args = (OSError.__reduce__(obj) if isinstance(obj, OSError) else BaseException.__reduce__(obj))[1]
            return _error_again, (type(obj), args, _what_travels(vars(obj), self.within | {id(obj)}))
        return reduce_auth(obj)


def _what_travels(state: Mapping[str, Any], within: frozenset[int]) -> dict[str, bytes]:
    """An error's attributes, each packed once, and by itself, save those that cannot be."""
    travels = {}
    for name, value in state.items():
        with suppress(Unsendable):
            travels[name] = pack(value, within)
    return travels


def _error_again(kind: type[Exception], args: Any, state: dict[str, bytes]) -> Exception:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update((name, pickle.loads(packed)) for name, packed in state.items())
    return error


def pack(value: Any, within: frozenset[int] = frozenset()) -> bytes:
    """Pickle `value` for another process; raises `Unsendable`. `within`: errors that it is an attribute of."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.within = within
    try:
        pickler.dump(value)
    except Unsendable:
        raise
    except Exception as error:  # whatever a value's own code raises
        raise Unsendable(f"cannot be pickled: {redact(str(error))}") from error
    return buffer.getvalue()


# -- requests ----------------------------------------------------------------------------------------------------------


def pack_request(request: Request, attempts: tuple[Attempt, ...] | None = None) -> RequestParcel:
    """Pack a request; raises `Unsendable`. `attempts`: those that were made of it, where there were more since."""
    values = _values_of(request)
    if attempts is None and all(map(is_, values, _USUAL)):  # not by value: that may be anything, and cost anything
        return request.url, None
    told = {name: value for name, value, usual in zip(_NAMES, values, _USUAL, strict=True) if value is not usual}
    if attempts is not None:
        told["earlier"] = attempts
    if told.get("stream"):
        raise Unsendable("has stream=True: an answer that is still to be read cannot leave its process")
    try:
        return request.url, pack(told)
    except Unsendable:
        for name, value in told.items():  # which one is it?
            try:
                pack(value)
            except Unsendable as error:
                raise Unsendable(f"has a {name} that {error}") from error
        raise


def unpack_request(parcel: RequestParcel) -> Request:
    """Make a request again. Raises what unpickling raises."""
    url, told = parcel
    return new_request(url) if told is None else new_request(url, **pickle.loads(told))


# -- outcomes ----------------------------------------------------------------------------------------------------------


def pack_attempts(attempts: tuple[Attempt, ...]) -> list[AttemptParcel]:
    return [(*_attempt_of(attempt), _timings_of(attempt.timings)) for attempt in attempts]


def unpack_attempts(parcels: list[AttemptParcel]) -> tuple[Attempt, ...]:
    return tuple([new_attempt(*values, new_timings(*timings)) for *values, timings in parcels])


def pack_outcome(outcome: Outcome) -> OutcomeParcel:
    """Pack an outcome without its request, which whoever asked for it has. One that cannot be sent says so instead."""
    response, error, attempts = outcome.response, outcome.error, outcome.attempts
    parcel: Parcel | None = None
    if response is not None:
        try:
            parcel = pack_response(response)
        except Exception as odd:
            error = _lost(outcome.request, attempts, odd)
    is_simple = len(attempts) == 1 and outcome.timings is attempts[0].timings
    return (
        parcel,
        None if error is None else pack_error(error),
        pack_attempts(attempts),
        outcome.elapsed,
        None if is_simple else _timings_of(outcome.timings),
    )


def unpack_outcome(parcel: OutcomeParcel, request: Request) -> Outcome:
    """Make an outcome of `request` again; whatever is wrong with the parcel, there is one."""
    packed, errors, tried, elapsed, spent = parcel
    attempts = unpack_attempts(tried)
    error = None if errors is None else unpack_error(errors)
    response = None
    if packed is not None:
        try:
            response = unpack_response(packed)
        except Exception as odd:
            error = _lost(request, attempts, odd)
    timings = attempts[0].timings if spent is None else new_timings(*spent)
    return new_outcome(request, response, error, attempts, elapsed, timings)


def _lost(request: Request, attempts: tuple[Attempt, ...], why: Exception) -> RequestError:
    told = redact(f"an answer came, but not out of its process: {type(why).__name__}: {why}")
    return UnexpectedError(told, key=redact(request.label), attempts=len(attempts))


# -- errors ------------------------------------------------------------------------------------------------------------


def pack_error(error: BaseException) -> list[bytes]:
    """Pack an error and the chain of its causes, without their tracebacks."""
    packed: list[bytes] = []
    one: BaseException | None = error
    while one is not None and len(packed) < LONGEST_CHAIN:
        packed.append(_pack_one(one))
        one = one.__cause__
    return packed


def unpack_error(parcels: list[bytes]) -> Any:
    """Make an error again, with its causes: of the class that it was, if that can be imported here."""
    cause: BaseException | None = None
    for parcel in reversed(parcels):
        try:
            error: BaseException = pickle.loads(parcel)
        except Exception as odd:
            error = UnexpectedError(f"an error came that cannot be read: {redact(str(odd))}")
        error.__cause__ = cause
        cause = error
    return cause


def _pack_one(error: BaseException) -> bytes:
    """Pickle an error, or one with its text where its class makes that impossible."""
    try:
        packed = pack(error)
        pickle.loads(packed)  # some can be pickled, and not read again
        return packed
    except Exception:
        pass
    told = redact(f"{type(error).__name__}: {error}")
    if isinstance(error, RequestError):
        return pack(UnexpectedError(told, key=error.key, attempts=error.attempts))
    return pack(WorkerPoolError(told) if isinstance(error, WorkerPoolError) else Exception(told))
