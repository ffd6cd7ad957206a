"""The words of `workerpool doctor`: its options, its help, and the check of what was said. No work is done here."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from workerpool.cli.connecting import add_connecting, proxy_of, verify_of
from workerpool.config import parse_duration
from workerpool.errors import OptionError
from workerpool.model import problem_of
from workerpool.redact import redact

_DESCRIPTION = """\
Send a server a handful of polite requests (20 at most, 4 a second) and say
whether it reuses connections and what ends them, what TLS it speaks, whether
it compresses, what a new connection costs, what its rate-limit headers mean,
and which settings that speaks for.
"""

_EPILOG = """\
Every request is a GET of URL, or of where it redirects to; HEAD if its body is
over 1 MB. A 429, or an error with Retry-After, ends the examination at once.

exit status:
  0 examined · 1 no answer · 2 bad usage · 5 the output could not be written
  130 interrupted, after saying what was found so far
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorSettings:
    """What `workerpool doctor` was told, checked. Durations are seconds; `verify` is as in `WorkerPool`."""

    url: str
    as_json: bool
    timeout: float
    patience: float
    verify: bool | str
    proxy: str | None


def add_doctor(commands: Any, formatter: Any) -> None:
    """Add the command to the parser's."""
    doctor = commands.add_parser(
        "doctor",
        usage="%(prog)s URL [options]",
        help="examine a server, and advise settings for it",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=formatter,
        allow_abbrev=False,
    )
    add = doctor.add_argument
    add("url", metavar="URL", help="what to ask for: http:// or https://")
    add("--json", action="store_true", help="write one JSON object in place of text")
    add("--timeout", metavar="S", default="30", help="seconds for each request; default: %(default)s")
    add(
        "--patience",
        metavar="S",
        default="10",
        help="seconds to leave a connection idle to see when the server closes it; 0: do not; default: %(default)s",
    )
    add_connecting(doctor)


def doctor_settings_of(said: argparse.Namespace) -> DoctorSettings:
    """Check what was said; raises `OptionError` naming the option, its value, and what would do."""
    url = said.url.strip()
    if problem := problem_of(url):
        raise OptionError(f"URL={redact(url)!r}: {problem}")
    return DoctorSettings(
        url=url,
        as_json=said.json,
        timeout=parse_duration(said.timeout, "--timeout"),
        patience=0.0 if said.patience.strip() == "0" else parse_duration(said.patience, "--patience"),
        verify=verify_of(said),
        proxy=proxy_of(said),
    )
