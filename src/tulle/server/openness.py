"""What an operator is to hear about ports that other machines can reach. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tulle.settings import Address, Settings


def warnings(of: Settings) -> Iterator[tuple[str, Address]]:
    """Each with the address that it is about."""
    if of.mutual_tls == "auto" and not of.mesh.mutual_tls:
        yield "mutual TLS is off: proxies on other machines would be sent their keys unencrypted", of.xds
    if not of.xds.is_loopback and not of.xds_is_tls:
        yield "whoever reaches the port for proxies is believed to be whom it says, and can read along", of.xds
    if not of.api.is_loopback and not of.api_is_tls:
        yield "requests to the API can be read along, with the tokens in them, unless TLS ends in front of it", of.api
    if of.consul_acl != "deny" and not of.api.is_loopback:
        yield "Consul's API lets everybody in who reaches it: --acl deny asks for tokens there, too", of.api
    if of.dns and not of.dns.is_loopback:
        yield "names of all services and machines are told to whoever reaches the port for DNS", of.dns
