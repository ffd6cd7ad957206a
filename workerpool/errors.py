"""The errors of workerpool: one tree, each leaf saying who caused it and whether a retry helps.

Nothing here knows requests or urllib3: the transport translates their exceptions into these, and keeps the original as
``__cause__``. An error's text never carries a secret; build it with `workerpool.redact`.
"""

from __future__ import annotations


class WorkerPoolError(Exception):
    """The base of every error that workerpool raises or stores in an outcome."""


class OptionError(WorkerPoolError, ValueError):
    """An option has a value that cannot work. The caller's doing; a retry does not help.

    Its text names the option, the value, and what would do. Not `InvalidRequest`, which is about one input.
    """


class WrongThread(WorkerPoolError, RuntimeError):
    """A call that belongs outside the workers was made inside one, or the other way round.

    The caller's doing; a retry does not help. Waiting for the pool inside one of its workers would deadlock once every
    worker did so, hence the refusal; `WorkerPool.session` is what code inside a worker uses.
    """


class ProcessesLost(WorkerPoolError, RuntimeError):
    """The processes of a `ShardedPool` cannot be started, or end again and again. The text says how.

    The machine's doing, or that of code in a request or an option. What had not ended is `Cancelled`; a retry helps
    once the cause is mended.
    """


class ClusterLost(WorkerPoolError, RuntimeError):
    """The cluster that a batch runs on cannot be reached, has no workers, or loses them again and again.

    The cluster's doing, or that of what is installed on its workers; the text says which. What had not ended is
    `Cancelled`. A retry helps once the cause is mended: a job goes on with what it had. Not `ProcessesLost`, which is
    about processes that this one has started by itself.
    """


class SlotTimeout(WorkerPoolError, TimeoutError):
    """No slot came within the wait that the caller allowed; none was taken.

    The budget's doing: the rate is spent. A retry helps later. Not `TimedOut`, which is about a server.
    """


class BudgetError(WorkerPoolError):
    """A budget that processes share cannot be used. The text names its file and what would do.

    The disk's doing, or whoever wrote that file; a retry helps once it is mended. Nothing is sent meanwhile, as nobody
    could tell how much others send. Not `OptionError`, which is about a budget's name.
    """


class SourceError(WorkerPoolError):
    """A source of requests cannot be read, or not to its end. The text names the file, the place and what would do.

    The caller's or the disk's doing; a retry helps once the file is mended. Not `InvalidRequest`: one bad line of a
    readable source is an outcome, and the lines around it go on.
    """


class SinkError(WorkerPoolError):
    """Results could not be written: a full disk, a closed pipe, a directory that is not there.

    The disk's or the reader's doing; a retry helps once there is room. `records` is how many whole records were
    written before; the file ends with the last of them.
    """

    def __init__(self, message: str, *, records: int = 0) -> None:
        super().__init__(message)
        self.records = records


class JobError(WorkerPoolError):
    """A job cannot go on as it was asked to: its sources or options have changed, or its ledger is damaged.

    The caller's doing, or the disk's; a retry does not help. The text says what is different and what would do. Nothing
    of the job is lost. Not `SinkError`, which is about a place that cannot be written.
    """


class JobHeld(JobError):
    """Another run holds the job. Nobody's fault; a retry helps once that run has ended."""


class RequestError(WorkerPoolError):
    """How a request failed; the `error` of an outcome.

    `key` is the request's key, `attempts` how many attempts were made (0 when nothing was sent). The library
    exception behind it, where there is one, is its ``__cause__``.
    """

    reason = "failed"
    """A stable word for summaries, logs and records."""
    retry_helps = False
    """Whether another attempt may end better, whatever the request."""

    def __init__(self, message: str, *, key: str = "", attempts: int = 0) -> None:
        super().__init__(message)
        self.key = key
        self.attempts = attempts

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(cls: type[RequestError], args: tuple[object, ...], state: dict[str, object]) -> RequestError:
    """Make a pickled error again without calling its constructor, whose keywords ``args`` does not hold."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidRequest(RequestError, ValueError):
    """The input is no request that can be sent: no URL, an unknown scheme, a header with a line break.

    The caller's (or the source's) doing; a retry does not help.
    """

    reason = "invalid"


class TransportError(RequestError):
    """No complete response came. The network's or the server's doing; a retry may help."""

    reason = "transport"
    retry_helps = True
    elsewhere = False
    """Whether it is, or may be, a proxy's doing, so that the request goes by another one at once."""
    rest = 0.0
    """Seconds for which another attempt would be in vain, as no proxy is tried until then."""


class ConnectFailed(TransportError):
    """No connection could be made: refused, unreachable, or the name did not resolve. Nothing was sent."""

    reason = "connect"


class TlsFailed(ConnectFailed):
    """The TLS handshake failed, most often because a certificate was not accepted. A retry rarely helps."""

    reason = "tls"
    retry_helps = False


class TimedOut(TransportError):
    """The time allowed for connecting, reading, the whole attempt or the whole request ran out. Not `SlotTimeout`."""

    reason = "timeout"


class ConnectionLost(TransportError):
    """The connection ended before the response did: reset, closed early, truncated, or not HTTP.

    `stale`: it had been idle, and ended before any byte of this request's answer came. Servers close idle connections,
    so that is no fault of the request.
    """

    reason = "connection"
    stale = False


class OutcomeUnknown(TransportError):
    """A request that is not idempotent was sent, and no answer came: whether the server acted on it is unknown.

    The network's or the server's doing. It is not repeated blindly: ask the server before sending it again, or give
    the request an ``Idempotency-Key``. Not `ConnectionLost` or `TimedOut`, whose requests may simply be repeated.
    """

    reason = "unknown"


class BadBody(TransportError):
    """The response's body could not be decoded. The server's doing; a retry rarely helps."""

    reason = "body"
    retry_helps = False


class TooLarge(TransportError):
    """The response's body or its headers are larger than allowed. A retry does not help; a larger `max_body` may.

    The server's doing. A body is measured after decompression, and no more of it is read than is allowed.
    """

    reason = "size"
    retry_helps = False


class WrongChecksum(TransportError):
    """The body is not the one whose SHA-256 the request names. The server's doing, or that of who named it.

    A retry helps only where a part of the body was there from an earlier attempt: it is thrown away. The file is not
    put in its place. Not `BadBody`, which is about a coding.
    """

    reason = "checksum"
    retry_helps = False


class NameTaken(RequestError):
    """The file for the body has a name that another file has, and that is not replaced. The caller's doing.

    Two inputs have one name, or it was there before. A retry does not help; another `Save.name` does.
    """

    reason = "name"


class NotSaved(RequestError):
    """The body could not be written to its file: a full disk, a directory that may not be written.

    The disk's doing; a retry helps once there is room, so nothing is lost, and what is there of the body is kept. A
    run of the command, or of a job, ends with it, as a `SinkError`.
    """

    reason = "unsaved"


class TooManyRedirects(RequestError):
    """The redirects did not end within `max_redirects`, or lead in a circle. The server's doing."""

    reason = "redirects"


class Denied(RequestError):
    """The pool's guard does not allow this target: its host, its scheme or the address that its name leads to.

    Or a redirect leads to what is no URL. The caller's doing, or that of a server that redirects there. A retry does
    not help. Nothing was sent to the target.
    """

    reason = "denied"


class RobotsDisallowed(RequestError):
    """The site's robots.txt does not allow this URL, or could not be fetched, which counts as the same (RFC 9309).

    The site's wish, and a retry does not help; or its trouble, where the file could not be fetched: then `retry_helps`
    is True, later. Nothing was sent to that URL. Not `Denied`, which is about rules of the caller's own.
    """

    reason = "robots"

    def __init__(self, message: str, *, retry_helps: bool = False, key: str = "", attempts: int = 0) -> None:
        super().__init__(message, key=key, attempts=attempts)
        self.retry_helps = retry_helps


class TokenFailed(RequestError):
    """There is no token to send the request with: whoever gives them has failed, or refused to.

    The token server's doing, or that of a function of yours; `retry_helps` tells whether that may pass. The request
    itself was not sent, or refused with a 401 before. Not `StatusError`, whose 401 came of a new token, too.
    """

    reason = "token"

    def __init__(self, message: str, *, retry_helps: bool = False, key: str = "", attempts: int = 0) -> None:
        super().__init__(message, key=key, attempts=attempts)
        self.retry_helps = retry_helps


class StatusError(RequestError):
    """A complete response came, and its status is not one of 200–399. The outcome keeps the response."""

    reason = "status"

    def __init__(self, message: str, *, status: int, key: str = "", attempts: int = 0) -> None:
        super().__init__(message, key=key, attempts=attempts)
        self.status = status


class PageError(RequestError):
    """A page came, and what it says of the page that follows cannot be used: so the pages break off here.

    It is not the JSON that it should be, what stands at the path is of another type, the request that follows was made
    already, or there are more pages than `max_pages`. The server's doing, or that of whoever wrote the path; a retry
    rarely helps. The outcome keeps the response, whose status may well be 200. A page that does not come at all has the
    error of any request.
    """

    reason = "page"


class HostPaused(RequestError):
    """The host asked, by ``Retry-After``, for a longer wait than the policy's cap.

    The server's doing; a retry helps after `until` (seconds since the epoch). Requests to that host fail with this,
    unsent, until then, rather than stall the batch or go on knocking.
    """

    reason = "paused"

    def __init__(self, message: str, *, until: float, key: str = "", attempts: int = 0) -> None:
        super().__init__(message, key=key, attempts=attempts)
        self.until = until


class CircuitOpen(RequestError):
    """The host kept failing, so its circuit breaker is open, and was told to end requests rather than let them wait.

    The server's or the network's doing; a retry helps after `until` (seconds since the epoch) if the host is back then.
    Not `HostPaused`, which the host asked for.
    """

    reason = "circuit"

    def __init__(self, message: str, *, until: float, key: str = "", attempts: int = 0) -> None:
        super().__init__(message, key=key, attempts=attempts)
        self.until = until


class Cancelled(RequestError):
    """The request was given up before it ended: its stream was left, or the pool was shut down."""

    reason = "cancelled"


class UnexpectedError(RequestError):
    """Code that the request carries (an auth, a hook, a body iterator, an adapter) raised. See ``__cause__``."""

    reason = "unexpected"
