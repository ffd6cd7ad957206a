"""What one robots.txt allows to one robot (RFC 9309). Values; told everything, they ask nobody. Any thread.

The group of lines that is for the robot is picked here, by the RFC's rule: the product token, whole and in any case,
all its groups together, or else those for ``*``. What its lines match is protego's work (the extra ``[crawl]``), which
reads some of them generously (``Disallow /x`` without a colon, frequent misspellings).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any, Protocol

from workerpool.agent import product_token
from workerpool.extras import load
from workerpool.redact import printable

LONGEST = 500 * 1024
"""Bytes of a robots.txt that are read: what the RFC demands at least (section 2.5)."""

LONGEST_DELAY = 3600.0
"""Seconds of Crawl-delay that are waited for. A host that asks for more between two requests wants none."""

_SHOWN = 80
"""Characters of a rule that an error repeats."""

_NAMED = 100
"""Rules, the longest ones, of which one may be named: to try each takes 30 µs, for every URL that is refused."""

_AGENT = re.compile(r"user[- ]?agent\s*[:\s]\s*(.*)", re.IGNORECASE)
_RULE = re.compile(r"(?:allow|dis{1,2}al{1,2}[ao]w|diasllow|crawl[- ]delay)\s*[:\s]", re.IGNORECASE)
_DELAY = re.compile(r"crawl", re.IGNORECASE)


class Rules(Protocol):
    """What may be fetched of a site.

    `delay`: seconds that the site wants between two requests, None if it does not say. `size`: about how many rules
    there are, for who keeps many.
    """

    delay: float | None
    size: int

    def objection(self, url: str) -> str | None:
        """Why `url` may not be fetched, as a clause such as ``'its rule "Disallow: /x"'``; None if it may be."""


class OpenRules:
    """Everything is allowed: there is no robots.txt."""

    delay: float | None = None
    size = 1

    def objection(self, url: str) -> str | None:
        return None


class ClosedRules:
    """Nothing is allowed, for one reason; `is_temporary`: later it may be otherwise."""

    delay: float | None = None
    size = 1

    def __init__(self, why: str, *, is_temporary: bool = False) -> None:
        self.why = why
        self.is_temporary = is_temporary

    def objection(self, url: str) -> str | None:
        return self.why


class ReadRules:
    """The rules of a robots.txt that was read."""

    def __init__(self, lines: list[str], delay: float | None) -> None:
        self.delay = delay
        self.size = max(1, len(lines))
        # The decisive rule is the longest that matches (section 2.2.2).
        self._refusals = sorted((line for line in lines if not line.startswith(("a", "A"))), key=len, reverse=True)
        self._parsed: Any = _parsed(lines) if self._refusals else None

    def objection(self, url: str) -> str | None:
        if self._parsed is None or self._parsed.can_fetch(url, "*"):
            return None
        for line in self._refusals[:_NAMED]:
            if not _alone(line).can_fetch(url, "*"):
                return f'its rule "{printable(line[:_SHOWN])}{"…" if len(line) > _SHOWN else ""}"'
        return "its rules"


def read_rules(content: bytes, token: str) -> Rules:
    """Make rules of a robots.txt's bytes, for the robot with this product token, in lower case.

    Whatever the bytes are: what is no rule says nothing. Of more than `LONGEST` bytes the whole lines before count.
    """
    if len(content) > LONGEST:
        # Of a rule cut short, what is left would forbid more than its site does.
        content = content[: max(content.rfind(b"\n", 0, LONGEST), content.rfind(b"\r", 0, LONGEST), 0)]
    lines = _group(content.decode("utf-8-sig", "replace").splitlines(), token)
    delays = [line for line in lines if _DELAY.match(line)]
    delay: float | None = _parsed(delays).crawl_delay("*") or None if delays else None
    if delay is not None and delay > LONGEST_DELAY:
        return ClosedRules(f"its Crawl-delay is {delay:,.0f} s, and at most {LONGEST_DELAY:,.0f} s are waited for")
    return ReadRules([line for line in lines if not _DELAY.match(line)], delay)


def _group(lines: Iterable[str], token: str) -> list[str]:
    """The rules for one robot: of all groups that name it, or else of those for all robots."""
    named: list[str] = []
    everyones: list[str] = []
    is_named = is_ours = is_everyones = has_rules = False
    for written in lines:
        line = written.partition("#")[0].strip()
        agent = _AGENT.match(line)
        if agent is not None:
            if has_rules:  # else one group begins with several of these lines
                is_ours = is_everyones = has_rules = False
            name = agent[1].split()[:1]
            is_everyones = is_everyones or name == ["*"]
            is_ours = is_ours or (bool(token) and bool(name) and product_token(name[0]) == token)
            is_named = is_named or is_ours
        elif _RULE.match(line):
            has_rules = True
            if is_ours:
                named.append(line)
            if is_everyones:
                everyones.append(line)
    return named if is_named else everyones


def _parsed(lines: Iterable[str]) -> Any:
    return load("protego", "crawl", "robots.txt").Protego.parse("\n".join(["User-agent: *", *lines]))


@functools.lru_cache(1024)
def _alone(line: str) -> Any:
    """One rule by itself, to tell which of them it was."""
    return _parsed([line])
