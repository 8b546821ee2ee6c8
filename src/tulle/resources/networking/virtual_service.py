"""VirtualService: which destination a request or a connection goes to, and what is done to it on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator

from tulle.model.frozen import FrozenMap
from tulle.resources.names import ExportTarget, GatewayName, HostOrIp, LabelMap, ServerPattern, Subnet, matched_header
from tulle.resources.networking.common import Destination, PresenceMatch, StringMatch, export_problems, repeated
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
from tulle.resources.paths import camel
from tulle.resources.scalars import NO_TEXTS, AnyDuration, Flag, FloatPercent, Int32, Map, Percentage, Port, Text
from tulle.resources.spec import Problem, Spec, is_set, problem_error, shown

_NO_MATCHES: Mapping[str, PresenceMatch] = FrozenMap()


def _check_names(matches: Mapping[str, PresenceMatch]) -> Mapping[str, PresenceMatch]:
    if problems := [((name,), complaint) for name in matches if (complaint := matched_header(name))]:
        raise problem_error(problems)
    return FrozenMap(matches)


HeaderMatches = Annotated[Mapping[str, PresenceMatch], AfterValidator(_check_names)]


class HttpMatch(Spec):
    """All parts that are set must hold."""

    name: Text | None = None
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: HeaderMatches = _NO_MATCHES
    without_headers: HeaderMatches = _NO_MATCHES
    query_params: Map[PresenceMatch] = _NO_MATCHES
    ignore_uri_case: Flag = False
    port: Port | None = None
    source_labels: LabelMap = NO_TEXTS
    source_namespace: Text | None = None
    gateways: tuple[GatewayName, ...] = ()
    stat_prefix: Text | None = None


_HEAVIEST = 2**32 - 1


def weight_problems(weights: Sequence[int | None]) -> Iterator[Problem]:
    """Several destinations need some weight between them; a single one gets everything, whatever its weight."""
    if len(weights) > 1 and not any(weights):
        yield ("route",), "the weights must add up to more than 0"
    if sum(weight or 0 for weight in weights) > _HEAVIEST:
        yield ("route",), f"the weights must add up to at most {_HEAVIEST}"


class HttpDestination(WithHeaders):
    """One of the destinations among which requests are shared by weight."""

    destination: Destination
    weight: Int32 | None = None


class HttpRoute(WithHeaders):
    """A rule: applies when one of `match` holds, or always when there is none."""

    one_of = (("route", "redirect", "direct_response", "delegate"),)
    at_most_one_of = (("mirror", "mirrors"),)

    name: Text | None = None
    match: tuple[HttpMatch, ...] = ()
    route: tuple[HttpDestination, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: Rewrite | None = None
    timeout: AnyDuration | None = None
    """Zero is none, as for Envoy and the Gateway API."""
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

    @classmethod
    def shape(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        yield from super().shape(given)
        for action in ("redirect", "direct_response"):
            for name in ("fault", "rewrite"):
                if is_set(given, action) and is_set(given, name):
                    yield (name,), f"must not stand beside {camel(action)}"

    def check(self) -> Iterator[Problem]:
        return weight_problems([destination.weight for destination in self.route])

    def settled(self) -> Self:
        value = super().settled()
        if self.mirror_percent is None:
            return value
        percentage = self.mirror_percent if self.mirror_percentage is None else self.mirror_percentage
        return value.model_copy(update={"mirror_percentage": percentage, "mirror_percent": None})


class TcpDestination(Spec):
    destination: Destination
    weight: Int32 | None = None


def covers(pattern: str, host: str) -> bool:
    """Whether every name that `host` stands for is one that `pattern` stands for."""
    return pattern in ("*", host) or (pattern.startswith("*") and host.endswith(pattern[1:]))


class TlsMatch(Spec):
    some_of = ("sni_hosts",)

    sni_hosts: tuple[ServerPattern, ...]
    destination_subnets: tuple[Subnet, ...] = ()
    port: Port | None = None
    source_labels: LabelMap = NO_TEXTS
    source_namespace: Text | None = None
    gateways: tuple[GatewayName, ...] = ()


class TlsRoute(Spec):
    some_of = ("route",)

    match: tuple[TlsMatch, ...]
    route: tuple[TcpDestination, ...] = ()

    def check(self) -> Iterator[Problem]:
        if not self.match:
            yield ("match",), "must have at least one item"
        yield from weight_problems([destination.weight for destination in self.route])


class TcpMatch(Spec):
    destination_subnets: tuple[Subnet, ...] = ()
    port: Port | None = None
    source_labels: LabelMap = NO_TEXTS
    source_subnet: Subnet | None = None
    source_namespace: Text | None = None
    gateways: tuple[GatewayName, ...] = ()


class TcpRoute(Spec):
    some_of = ("route",)

    match: tuple[TcpMatch, ...] = ()
    route: tuple[TcpDestination, ...] = ()

    def check(self) -> Iterator[Problem]:
        return weight_problems([destination.weight for destination in self.route])


class VirtualService(Spec):
    """Without hosts it is a delegate: in force only where another VirtualService names it."""

    some_of = ("http", "tls", "tcp")

    hosts: tuple[HostOrIp, ...] = ()
    gateways: tuple[GatewayName, ...] = ()
    http: tuple[HttpRoute, ...] = ()
    tls: tuple[TlsRoute, ...] = ()
    tcp: tuple[TcpRoute, ...] = ()
    export_to: tuple[ExportTarget, ...] = ()

    @classmethod
    def shape(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        yield from super().shape(given)
        if not is_set(given, "hosts"):
            for name in ("gateways", "tls", "tcp"):
                if is_set(given, name):
                    yield (name,), "must not be set without hosts: a delegate has http rules only"

    def check(self) -> Iterator[Problem]:
        yield from repeated("hosts", self.hosts)
        yield from export_problems(self.export_to)
        if "*" in self.hosts and (not self.gateways or "mesh" in self.gateways):
            how = "take mesh out of gateways" if "mesh" in self.gateways else "name a gateway in gateways"
            yield ("hosts", self.hosts.index("*")), f'"*" is for gateways only: {how}, or name the hosts'
        for index, route in enumerate(self.tls):
            for number, match in enumerate(route.match):
                yield from ((("tls", index, "match", number, *place), what) for place, what in self._foreign_names(match))

    def _foreign_names(self, match: TlsMatch) -> Iterator[Problem]:
        for index, name in enumerate(match.sni_hosts):
            if not any(covers(host, name) for host in self.hosts):
                yield ("sni_hosts", index), f"{shown(name)} is none of the hosts of this VirtualService"
