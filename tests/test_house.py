"""What the other tests stand on: `require`, and an environment without the developer's proxies."""

from __future__ import annotations

import os

import pytest

import tests.conftest
from tests.conftest import require


def test_what_is_missing_skips_on_a_users_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tests.conftest, "IN_CI", False)
    with pytest.raises(pytest.skip.Exception, match="nginx is not installed"):
        require(None, "nginx is not installed")


def test_what_is_missing_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tests.conftest, "IN_CI", True)
    with pytest.raises(pytest.fail.Exception, match="nginx is not installed"):
        require(None, "nginx is not installed")


def test_no_proxy_and_no_foreign_certificates_reach_the_tests() -> None:
    assert not [name for name in os.environ if name.lower().endswith("_proxy") or name == "REQUESTS_CA_BUNDLE"]
