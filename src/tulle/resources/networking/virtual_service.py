"""VirtualService: which destination a request or a connection goes to, and what is done to it on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from tulle.model.frozen import FrozenMap
from tulle.resources.names import ExportTarget, GatewayName, HostOrIp, LabelMap, Subnet, WildcardHost
from tulle.resources.networking.common import Destination, PresenceMatch, StringMatch
from tulle.resources.networking.http_actions import (
    CorsPolicy,
    Delegate,
    DirectResponse,
    Fault,
    Mirror,
    Redirect,
    Retry,
    Rewrite,
    WithHeaders,
)
from tulle.resources.scalars import NO_TEXTS, Duration, Flag, FloatPercent, Int32, Map, Percentage, Port, Text
from tulle.resources.spec import Spec

_NO_MATCHES: Mapping[str, PresenceMatch] = FrozenMap()


class HttpMatch(Spec):
    """All parts that are set must hold."""

    name: Text | None = None
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Map[PresenceMatch] = _NO_MATCHES
    without_headers: Map[PresenceMatch] = _NO_MATCHES
    query_params: Map[PresenceMatch] = _NO_MATCHES
    ignore_uri_case: Flag = False
    port: Port | None = None
    source_labels: LabelMap = NO_TEXTS
    source_namespace: Text | None = None
    gateways: tuple[GatewayName, ...] = ()
    stat_prefix: Text | None = None


class HttpDestination(WithHeaders):
    """One of the destinations among which requests are shared by weight."""

    destination: Destination
    weight: Int32 | None = None


class HttpRoute(WithHeaders):
    """A rule: applies when one of `match` holds, or always when there is none."""

    name: Text | None = None
    match: tuple[HttpMatch, ...] = ()
    route: tuple[HttpDestination, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: Rewrite | None = None
    timeout: Duration | None = None
    retries: Retry | None = None
    fault: Fault | None = None
    mirror: Destination | None = None
    mirrors: tuple[Mirror, ...] = ()
    mirror_percentage: Percentage | None = None
    mirror_percent: FloatPercent | None = None
    """The old spelling; folded into `mirror_percentage`."""
    cors_policy: CorsPolicy | None = None
    websocket_upgrade: Flag | None = None
    """Without effect: upgrades are always allowed."""

    def settled(self) -> Self:
        value = super().settled()
        if self.mirror_percent is None:
            return value
        percentage = self.mirror_percent if self.mirror_percentage is None else self.mirror_percentage
        return value.model_copy(update={"mirror_percentage": percentage, "mirror_percent": None})


class TcpDestination(Spec):
    destination: Destination
    weight: Int32 | None = None


class TlsMatch(Spec):
    sni_hosts: tuple[WildcardHost, ...]
    destination_subnets: tuple[Subnet, ...] = ()
    port: Port | None = None
    source_labels: LabelMap = NO_TEXTS
    source_namespace: Text | None = None
    gateways: tuple[GatewayName, ...] = ()


class TlsRoute(Spec):
    match: tuple[TlsMatch, ...]
    route: tuple[TcpDestination, ...] = ()


class TcpMatch(Spec):
    destination_subnets: tuple[Subnet, ...] = ()
    port: Port | None = None
    source_labels: LabelMap = NO_TEXTS
    source_subnet: Subnet | None = None
    source_namespace: Text | None = None
    gateways: tuple[GatewayName, ...] = ()


class TcpRoute(Spec):
    match: tuple[TcpMatch, ...] = ()
    route: tuple[TcpDestination, ...] = ()


class VirtualService(Spec):
    """Without hosts it is a delegate: in force only where another VirtualService names it."""

    hosts: tuple[HostOrIp, ...] = ()
    gateways: tuple[GatewayName, ...] = ()
    http: tuple[HttpRoute, ...] = ()
    tls: tuple[TlsRoute, ...] = ()
    tcp: tuple[TcpRoute, ...] = ()
    export_to: tuple[ExportTarget, ...] = ()
