"""Changes that a user makes to the data plane's own configuration (Istio's EnvoyFilter)."""

from __future__ import annotations

from dataclasses import dataclass

from tulle.model.resource import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchMatch:
    """What a patch is for. What is empty or 0 matches everything."""

    listener: str = ""
    listener_port: int = 0
    listener_port_name: str = ""
    """Of a gateway's server that ends TLS."""
    listener_filter: str = ""
    chain: str = ""
    sni: str = ""
    transport_protocol: str = ""
    transport_socket: str = ""
    application_protocols: tuple[str, ...] = ()
    destination_port: int = 0
    filter: str = ""
    sub_filter: str = ""
    route_table: str = ""
    route_port: int = 0
    route_port_name: str = ""
    route_gateway: str = ""
    """`namespace/name` of the Gateway whose server has the table to itself."""
    virtual_host: str = ""
    domain: str = ""
    route: str = ""
    route_action: str = "ANY"
    """ANY, ROUTE, REDIRECT or DIRECT_RESPONSE."""
    cluster: str = ""
    cluster_port: int = 0
    service: str = ""
    subset: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One change. `apply_to`, `operation`, `context` and `filter_class` are Istio's words."""

    apply_to: str
    operation: str
    context: str = "ANY"
    match: PatchMatch = PatchMatch()
    filter_class: str = "UNSPECIFIED"
    value: str = ""
    """The message, or the part of one, as JSON; empty for removals."""
    source: Source


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchSet:
    """The changes for some proxies, in order. Equal by identity: the same object means that nothing in it changed."""

    patches: tuple[Patch, ...]
    gateway: bool = False
    """For gateways; else for sidecars."""
    services: frozenset[str] = frozenset()
    """Of the services that patches name those whose instances the proxies stand beside: the ones that their inbound clusters are for."""
