"""A loopback HTTP/1.1 origin for tests: it can be scripted, misbehaves on request, and counts from the server's side.

::

    with Origin(addresses=("127.0.0.1", "127.0.0.2")) as origin:
        origin.script("/item", Reply(status=503), Reply(body=b"here"))
        ...fetch origin.url("/item") and origin.url("/delay/0.2", address="127.0.0.2")...
        assert [arrival.path for arrival in origin.arrivals] == [...]
        assert origin.connections_peak <= 6
        assert origin.busiest(1.0) <= 51

Paths that need no script. What remembers (``/flaky``, ``/retry-after``) does so per host and whole URL, query included,
so that adding a query makes a fresh one; ``/limit`` has one bucket per host, rate and burst, whatever else the query
says. N is a number, S are seconds; a value that cannot be read gets a 400.

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
``/limit?rate=50&burst=1``         a token bucket: 200, or 429 with Retry-After (``&hint=no``: without)
``/redirect-to?url=U&status=302``  a redirect to U
``/redirect/N?status=302``         N redirects, with relative URLs, then 200
``/reset?after=0``                 an RST, after that many bytes of a response
``/retry-after/S?value=V``         429 with Retry-After S (or V, word for word), then 200; also ``status=``, ``times=``
``/status/N``                      that status
``/truncate?bytes=100&after=50``   announces so many bytes and closes after so many of them
``/unread/S``                      200 after S seconds, leaving the request's body unread: a large upload stalls
anything else                      404
=================================  =====================================================================================

As a process of its own: ``python -m workerpool.testing.origin --port 8000 --addresses 127.0.0.1 127.0.0.2``, or
`OriginProcess` from a test. Standard library only; production code never imports it.
"""

from __future__ import annotations

from workerpool.testing.origin.process import OriginProcess
from workerpool.testing.origin.records import Records, Sockets
from workerpool.testing.origin.replies import Arrival, Headers, Replier, Reply
from workerpool.testing.origin.server import Origin

__all__ = ["Arrival", "Headers", "Origin", "OriginProcess", "Records", "Replier", "Reply", "Sockets"]
