"""What requests say of who sends them: the contact, and the product token that robots.txt goes by."""

from __future__ import annotations

import pytest

from workerpool.agent import check_contact, product_token, user_agent, version
from workerpool.errors import OptionError


@pytest.mark.parametrize(
    "contact",
    ["https://example.com/bot", "http://example.com", "https://example.com:8443/?bot#why", "me@example.com"],
)
def test_a_page_or_an_address_is_a_contact(contact: str) -> None:
    assert check_contact(contact) == contact
    assert user_agent(contact) == f"workerpool/{version()} (+{contact})"


@pytest.mark.parametrize(
    "junk",
    [
        "", "me", "example.com", None, 3, True, "ftp://example.com/", "https://", "me@", "@example.com",
        "https://example.com/(bot)", "https://example.com/ x", "me@example.com\r\nX-Evil: 1", "mé@example.com",
    ],
)  # fmt: skip
def test_what_nobody_can_write_to_is_refused_with_what_would_do(junk: object) -> None:
    with pytest.raises(OptionError, match=r"^contact=.*'me@example\.com'"):
        check_contact(junk)


def test_a_contact_with_a_login_is_refused_without_repeating_it() -> None:
    with pytest.raises(OptionError) as refused:
        check_contact("https://me:hunter2@example.com/")
    assert "hunter2" not in str(refused.value)
    assert "example.com" in str(refused.value)


@pytest.mark.parametrize(
    ("agent", "token"),
    [
        ("MyBot/2.1 (+https://example.com)", "mybot"),
        ("workerpool/0.1.0 (+me@example.com)", "workerpool"),
        ("my-own_bot2", "my-own_bot2"),
        ("  Padded/1", "padded"),
        ("", ""),
        ("(compatible)", ""),
    ],
)
def test_the_product_token_is_what_a_user_agent_begins_with(agent: str, token: str) -> None:
    assert product_token(agent) == token
