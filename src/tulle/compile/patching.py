"""EnvoyFilters: which changes hold for a proxy, and in which order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from tulle.compile import names
from tulle.compile.catalog import ServiceKey
from tulle.compile.gatewayapi.attach import GATEWAY
from tulle.compile.kinds import age
from tulle.compile.mesh import Mesh
from tulle.compile.rules import Rules
from tulle.compile.served import picks
from tulle.model.identity import selects
from tulle.model.patches import Patch, PatchMatch, PatchSet
from tulle.model.proxy import Node, Role
from tulle.model.resource import Key, Resource
from tulle.resources.networking.envoy_filter import (
    ApplyTo,
    ConfigPatch,
    EnvoyFilter,
    ListenerMatch,
    Match,
    PatchContext,
    RouteConfigurationMatch,
    TargetRef,
)
from tulle.resources.paths import folded

ISTIO_VERSION = "1.32.0"
"""The version of Istio whose API this is: what `proxyVersion` is compared with."""
Filter = Resource[EnvoyFilter]
Others = frozenset[tuple[Key, int]]
"""Patches, by document and number."""


def patch_set(mesh: Mesh, node: Node) -> PatchSet | None:
    """The same object for all proxies of a kind that the same EnvoyFilters hold for."""
    rules = mesh.structure.rules
    if not rules.envoy_filters:
        return None
    gateway = node.role is Role.GATEWAY
    chosen = tuple(f for f in rules.envoy_filters if _holds(f, node, rules))
    if not chosen:
        return None
    keys = tuple(f.key for f in chosen)
    others = frozenset(where for f in chosen for where in _for_others(f, node))
    own = frozenset() if gateway else frozenset(host for f in chosen for host in _services(f) if _belongs(node, host, mesh))
    made_from = (*chosen, others, own)

    def make() -> PatchSet | None:
        found = _made(chosen, gateway, rules.root_namespace, others)
        return PatchSet(patches=found, gateway=gateway, services=own) if found else None

    return mesh.memo.get(("patches", keys, gateway, others, own), made_from, make)


def _services(resource: Filter) -> Iterator[str]:
    """Those that patches of clusters name."""
    clusters = (spec.match.cluster for spec in resource.spec.config_patches)
    return (cluster.service.lower() for cluster in clusters if cluster and cluster.service)


def _belongs(node: Node, host: str, mesh: Mesh) -> bool:
    """Whether the workload beside a proxy is an instance of a service."""
    if node.service and host == names.resolve(node.service, node.namespace, mesh.settings.domain):
        return True
    declared = mesh.catalog.documents.get(ServiceKey(host, node.namespace), ())
    return any(definition.selector and selects(definition.selector, node.labels) for definition in declared)


def _holds(resource: Filter, node: Node, rules: Rules) -> bool:
    if resource.spec.target_refs:
        return node.role is Role.GATEWAY and any(_is_of(node, ref, resource, rules) for ref in resource.spec.target_refs)
    return _is_for(resource, node, rules.root_namespace)


def bootstrap_patches(resources: Iterable[Resource[object]], root_namespace: str, node: Node) -> tuple[Patch, ...]:
    """The changes to what a proxy starts with, in order. Of the node only what is known before it starts counts."""
    found = [cast("Filter", r) for r in resources if isinstance(r.spec, EnvoyFilter)]
    chosen = [r for r in found if not r.spec.target_refs and _is_for(r, node, root_namespace)]
    others = frozenset(where for r in chosen for where in _for_others(r, node))
    ordered = sorted(chosen, key=lambda r: _order(r, root_namespace))
    gateway = node.role is Role.GATEWAY
    patches = (patch for r in ordered for patch in _patches(r, others, bootstrap=True))
    return tuple(patch for patch in patches if _meant(patch, gateway))


def _is_for(resource: Filter, node: Node, root_namespace: str) -> bool:
    selector = resource.spec.workload_selector
    if resource.key.namespace not in (node.namespace, root_namespace):
        return False
    return selector is None or selects(selector.labels, node.labels)


def _order(resource: Filter, root_namespace: str) -> tuple[object, ...]:
    """By priority, then those of the root namespace, then from the oldest."""
    return (resource.spec.priority, resource.key.namespace != root_namespace, age(resource))


def _is_of(node: Node, ref: TargetRef, resource: Filter, rules: Rules) -> bool:
    """Whether a gateway proxy serves the Gateway that is named, which is one of the document's own namespace."""
    if f"{ref.kind}.{ref.group}" != GATEWAY or (ref.namespace or resource.key.namespace) != resource.key.namespace:
        return False
    where = (GATEWAY, resource.key.namespace, ref.name)
    return any((g.key.kind, g.key.namespace, g.key.name) == where and picks(g, node.labels) for g in rules.gateways)


def metadata(node: Node) -> Mapping[str, str]:
    """What a proxy has of Istio's node metadata: as far as it is text."""
    return {
        "NAME": node.id,
        "NAMESPACE": node.namespace,
        "SERVICE_ACCOUNT": node.service_account,
        "WORKLOAD_NAME": node.service,
        "INSTANCE_IPS": node.ip,
        "ISTIO_VERSION": ISTIO_VERSION,
    }


def _for_others(resource: Filter, node: Node) -> Iterator[tuple[Key, int]]:
    """The patches that are for proxies with other metadata."""
    for index, spec in enumerate(resource.spec.config_patches):
        wanted = spec.match.proxy.metadata
        if wanted and not wanted.items() <= metadata(node).items():
            yield resource.key, index


def _made(chosen: tuple[Filter, ...], gateway: bool, root_namespace: str, others: Others) -> tuple[Patch, ...]:
    ordered = sorted(chosen, key=lambda f: _order(f, root_namespace))
    return tuple(patch for resource in ordered for patch in _patches(resource, others) if _meant(patch, gateway))


def _meant(patch: Patch, gateway: bool) -> bool:
    if patch.context == "ANY":
        return True
    return (patch.context == "GATEWAY") == gateway


def _patches(resource: Filter, others: Others, *, bootstrap: bool = False) -> Iterator[Patch]:
    for index, spec in enumerate(resource.spec.config_patches):
        wanted = bootstrap == (spec.apply_to is ApplyTo.BOOTSTRAP)
        if wanted and not left_out(spec) and (resource.key, index) not in others:
            value = spec.patch.value
            yield Patch(
                apply_to=spec.apply_to.value,
                operation=spec.patch.operation.value,
                context=spec.match.context.value,
                match=_match(spec.match),
                filter_class=spec.patch.filter_class.value,
                value="" if value is None else json.dumps(value, sort_keys=True),
                source=resource.at(f"spec.configPatches[{index}]"),
            )


def left_out(spec: ConfigPatch) -> str:
    """Why a patch is not made anywhere; empty where it may be."""
    match = spec.match
    if spec.apply_to is ApplyTo.BOOTSTRAP and (own := _of_the_agent(spec.patch.value or {})):
        return f"{own} is the agent's own, which leads the proxy by it"
    if match.context is PatchContext.WAYPOINT:
        return "there are no waypoints"
    if unknown := sorted(match.proxy.metadata.keys() - metadata(_ANY).keys()):
        return f"proxies have no metadata {unknown[0]}; they have {', '.join(metadata(_ANY))}"
    version = match.proxy.proxy_version
    if version and not re.search(version, ISTIO_VERSION):
        return f"it is for proxies of other versions than {ISTIO_VERSION}"
    listener, routes = match.listener, match.route_configuration
    named = (listener and listener.port_name) or (routes and (routes.port_name or routes.gateway))
    if named and match.context not in (PatchContext.GATEWAY, PatchContext.ANY):
        return "only gateways' servers that end TLS are told apart by portName or gateway"
    return ""


_AGENTS_OWN = frozenset({"admin", "dynamicresources", "node.id", "node.cluster", "node.metadata.tulle"})


def _of_the_agent(value: Mapping[str, Any], path: str = "") -> str:
    """The first part of a bootstrap that nobody but the agent may set."""
    for name, inner in value.items():
        place = f"{path}{folded(name)}"
        if place in _AGENTS_OWN:
            return f"{path}{name}"
        if isinstance(inner, Mapping) and (own := _of_the_agent(inner, f"{place}.")):
            return own
    return ""


_ANY = Node(id="", role=Role.SIDECAR)


def _match(match: Match) -> PatchMatch:
    cluster = match.cluster
    if match.listener:
        return _of_listener(match.listener)
    if match.route_configuration:
        return _of_routes(match.route_configuration)
    if cluster:
        return PatchMatch(
            cluster=cluster.name or "",
            cluster_port=cluster.port_number,
            service=(cluster.service or "").lower(),
            subset=cluster.subset or "",
        )
    return PatchMatch()


def _of_listener(match: ListenerMatch) -> PatchMatch:
    chain = match.filter_chain
    return PatchMatch(
        listener=match.name or "",
        listener_port=match.port_number,
        listener_port_name=match.port_name or "",
        transport_socket=chain.transport_socket or "",
        listener_filter=match.listener_filter or "",
        chain=chain.name or "",
        sni=chain.sni or "",
        transport_protocol=chain.transport_protocol or "",
        application_protocols=tuple(p.strip() for p in (chain.application_protocols or "").split(",") if p.strip()),
        destination_port=chain.destination_port or 0,
        filter=chain.filter.name or "",
        sub_filter=chain.filter.sub_filter.name or "",
    )


def _of_routes(match: RouteConfigurationMatch) -> PatchMatch:
    host = match.vhost
    return PatchMatch(
        route_table=match.name or "",
        route_port=match.port_number,
        route_port_name=match.port_name or "",
        route_gateway=match.gateway or "",
        virtual_host=host.name or "",
        domain=(host.domain_name or "").lower(),
        route=host.route.name or "",
        route_action=host.route.action.value,
    )
