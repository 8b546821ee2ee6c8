"""All rules of the mesh, arranged for look-up: who may use which, in which order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar, cast

from tulle.compile import names
from tulle.compile.authorizers import authorizers
from tulle.compile.gatewayapi import index as gateway_api
from tulle.compile.gatewayapi.index import Index
from tulle.compile.guards import NO_GUARDS, Guards, guards
from tulle.compile.memo import Memo
from tulle.compile.policies import Tuning
from tulle.compile.steering import Steering, age, delegates_of, steering
from tulle.model.identity import selects
from tulle.model.resource import Key, Resource, Source
from tulle.resources import mesh_config
from tulle.resources.networking.destination_rule import DestinationRule, Subset
from tulle.resources.networking.envoy_filter import EnvoyFilter
from tulle.resources.networking.gateway import Gateway
from tulle.resources.networking.sidecar import Sidecar
from tulle.resources.networking.virtual_service import VirtualService
from tulle.resources.security import AuthorizationPolicy

S = TypeVar("S")
T = TypeVar("T")
Documents = Mapping[Key, Resource[object]]


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
    steerings: tuple[Steering, ...]
    """From the oldest."""
    mesh: ByHost
    by_gateway: Mapping[str, tuple[Steering, ...]]
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


def of_kind(documents: Documents, spec: type[S]) -> list[Resource[S]]:
    """The resources of one kind, from the oldest."""
    return cast("list[Resource[S]]", sorted((r for r in documents.values() if isinstance(r.spec, spec)), key=age))


def arrange(documents: Documents, domain: str, root_namespace: str, memo: Memo) -> Rules:
    virtual = of_kind(documents, VirtualService)
    by_key = {r.key: r for r in virtual}
    steerings = tuple(
        memo.get(("steering", r.key), (r, delegates_of(r, by_key), domain), partial(steering, r, by_key, domain)) for r in virtual
    )
    tunings = _tunings(of_kind(documents, DestinationRule), domain, memo)
    sidecars, gateways = of_kind(documents, Sidecar), of_kind(documents, Gateway)
    index = gateway_api.arrange(documents, domain, memo)
    return Rules(
        root_namespace=root_namespace,
        steerings=steerings,
        mesh=_by_host(s for s in steerings if names.MESH in s.gateways),
        by_gateway={**index.by_gateway, **_grouped((g, s) for s in steerings for g in s.gateways if g != names.MESH)},
        tunings=_grouped((t.key.namespace, t) for t in tunings),
        tunings_by_host=_grouped(((t.key.namespace, t.host), t) for t in tunings if not names.is_wildcard(t.host)),
        wild_tunings=_grouped((t.key.namespace, t) for t in tunings if names.is_wildcard(t.host)),
        sidecars=_grouped((r.key.namespace, r) for r in sidecars),
        first_sidecars={(r.key.namespace, _picked(r.spec)): r for r in reversed(sidecars)},
        gateways=tuple(sorted((*gateways, *index.gateways), key=age)),
        gateway_api=index,
        gateways_by_name={f"{g.key.namespace}/{g.key.name}": g for g in gateways},
        delegates=frozenset(d.key for r in virtual for d in delegates_of(r, by_key) if d),
        envoy_filters=tuple(of_kind(documents, EnvoyFilter)),
        selectors=_selectors(steerings, tunings),
        guards=_guards(documents, domain, root_namespace, memo),
    )


def _guards(documents: Documents, domain: str, root_namespace: str, memo: Memo) -> Guards:
    """The same object as before while no policy changes."""
    policies = tuple(of_kind(documents, AuthorizationPolicy))
    if not policies:
        return NO_GUARDS
    config = documents.get(Key(kind="ConfigMap", namespace=root_namespace, name=mesh_config.CONFIG_MAP))
    said = mesh_config.found_in("ConfigMap", config.key.name, config.spec) if config else mesh_config.NOTHING
    made_from = (policies, said, domain, root_namespace)
    return memo.get(("guards",), made_from, lambda: guards(policies, domain, root_namespace, authorizers(said, domain)))


K = TypeVar("K")


def _grouped(pairs: Iterable[tuple[K, T]]) -> Mapping[K, tuple[T, ...]]:
    found: defaultdict[K, list[T]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return {key: tuple(values) for key, values in found.items()}


def _by_host(steerings: Iterable[Steering]) -> ByHost:
    found = _grouped((host, s) for s in steerings for host in s.hosts)
    wild = sorted((h for h in found if names.is_wildcard(h)), key=names.specificity)
    return ByHost(exact={h: s for h, s in found.items() if not names.is_wildcard(h)}, wild=tuple((h, found[h]) for h in wild))


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


def _selectors(steerings: tuple[Steering, ...], tunings: list[Tuning]) -> tuple[Mapping[str, str], ...]:
    conditions = [c.spec.source_labels for s in steerings for rule in s.http for c in rule.conditions if c.spec]
    conditions += [m.source_labels for s in steerings for rule in s.tcp for m in rule.spec.match]
    conditions += [t.selector for t in tunings if t.selector]
    distinct = {tuple(sorted(c.items())): c for c in conditions if c}
    return tuple(distinct[key] for key in sorted(distinct))
