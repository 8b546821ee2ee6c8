"""All rules of the mesh, arranged for look-up: who may use which, in which order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar, cast

from tulle.compile import names, tables
from tulle.compile.authorizers import authorizers
from tulle.compile.consul import entries as consul
from tulle.compile.consul.entries import NO_ENTRIES, Entries
from tulle.compile.consul.intentions import policies as intentions
from tulle.compile.consul.routing import steerings as consul_steerings
from tulle.compile.consul.tunings import tunings as consul_tunings
from tulle.compile.dressing import PLAIN, Dressing
from tulle.compile.gatewayapi import index as gateway_api
from tulle.compile.gatewayapi.index import Index
from tulle.compile.guards import NO_GUARDS, Guards, guards
from tulle.compile.kinds import Kinds, age
from tulle.compile.memo import Memo
from tulle.compile.policies import Tuning
from tulle.compile.rate_limits import NO_RATE_LIMITS, RateLimits, rate_limits
from tulle.compile.screens import NO_SCREENS, ScreenDocument, Screens, screens
from tulle.compile.steering import Steering, delegate_keys, steering
from tulle.compile.transcodings import NO_TRANSCODINGS, Transcodings, transcodings
from tulle.compile.walls import ROUTES, walls
from tulle.model.identity import selects
from tulle.model.mesh import MeshSettings
from tulle.model.resource import Key, Resource, Source
from tulle.resources import mesh_config
from tulle.resources.core_config_map import ConfigMap
from tulle.resources.networking.destination_rule import DestinationRule, Subset
from tulle.resources.networking.envoy_filter import EnvoyFilter
from tulle.resources.networking.gateway import Gateway
from tulle.resources.networking.sidecar import Sidecar
from tulle.resources.networking.virtual_service import VirtualService
from tulle.resources.security import AuthorizationPolicy, Firewall, Guard, RateLimit, Transcoding

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ByHost:
    """Steerings by host, each list from the oldest."""

    exact: Mapping[str, tuple[Steering, ...]]
    wild: tuple[tuple[str, tuple[Steering, ...]], ...]
    """From the most specific pattern."""

    def of(self, host: str) -> tuple[Steering, ...]:
        """Those that name this very host or pattern."""
        return self.exact.get(host) or next((found for pattern, found in self.wild if pattern == host), ())

    def candidates(self, host: str) -> Iterator[tuple[str, Steering]]:
        """All that speak for a host, from the most specific pattern, and for one pattern from the oldest."""
        yield from ((host, s) for s in self.exact.get(host, ()))
        for pattern, found in self.wild:
            if names.covers(pattern, host) and pattern != host:
                yield from ((pattern, s) for s in found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rules:
    """Equal by identity: the same object means that no rule changed."""

    root_namespace: str
    steerings: Mapping[Key, Steering]
    """By VirtualService, from the oldest."""
    mesh: ByHost
    by_gateway: Mapping[str, Mapping[Hashable, Steering]]
    """By the name of a Gateway or the id of a listener, each under a name that no other has."""
    tunings: Mapping[str, tuple[Tuning, ...]]
    """By namespace; from the most specific host, with selectors first, then from the oldest."""
    tunings_by_host: Mapping[tuple[str, str], tuple[Tuning, ...]] = field(default_factory=dict)
    wild_tunings: Mapping[str, tuple[Tuning, ...]] = field(default_factory=dict)
    sidecars: Mapping[str, tuple[Resource[Sidecar], ...]]
    first_sidecars: Mapping[tuple[str, tuple[tuple[str, str], ...]], Resource[Sidecar]]
    """By namespace and selector, the oldest."""
    gateways: tuple[Resource[Gateway], ...]
    gateways_by_name: Mapping[str, Resource[Gateway]]
    """By `namespace/name`."""
    delegates: frozenset[Key]
    """The VirtualServices that others delegate to."""
    envoy_filters: tuple[Resource[EnvoyFilter], ...] = ()
    """From the oldest."""
    selectors: tuple[Mapping[str, str], ...]
    """All label selectors on which a proxy's rules depend."""
    gateway_api: Index
    guards: Guards = NO_GUARDS
    rate_limits: RateLimits = NO_RATE_LIMITS
    screens: Screens = NO_SCREENS
    dressing: Dressing = PLAIN
    """What holds for all HTTP of the mesh."""
    transcodings: Transcodings = NO_TRANSCODINGS
    entries: Entries = NO_ENTRIES
    """Consul's."""
    chains: Mapping[str, Steering] = field(default_factory=dict)
    """What they come to, by the full name of a service."""

    def first_sidecar(self, namespace: str, spec: Sidecar) -> Resource[Sidecar] | None:
        """The oldest Sidecar of a namespace with the same selector."""
        return self.first_sidecars.get((namespace, _picked(spec)))

    def tuning(self, host: str, owner: str, client: str, labels: Mapping[str, str]) -> Tuning | None:
        """The policy that clients of a namespace use for a service: their own namespace's, the service's, the root namespace's."""
        for namespace in dict.fromkeys((client, owner, self.root_namespace)):
            if namespace in self.tunings:
                for tuning in self._candidates(namespace, host):
                    if _applies(tuning, namespace, client, labels):
                        return tuning
        return None

    def tunings_of(self, namespace: str, host: str) -> tuple[Tuning, ...]:
        """Those that a namespace has for this very host or pattern."""
        if names.is_wildcard(host):
            return tuple(t for t in self.wild_tunings.get(namespace, ()) if t.host == host)
        return self.tunings_by_host.get((namespace, host), ())

    def _candidates(self, namespace: str, host: str) -> Iterator[Tuning]:
        yield from self.tunings_by_host.get((namespace, host), ())
        for tuning in self.wild_tunings.get(namespace, ()):
            if names.covers(tuning.host, host):
                yield tuning


def _applies(tuning: Tuning, namespace: str, client: str, labels: Mapping[str, str]) -> bool:
    if tuning.selector is not None:
        return namespace == client and selects(tuning.selector, labels)
    return namespace == client or names.exported(tuning.export_to, namespace, client)


def _picked(spec: Sidecar) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(spec.workload_selector.labels.items())) if spec.workload_selector else ()


def arrange(kinds: Kinds, settings: MeshSettings, memo: Memo) -> Rules:
    domain = settings.domain
    virtual = kinds.of(VirtualService)
    handed = tables.each(memo, "delegates", virtual, lambda _, r: delegate_keys(r))
    steerings = _steerings(virtual, handed, domain, memo)
    tunings = _tunings(list(kinds.of(DestinationRule).values()), domain, memo)
    sidecars, gateways = tuple(kinds.of(Sidecar).values()), tuple(kinds.of(Gateway).values())
    index = gateway_api.arrange(kinds, domain, memo)
    entries = consul.collect(kinds, domain, memo)
    tunings = sorted([*tunings, *consul_tunings(entries, memo)], key=lambda t: (names.specificity(t.host), t.selector is None))
    return Rules(
        root_namespace=settings.root_namespace,
        steerings=steerings,
        mesh=_by_host(steerings, memo),
        by_gateway={**index.by_gateway, **tables.grouped(memo, "by gateway", cast("Mapping[Hashable, Steering]", steerings), _bound_to)},
        tunings=_grouped((t.key.namespace, t) for t in tunings),
        tunings_by_host=_grouped(((t.key.namespace, t.host), t) for t in tunings if not names.is_wildcard(t.host)),
        wild_tunings=_grouped((t.key.namespace, t) for t in tunings if names.is_wildcard(t.host)),
        sidecars=_grouped((r.key.namespace, r) for r in sidecars),
        first_sidecars={(r.key.namespace, _picked(r.spec)): r for r in reversed(sidecars)},
        gateways=tuple(sorted((*gateways, *index.gateways), key=age)),
        gateway_api=index,
        gateways_by_name={f"{g.key.namespace}/{g.key.name}": g for g in gateways},
        delegates=frozenset(key for keys in handed.values() for key in keys if key in virtual),
        envoy_filters=tuple(kinds.of(EnvoyFilter).values()),
        selectors=_selectors(tables.each(memo, "selectors", steerings, lambda _, s: tuple(_asked(s))), tunings),
        guards=_guards(kinds, entries, settings, memo),
        rate_limits=_rate_limits(kinds, settings, memo),
        screens=_screens(kinds, settings, memo),
        dressing=_dressing(kinds, settings, memo),
        transcodings=_transcodings(kinds, settings, memo),
        entries=entries,
        chains=consul_steerings(entries, memo),
    )


def _guards(kinds: Kinds, entries: Entries, settings: MeshSettings, memo: Memo) -> Guards:
    """The same object as before while no policy changes."""
    policies = tuple(kinds.of(AuthorizationPolicy).values())
    domain, root_namespace = settings.domain, settings.root_namespace
    if not policies and not entries.intentions:
        return NO_GUARDS
    said = _mesh_config(kinds, root_namespace)
    made_from = (policies, said, entries.intentions, settings)

    def make() -> Guards:
        intended = intentions(entries.intentions, settings.trust_domains[0], allow=settings.intended)
        return guards(policies, settings.trust_domains, root_namespace, authorizers(said, domain), intended)

    return memo.get(("guards",), made_from, make)


def _mesh_config(kinds: Kinds, root_namespace: str) -> mesh_config.MeshConfig:
    config = kinds.of(ConfigMap).get(Key(kind="ConfigMap", namespace=root_namespace, name=mesh_config.CONFIG_MAP))
    return mesh_config.found_in("ConfigMap", config.key.name, config.spec) if config else mesh_config.NOTHING


def _dressing(kinds: Kinds, settings: MeshSettings, memo: Memo) -> Dressing:
    """The same object as before while no Firewall changes, and no route that may have one."""
    level, documents = _mesh_config(kinds, settings.root_namespace).path_level, tuple(kinds.of(Firewall).values())
    routes = tuple(kinds.of(kind) for kind in ROUTES) if documents else ()
    return memo.get(("dressing",), (level, documents, routes), lambda: Dressing(level=level, walls=walls(documents, kinds)))


def _rate_limits(kinds: Kinds, settings: MeshSettings, memo: Memo) -> RateLimits:
    """The same object as before while no document changes."""
    documents = tuple(kinds.of(RateLimit).values())
    return memo.get(("rate limits",), (documents, settings), lambda: rate_limits(documents, settings.root_namespace))


def _screens(kinds: Kinds, settings: MeshSettings, memo: Memo) -> Screens:
    """The same object as before while no Guard and no Firewall changes."""
    documents: tuple[ScreenDocument, ...] = (*kinds.of(Guard).values(), *kinds.of(Firewall).values())
    return memo.get(("screens",), (documents, settings), lambda: screens(documents, settings.root_namespace))


def _transcodings(kinds: Kinds, settings: MeshSettings, memo: Memo) -> Transcodings:
    """The same object as before while no document changes."""
    documents = tuple(kinds.of(Transcoding).values())
    return memo.get(("transcodings",), (documents, settings), lambda: transcodings(documents, settings.root_namespace))


def _steerings(
    virtual: Mapping[Key, Resource[VirtualService]], handed: Mapping[Key, tuple[Key, ...]], domain: str, memo: Memo
) -> Mapping[Key, Steering]:
    """Those that delegate are made of other documents, too."""
    made_from: dict[Key, tuple[Resource[VirtualService] | None, ...]] = {}
    for key, keys in handed.items():
        if keys:
            made_from[key] = (virtual[key], *(virtual.get(other) for other in keys))
    alone = tables.each(
        memo,
        "steerings",
        virtual if not made_from else {k: r for k, r in virtual.items() if k not in made_from},
        lambda _, r: steering(r, {}, domain),
        (domain,),
    )
    if not made_from:
        return alone
    united = tables.each(memo, "steerings that delegate", made_from, lambda key, _: steering(virtual[key], virtual, domain), (domain,))
    return tables.union(memo, "steerings", {key: alone[key] if key in alone else united[key] for key in virtual})


def _bound_to(made: Steering) -> Iterator[str]:
    return (g for g in made.gateways if g != names.MESH)


K = TypeVar("K")


def _grouped(pairs: Iterable[tuple[K, T]]) -> Mapping[K, tuple[T, ...]]:
    found: defaultdict[K, list[T]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return {key: tuple(values) for key, values in found.items()}


def _by_host(steerings: Mapping[Key, Steering], memo: Memo) -> ByHost:
    groups = tables.grouped(memo, "by host", steerings, lambda s: s.hosts if names.MESH in s.gateways else ())
    found = tables.values(memo, "by host", groups)
    wild = sorted((h for h in found if names.is_wildcard(h)), key=names.specificity)
    exact = {h: s for h, s in found.items() if not names.is_wildcard(h)} if wild else found
    return ByHost(exact=exact, wild=tuple((h, found[h]) for h in wild))


def _tunings(documents: list[Resource[DestinationRule]], domain: str, memo: Memo) -> list[Tuning]:
    """DestinationRules of one namespace for one host and the same audience are one."""
    groups = _grouped((_audience(r, domain), r) for r in documents)
    made = [memo.get(("tuning", where), members, partial(_tuning, where[1], members)) for where, members in groups.items()]
    return sorted(made, key=lambda t: (names.specificity(t.host), t.selector is None))


def _audience(resource: Resource[DestinationRule], domain: str) -> tuple[str, str, tuple[str, ...], tuple[tuple[str, str], ...] | None]:
    spec, namespace = resource.spec, resource.key.namespace
    selector = spec.workload_selector
    labels = tuple(sorted(selector.match_labels.items())) if selector else None
    return (namespace, names.resolve(spec.host, namespace, domain), tuple(sorted(spec.export_to)), labels)


def _tuning(host: str, members: tuple[Resource[DestinationRule], ...]) -> Tuning:
    speaker = next((r for r in members if r.spec.traffic_policy), members[0])
    selector = members[0].spec.workload_selector
    subsets: dict[str, tuple[Subset, Source]] = {}
    overruled: dict[Key, list[tuple[Source, str]]] = {}
    for rule in members:
        if rule.spec.traffic_policy and rule is not speaker:
            why = f"not in force: DestinationRule {speaker.key.name} ({speaker.origin}) speaks for host {host}"
            overruled.setdefault(rule.key, []).append((rule.at("spec.trafficPolicy"), why))
        for i, subset in enumerate(rule.spec.subsets):
            place = rule.at(f"spec.subsets[{i}]")
            known = subsets.setdefault(subset.name, (subset, place))
            if known[1] is not place:
                why = f'not in force: subset "{subset.name}" of host {host} is defined at {known[1].origin} already'
                overruled.setdefault(rule.key, []).append((place, why))
    return Tuning(
        key=members[0].key,
        members=tuple(r.key for r in members),
        host=host,
        policy=speaker.spec.traffic_policy,
        policy_source=speaker.at("spec.trafficPolicy" if speaker.spec.traffic_policy else "spec"),
        overruled={key: tuple(found) for key, found in overruled.items()},
        subsets=dict(sorted(subsets.items())),
        export_to=members[0].spec.export_to,
        selector=selector.match_labels if selector else None,
    )


def _asked(made: Steering) -> Iterator[Mapping[str, str]]:
    """The labels of callers that a VirtualService's rules ask for."""
    yield from (c.spec.source_labels for rule in made.http for c in rule.conditions if c.spec and c.spec.source_labels)
    yield from (m.source_labels for rule in made.tcp for m in rule.spec.match if m.source_labels)


def _selectors(asked: Mapping[Key, tuple[Mapping[str, str], ...]], tunings: list[Tuning]) -> tuple[Mapping[str, str], ...]:
    conditions = [c for found in asked.values() for c in found]
    conditions += [t.selector for t in tunings if t.selector]
    distinct = {tuple(sorted(c.items())): c for c in conditions}
    return tuple(distinct[key] for key in sorted(distinct))
