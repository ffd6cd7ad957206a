"""From what was found to what to do about it: sentences that name settings. No evidence, no advice. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from workerpool.config import Budgets
from workerpool.doctor.findings import Answer, Examination, Failure, Reuse, Tls
from workerpool.limits.headers import Allowance
from workerpool.wording import duration, number, size

SOCKETS = Budgets().host_connections
"""Sockets to a host, unless ``--host-connections`` says more."""
FEW_REQUESTS = 100
"""Requests a connection below which its end is worth a word: from there on, it costs a request under 1 %."""
EXPIRES_SOON = 21
"""Days: what renews itself, as with ACME, has done so by then."""
DEAR = 0.001
"""Seconds that a new connection must cost to be worth a word."""
OURS = 1_000
"""Requests a second from which this side, not the server, is likely to be what limits them."""
SMALLER = 0.8
"""What compression must leave of a body, at most, to be worth a word."""


def advise(found: Examination, allowed: Allowance, now: float) -> Examination:
    """Return `found` with its advice. `allowed`: what its rate-limit headers say at `now`."""
    if found.failure is not None:
        return dataclasses.replace(found, advice=tuple(_on_failure(found.failure)))
    sentences = [
        *_on_limits(found, allowed),
        *_on_reuse(found),
        *_on_idle(found),
        *_on_answer(found),
        *_on_tls(found, now),
        *_on_compression(found),
        *_on_throughput(found, allowed),
    ]
    return dataclasses.replace(found, advice=tuple(sentences))


def _on_failure(failure: Failure) -> Iterator[str]:
    message = failure.message
    if failure.reason == "tls" and ("self-signed" in message or "local issuer" in message):
        yield (
            "If the server is yours, or its authority one that you trust, name that authority's certificate: "
            "--ca-bundle FILE here and for workerpool run, verify=FILE in Python."
        )
    elif failure.reason == "tls" and "expired" in message:
        yield "The certificate has to be renewed at the server, or this machine's clock is wrong."
    elif failure.reason == "tls" and ("mismatch" in message or "not valid for" in message):
        yield "Use a name that the certificate is for."
    elif failure.reason == "tls" and "wrong version number" in message:
        yield "It does not speak TLS on that port: try http://."
    elif failure.reason == "timeout":
        yield "If it is that slow, give it longer: --timeout, here and for workerpool run."
    elif failure.reason == "redirects":
        yield "It may want a cookie or a login: look where a browser ends."


def _on_limits(found: Examination, allowed: Allowance) -> Iterator[str]:
    if found.refused is not None and found.refused >= 500:
        yield "It is overloaded or closed for a while: examine it again later, once it has recovered."
    elif found.refused is not None and found.answer is not None and found.answer.status == found.refused:
        yield "It refuses the first request already: wait as long as it says, then begin with a low --host-rate."
    elif found.refused is not None:
        rate = f"--host-rate {allowed.rate}" if allowed.rate else "a --host-rate well below 4/s"
        yield f"It refused request {found.requests}, at 4 a second: use {rate}."
    elif allowed.limit and allowed.window:
        yield f"It says what it allows: use --host-rate {allowed.rate}, or a little less if others use the same key."
    elif allowed.rate is not None and allowed.reset is not None:
        yield (
            f"{allowed.remaining:g} requests are left for {duration(allowed.reset)}: --host-rate {allowed.rate} keeps "
            "within that."
        )


def _on_reuse(found: Examination) -> Iterator[str]:
    reuse, price = found.reuse, found.cost.connection if found.cost else None
    if reuse is None or price is None:
        return
    if reuse.why in ("close", "http10", "silent"):
        yield (
            f"Every request pays {duration(price)} for a new connection: if the server is yours, let it keep "
            "connections open (keep-alive)."
        )
    elif reuse.why == "limit" and (reuse.requests or FEW_REQUESTS) < FEW_REQUESTS:
        yield _on_request_limit(reuse, price)


def _on_request_limit(reuse: Reuse, price: float) -> str:
    return (
        f"Every {_th(reuse.requests or 0)} request pays {duration(price)} for a new connection: if the server is "
        "yours, let a connection take more requests (nginx: keepalive_requests)."
    )


def _on_idle(found: Examination) -> Iterator[str]:
    price = found.cost.connection if found.cost else None
    if found.idle is None or found.idle.seconds is None or price is None or price < DEAR:
        return
    if found.reuse is None or not found.reuse.reused:
        return
    yield (
        f"A connection that rests for {duration(found.idle.seconds)} is closed, and the next request pays "
        f"{duration(price)} for a new one: set no more --host-connections than your --host-rate keeps busy."
    )


def _on_answer(found: Examination) -> Iterator[str]:
    answer = found.answer
    if answer is None:
        return
    if answer.redirects:
        yield _on_redirects(found, answer)
    if answer.status >= 400 and found.refused is None:
        yield (
            f"It answered {answer.status}: what is said here is about such answers, and others may come from "
            "elsewhere. Examine a URL that works."
        )


def _on_redirects(found: Examination, answer: Answer) -> str:
    count = len(answer.redirects)
    times = "one redirect" if count == 1 else f"{count} redirects"
    return f"Each request spends {times}, which count against your rates: put {found.final_url} into the source."


def _on_tls(found: Examination, now: float) -> Iterator[str]:
    tls, cost = found.tls, found.cost
    if tls is None:
        return
    if tls.protocol == "HTTP/2":
        yield (
            "It offers HTTP/2, which workerpool does not speak: each request in flight needs a socket of its own, "
            f"{SOCKETS} unless --host-connections says more."
        )
    if tls.resumed is False and cost is not None and cost.tls is not None and cost.tls >= DEAR:
        yield (
            f"TLS sessions are not resumed, so each new connection pays {duration(cost.tls)} for a whole handshake: "
            "if the server is yours, turn session tickets on."
        )
    yield from _on_certificate(tls, now)


def _on_certificate(tls: Tls, now: float) -> Iterator[str]:
    if tls.expires_at is None or tls.days_left is None or tls.days_left > EXPIRES_SOON:
        return
    left = f"{tls.days_left} days" if tls.days_left > 1 else duration(max(0.0, tls.expires_at - now))
    yield f"Its certificate ends in {left}: after that, every request fails."


def _on_compression(found: Examination) -> Iterator[str]:
    body = found.compression
    if body is None or body.encoding is not None or body.gzipped is None or body.gzipped > SMALLER * body.size:
        return
    yield (
        f"It sends {size(body.size)} uncompressed although asked for gzip, which would leave {size(body.gzipped)}: "
        "if the server is yours, turn compression on."
    )


def _on_throughput(found: Examination, allowed: Allowance) -> Iterator[str]:
    """What the default number of sockets carries, where the server names no limit of its own."""
    answer, cost = found.answer, found.cost
    if answer is None or not answer.status < 400 or cost is None or not cost.answer:
        return
    if allowed.rate is not None or found.refused is not None:
        return
    each = cost.answer
    if found.reuse is not None and not found.reuse.over_used:
        each += cost.connection or 0.0
    if SOCKETS / each > OURS:
        yield "It names no limit, and is fast: say with --host-rate what it shall bear."
    else:
        yield (
            f"It names no limit, and at {duration(each)} an answer {SOCKETS} sockets (--host-connections) carry up to "
            f"{_rounded(SOCKETS / each)} requests a second: say with --host-rate what it shall bear."
        )


def _rounded(value: float) -> str:
    """Two digits: more would pretend to know."""
    if value < 10:
        return number(value)
    step = 10 ** (len(str(int(value))) - 2)
    return f"{round(value / step) * step:,}"


def _th(count: int) -> str:
    ending = "th" if 10 <= count % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{count}{ending}"
