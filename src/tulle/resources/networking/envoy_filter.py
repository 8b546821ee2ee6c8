"""EnvoyFilter: changes to the configuration of Envoy itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Any

from pydantic import PlainValidator

from tulle.resources.networking import envoy_messages
from tulle.resources.networking.common import WorkloadSelector
from tulle.resources.scalars import NO_TEXTS, Port, Text, TextMap, UInt, choice, whole
from tulle.resources.spec import Problem, Spec, shown


class ApplyTo(Enum):
    INVALID = "INVALID"
    LISTENER = "LISTENER"
    FILTER_CHAIN = "FILTER_CHAIN"
    NETWORK_FILTER = "NETWORK_FILTER"
    HTTP_FILTER = "HTTP_FILTER"
    ROUTE_CONFIGURATION = "ROUTE_CONFIGURATION"
    VIRTUAL_HOST = "VIRTUAL_HOST"
    HTTP_ROUTE = "HTTP_ROUTE"
    CLUSTER = "CLUSTER"
    EXTENSION_CONFIG = "EXTENSION_CONFIG"
    BOOTSTRAP = "BOOTSTRAP"
    LISTENER_FILTER = "LISTENER_FILTER"


class PatchContext(Enum):
    ANY = "ANY"
    SIDECAR_INBOUND = "SIDECAR_INBOUND"
    SIDECAR_OUTBOUND = "SIDECAR_OUTBOUND"
    GATEWAY = "GATEWAY"
    WAYPOINT = "WAYPOINT"


class Operation(Enum):
    INVALID = "INVALID"
    MERGE = "MERGE"
    ADD = "ADD"
    REMOVE = "REMOVE"
    INSERT_BEFORE = "INSERT_BEFORE"
    INSERT_AFTER = "INSERT_AFTER"
    INSERT_FIRST = "INSERT_FIRST"
    REPLACE = "REPLACE"
    MERGE_AND_REPLACE_LIST = "MERGE_AND_REPLACE_LIST"


class FilterClass(Enum):
    UNSPECIFIED = "UNSPECIFIED"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


class RouteAction(Enum):
    ANY = "ANY"
    ROUTE = "ROUTE"
    REDIRECT = "REDIRECT"
    DIRECT_RESPONSE = "DIRECT_RESPONSE"


class SubFilter(Spec):
    name: Text | None = None


class FilterMatch(Spec):
    name: Text | None = None
    sub_filter: SubFilter = SubFilter.unsaid()


class FilterChainMatch(Spec):
    name: Text | None = None
    sni: Text | None = None
    transport_protocol: Text | None = None
    transport_socket: Text | None = None
    application_protocols: Text | None = None
    """A list with commas."""
    destination_port: Port | None = None
    filter: FilterMatch = FilterMatch.unsaid()


class ListenerMatch(Spec):
    name: Text | None = None
    port_number: UInt = 0
    port_name: Text | None = None
    listener_filter: Text | None = None
    filter_chain: FilterChainMatch = FilterChainMatch.unsaid()


class RouteMatch(Spec):
    name: Text | None = None
    action: Annotated[RouteAction, choice(RouteAction)] = RouteAction.ANY


class VirtualHostMatch(Spec):
    name: Text | None = None
    domain_name: Text | None = None
    route: RouteMatch = RouteMatch.unsaid()


class RouteConfigurationMatch(Spec):
    name: Text | None = None
    port_number: UInt = 0
    port_name: Text | None = None
    gateway: Text | None = None
    vhost: VirtualHostMatch = VirtualHostMatch.unsaid()


class ClusterMatch(Spec):
    name: Text | None = None
    port_number: UInt = 0
    service: Text | None = None
    subset: Text | None = None


class ProxyMatch(Spec):
    proxy_version: Text | None = None
    metadata: TextMap = NO_TEXTS

    def check(self) -> Iterable[Problem]:
        try:
            re.compile(self.proxy_version or "")
        except re.error as error:
            yield ("proxy_version",), f"must be a regular expression: {error}"


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"must be a mapping, not {shown(value)}")  # noqa: TRY004 - only a ValueError is a violation
    return value


AnyMapping = Annotated[dict[str, Any], PlainValidator(_mapping)]


class Match(Spec):
    at_most_one_of = (("listener", "route_configuration", "cluster", "waypoint"),)

    context: Annotated[PatchContext, choice(PatchContext)] = PatchContext.ANY
    proxy: ProxyMatch = ProxyMatch.unsaid()
    listener: ListenerMatch | None = None
    route_configuration: RouteConfigurationMatch | None = None
    cluster: ClusterMatch | None = None
    waypoint: AnyMapping | None = None


class PatchBody(Spec):
    operation: Annotated[Operation, choice(Operation)] = Operation.INVALID
    value: AnyMapping | None = None
    filter_class: Annotated[FilterClass, choice(FilterClass)] = FilterClass.UNSPECIFIED


_INSERTS = {Operation.INSERT_BEFORE, Operation.INSERT_AFTER, Operation.INSERT_FIRST}
_FILTERS = {ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_FILTER, ApplyTo.LISTENER_FILTER}
_MERGES = {Operation.MERGE, Operation.MERGE_AND_REPLACE_LIST}


def _allowed(apply_to: ApplyTo) -> set[Operation]:
    if apply_to is ApplyTo.ROUTE_CONFIGURATION or apply_to is ApplyTo.BOOTSTRAP:
        return _MERGES
    if apply_to is ApplyTo.EXTENSION_CONFIG:
        return {Operation.ADD}
    base = _MERGES | {Operation.ADD, Operation.REMOVE}
    if apply_to is ApplyTo.HTTP_ROUTE:
        return base | _INSERTS
    return base | _INSERTS | {Operation.REPLACE} if apply_to in _FILTERS else base


class ConfigPatch(Spec):
    apply_to: Annotated[ApplyTo, choice(ApplyTo)] = ApplyTo.INVALID
    match: Match = Match.unsaid()
    patch: PatchBody = PatchBody.unsaid()

    def check(self) -> Iterable[Problem]:
        operation, value = self.patch.operation, self.patch.value
        if self.apply_to is ApplyTo.INVALID:
            yield ("apply_to",), "required"
        elif operation is Operation.INVALID:
            yield ("patch", "operation"), "required"
        elif operation not in _allowed(self.apply_to):
            yield ("patch", "operation"), f"{operation.value} cannot be done to a {self.apply_to.value}"
        elif value is None and operation is not Operation.REMOVE:
            yield ("patch", "value"), "required"
        elif value is not None and operation is not Operation.REMOVE:
            yield from ((("patch", "value", *at), what) for at, what in envoy_messages.problems(self.apply_to.value, value))


class TargetRef(Spec):
    group: Text | None = None
    kind: Text | None = None
    name: Text | None = None
    namespace: Text | None = None


class EnvoyFilter(Spec):
    workload_selector: WorkloadSelector | None = None
    target_refs: tuple[TargetRef, ...] = ()
    config_patches: tuple[ConfigPatch, ...] = ()
    priority: Annotated[int, whole(-(2**31), 2**31 - 1)] = 0
