"""What quotas are counted by: a function, a header, the registered domain."""

from __future__ import annotations

import subprocess
import sys

import pytest

from workerpool import domains
from workerpool.domains import registered_domain
from workerpool.errors import OptionError
from workerpool.keys import key_function
from workerpool.model import Request
from workerpool.options.reading import limit_by

URL = "https://api.example.com/"


def test_a_function_gives_the_key_or_none() -> None:
    key_of = key_function(lambda request: request.key)
    assert key_of(Request(URL, key="tenant 7")) == "tenant 7"
    assert key_of(Request(URL)) is None


def test_a_function_that_gives_something_else_is_told_so_without_its_value() -> None:
    key_of = key_function(lambda request: b"hunter2")  # type: ignore[arg-type, return-value]
    with pytest.raises(OptionError, match=r"limit_by gave bytes for <Request GET https://api.example.com/>") as refused:
        key_of(Request(URL))
    assert "hunter2" not in str(refused.value)


def test_a_header_is_found_in_any_case() -> None:
    key_of = key_function("X-Api-Key")
    one = key_of(Request(URL, headers={"x-api-key": "one"}))
    assert one is not None
    assert key_of(Request(URL, headers={"Accept": "*/*", "X-API-KEY": "one"})) == one
    assert key_of(Request(URL, headers={"X-Api-Key": "two"})) != one
    assert key_of(Request(URL, headers={"X-Api-Key": b"one"})) == one  # type: ignore[dict-item]


@pytest.mark.parametrize("headers", [None, {}, {"Accept": "*/*"}, {"X-Api-Key": None}])
def test_a_request_without_the_header_has_no_key(headers: dict[str, str] | None) -> None:
    assert key_function("X-Api-Key")(Request(URL, headers=headers)) is None


def test_a_headers_value_is_not_in_its_key_and_two_headers_have_different_keys() -> None:
    request = Request(URL, headers={"Authorization": "Bearer hunter2", "X-Tenant": "Bearer hunter2"})
    by_login, by_tenant = key_function("Authorization")(request), key_function("X-Tenant")(request)
    assert by_login is not None
    assert "hunter2" not in by_login
    assert by_login != by_tenant


def test_a_headers_key_is_the_same_in_another_process() -> None:
    script = (
        "from workerpool.keys import key_function; from workerpool.model import Request;"
        f"print(key_function('X-Api-Key')(Request({URL!r}, headers={{'X-Api-Key': 'secret'}})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == key_function("x-api-key")(Request(URL, headers={"X-Api-Key": "secret"}))


@pytest.mark.parametrize("junk", ["", "two words", "X:Y", "Kopfzeile\n", "Schlüssel"])
def test_what_is_no_headers_name_is_refused(junk: str) -> None:
    with pytest.raises(OptionError, match=r"limit_by=.*is no header's name"):
        key_function(junk)


@pytest.mark.parametrize("junk", [None, 3, ["X-Api-Key"]])
def test_what_is_neither_a_function_nor_a_header_is_refused(junk: object) -> None:
    with pytest.raises(OptionError, match=r"limit_by=.* or a function of a request"):
        key_function(junk)  # type: ignore[arg-type]


def test_the_registered_domain_is_a_function_that_is_ready_or_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_function(registered_domain)(Request(URL)) == "example.com"
    monkeypatch.setitem(sys.modules, "publicsuffixlist", None)
    domains._suffixes.cache_clear()
    with pytest.raises(OptionError, match=r"\[crawl\]"):
        key_function(registered_domain)


def test_the_command_line_names_the_domain_or_a_header() -> None:
    assert limit_by("domain", "--limit-by") is registered_domain
    assert limit_by("header:X-Api-Key", "--limit-by") == "X-Api-Key"


@pytest.mark.parametrize("junk", ["", "domains", "X-Api-Key", "header", "header:", "header:a b", "Header:X"])
def test_other_words_of_the_command_line_are_refused_with_what_would_do(junk: str) -> None:
    with pytest.raises(OptionError, match=r"--limit-by=.*write 'domain', or 'header:X-Api-Key'"):
        limit_by(junk, "--limit-by")
