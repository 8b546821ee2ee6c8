"""What a patch is for, as far as names tell."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from tulle.model.patches import Patch, PatchMatch

VIRTUAL = {"virtualInbound": "SIDECAR_INBOUND", "virtualOutbound": "SIDECAR_OUTBOUND"}
"""Istio's two listeners that stand for all. Here each port has one of its own."""


def in_context(patch: Patch, context: str) -> bool:
    return patch.context in ("ANY", context)


def context_of(name: str, *, gateway: bool) -> str:
    """That of a cluster or table of routes."""
    if gateway:
        return "GATEWAY"
    return "SIDECAR_INBOUND" if name.startswith("inbound|") else "SIDECAR_OUTBOUND"


def matches_cluster(match: PatchMatch, name: str, own: Collection[str]) -> bool:
    """`own`: the services that a sidecar's inbound clusters are for, as the names of those do not tell it."""
    if match.cluster and match.cluster != name:
        return False
    if not (match.cluster_port or match.service or match.subset):
        return True
    parts = name.split("|")
    if len(parts) != 4:
        return False
    direction, port, subset, host = parts
    if match.service and match.service not in (own if direction == "inbound" else (host,)):
        return False
    return (not match.cluster_port or port == str(match.cluster_port)) and (not match.subset or match.subset == subset)


class Server(NamedTuple):
    """A gateway's server: the name of its port, and `namespace/name` of the Gateway. Empty for what belongs to several."""

    name: str = ""
    gateway: str = ""


def server_of(name: str) -> Server:
    """Of a route table or filter chain: `https.443.PORT.GATEWAY.NAMESPACE`, where only the name of the Gateway may have dots."""
    parts = name.partition(">")[0].split(".")
    if len(parts) < 5 or parts[0] not in ("https", "tls") or not parts[1].isdecimal():
        return Server()
    return Server(parts[2], f"{parts[-1]}/{'.'.join(parts[3:-1])}")


def matches_table(match: PatchMatch, name: str) -> bool:
    if match.route_table and match.route_table != name:
        return False
    server = server_of(name)
    if match.route_port_name and match.route_port_name != server.name:
        return False
    return not match.route_gateway or match.route_gateway == server.gateway


def has_port(match: PatchMatch, name: str) -> bool:
    """Whether a table is for the port that is wanted, if one is. That of a sidecar's forward proxy is for all."""
    return not match.route_port or str(match.route_port) in name.replace("|", ".").replace("_", ".").split(".")


def ports_of(chain: str) -> set[int]:
    """The port that callers dial, where the name of a filter chain tells it."""
    direction, _, rest = chain.partition("|")
    port = rest.partition("|")[0].removesuffix("/udp")
    return {int(port)} if direction in ("inbound", "outbound") and port.isdecimal() else set()


def named_listener(match: PatchMatch, name: str, context: str) -> bool:
    return not match.listener or match.listener == name or VIRTUAL.get(match.listener) == context


def named_host(match: PatchMatch, name: str, domains: Collection[str], table: str) -> bool:
    if not has_port(match, table) and not name.endswith(f":{match.route_port}"):
        return False
    if match.virtual_host and match.virtual_host != name:
        return False
    return not match.domain or match.domain in domains
