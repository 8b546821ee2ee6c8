"""Whom a program of Tulle's asks because somebody else said so: a document that names a URL, a check that was registered.

Who may write such a thing makes this machine send a request, from inside of the network, and may be told what comes back. So nobody is
asked at the addresses under which clouds keep a machine's own credentials, whatever name leads there; and where the writers may be on
other machines, nobody on this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

IpAddress = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_CREDENTIALS = tuple(
    map(
        ip_network,
        (
            "169.254.0.0/16",  # of the link: AWS, Azure, Google Cloud, OpenStack and most others
            "fe80::/10",
            "fd00:ec2::/32",  # AWS
            "fd20:ce::/32",  # Google Cloud
            "100.100.100.200",  # Alibaba Cloud
            "168.63.129.16",  # Azure
            "192.0.0.192",  # Oracle Cloud
        ),
    )
)
_TRANSLATED = ip_network("64:ff9b::/96")
"""IPv4 addresses within IPv6 (RFC 6052)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Who may be asked; called with an address."""

    loopback: bool = True
    """This machine."""
    allowed: tuple[Network, ...] = ()
    """Whatever else is said."""

    def __call__(self, address: IpAddress) -> bool:
        meant = _meant(address)
        if any(meant in network for network in self.allowed):
            return True
        if meant.is_loopback or meant.is_unspecified:
            return self.loopback
        return not (meant.is_multicast or any(meant in network for network in _CREDENTIALS))


ANYWHERE = Reach()
"""Wherever no credentials lie."""


def _meant(address: IpAddress) -> IpAddress:
    """The address that connections lead to."""
    if isinstance(address, IPv4Address):
        return address
    if inner := address.ipv4_mapped or address.sixtofour:
        return inner
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _TRANSLATED else address
