"""A loopback HTTP/1.1 origin for tests: it can be scripted, misbehaves on request, and counts from the server's side.

::

    with Origin(addresses=("127.0.0.1", "127.0.0.2")) as origin:
        origin.script("/item", Reply(status=503), Reply(body=b"here"))
        ...fetch origin.url("/item") and origin.url("/delay/0.2", address="127.0.0.2")...
        assert [arrival.path for arrival in origin.arrivals] == [...]
        assert origin.connections_peak <= 6
        assert origin.busiest(1.0) <= 51

Paths that need no script. What remembers (``/flaky``, ``/retry-after``) does so per host and whole URL, query included,
so that adding a query makes a fresh one. N is a number, S are seconds; a value that cannot be read gets a 400.

=================================  =====================================================================================
``/``                              200 and a line of text
``/bytes/N``                       200 and N bytes, not all of them text
``/chunked?bytes=1000``            200, that many bytes of text in chunks
``/cookies``                       JSON of the cookies that were sent
``/cookies/set?name=value``        200 with a Set-Cookie for each pair of the query
``/deflate?bytes=1000``            200, text compressed with deflate (zlib's format)
``/delay/S``                       200 after S seconds
``/drip?bytes=10&seconds=1``       200, the body one byte at a time over that many seconds
``/echo``                          JSON of method, path, headers, body and body_bytes
``/etag/TAG``                      200 with that ETag (``v1`` if left out), 304 to an If-None-Match with it
``/flaky/N?status=503``            that status N times, then 200
``/gzip?bytes=1000``               200, text compressed with gzip
``/limit?rate=50&burst=1``         a token bucket: 200, or 429 with Retry-After
``/pages/N?items=10``              N pages of that many items each, see below
``/places?most=8&delay=0.05``      so many requests at once, each for so many seconds; one more gets a 503
``/queue?slots=8&delay=0.02``      so many are worked on at once, each for so many seconds; more of them wait
``/redirect-to?url=U&status=302``  a redirect to U
``/redirect/N?status=302``         N redirects, with relative URLs, then 200
``/reset?after=0``                 an RST, after that many bytes of a response
``/retry-after/S?value=V``         429 with Retry-After S (or V, word for word), then 200; also ``status=``, ``times=``
``/status/N``                      that status
``/truncate?bytes=100&after=50``   announces so many bytes and closes after so many of them
``/unread/S``                      200 after S seconds, leaving the request's body unread: a large upload stalls
``/window?count=600&seconds=60``   so many requests in a window of so many seconds (``kind=sliding``: in every one)
anything else                      404
=================================  =====================================================================================

``/limit``, ``/places``, ``/queue`` and ``/window`` are limits. All requests to a host that say the same of one share
it, whatever else their queries say; with ``by=NAME``, only those with the same value in the header of that name. A
refusal has the status ``status=V``; ``hint=V`` is its Retry-After, word for word, and ``hint=no`` leaves that out.
``delay=S`` holds back every other answer. ``headers=`` tells what a bucket or a window leaves, in one of the dialects
``ietf`` (RateLimit and RateLimit-Policy), ``github`` (X-RateLimit, the reset in seconds since 1970), ``twitter`` (the
same as X-Rate-Limit), ``discord`` (X-RateLimit-Reset-After), ``delta`` (X-RateLimit, the reset in seconds from now).

``/pages/N`` answers with JSON: ``items`` (numbers that go on from page to page), ``page``, ``pages``, ``total``,
``next`` (a URL) and ``next_cursor``; ``Link`` says the next URL, too. Which page it is, ``page=``, ``cursor=`` or
``offset=`` (and ``limit=``) say, in the query or in a JSON body. ``loop=K``: page K leads back to the first, and higher
numbers get it, too; ``broken=K``: page K is no JSON; ``failing=K``: it is a 500; ``delay=S``: each takes so long.

As a process of its own: ``python -m workerpool.testing.origin --port 8000 --addresses 127.0.0.1 127.0.0.2``, or
`OriginProcess` from a test. Standard library only; production code never imports it.
"""

from __future__ import annotations

from workerpool.testing.origin.process import OriginProcess
from workerpool.testing.origin.records import Answers, Records, Sockets
from workerpool.testing.origin.replies import Arrival, Headers, Replier, Reply
from workerpool.testing.origin.server import Origin

__all__ = ["Answers", "Arrival", "Headers", "Origin", "OriginProcess", "Records", "Replier", "Reply", "Sockets"]
