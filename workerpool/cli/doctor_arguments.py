"""The words of `workerpool doctor`: its options, its help, and the check of what was said. No work is done here."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

from workerpool.cli.flags import add, said_of
from workerpool.errors import OptionError
from workerpool.model import problem_of
from workerpool.options import DOCTOR
from workerpool.proxies import ProxyList
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
    """What `workerpool doctor` was told, checked. `examiner`: what was said for the `Examiner`, by its arguments."""

    url: str
    as_json: bool
    examiner: dict[str, Any] = field(repr=False)


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
    doctor.add_argument("url", metavar="URL", help="what to ask for: http:// or https://")
    add(doctor, DOCTOR)
    doctor.set_defaults(settings_of=settings_of)


def settings_of(said: argparse.Namespace) -> DoctorSettings:
    """Check what was said; raises `OptionError` naming the option, its value, and what would do."""
    url = said.url.strip()
    if problem := problem_of(url):
        raise OptionError(f"URL={redact(url)!r}: {problem}")
    found = said_of(said, DOCTOR)
    if isinstance(found.get("proxies"), ProxyList):
        raise OptionError("--proxy is said more than once: a server is examined by one way")
    return DoctorSettings(url=url, as_json=found.pop("as_json", False), examiner=found)
