"""What became of each document, as far as it can be told without asking a proxy: problems are warnings that name a place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import cast

from tulle.compile import egress, http3, in_vain, names, protocols, proxy_start, served, services, tables, tls
from tulle.compile import security_statuses as security
from tulle.compile.catalog import ServiceKey
from tulle.compile.consul import entries as consul_entries
from tulle.compile.consul import statuses as consul
from tulle.compile.credentials import Keyring
from tulle.compile.findings import Found, warnings
from tulle.compile.gatewayapi import statuses as gateway_api
from tulle.compile.gatewayapi.attach import GATEWAY, Attachment
from tulle.compile.gatewayapi.documents import ROUTES, Route
from tulle.compile.kinds import Kinds
from tulle.compile.memo import Memo
from tulle.compile.patching import left_out
from tulle.compile.references import (
    claim_problems,
    destination_problems,
    gateway_problems,
    host_problems,
    left_out_on_sidecars,
    route_problems,
    unreached,
)
from tulle.compile.routes import target
from tulle.compile.rules import Rules
from tulle.compile.scope import Scope, Structure, scope_of
from tulle.compile.steering import Steering
from tulle.model.frozen import FrozenMap
from tulle.model.identity import NO_LABELS, selects
from tulle.model.proxy import Node, Role
from tulle.model.resource import Condition, Key, Resource, Status
from tulle.model.service import Protocol
from tulle.resources.core import KubernetesService, Transport
from tulle.resources.core_config_map import ConfigMap
from tulle.resources.core_secret import Secret
from tulle.resources.networking.common import Destination
from tulle.resources.networking.destination_rule import DestinationRule
from tulle.resources.networking.envoy_filter import ApplyTo, EnvoyFilter
from tulle.resources.networking.gateway import Gateway, Server
from tulle.resources.networking.proxy_config import ProxyConfig
from tulle.resources.networking.service_entry import ServiceEntry
from tulle.resources.networking.sidecar import Sidecar
from tulle.resources.networking.tls import ClientTls
from tulle.resources.networking.traffic_policy import PolicyBlocks, SimpleLb, TrafficPolicy
from tulle.resources.networking.virtual_service import VirtualService
from tulle.resources.networking.workload_entry import WorkloadEntry
from tulle.resources.networking.workload_group import WorkloadGroup
from tulle.resources.paths import camel
from tulle.resources.security import Certificate, Firewall
from tulle.resources.security.peer_authentication import MtlsMode
from tulle.resources.telemetry import Telemetry

_ACTIVE = (WorkloadEntry, Secret, Certificate)
_READ_ONLY = (WorkloadGroup, Telemetry)
_RULES = (DestinationRule, Gateway, ServiceEntry, KubernetesService, Sidecar, *security.KINDS, EnvoyFilter)
_RULING = (*_RULES, ConfigMap)
_GROUNDED = tuple(kind for kind in (*_RULING, *_ACTIVE, *_READ_ONLY) if kind is not Firewall)
"""Kinds on whose statuses routes have no bearing: they are looked at again only when something else than a route changed. A Firewall may
name routes, and its engine has a say of its own."""
_ACCEPTED = (Condition(type="Accepted", status=True, reason="Accepted"),)
_FINE = Status(conditions=_ACCEPTED)


def statuses(structure: Structure, kinds: Kinds, memo: Memo) -> Mapping[Key, Status]:
    """The status of each document, by its key."""
    made = [_grounded(structure, kinds, memo), _of_steerings(structure, memo), _of_routes(structure, memo)]
    configs = kinds.of(ProxyConfig)
    made.append({key: _warned(proxy_start.overruled(config, configs.values())) for key, config in configs.items()})
    rest = kinds.but(VirtualService, ProxyConfig, *ROUTES, *_GROUNDED)
    made.append({key: _status(structure, resource, memo) for group in rest for key, resource in group.items()})
    together: dict[Key, Status] = {}
    for table in made:
        together.update(table)
    return together


def _grounded(structure: Structure, kinds: Kinds, memo: Memo) -> Mapping[Key, Status]:
    """Of documents on which routes have no bearing."""
    own: dict[Key, Resource[object]] = {}
    for kind in _GROUNDED:
        own.update(kinds.of(kind))
    world = (structure.ground, structure.rules.gateways)
    return tables.each(memo, "statuses", own, lambda _, resource: _status(structure, resource, memo), world)


def _of_steerings(structure: Structure, memo: Memo) -> Mapping[Key, Status]:
    """Those that share a host with others depend on them, so they are looked at every time."""
    rules = structure.rules
    groups = (*rules.mesh.exact.values(), *(found for _, found in rules.mesh.wild))
    shared = {steering.key: steering for group in groups if len(group) > 1 for steering in group}
    alone = {key: steering for key, steering in rules.steerings.items() if key not in shared} if shared else rules.steerings

    def make(key: Key, steering: Steering) -> Status:
        return _of_steering(_seen_from(structure, key.namespace, memo), steering, memo)

    world = (structure.ground, rules.delegates, rules.gateway_api.by_service)
    made = tables.each(memo, "statuses of steerings", alone, make, world)
    return {**made, **{key: make(key, steering) for key, steering in shared.items()}}


def _of_routes(structure: Structure, memo: Memo) -> Mapping[Key, Status]:
    index = structure.rules.gateway_api
    found = {key: (route, index.attachments.get(key, ())) for key, route in index.documents.routes.items()}

    def make(key: Key, given: tuple[Resource[Route], tuple[Attachment, ...]]) -> Status:
        return gateway_api.of_route(_seen_from(structure, key.namespace, memo), index, *given, memo)

    return tables.each(memo, "statuses of routes", found, make, (structure.ground,))


def _status(structure: Structure, resource: Resource[object], memo: Memo) -> Status:
    spec, scope = resource.spec, _seen_from(structure, resource.key.namespace, memo)
    if (said := gateway_api.status(scope, resource)) is not None:
        return _with_http3(structure.rules, resource, said)
    if isinstance(spec, consul_entries.KINDS):
        return _warned(consul.found(scope, resource))
    if isinstance(spec, DestinationRule):
        return _of_destination_rule(scope, resource, spec, memo)
    if isinstance(spec, Gateway):
        return _warned(
            [
                *_gateway_found(structure.rules, resource, spec),
                *_credentials_found(structure, resource, spec),
                *http3.in_vain(structure.rules, resource.key),
            ],
        )
    if isinstance(spec, ServiceEntry):
        return _of_entry(structure, resource, spec, memo)
    if isinstance(spec, KubernetesService):
        return _of_service(resource)
    if isinstance(spec, Sidecar):
        return _warned(_sidecar_found(scope, resource, spec))
    if isinstance(spec, security.KINDS):
        return _warned(security.found(structure, resource))
    if isinstance(spec, EnvoyFilter):
        return _warned(_patches_found(resource, spec))
    return _FINE if isinstance(spec, _ACTIVE + _READ_ONLY) else _useless(resource)


def _useless(resource: Resource[object]) -> Status:
    why = f"nothing in the mesh makes use of {resource.api_version} {resource.key.kind}"
    return Status(conditions=(Condition(type="Accepted", status=False, reason="Invalid", message=why),))


def _seen_from(structure: Structure, namespace: str, memo: Memo) -> Scope:
    """The mesh as any sidecar of a namespace knows it."""
    return scope_of(structure, Node(id="", role=Role.SIDECAR, namespace=namespace), memo)


def _warned(found: Iterable[Found]) -> Status:
    """Accepted, with a warning for each thing found."""
    said = warnings(found)
    return Status(conditions=_ACCEPTED, warnings=said) if said else _FINE


def _of_steering(scope: Scope, steering: Steering, memo: Memo) -> Status:
    rules = scope.structure.rules
    known = tuple(g for name in sorted(steering.gateways) if (g := rules.gateways_by_name.get(name)))
    written = [names.resolve(h, steering.namespace, scope.domain) for h in steering.resource.spec.hosts]
    rivals = tuple((h, written.index(h), rules.mesh.of(h)) for h in steering.hosts) if names.MESH in steering.gateways else ()
    routed = tuple((h, i, found) for h, i, _ in rivals if (found := rules.gateway_api.for_service(h, steering.namespace)))
    idle = not steering.hosts and steering.key not in rules.delegates
    reach = in_vain.reach(scope, steering, known)

    def make() -> Status:
        found = [
            *steering.problems,
            *destination_problems(scope, steering),
            *gateway_problems(steering, known),
            *claim_problems(steering),
            *host_problems(steering, rivals),
            *route_problems(steering, routed),
            *left_out_on_sidecars(steering),
            *unreached(steering),
            *in_vain.rules(steering, reach),
        ]
        if idle:
            found.append(
                (steering.resource.at("spec"), "without hosts it is in force only where a VirtualService delegates to it, and none does")
            )
        return _warned(found)

    return memo.get(("status", steering.key), (*scope.footing(steering), known, rivals, routed, idle, reach), make)


def _of_destination_rule(scope: Scope, resource: Resource[object], spec: DestinationRule, memo: Memo) -> Status:
    host = names.resolve(spec.host, resource.key.namespace, scope.domain)
    keyring = scope.keyring
    credentials = keyring.behind(_named_credentials(spec))
    meant = [b for h, b in scope.backends.items() if names.covers(host, h)] if names.is_wildcard(host) else [scope.backends.get(host)]
    spoken = tuple(sorted({p for backend in meant if backend for p in backend.service.ports}, key=lambda p: p.key))
    ports = tuple(sorted({p.number for p in spoken}))
    known = any(meant)
    siblings = scope.structure.rules.tunings_of(resource.key.namespace, host)

    def make() -> Status:
        found: list[Found] = []
        if not known:
            found.append((resource.at("spec.host"), f"no service {host} is known in namespace {resource.key.namespace}"))
        for tuning in siblings:
            if resource.key in tuning.members:
                found += tuning.overruled.get(resource.key, ())
        found += _callers_found(keyring, resource, spec)
        found += _policy_found(resource, "spec.trafficPolicy", spec.traffic_policy, None)
        for i, subset in enumerate(spec.subsets):
            found += _policy_found(resource, f"spec.subsets[{i}].trafficPolicy", subset.traffic_policy, spec.traffic_policy)
        found += _ports_found(resource, spec, ports) if known else ()
        found += in_vain.settings(resource, spec, spoken)
        return _warned(found)

    return memo.get(("status", resource.key), (resource, known, spoken, siblings, credentials), make)


def _ports_found(resource: Resource[object], spec: DestinationRule, ports: tuple[int, ...]) -> Iterator[Found]:
    """Settings for ports that the host lacks."""
    for path, policy in _policies(spec):
        for i, own in enumerate(policy.port_level_settings):
            if own.port.number not in ports:
                has = ", ".join(map(str, ports)) or "none"
                where = resource.at(f"{path}.portLevelSettings[{i}].port.number")
                yield where, f"not in force: {spec.host} has no port {own.port.number} (its ports: {has})"


def _policies(spec: DestinationRule) -> Iterator[tuple[str, TrafficPolicy]]:
    """All policies with their places."""
    if spec.traffic_policy:
        yield "spec.trafficPolicy", spec.traffic_policy
    for i, subset in enumerate(spec.subsets):
        if subset.traffic_policy:
            yield f"spec.subsets[{i}].trafficPolicy", subset.traffic_policy


def _client_tls(spec: DestinationRule) -> Iterator[tuple[str, ClientTls]]:
    """All TLS settings with their places."""
    for path, policy in _policies(spec):
        blocks: list[tuple[str, PolicyBlocks]] = [(path, policy)]
        blocks += ((f"{path}.portLevelSettings[{i}]", own) for i, own in enumerate(policy.port_level_settings))
        yield from ((f"{place}.tls", own.tls) for place, own in blocks if own.tls)


def _named_credentials(spec: DestinationRule) -> tuple[str, ...]:
    return tuple(rule.credential_name for _, rule in _client_tls(spec) if rule.credential_name)


def _callers_found(keyring: Keyring, resource: Resource[object], spec: DestinationRule) -> Iterator[Found]:
    """Certificates that callers of the document's own namespace lack."""
    for place, rule in _client_tls(spec):
        found = tls.upstream(rule, keyring, (), "", http=True, http2=False)
        if isinstance(found, tls.Missing):
            yield resource.at(f"{place}.credentialName"), f"calls are refused until it is there: {found.why}"


_PASSTHROUGH = "PASSTHROUGH: callers that name the service get any of its endpoints; an address is dialled only where a caller names it"
_NO_OUTLIERS = "not in force: needs outlierDetection, which tells when to turn to endpoints that are farther"


def _policy_found(resource: Resource[object], place: str, policy: TrafficPolicy | None, base: TrafficPolicy | None) -> Iterator[Found]:
    if policy is None:
        return
    judged = policy.outlier_detection or (base and base.outlier_detection)
    yield from _blocks_found(resource, place, policy, judged=bool(judged))
    for i, own in enumerate(policy.port_level_settings):
        yield from _blocks_found(resource, f"{place}.portLevelSettings[{i}]", own, judged=bool(own.outlier_detection))


def _blocks_found(resource: Resource[object], path: str, blocks: PolicyBlocks, *, judged: bool) -> Iterator[Found]:
    balancer = blocks.load_balancer
    if balancer and balancer.simple is SimpleLb.PASSTHROUGH:
        yield resource.at(f"{path}.loadBalancer.simple"), _PASSTHROUGH
    locality = balancer.locality_lb_setting if balancer else None
    if locality and locality.enabled is not False and not locality.distribute and not judged:
        yield resource.at(f"{path}.loadBalancer.localityLbSetting"), _NO_OUTLIERS
    zones = balancer.zone_aware_lb_setting if balancer else None
    for name in ("failover", "failover_priority"):
        if zones and zones.enabled is not False and getattr(zones, name) and not judged:
            yield resource.at(f"{path}.loadBalancer.zoneAwareLbSetting.{camel(name)}"), _NO_OUTLIERS


def _gateway_found(rules: Rules, resource: Resource[object], spec: Gateway) -> Iterator[Found]:
    """Servers that another one on the same port keeps out, wherever both are picked by one proxy."""
    earlier: list[tuple[str, str, Server]] = []
    for other in rules.gateways:
        if other.key == resource.key:
            break
        if _together(other.spec.selector, spec.selector):
            earlier += (
                (f"Gateway {other.key.namespace}/{other.key.name}", str(other.at(f"spec.servers[{i}]").origin), s)
                for i, s in enumerate(other.spec.servers)
            )
    for index, server in enumerate(spec.servers):
        source = resource.at(f"spec.servers[{index}]")
        same = ((who, where, s) for who, where, s in earlier if (s.port.number, s.bind) == (server.port.number, server.bind))
        clash = next((f"left out: {why}, as {who} ({where}) has it" for who, where, s in same if (why := served.clash(s, server))), "")
        if clash:
            yield source, clash
        elif not served.unsupported(server, protocols.named(server.port.protocol) or Protocol.HTTP):
            earlier.append(("this Gateway", str(source.origin), server))


def _credentials_found(structure: Structure, resource: Resource[object], spec: Gateway) -> Iterator[Found]:
    """Certificates that are not there: as the usual gateway, that of the root namespace, looks for them."""
    home = resource.key.namespace
    keyring = Keyring(credentials=structure.credentials, namespace=structure.rules.root_namespace)
    for index, server in enumerate(spec.servers):
        if server.tls is None or server.tls.mode not in tls.ENDING:
            continue
        found = tls.downstream(server.tls, keyring, home, http=True)
        if isinstance(found, tls.Missing):
            yield resource.at(f"spec.servers[{index}].tls"), f"not served until it is there: {found.why}"


def _with_http3(rules: Rules, resource: Resource[object], said: Status) -> Status:
    found = tuple(http3.in_vain(rules, resource.key)) if resource.key.kind == GATEWAY else ()
    return replace(said, warnings=(*said.warnings, *_warned(found).warnings)) if found else said


def _together(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether each proxy that one selector picks is picked by the other, too."""
    return selects(one, other) or selects(other, one)


_LATE = "holds for proxies that are started from now on: those that run keep what they have"


def _patches_found(resource: Resource[object], spec: EnvoyFilter) -> Iterator[Found]:
    for i, patch in enumerate(spec.config_patches):
        source = resource.at(f"spec.configPatches[{i}]")
        if why := left_out(patch):
            yield source, f"not in force: {why}"
        elif patch.apply_to is ApplyTo.BOOTSTRAP:
            yield source, _LATE


def _of_entry(structure: Structure, resource: Resource[object], spec: ServiceEntry, memo: Memo) -> Status:
    """With the addresses that were allocated for its hosts, as Istio's status has them."""
    home, domain = resource.key.namespace, structure.settings.domain
    known = {h: structure.backends.get(ServiceKey(names.resolve(h, home, domain), home)) for h in spec.hosts}
    given = tuple((host, backend.service.allocated) for host, backend in known.items() if backend and backend.service.allocated)

    spoken = tuple(backend.service for backend in known.values() if backend)

    def make() -> Status:
        details = FrozenMap({"addresses": [{"host": host, "value": address} for host, address in given]} if given else {})
        return replace(_warned(services.overruled(cast("Resource[ServiceEntry]", resource), domain, spoken)), details=details)

    return memo.get(("status", resource.key), (resource, spoken), make)


def _of_service(resource: Resource[object]) -> Status:
    spec, found = resource.spec, list[Found]()
    if isinstance(spec, KubernetesService):
        found += (
            (resource.at(f"spec.ports[{i}]"), f"{p.protocol.value} is not in force: port {p.port} is left out")
            for i, p in enumerate(spec.ports)
            if p.protocol is Transport.SCTP
        )
    return _warned(found)


def _sidecar_found(scope: Scope, resource: Resource[object], spec: Sidecar) -> Iterator[Found]:
    policy = spec.outbound_traffic_policy
    if policy and policy.egress_proxy:
        said = policy.egress_proxy
        to = Destination(host=said.host, subset=said.subset, port=said.port)
        if why := target(scope, to, resource.key.namespace, said.port.number).why:
            yield resource.at("spec.outboundTrafficPolicy.egressProxy"), f"{why}: requests for unknown hosts are answered with 503"
    yield from _unended(scope.structure, resource, spec)
    for i, item in enumerate(spec.egress):
        if why := egress.barren(scope, item):
            yield resource.at(f"spec.egress[{i}].port"), why
    first = scope.structure.rules.first_sidecar(resource.key.namespace, spec)
    if first is not None and first.key != resource.key:
        yield resource.at("spec"), f"not in force: Sidecar {first.key.name} ({first.origin}) is for the same workloads, and older"


def _unended(structure: Structure, resource: Resource[object], spec: Sidecar) -> Iterator[Found]:
    """TLS that nobody gets to speak, as the workloads take the mesh's own only."""
    chosen = spec.workload_selector.labels if spec.workload_selector else NO_LABELS
    posture = structure.peers.posture(resource.key.namespace, chosen)
    for index, item in enumerate(spec.ingress):
        ruled = posture.port(item.port.number)
        if item.tls and item.tls.mode in tls.ENDING and ruled.mode is MtlsMode.STRICT:
            who = f"{ruled.source} ({ruled.source.origin})" if ruled.source else "the mesh"
            yield (
                resource.at(f"spec.ingress[{index}].tls"),
                f"not in force: {who} lets in nothing but the mesh's own TLS on port {item.port.number}",
            )
