"""Secrets stay out of text meant for people, and what is no secret stays in."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workerpool import Outcome, Request, StatusError
from workerpool.redact import HIDDEN, redact

SECRET = "Xyzzy42"


@pytest.mark.parametrize(
    "text",
    [
        f"http://user:{SECRET}@host.test/path",
        f"http://{SECRET}@host.test/",
        f"http://user:{SECRET}@[::1]:8080/",
        f"http://user:a@{SECRET}@host.test/",
        f"http://user:it's{SECRET}@host.test/",
        f"http://user:two {SECRET}@host.test/",
        f"http://user:{SECRET} of two@host.test/",
        f"no connection to http://user:{SECRET}@host.test:80",
        f"user:{SECRET}@host.test/path",
        f"no scheme in 'user:{SECRET}@[::1]:80/'",
        f"https://host.test/?token={SECRET}",
        f"https://host.test/?page=2&access_token={SECRET}#top",
        f"https://host.test/#access_token={SECRET}",
        f"https://host.test/?client_secret={SECRET}&x=1",
        f"https://host.test/?API_KEY={SECRET}",
        f"https://host.test/?password={SECRET}",
        f"https://host.test/?pwd={SECRET}",
        f"https://host.test/?X-Amz-Signature={SECRET}",
        f"https://host.test/?X-Amz-Security-Token={SECRET}",
        f"https://host.test/?sig={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"{{'Authorization': 'Basic {SECRET}'}}",
        f"proxy-authorization: Basic {SECRET}",
        f"Cookie: session={SECRET}; theme=dark",
        f"Set-Cookie: id={SECRET}; Path=/",
        f'"X-Api-Key": "{SECRET}"',
        f"the server did not like Bearer {SECRET}",
    ],
)
def test_a_secret_is_hidden_wherever_it_is_written(text: str) -> None:
    assert SECRET not in redact(text)
    assert HIDDEN in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://host.test/path?page=2&sort=name",
        "http://host.test/@handle/status",
        "at 10:30 somebody@host.test",
        "http://host.test:80 is away, says somebody@host.test",
        "a note: somebody@host.test",
        "http://host.test/?email=someone@example.test",
        "HTTP 503 Service Unavailable",
        "a plain sentence: with a colon, and 1 = 1",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text


@given(st.text())
def test_redacting_survives_any_text_and_twice_is_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#\\"), min_size=8))
def test_no_password_shows_in_a_url(password: str) -> None:
    assert password not in redact(f"http://user:{password}@host.test/")


def test_the_repr_of_a_request_and_of_its_outcome_shows_no_secret() -> None:
    request = Request(
        f"http://me:{SECRET}@host.test/?token={SECRET}",
        headers={"Authorization": f"Bearer {SECRET}", "Cookie": f"id={SECRET}"},
        auth=("me", SECRET),
        cookies={"id": SECRET},
    )
    assert SECRET not in repr(request)
    assert SECRET not in repr(Outcome(request))
    assert "host.test" in repr(request)


def test_an_error_keeps_its_key_attempts_and_status_when_it_is_pickled() -> None:
    error = pickle.loads(pickle.dumps(StatusError("HTTP 503", status=503, key="k", attempts=4)))
    assert (str(error), error.status, error.key, error.attempts) == ("HTTP 503", 503, "k", 4)
