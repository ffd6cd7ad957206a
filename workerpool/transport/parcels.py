"""Responses on their way to another process. Pure functions, any thread.

A response of the fast path travels as it came, its head unread; any other one as requests itself pickles it: with its
body, without the connection that it came over.
"""

from __future__ import annotations

import functools
import pickle
from copy import copy
from typing import Any, TypeAlias, cast

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.auth import HTTPDigestAuth
from requests.hooks import default_hooks

from workerpool.transport.lazy import LazyResponse
from workerpool.transport.plans import plain_request

Parcel: TypeAlias = tuple[Any, ...] | bytes
"""What is sent of a response: parts that pickle fast together with those of others, or a pickle of its own."""

_AS_IT_CAME = frozenset(
    {
        *("status_code", "url", "_content", "_size", "_head", "_make_request", "_seconds", "connection"),
        *("concerns_session", "headers"),
    }
)
"""The attributes of a response of which nothing has been made yet but, perhaps, its headers."""


def pack_response(response: Response) -> Parcel:
    """Make a parcel of a response whose body has been read. Raises what pickling raises, if it cannot be sent."""
    if type(response) is LazyResponse and vars(response).keys() <= _AS_IT_CAME:
        make = response._make_request
        if isinstance(make, functools.partial) and make.func is plain_request:
            return (
                response.status_code,
                response.url,
                response._content,
                response._size,
                response._head,
                make.args,
                response._seconds,
                response.concerns_session,
            )
    try:
        return _pickled(response)
    except Exception:
        return _pickled(_without_code(response))


def unpack_response(parcel: Parcel) -> Response:
    """Make a response again. Raises what unpickling raises."""
    if isinstance(parcel, bytes):
        response: Any
        response, following, saved = pickle.loads(parcel)
        for hop, request in zip([*response.history, response], following, strict=True):
            hop._next = request
        if saved is not None:
            response.saved = saved
        return cast(Response, response)
    status, url, content, size, head, request, seconds, concerns_session = parcel
    make = functools.partial(plain_request, *request)
    return LazyResponse(status, url, content, size, head, make, seconds, _came_over_nothing(), concerns_session)


def _pickled(response: Response) -> bytes:
    """Pickle a response with what requests leaves out: where redirects led, and the file that its body went to."""
    following = [getattr(hop, "_next", None) for hop in [*response.history, response]]
    return pickle.dumps((response, following, vars(response).get("saved")), pickle.HIGHEST_PROTOCOL)


def _without_code(response: Response) -> Response:
    """Copy a response without what cannot travel of the requests that led to it: hooks, and bodies that are streams."""
    plain: Any = copy(response)
    plain.history = [_without_code(hop) for hop in response.history]
    for name, request in (("request", getattr(response, "request", None)), ("_next", getattr(response, "_next", None))):
        if isinstance(request, PreparedRequest):
            request = request.copy()
            request.hooks = default_hooks()
            if not isinstance(request.body, (bytes, str, type(None))):
                request.body = None
            setattr(plain, name, request)
    return cast(Response, plain)


def reduce_auth(value: Any) -> Any:
    """Say how to pickle an auth of requests' own that cannot be as it is; NotImplemented for anything else."""
    if type(value) is HTTPDigestAuth:
        return type(value), (value.username, value.password)
    return NotImplemented


@functools.cache
def _came_over_nothing() -> HTTPAdapter:
    """Stand in for the adapter that a response came through, which is in another process."""
    return HTTPAdapter()
