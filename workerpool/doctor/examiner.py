"""Examines one server: sends a handful of requests through a pool of one worker, and looks at what a pool cannot show.

One thread calls `examine`, which sends one request after the other, at most `RATE`. Whatever ends it, an interrupt
too, `examination` says what was found so far. It decides on no advice and prints nothing.
"""

from __future__ import annotations

import dataclasses
import http.client
import re
import time
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from workerpool.doctor.advice import advise
from workerpool.doctor.findings import (
    Answer,
    Compression,
    Examination,
    Failure,
    IdleLimit,
    Reuse,
    Sample,
    Tls,
    cost_of,
    reuse_of,
)
from workerpool.doctor.ratelimits import rate_limits
from workerpool.errors import ConnectFailed, Denied, TooLarge
from workerpool.limits.headers import Allowance, allowance
from workerpool.model import Outcome, Request
from workerpool.pool import WorkerPool
from workerpool.rate import Rate
from workerpool.redact import redact
from workerpool.transport.idle import SAID
from workerpool.transport.probe import Probe

if TYPE_CHECKING:
    from requests import Response

RATE = Rate(4, 1)
"""Sent at most; a server that counts by its own clock still sees under 5 in each second."""
MOST = 20
"""Requests in all, whatever happens."""
SERIES = 8
"""Requests after the first that see whether its connection is used again: a limit below 10 is found."""
NEW = 3
"""Requests at the end over connections that this side ends, to see what a new one costs."""
UNUSED = 3
"""Requests in a row that found their connection ended, after which nothing is gained by asking on."""
HOPS = 5
BODY_MAX = 1_000_000
"""Bytes of a body; a larger one is not fetched again and again, but asked about with HEAD."""
WORTH_COMPRESSING = 1_000
"""Bytes of a body from which compression matters: about what one packet carries."""

_MAX = re.compile(r"max\s*=\s*\"?(\d{1,9})(?!\d)", re.IGNORECASE)


class Examiner:
    """One examination of `url`.

    `timeout`: seconds that each request may take. `patience`: seconds for which a connection is left idle to see
    whether the server closes it; 0 does not look. `verify`, `proxies`: as in `WorkerPool`. `tell` is called with what
    is being done, a few words at a time.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        patience: float = 10.0,
        verify: bool | str = True,
        proxies: Mapping[str, str] | None = None,
        user_agent: str = "workerpool-doctor",
        tell: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._url = self._final_url = url
        self._timeout = timeout
        self._patience = patience
        self._verify = verify
        self._proxies = proxies
        self._agent = user_agent
        self._tell = tell
        self._pool: WorkerPool | None = None
        self._began = time.monotonic()
        self._last_sent = 0.0
        self._probed = self._probe_sockets = self._unsent = 0
        self._method = "GET"
        self._proxy: str | None = None
        self._samples: list[Sample] = []
        self._response: Response | None = None
        self._answer: Answer | None = None
        self._failure: Failure | None = None
        self._stopped: str | None = None
        self._refused: int | None = None
        self._headers: list[Mapping[str, str]] = []
        self._compression: Compression | None = None
        self._handshake = Tls()
        self._idle: IdleLimit | None = None

    def examine(self) -> None:
        """Look at everything. Raises nothing that the server could cause; `OptionError` for what cannot work."""
        self._pool = WorkerPool(
            1,
            "workerpool-doctor",
            rate=RATE,
            host_connections=1,
            retry=1,
            timeout=self._timeout,
            max_body=BODY_MAX,
            max_redirects=HOPS,
            verify=self._verify,
            proxies=self._proxies,
        )
        try:
            self._ask_first()
            if self._answer is not None:
                self._ask_on()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._answer is not None:
            probe = Probe(self._final_url, timeout=self._timeout, verify=self._verify, proxies=self._proxies)
            self._proxy = probe.proxy
            self._look_at_tls(probe)
            self._look_for_idle_limit(probe)

    def examination(self, *, interrupted: bool = False) -> Examination:
        """What was found so far."""
        figures = None if self._pool is None else self._pool.statistics()
        found = Examination(
            url=self._url,
            final_url=self._final_url,
            requests=self._probed - self._unsent + (figures.sent if figures else 0),
            connections=self._probe_sockets + (figures.sockets_opened if figures else 0),
            elapsed=time.monotonic() - self._began,
            interrupted=interrupted,
            stopped=self._stopped,
            refused=self._refused,
            failure=self._failure,
            answer=self._answer,
            reuse=self._reuse() if self._samples else None,
            idle=self._idle,
            tls=self._tls(),
            compression=self._compression,
            cost=cost_of(self._samples, self._handshake.handshake) if self._samples else None,
            rate_limits=rate_limits(self._headers[-1], time.time()) if self._headers else (),
            alt_svc=self._said("alt-svc"),
            only_heads=self._method == "HEAD",
            proxy=self._proxy,
        )
        allowed = allowance(self._headers[-1], time.time()) if self._headers else None
        return advise(found, allowed or Allowance(), time.time())

    # -- requests through the pool ------------------------------------------------------------------------------------

    def _ask_first(self) -> None:
        self._tell("sending the first request")
        outcome = self._send(follow=True)
        if isinstance(outcome.error, TooLarge):
            self._method = "HEAD"
            outcome = self._send(follow=True)
        response = outcome.response
        if response is None:
            error = outcome.error
            assert error is not None
            self._failure = Failure(reason=error.reason, message=str(error))
            return
        self._response = response
        self._final_url = response.url
        self._answer = Answer(
            status=response.status_code,
            phrase=response.reason or "",
            http=_http_version(response),
            redirects=tuple(hop.url for hop in response.history),
        )
        if self._method == "GET":
            self._compression = _compression(response)
        self._take(outcome, response)

    def _ask_on(self) -> None:
        """Ask again for what the first request led to, until the plan is done or there is a reason to stop."""
        for number in range(SERIES):
            if self._stopped or self._is_never_reused():
                break
            self._tell(f"looking whether its connection is used again: {number + 1} of {SERIES}")
            self._send_and_take()
        if self._is_never_reused():
            return  # what a new connection costs is known by now
        for number in range(NEW):
            if self._stopped:
                break
            self._tell(f"measuring what a new connection costs: {number + 1} of {NEW}")
            self._send_and_take(ask_close=number < NEW - 1)

    def _is_never_reused(self) -> bool:
        return len(self._samples) > UNUSED and all(sample.reused is False for sample in self._samples)

    def _send_and_take(self, *, ask_close: bool = False) -> None:
        assert self._pool is not None
        if self._pool.statistics().sent >= MOST - 1:  # one is kept for the idle limit
            self._stopped = f"{MOST} requests are enough"
            return
        outcome = self._send(ask_close=ask_close)
        if outcome.response is None:
            self._stopped = f"a further request failed: {outcome.error}"
            return
        self._take(outcome, outcome.response, was_asked=ask_close)

    def _send(self, *, follow: bool = False, ask_close: bool = False) -> Outcome:
        assert self._pool is not None
        headers = {"User-Agent": self._agent, **({"Connection": "close"} if ask_close else {})}
        url = self._url if follow else self._final_url
        request = Request(url, self._method, headers=headers, allow_redirects=follow)
        (outcome,) = self._pool.stream([request])
        self._last_sent = time.monotonic()
        self._unsent += isinstance(outcome.error, (ConnectFailed, Denied))
        return outcome

    def _take(self, outcome: Outcome, response: Response, *, was_asked: bool = False) -> None:
        attempt = outcome.attempts[-1]
        spent = attempt.timings
        self._samples.append(
            Sample(
                reused=attempt.reused,
                resumed=attempt.resumed,
                closes=_closes(response),
                was_asked=was_asked,
                hops=attempt.hops,
                dns=spent.dns,
                connect=spent.connect,
                tls=spent.tls,
                answer=spent.first_byte + spent.body,
            )
        )
        self._headers.append(response.headers)
        after = response.headers.get("retry-after")
        if response.status_code == 429 or (response.status_code >= 400 and after):
            asked = f", with Retry-After: {after}" if after else ""
            count = attempt.hops + len(self._samples)
            self._refused = response.status_code
            self._stopped = f"it answered {response.status_code} to request {count}{asked}"
        elif (allowed := allowance(response.headers, time.time())) is not None and allowed.remaining == 0:
            self._stopped = "its rate-limit headers say that no request is left"

    # -- what was said ------------------------------------------------------------------------------------------------

    def _said(self, name: str) -> str | None:
        return next((headers[name] for headers in self._headers if name in headers), None)

    def _keep_alive(self, pattern: re.Pattern[str]) -> int | None:
        match = pattern.search(self._said("keep-alive") or "")
        return int(match[1]) if match else None

    def _reuse(self) -> Reuse:
        is_http10 = self._answer is not None and self._answer.http == "HTTP/1.0"
        return reuse_of(self._samples, self._keep_alive(_MAX), is_http10=is_http10)

    # -- looks past the pool ------------------------------------------------------------------------------------------

    def _look_at_tls(self, probe: Probe) -> None:
        if not self._final_url.startswith("https:"):
            return
        if probe.why_not:
            self._handshake = Tls(why_not=probe.why_not)
            return
        self._tell("looking at the TLS handshake")
        self._probe_sockets += 1
        try:
            seen = probe.handshake()
        except OSError as error:
            self._handshake = Tls(why_not=redact(f"a handshake that offers HTTP/2 too failed: {error}"))
            return
        days = None if seen.expires_at is None else int((seen.expires_at - time.time()) // 86_400)
        self._handshake = Tls(
            version=seen.version.replace("TLSv", "TLS "),
            cipher=seen.cipher,
            protocol={"h2": "HTTP/2", "http/1.1": "HTTP/1.1"}.get(seen.protocol or "", seen.protocol),
            expires_at=seen.expires_at,
            days_left=days,
            issuer=seen.issuer,
            handshake=seen.seconds,
        )

    def _tls(self) -> Tls | None:
        """The handshake that was looked at, with what the pool's own connections say about resumption."""
        if self._answer is None or not self._final_url.startswith("https:"):
            return None
        later = [sample.resumed for sample in self._samples if sample.reused is False][1:]
        return dataclasses.replace(self._handshake, resumed=any(later) if later else None)

    def _look_for_idle_limit(self, probe: Probe) -> None:
        said = self._keep_alive(SAID)
        reuse = self._reuse()
        if said is not None:
            self._idle = IdleLimit(seconds=float(said), source="said")
        elif reuse.why in ("close", "http10"):
            self._idle = IdleLimit(why_not="no connection stays idle")
        elif self._stopped or not self._patience:
            self._idle = IdleLimit(why_not="stopped early" if self._stopped else "not asked for")
        elif probe.why_not:
            self._idle = IdleLimit(why_not=probe.why_not)
        else:
            self._watch_idle(probe)

    def _watch_idle(self, probe: Probe) -> None:
        time.sleep(max(0.0, self._last_sent + RATE.interval - time.monotonic()))
        assert self._response is not None
        self._probed += 1
        self._probe_sockets += 1

        def tell(passed: float) -> None:
            self._idle = IdleLimit(waited=passed, why_not="interrupted")
            self._tell(f"waiting for it to close an idle connection: {passed:.0f} s of at most {self._patience:g} s")

        try:
            seconds = probe.idle_limit(self._method, self._response.request.headers, self._patience, tell)
        except (OSError, http.client.HTTPException) as error:
            self._idle = IdleLimit(why_not=redact(f"the request for it failed: {error}"))
            return
        waited = self._patience if seconds is None else seconds
        self._idle = IdleLimit(seconds=seconds, source=None if seconds is None else "seen", waited=waited)


def _closes(response: Response) -> bool:
    """Whether the connection ends with this answer, as it says (RFC 9112, section 9.3)."""
    options = {option.strip().lower() for option in response.headers.get("connection", "").split(",")}
    return "close" in options or (_http_version(response) == "HTTP/1.0" and "keep-alive" not in options)


def _http_version(response: Response) -> str:
    return {10: "HTTP/1.0", 11: "HTTP/1.1"}.get(response.raw.version, f"HTTP ({response.raw.version})")


def _compression(response: Response) -> Compression:
    encoding = response.headers.get("content-encoding")
    body = response.content
    gzipped = None
    if encoding is None and len(body) >= WORTH_COMPRESSING:
        gzipped = len(zlib.compress(body))
    return Compression(
        encoding=encoding,
        sent=response.raw.tell(),
        size=len(body),
        gzipped=gzipped,
    )
