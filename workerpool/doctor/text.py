"""An examination as text for a terminal of 80 columns: no colours, no secrets. Pure functions, any thread."""

from __future__ import annotations

import time
from collections.abc import Iterator

from workerpool.doctor.findings import Answer, Compression, Cost, Examination, IdleLimit, Reuse, Tls
from workerpool.redact import printable, redact
from workerpool.wording import duration, plural, row, size, wrapped

AT_ONCE = 0.05
"""Seconds of being idle that are none."""
LITERAL = 0.0005
"""Seconds below which nothing was looked up: the host was an address, or remembered."""
_WHY = {
    "close": "it says Connection: close",
    "http10": "it speaks HTTP/1.0 without keep-alive",
    "silent": "it closes connections without a word",
}


def as_text(found: Examination) -> str:
    """Render what was found, and the advice, without secrets and without characters that could move a cursor."""
    lines = [*wrapped(_clean(found.url))]
    for label, text in _rows(found):
        lines += row(label, _clean(text))
    if found.advice:
        lines.append("advice")
    for sentence in found.advice:
        lines += wrapped(_clean(sentence), "  · ", "    ")
    return "\n".join(lines)


def _clean(text: str) -> str:
    return printable(redact(text))


def _rows(found: Examination) -> Iterator[tuple[str, str]]:
    if found.failure is not None:
        yield "no answer", found.failure.message
    if found.answer is not None:
        yield "answer", _answer(found.answer, found)
        if found.answer.redirects:
            yield "redirects", f"{' → '.join([*found.answer.redirects[1:], found.final_url])}"
    if found.proxy is not None:
        yield "through", _way(found.proxy, is_tunnel=found.final_url.startswith("https:"))
    if found.reuse is not None:
        yield "connections", _reuse(found.reuse)
    if found.idle is not None:
        yield "idle limit", _idle(found.idle)
    if found.cost is not None:
        yield "time", _cost(found.cost)
    if found.tls is not None:
        yield "TLS", _tls(found.tls)
        if found.tls.expires_at is not None and found.tls.days_left is not None:
            yield "certificate", _certificate(found.tls, found.tls.expires_at, found.tls.days_left)
    if found.compression is not None:
        yield "compression", _compression(found.compression)
    elif found.only_heads:
        yield "compression", "not looked at: the body is over 1 MB, so only HEAD was sent"
    if found.answer is not None:
        yield "rate limits", "no headers about them" if not found.rate_limits else _limit(found, 0)
        for place in range(1, len(found.rate_limits)):
            yield "", _limit(found, place)
    if found.stopped:
        yield "stopped early", found.stopped
    if found.interrupted:
        yield "interrupted", "this is what was found so far"
    if found.requests:
        connections = plural(found.connections, "connection")
        pace = ", at most 4 a second" if found.requests > 1 else ""
        yield "sent", f"{plural(found.requests, 'request')} over {connections} in {duration(found.elapsed)}{pace}"


def _answer(answer: Answer, found: Examination) -> str:
    text = f"{answer.status} {answer.phrase}".strip() + f", {answer.http}"
    if found.tls is not None and found.tls.protocol == "HTTP/2":
        text += "; HTTP/2 is offered, and not used"
    if found.alt_svc is not None and "h3" in found.alt_svc:
        text += "; HTTP/3 is offered too"
    return text


def _way(proxy: str, *, is_tunnel: bool) -> str:
    return f"a tunnel of the proxy {proxy}" if is_tunnel else f"the proxy {proxy}, whose connections these are"


def _reuse(reuse: Reuse) -> str:
    said = f"; Keep-Alive: max={reuse.requests_said}" if reuse.requests_said is not None else ""
    share = f"{reuse.over_used} of {plural(reuse.sends, 'request')}"
    if reuse.reused is None:
        return f"not known whether they are reused{said}"
    if not reuse.reused:
        return f"not reused: {_WHY.get(reuse.why or '', 'no used one was ready')}{said}"
    if reuse.why == "limit" and reuse.requests is not None:
        return f"reused for {share}; the server ends one after {plural(reuse.requests, 'request')}{said}"
    return f"reused for {share}; no limit of requests seen{said}"


def _idle(idle: IdleLimit) -> str:
    if idle.seconds is None:
        if idle.why_not is None:
            return f"none in the {duration(idle.waited)} that were waited"
        return f"{idle.why_not} after {duration(idle.waited)}" if idle.waited else f"not looked for: {idle.why_not}"
    if idle.source == "said":
        return f"{idle.seconds:g} s, as it says (Keep-Alive: timeout={idle.seconds:g})"
    if idle.seconds < AT_ONCE:
        return "none is kept: it was closed at once"
    return f"{duration(idle.seconds)}: then it closed an idle connection"


def _cost(cost: Cost) -> str:
    parts = []
    if cost.connection is not None:
        steps = [f"TCP {duration(cost.connect or 0.0)}"]
        if cost.tls is not None:
            steps.append(f"TLS {duration(cost.tls)}")
        if cost.tls_resumed is not None:
            steps.append(f"TLS resumed {duration(cost.tls_resumed)}")
        if cost.dns is not None and cost.dns > LITERAL:
            steps.append(f"finding the name {duration(cost.dns)} once")
        parts.append(f"a new connection costs {duration(cost.connection)} ({', '.join(steps)})")
    if cost.answer is not None:
        parts.append(f"an answer takes {duration(cost.answer)}")
    return "; ".join(parts)


def _tls(tls: Tls) -> str:
    seen = f"{tls.version}, {tls.cipher}" if tls.version else (tls.why_not or "")
    resumed = {True: "; sessions are resumed", False: "; sessions are not resumed", None: ""}[tls.resumed]
    return f"{seen}{resumed}"


def _certificate(tls: Tls, expires_at: float, days: int) -> str:
    until = time.strftime("%Y-%m-%d", time.gmtime(expires_at))
    text = f"until {until}" if days > 1_000 else f"until {until}, in {plural(days, 'day')}"
    return text + (f"; by {tls.issuer}" if tls.issuer else "")


def _compression(body: Compression) -> str:
    if body.encoding is not None:
        return f"{body.encoding}: {size(body.sent)} sent for {size(body.size)}"
    if body.gzipped is None:
        return f"none, and the body is small ({size(body.size)})"
    return f"none: {size(body.size)} sent; gzip would make that {size(body.gzipped)}"


def _limit(found: Examination, place: int) -> str:
    limit = found.rate_limits[place]
    return f"{limit.header}: {limit.value} ({limit.meaning})"
