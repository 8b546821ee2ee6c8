"""What a group of proxies can see. Proxies of one scope share their outbound configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tulle.compile import names
from tulle.compile.catalog import Backend, ServiceKey
from tulle.compile.credentials import Credentials, Keyring
from tulle.compile.logins import NO_LOGINS, Logins
from tulle.compile.memo import Memo
from tulle.compile.peers import Peers
from tulle.compile.policies import Tuning
from tulle.compile.rules import Rules
from tulle.compile.steering import Steering
from tulle.compile.tokens import NO_AUTHENTICATIONS, Authentications
from tulle.model.challenges import Challenge
from tulle.model.identity import Labels, selects
from tulle.model.mesh import MeshSettings
from tulle.model.proxy import Node, Role
from tulle.model.resource import Key, Resource
from tulle.resources.networking.sidecar import Egress as EgressItem
from tulle.resources.networking.sidecar import OutboundMode, Sidecar


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Structure:
    """All of the mesh but the endpoints that come and go. Equal by identity: the same object as long as only endpoints change."""

    settings: MeshSettings
    backends: Mapping[ServiceKey, Backend]
    rules: Rules
    credentials: Credentials = field(default_factory=dict)
    ground: object = field(default_factory=object)
    """Equal by identity: the same object as long as nothing but VirtualServices, routes of the Gateway API and endpoints change."""
    peers: Peers = field(default_factory=Peers)
    authentications: Authentications = NO_AUTHENTICATIONS
    no_firewall: str = ""
    """Why none can be in force; empty where one can, or nobody knows."""
    broken_firewalls: Mapping[str, str] = field(default_factory=dict)
    """Why some cannot be in force, by `namespace/name`."""
    logins: Logins = NO_LOGINS
    challenges: tuple[Challenge, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """The hosts of a Sidecar resource, each with the namespaces that it is taken from (`*`: any)."""

    exact: Mapping[str, frozenset[str]]
    wild: tuple[tuple[str, frozenset[str]], ...]

    def among(self, backends: Mapping[str, Backend]) -> Iterator[Backend]:
        """The services that it shows, by host."""
        candidates = (b for h in sorted(self.exact) if (b := backends.get(h))) if not self.wild else backends.values()
        return (b for b in candidates if self.shows(b.key.namespace, b.key.host))

    def shows(self, namespace: str, host: str) -> bool:
        if host in self.exact and _taken(self.exact[host], namespace):
            return True
        return any(names.covers(pattern, host) and _taken(spaces, namespace) for pattern, spaces in self.wild)

    def touches(self, namespace: str, host: str) -> bool:
        """Whether it shows some of the names that a host, perhaps a wildcard, stands for."""
        if self.shows(namespace, host):
            return True
        patterns = (*self.exact.items(), *self.wild) if names.is_wildcard(host) else ()
        return any(names.overlap(pattern, host) and _taken(spaces, namespace) for pattern, spaces in patterns)


def _taken(spaces: frozenset[str], namespace: str) -> bool:
    return "*" in spaces or namespace in spaces


class ScopeId(NamedTuple):
    """What tells scopes apart; stays the same from mesh to mesh."""

    role: Role
    namespace: str
    sidecar: Key | None
    facets: tuple[bool, ...]
    """Which of the label selectors in use pick the proxy."""
    labels: Labels | None
    """A gateway's, on which its listeners depend."""
    bind: str
    privileged: bool
    transparent: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scope:
    id: ScopeId
    structure: Structure
    namespace: str
    labels: Labels
    backends: Mapping[str, Backend]
    """By host: the services that are exported to the namespace, one for each host."""
    egress: Egress | None
    """What a Sidecar resource restricts visibility to; None where none does."""
    allow_any: bool
    sidecar: Resource[Sidecar] | None = None
    """The one that holds here."""
    _tunings: dict[str, Tuning | None] = field(default_factory=dict)

    @property
    def keyring(self) -> Keyring:
        return Keyring(credentials=self.structure.credentials, namespace=self.namespace)

    @property
    def domain(self) -> str:
        return self.structure.settings.domain

    def tuning(self, host: str) -> Tuning | None:
        """The DestinationRules that hold for a service of this scope."""
        if host not in self._tunings:
            backend = self.backends.get(host)
            owner = backend.key.namespace if backend else ""
            self._tunings[host] = self.structure.rules.tuning(host, owner, self.namespace, self.labels)
        return self._tunings[host]

    def listed(self) -> Iterator[Backend]:
        """The services that callers may name, by host."""
        if self.egress is None:
            return iter(self.backends.values())
        return self.egress.among(self.backends)

    def sees(self, steering: Steering) -> bool:
        """Whether a VirtualService is in force here."""
        if not steering.exported_to(self.namespace):
            return False
        return self.egress is None or any(self.egress.touches(steering.namespace, host) for host in steering.hosts)

    def steering(self, host: str) -> Steering | None:
        """What has a host of the mesh to itself: routes of the Gateway API that are for the service, else one VirtualService.

        Where there is neither, Consul's entries speak.
        """
        routed = self.structure.rules.gateway_api.for_service(host, self.namespace)
        if routed is not None and self.sees(routed):
            return routed
        rules = self.structure.rules
        return next((s for _, s in rules.mesh.candidates(host) if self.sees(s)), rules.chains.get(host))

    def footing(self, steering: Steering | None) -> tuple[object, ...]:
        """All that routes made from a VirtualService depend on, by identity."""
        if steering is None:
            return ()
        # A host that is not known may be short for one that is, which is then hinted at.
        found = ((self.backends.get(t) or self.backends.get(f"{t}.svc.{self.domain}"), self.tuning(t)) for t in steering.targets)
        return (steering, *found)


def scope_of(structure: Structure, node: Node, memo: Memo) -> Scope:
    """The scope of a node: the same object for all nodes of that scope while the structure stays."""
    rules = structure.rules
    sidecars = (rules.sidecars.get(node.namespace), rules.sidecars.get(rules.root_namespace))
    sidecar = memo.get(("sidecar of", node.id), (*sidecars, node), lambda: applicable(rules, node))
    which = memo.get(("scope of", node.id), (structure, node), lambda: _scope_id(structure, sidecar, node))
    return memo.get(("scope", which), (structure,), lambda: _scope(structure, which, sidecar, node, memo))


def _scope_id(structure: Structure, sidecar: Resource[Sidecar] | None, node: Node) -> ScopeId:
    gateway = node.role is Role.GATEWAY
    return ScopeId(
        role=node.role,
        namespace=node.namespace,
        sidecar=sidecar.key if sidecar else None,
        facets=tuple(selects(selector, node.labels) for selector in structure.rules.selectors),
        labels=node.labels if gateway else None,
        bind=node.bind if gateway else "",
        privileged=gateway and node.privileged_ports,
        transparent=gateway and node.transparent,
    )


def _scope(structure: Structure, which: ScopeId, sidecar: Resource[Sidecar] | None, node: Node, memo: Memo) -> Scope:
    return Scope(
        id=which,
        structure=structure,
        namespace=node.namespace,
        labels=node.labels,
        backends=memo.get(("exported", node.namespace), (structure.backends,), lambda: _exported(structure.backends, node.namespace)),
        egress=egress_of(sidecar.spec.egress, node.namespace) if sidecar else None,
        allow_any=_allow_any(structure.settings, sidecar),
        sidecar=sidecar,
    )


def applicable(rules: Rules, node: Node) -> Resource[Sidecar] | None:
    """With a matching selector, else the namespace's, else the root namespace's; the oldest of equals (BEHAVIOURS 25)."""
    if node.role is Role.GATEWAY:
        return None
    own = rules.sidecars.get(node.namespace, ())
    for resource in own:
        selector = resource.spec.workload_selector
        if selector and selector.labels and selects(selector.labels, node.labels):
            return resource
    return _default(own) or _default(rules.sidecars.get(rules.root_namespace, ()))


def _default(resources: tuple[Resource[Sidecar], ...]) -> Resource[Sidecar] | None:
    return next((r for r in resources if not (r.spec.workload_selector and r.spec.workload_selector.labels)), None)


def egress_of(items: Iterable[EgressItem], home: str) -> Egress | None:
    """What some items of a Sidecar of namespace `home` show; None where there are none."""
    items = tuple(items)
    if not items:
        return None
    found: dict[str, set[str]] = {}
    for namespace, _, host in (host.partition("/") for item in items for host in item.hosts):
        if namespace != "~":
            found.setdefault(host.lower(), set()).add(home if namespace == "." else namespace)
    return Egress(
        exact={host: frozenset(spaces) for host, spaces in found.items() if not names.is_wildcard(host)},
        wild=tuple((host, frozenset(spaces)) for host, spaces in sorted(found.items()) if names.is_wildcard(host)),
    )


def _allow_any(settings: MeshSettings, sidecar: Resource[Sidecar] | None) -> bool:
    policy = sidecar.spec.outbound_traffic_policy if sidecar else None
    return settings.allow_any if policy is None else policy.mode is OutboundMode.ALLOW_ANY


def _exported(backends: Mapping[ServiceKey, Backend], client: str) -> Mapping[str, Backend]:
    """For each host the client's own service, else that of the namespace in its name, else a core Service, else the oldest."""
    found: dict[str, Backend] = {}
    for backend in backends.values():
        if not names.exported(backend.service.export_to, backend.key.namespace, client):
            continue
        known = found.get(backend.key.host)
        if known is None or _preference(backend, client) < _preference(known, client):
            found[backend.key.host] = backend
    return dict(sorted(found.items()))


def _preference(backend: Backend, client: str) -> tuple[object, ...]:
    host, namespace = backend.key
    return (namespace != client, names.home(host) != namespace, backend.rank, namespace)
