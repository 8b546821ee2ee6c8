"""The Gateway API's documents, sorted out by what they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from tulle.compile import tables
from tulle.compile.kinds import Kinds
from tulle.compile.memo import Memo
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Labels
from tulle.model.resource import Key, Resource
from tulle.resources.core import Namespace
from tulle.resources.gatewayapi import (
    BackendTlsPolicy,
    BackendTrafficPolicy,
    Gateway,
    GatewayClass,
    GrpcRoute,
    HttpRoute,
    ListenerSet,
    ReferenceGrant,
    TcpRoute,
    TlsRoute,
    UdpRoute,
)
from tulle.resources.gatewayapi.types import GROUP, LabelSelector, SelectorOperator
from tulle.resources.networking.service_entry import ServiceEntry

CONTROLLER = "tulle.dev/gateway-controller"
_CONTROLLERS = frozenset({CONTROLLER, "istio.io/gateway-controller"})
_CLASSES = frozenset({"tulle", "istio"})
"""Classes that are there without a document. `istio`, so that published samples apply unchanged."""
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The label that Kubernetes itself gives to every namespace."""

S = TypeVar("S")
Route = HttpRoute | GrpcRoute | TlsRoute | TcpRoute | UdpRoute
ROUTES = (HttpRoute, GrpcRoute, TlsRoute, TcpRoute, UdpRoute)
_BESIDE = (GatewayClass, Gateway, ListenerSet, ReferenceGrant, BackendTlsPolicy, BackendTrafficPolicy, Namespace)
Reference = tuple[str, str, str]
"""Group, kind and namespace."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Documents:
    """Lists are from the oldest, equals by namespace and name."""

    beside: object
    """Equal by identity: the same object as long as nothing but routes changes."""
    classes: Mapping[str, Resource[GatewayClass]]
    gateways: tuple[Resource[Gateway], ...]
    sets: tuple[Resource[ListenerSet], ...]
    routes: Mapping[Key, Resource[Route]]
    grants: Mapping[tuple[Reference, Reference], frozenset[str | None]]
    """From whom to what: the names that may be referred to; None stands for all."""
    namespaces: Mapping[str, Labels]
    tls_policies: tuple[Resource[BackendTlsPolicy], ...] = ()
    traffic_policies: tuple[Resource[BackendTrafficPolicy], ...] = ()
    entries: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)
    """The hosts of ServiceEntries, which policies and routes may name."""

    def is_ours(self, class_name: str) -> bool:
        """Whether Gateways of a class are for us to serve. A document says more than a name."""
        known = self.classes.get(class_name)
        return known.spec.controller_name in _CONTROLLERS if known else class_name in _CLASSES

    def labels_of(self, namespace: str) -> Labels:
        return self.namespaces.get(namespace) or FrozenMap({_NAMESPACE_NAME: namespace})

    def permits(self, source: Reference, target: Reference, name: str) -> bool:
        """Whether something may refer to a thing by name. Within a namespace everything may."""
        if source[2] == target[2]:
            return True
        names = self.grants.get((source, target), frozenset())
        return None in names or name in names


def seniority(resource: Resource[object]) -> tuple[int, str, str]:
    """Sorts from the oldest, then by namespace and name: the order in which the specification breaks ties."""
    return (resource.created, resource.key.namespace, resource.key.name)


def is_controller(name: str) -> bool:
    return name in _CONTROLLERS


def collect(kinds: Kinds, memo: Memo) -> Documents:
    """The same object as before, if no document of the Gateway API changed."""
    routes = tables.union(memo, "gateway api routes", *(cast("Mapping[Key, Resource[Route]]", kinds.of(kind)) for kind in ROUTES))
    entries = tables.each(memo, "hosts of entries", kinds.of(ServiceEntry), lambda _, entry: entry.spec.hosts)
    beside = memo.get(("gateway api beside",), (*(kinds.of(kind) for kind in _BESIDE), entries), object)
    made_from = (beside, tables.ordered(memo, "routes", routes, seniority))
    return memo.get(("gateway api documents",), made_from, lambda: _collected(kinds, *made_from, entries))


def _collected(kinds: Kinds, beside: object, routes: Mapping[Key, Resource[Route]], entries: Mapping[Key, tuple[str, ...]]) -> Documents:
    return Documents(
        beside=beside,
        classes={r.key.name: r for r in _of(kinds, GatewayClass)},
        gateways=_of(kinds, Gateway),
        sets=_of(kinds, ListenerSet),
        routes=routes,
        grants=_grants(_of(kinds, ReferenceGrant)),
        namespaces={r.key.name: FrozenMap({**r.labels, _NAMESPACE_NAME: r.key.name}) for r in _of(kinds, Namespace)},
        tls_policies=_of(kinds, BackendTlsPolicy),
        traffic_policies=_of(kinds, BackendTrafficPolicy),
        entries=entries,
    )


def _of(kinds: Kinds, spec: type[S]) -> tuple[Resource[S], ...]:
    return tuple(sorted(kinds.of(spec).values(), key=seniority))


def _grants(grants: tuple[Resource[ReferenceGrant], ...]) -> Mapping[tuple[Reference, Reference], frozenset[str | None]]:
    found: dict[tuple[Reference, Reference], set[str | None]] = {}
    for grant in grants:
        for source in grant.spec.from_:
            for target in grant.spec.to:
                pair = ((source.group, source.kind, source.namespace), (target.group, target.kind, grant.key.namespace))
                found.setdefault(pair, set()).add(target.name)
    return {pair: frozenset(names) for pair, names in found.items()}


def chooses(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a selector picks something with these labels."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    for wanted in selector.match_expressions:
        value = labels.get(wanted.key)
        holds = {
            SelectorOperator.IN: value in wanted.values,
            SelectorOperator.NOT_IN: value not in wanted.values,
            SelectorOperator.EXISTS: value is not None,
            SelectorOperator.DOES_NOT_EXIST: value is None,
        }[wanted.operator]
        if not holds:
            return False
    return True


def reference(resource: Resource[object]) -> Reference:
    """How grants name the document as one that refers to others."""
    return (GROUP, resource.key.kind.partition(".")[0], resource.key.namespace)
