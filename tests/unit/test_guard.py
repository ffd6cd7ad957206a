"""The guard lets requests go where the rules allow, judging URLs by their host and names by where they lead."""

from __future__ import annotations

import ipaddress
import random
import socket
from urllib.parse import urlsplit

import pytest
import requests

from workerpool.config import GuardRules
from workerpool.errors import Denied, OptionError
from workerpool.transport.dns import Address
from workerpool.transport.guard import Guard, reason_against

PRIVATE = Guard(GuardRules(deny_private=True))

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",  # either side of the carriers' 100.64.0.0/10
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.175.48.6",  # AS112: registered, and globally reachable
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "2000::1",
    "2001:200::1",  # the first after the protocol assignments
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.8",
    "192.0.0.170",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",  # IPv4-compatible
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:100.64.0.1",
    "::ffff:224.0.0.1",
    "::ffff:0:127.0.0.1",  # IPv4-translated, RFC 2765
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::192.0.0.8",
    "64:ff9b:1::10.0.0.1",
    "64:ff9b:1:a00:0:100::",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",  # Teredo
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::1",  # 6to4 with 127.0.0.1
    "2002:a00:1::1",
    "2002:a9fe:a9fe::1",
    "2002:e000:1::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2606:4700:4700::1111%eth0",
    "::ffff:8.8.8.8%eth0",
    "nonsense",
    "",
    "127.1",
]


def address(ip: str) -> Address:
    return Address(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ip", PUBLIC)
def test_a_public_address_passes(ip: str) -> None:
    assert reason_against(ip) is None
    PRIVATE.check_address("host.test", ip)


@pytest.mark.parametrize("ip", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_denied_and_named(ip: str) -> None:
    with pytest.raises(Denied, match="deny_private") as caught:
        PRIVATE.check_address("host.test", ip)
    assert "host.test" in str(caught.value)
    assert ip in str(caught.value)
    assert caught.value.reason == "denied"


@pytest.mark.parametrize(
    ("ip", "words"),
    [
        ("127.0.0.1", "a loopback address"),
        ("0.0.0.0", "an unspecified address"),
        ("169.254.169.254", "a link-local address"),
        ("ff02::1", "a multicast address"),
        ("10.0.0.1", "a private or reserved address"),
        ("fd00::1", "a private or reserved address"),
        ("::ffff:127.0.0.1", "which holds 127.0.0.1, a loopback address"),
        ("64:ff9b::a00:1", "which holds 10.0.0.1, a private or reserved address"),
        ("fe80::1%eth0", "an address of one local link"),
    ],
)
def test_the_reason_says_what_kind_of_address_it_is(ip: str, words: str) -> None:
    assert reason_against(ip) == words


def test_what_this_python_calls_private_is_never_allowed() -> None:
    choose = random.Random(6890)
    for _ in range(3000):
        ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv4Address(choose.getrandbits(32))
        if choose.random() < 0.5:
            ip = ipaddress.IPv6Address(choose.getrandbits(128) >> choose.choice([0, 0, 3, 90]))
        if reason_against(str(ip)) is None:
            assert ip.is_global, ip
            assert not ip.is_multicast, ip


@pytest.mark.parametrize("hidden", ["::ffff:{}", "64:ff9b::{}"])
def test_an_ipv4_address_in_an_ipv6_one_is_judged_as_by_itself(hidden: str) -> None:
    choose = random.Random(6052)
    plain = [ip for ip in PUBLIC + NOT_PUBLIC if ip.count(".") == 3 and ":" not in ip]
    for ip in plain + [str(ipaddress.IPv4Address(choose.getrandbits(32))) for _ in range(300)]:
        assert (reason_against(hidden.format(ip)) is None) == (reason_against(ip) is None), ip


def test_only_the_public_ones_of_a_names_addresses_are_left_in_their_order() -> None:
    given = [address(ip) for ip in ("10.0.0.1", "2606:4700::1", "127.0.0.1", "1.1.1.1")]
    assert PRIVATE.filter("host.test", given) == (given[1], given[3])


def test_a_name_that_leads_only_to_private_addresses_is_denied_and_all_are_named() -> None:
    with pytest.raises(Denied) as caught:
        PRIVATE.filter("host.test", [address("10.0.0.1"), address("::1")])
    assert str(caught.value) == (
        "host.test leads to 10.0.0.1, a private or reserved address; ::1, a loopback address; deny_private allows "
        "public addresses only: leave it out if requests may go there"
    )


def test_a_name_without_addresses_is_denied_rather_than_let_through() -> None:
    with pytest.raises(Denied):
        PRIVATE.filter("host.test", [])


def test_without_deny_private_every_address_may_be_connected_to() -> None:
    for rules in (GuardRules(), GuardRules(allow_hosts=("host.test",))):
        given = (address("10.0.0.1"), address("::1"))
        assert Guard(rules).filter("host.test", given) == given
        Guard(rules).check_address("host.test", "127.0.0.1")
        assert not Guard(rules).checks_addresses


# -- URLs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://a.test/", "HTTPS://a.test", "  http://a.test/", "https://a.test:8443/?b=c"])
@pytest.mark.parametrize("rules", [GuardRules(), GuardRules(deny_private=True), GuardRules(allow_hosts=("a.test",))])
def test_http_and_https_pass(url: str, rules: GuardRules) -> None:
    Guard(rules).check_url(url)


@pytest.mark.parametrize("url", ["ftp://a.test/", "file:///etc/passwd", "gopher://a.test", "a.test/x", "", "httpx://a"])
@pytest.mark.parametrize("rules", [GuardRules(), GuardRules(allow_hosts=("a.test",))])
def test_no_other_scheme_passes(url: str, rules: GuardRules) -> None:
    with pytest.raises(Denied, match="neither http nor https"):
        Guard(rules).check_url(url)


@pytest.mark.parametrize(
    ("pattern", "allowed", "denied"),
    [
        (
            "example.com",
            ["http://example.com", "https://EXAMPLE.com:8443/x", "http://example.com./", "http://me:pw@example.com/"],
            ["http://www.example.com", "http://example.com.evil.test", "http://xexample.com", "http://com"],
        ),
        ("Example.COM.", ["http://example.com/"], ["http://example.org/"]),
        (
            "*.example.com",
            ["http://www.example.com", "https://a.b.c.Example.com.", "http://www.example.com:81"],
            ["http://example.com", "http://badexample.com", "http://www.example.com.evil.test", "http://.com"],
        ),
        (
            "example.com:8443",
            ["https://example.com:8443/x"],
            ["https://example.com/", "http://example.com:84/", "https://www.example.com:8443"],
        ),
        ("example.com:443", ["https://example.com/", "http://example.com:443/"], ["http://example.com/"]),
        ("example.com:80", ["http://example.com/"], ["https://example.com/"]),
        ("*.example.com:81", ["http://www.example.com:81"], ["http://www.example.com", "http://example.com:81"]),
        ("[::1]", ["http://[::1]/", "http://[0:0::0001]:81/"], ["http://[::2]/", "http://[::1%25lo]/"]),
        ("[2001:DB8::1]:81", ["http://[2001:db8:0::1]:81/"], ["http://[2001:db8::1]/"]),
        ("127.0.0.1", ["http://127.0.0.1:81/"], ["http://127.0.0.2", "http://2130706433/", "http://[::ffff:7f00:1]/"]),
        ("bücher.example", ["http://BÜCHER.example/", "http://xn--bcher-kva.example/"], ["http://bucher.example/"]),
        ("*.xn--bcher-kva.example", ["http://www.bücher.example/"], ["http://bücher.example/"]),
        ("my_host", ["http://my_host/"], ["http://myhost/"]),
    ],
)
def test_a_host_is_allowed_by_its_pattern_only(pattern: str, allowed: list[str], denied: list[str]) -> None:
    guard = Guard(GuardRules(allow_hosts=(pattern, "other.test")))
    for url in [*allowed, "http://other.test"]:
        guard.check_url(url)
    for url in denied:
        with pytest.raises(Denied, match="allow_hosts"):
            guard.check_url(url)


def test_an_empty_list_of_hosts_allows_none() -> None:
    guard = Guard(GuardRules(allow_hosts=()))
    assert not guard.is_open
    with pytest.raises(Denied):
        guard.check_url("http://example.com/")


@pytest.mark.parametrize(
    "url", ["http:", "http://", "http:///x", "http://[::1", "http://a.test:99999/", "http://exa。com"]
)
def test_a_url_whose_host_cannot_be_read_is_denied_where_hosts_are_listed(url: str) -> None:
    with pytest.raises(Denied):
        Guard(GuardRules(allow_hosts=("a.test",))).check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://good.test\\@evil.test/",
        "http://good.test@evil.test/",
        "http://evil.test@good.test/",
        "http://good.test#@evil.test/",
        "http://good.test?@evil.test/",
        "http://good.test:80@evil.test/",
        "http://a@good.test@evil.test/",
        "http://good.test%2f@evil.test/",
        "http://good.test%00.evil.test/",
        "http://evil.test%23.good.test/",
        "http://evil.test\\.good.test/",
        "http:\\\\good.test/",
        "http:/\\good.test/",
        "http:good.test/",
        "http://good.test\t@evil.test/",
        "http://evil.test\n.good.test/",
        "http://good.test./",
        "http://GOOD.test/",
    ],
)
def test_the_host_that_is_judged_is_the_one_that_requests_connects_to(url: str) -> None:
    guard = Guard(GuardRules(allow_hosts=("good.test", "*.good.test")))
    try:
        prepared = str(requests.Request("GET", url).prepare().url)
    except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema):
        return  # nothing is sent
    host = (urlsplit(prepared).hostname or "").removesuffix(".")
    is_good = host == "good.test" or host.endswith(".good.test")
    for text in (url, prepared):
        if is_good:
            guard.check_url(text)
        else:
            with pytest.raises(Denied):
                guard.check_url(text)


def test_a_pattern_that_is_no_host_is_an_error_that_names_it() -> None:
    for pattern in ("exa。mple", "a?b", "a#b"):
        with pytest.raises(OptionError, match="allow_hosts"):
            Guard(GuardRules(allow_hosts=(pattern,)))


def test_with_no_rules_the_guard_says_that_it_is_open() -> None:
    assert Guard(GuardRules()).is_open
    assert not PRIVATE.is_open


# -- proxies and texts ------------------------------------------------------------------------------------------------


def test_a_proxy_is_denied_where_it_would_undo_deny_private() -> None:
    with pytest.raises(Denied, match="trust_proxy=True") as caught:
        PRIVATE.check_proxy("https://a.test/x", "http://me:secret@proxy.test:3128")
    assert "proxy.test:3128" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["", None])
def test_no_proxy_is_no_fault(proxy: str | None) -> None:
    PRIVATE.check_proxy("https://a.test/x", proxy)


@pytest.mark.parametrize("rules", [GuardRules(), GuardRules(deny_private=True, trust_proxy=True)])
def test_a_proxy_is_allowed_where_it_is_trusted_or_nothing_is_denied(rules: GuardRules) -> None:
    Guard(rules).check_proxy("https://a.test/x", "http://proxy.test:3128")


@pytest.mark.parametrize("url", ["http://me:secret@evil.test/?token=secret", "ftp://me:secret@evil.test/?token=secret"])
def test_an_error_names_the_target_and_no_secret(url: str) -> None:
    with pytest.raises(Denied, match=r"evil\.test") as caught:
        Guard(GuardRules(allow_hosts=("a.test",))).check_url(url)
    assert "secret" not in str(caught.value)
