"""Says where requests may go: by the URL before they are sent, and by the address when a connection is made.

Pure decisions, any thread: no look-ups, no sockets, no state. It judges the address that a name leads to and not the
name, since whoever owns a name decides where it leads, and may change that between a check and its use ("DNS
rebinding"). It knows what is public by the registries of addresses; it does not know that some public address (such as
a cloud's virtual one) is served by the local network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from workerpool.config import GuardRules
from workerpool.errors import Denied, OptionError
from workerpool.model import DEFAULT_PORTS, origin
from workerpool.redact import redact
from workerpool.transport.dns import Address

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that IANA gives out of IPv6 for the internet (RFC 4291, section 2.4, and IANA's IPv6 address space registry)."""

_NOT_PUBLIC = (
    ipaddress.IPv4Network("192.0.0.0/24"),  # IETF protocol assignments, RFC 6890
    ipaddress.IPv4Network("192.88.99.0/24"),  # 6to4 relays, deprecated by RFC 7526
    ipaddress.IPv6Network("2001::/23"),  # IETF protocol assignments, RFC 2928; Teredo, which hides an IPv4, is in it
    ipaddress.IPv6Network("3fff::/20"),  # documentation, RFC 9637
)
"""Networks of IANA's special-purpose registries, where Python says "global" before 3.11.10, or of parts of them.

3.11 also says so of multicast, of most that lies outside of 2000::/3 (the local NAT64 prefix 64:ff9b:1::/48, IPv4 in
::/96), and of 6to4 addresses, whatever IPv4 is in them; those are looked at below.
"""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are the IPv4 address that a translator connects to."""


class Guard:
    """The pool's rules about targets. With the default rules nothing is checked, and `is_open` says so."""

    def __init__(self, rules: GuardRules) -> None:
        self.rules = rules
        self.is_open = rules.allow_hosts is None and not rules.deny_private
        self.checks_addresses = rules.deny_private
        patterns = [_read_pattern(pattern) for pattern in rules.allow_hosts or ()]
        self._hosts = {(host, port) for host, port, is_wild in patterns if not is_wild}
        self._above = {(host, port) for host, port, is_wild in patterns if is_wild}

    def check_url(self, url: str) -> None:
        """Raise `Denied` unless `url` is http or https, and its host one of `allow_hosts`."""
        scheme = url.lstrip().partition(":")[0].lower()
        if scheme not in DEFAULT_PORTS:
            raise Denied(f"{_target(url)} is neither http nor https, and nothing else is sent: write https://…")
        if self.rules.allow_hosts is not None and not self._allows(url.lstrip(), scheme):
            raise Denied(
                f"{_target(url)} is not in allow_hosts: add its host there, if requests may go to it "
                "(as 'example.com', '*.example.com' or 'example.com:8443')"
            )

    def check_address(self, host: str, ip_text: str) -> None:
        """Raise `Denied` with `deny_private` if `ip_text`, where `host` leads to, is no public address."""
        if not self.rules.deny_private:
            return
        reason = reason_against(ip_text)
        if reason is not None:
            raise self._denied(host, f"{ip_text}, {reason}")

    def filter(self, host: str, addresses: Iterable[Address]) -> tuple[Address, ...]:
        """Return those of `addresses` that may be connected to; raise `Denied` if none of them may."""
        given = tuple(addresses)
        if not self.rules.deny_private:
            return given
        reasons = {address: reason_against(address.ip) for address in given}
        allowed = tuple(address for address in given if reasons[address] is None)
        if not allowed:
            found = "; ".join(f"{address.ip}, {reasons[address]}" for address in given)
            raise self._denied(host, found or "no address")
        return allowed

    def check_proxy(self, url: str, proxy: str | None) -> None:
        """Raise `Denied` with `deny_private` if `url` would be sent through a proxy that is not declared trusted."""
        if proxy and self.rules.deny_private and not self.rules.trust_proxy:
            raise Denied(
                f"{_target(url)} would go through the proxy {redact(proxy)}, which connects wherever it likes, so that "
                "deny_private would check nothing: say trust_proxy=True if the proxy keeps private addresses out itself"
            )

    def check_foreign(self, url: str) -> None:
        """Raise `Denied` if `url` may not be sent by an adapter that a user mounted, whose connections nobody sees."""
        if self.is_open:
            return
        self.check_url(url)
        if self.rules.deny_private and not self.rules.trust_proxy:
            raise Denied(
                f"{_target(url)} would be sent by an adapter of your own, whose connections deny_private cannot check: "
                "say trust_proxy=True if it keeps private addresses out itself"
            )

    def _allows(self, url: str, scheme: str) -> bool:
        try:
            parts = parse_url(url)
        except LocationParseError:
            return False
        host, port = _plain(parts.host or ""), parts.port or DEFAULT_PORTS[scheme]
        if (host, None) in self._hosts or (host, port) in self._hosts:
            return True
        return any((above, None) in self._above or (above, port) in self._above for above in _parents(host))

    @staticmethod
    def _denied(host: str, found: str) -> Denied:
        return Denied(
            f"{redact(host)} leads to {found}; deny_private allows public addresses only: "
            "leave it out if requests may go there"
        )


def reason_against(ip_text: str) -> str | None:
    """Say what kind of address it is, if it is none of a host on the public internet; None if it is one.

    The kinds are those of IANA's special-purpose address registries (RFC 6890). An IPv4 address inside of an IPv6 one
    is judged by itself. What cannot be read is refused.
    """
    try:
        ip = ipaddress.ip_address(ip_text)
    except ValueError:
        return "which is no address"
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        return "an address of one local link"
    inner = _inner(ip)
    kind = _kind(ip if inner is None else inner)
    if kind is None or inner is None:
        return kind
    return f"which holds {inner}, {kind}"


def _kind(ip: IPAddress) -> str | None:
    for name in ("unspecified", "loopback", "link_local", "multicast"):
        if getattr(ip, f"is_{name}"):
            return f"{'an' if name[0] == 'u' else 'a'} {name.replace('_', '-')} address"
    if any(ip in network for network in _NOT_PUBLIC if network.version == ip.version):
        return "a reserved address"
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _GLOBAL_UNICAST:
        return "a private or reserved address"
    return None if ip.is_global and not ip.is_reserved else "a private or reserved address"


def _inner(ip: IPAddress) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address where packets to `ip` end up, if it is of a kind that has one.

    Not read out, since they are refused whatever they hold: the deprecated IPv4-compatible ::/96, Teredo (2001::/32),
    and 64:ff9b:1::/48 (RFC 8215), where only the local translator knows which bits are the address.
    """
    if isinstance(ip, ipaddress.IPv4Address):
        return None
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour


def _read_pattern(pattern: str) -> tuple[str, int | None, bool]:
    """Take a pattern apart: host, port if it names one, and whether it means all below the host."""
    try:
        parts = parse_url("http://" + pattern.removeprefix("*."))
    except LocationParseError:
        parts = None
    host = _plain(parts.host or "") if parts else ""
    if parts is None or not host or parts.auth or parts.path or parts.query or parts.fragment:
        raise OptionError(f"allow_hosts: {pattern!r} is no host: write 'example.com', '*.example.com' or '[::1]:8443'")
    return host, parts.port, pattern.startswith("*.")


def _plain(host: str) -> str:
    """The host in one spelling. urllib3, which requests asks too, has turned other alphabets into ASCII (IDNA)."""
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host.strip("[]")))
        except ValueError:
            return host
    return host.lower().removesuffix(".")


def _parents(host: str) -> Iterator[str]:
    """Yield what a name is below of: for a.b.c, b.c and c."""
    while "." in host:
        host = host.partition(".")[2]
        yield host


def _target(url: str) -> str:
    return redact(origin(url.strip()))
