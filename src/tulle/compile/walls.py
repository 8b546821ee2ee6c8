"""Firewalls: what documents say, and at which routes they hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tulle.compile.attachment import CALLED, unused_targets
from tulle.compile.kinds import Kinds
from tulle.model.firewall import Bodies, Exclusion, Firewall
from tulle.model.resource import Key, Resource, Source
from tulle.model.routing import Route
from tulle.resources.gatewayapi.grpc_route import GrpcRoute
from tulle.resources.gatewayapi.http_route import HttpRoute
from tulle.resources.networking.virtual_service import VirtualService
from tulle.resources.security.firewall import Exclusion as Spec
from tulle.resources.security.firewall import Firewall as FirewallSpec
from tulle.resources.security.firewall import LongBodies, Mode, Thresholds

Document = Resource[FirewallSpec]

_ROUTES: Mapping[str, tuple[type[Any], str]] = {
    "VirtualService": (VirtualService, "http"),
    "HTTPRoute": (HttpRoute, "rules"),
    "GRPCRoute": (GrpcRoute, "rules"),
}
"""By kind: what has rules, and where."""
ROUTES = tuple(spec for spec, _ in _ROUTES.values())
_OF_GRPC = ("application/grpc", "application/grpc+proto", "application/grpc+json", "application/grpc-web", "application/grpc-web+proto")
_NO_THRESHOLDS = Thresholds.model_construct()


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtRoute:
    field: str
    """Of the route's document: what stands in it is meant."""
    firewall: Firewall


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Walls:
    """Firewalls that name routes, by route; and what of them names nothing that is there."""

    by_route: Mapping[Key, tuple[_AtRoute, ...]] = field(default_factory=dict)
    unmet: Mapping[Key, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """By Firewall: field and reason."""
    every: tuple[Firewall, ...] = ()
    """All of the mesh, wherever they hold."""

    def at(self, route: Route) -> tuple[Firewall, ...]:
        """Those of a route: of its own rule, and of the one that delegates to it."""
        found = (wall.firewall for source in (route.source, route.via) if source for wall in self._of(source))
        return tuple(dict.fromkeys(found))

    def _of(self, source: Source) -> Iterator[_AtRoute]:
        return (wall for wall in self.by_route.get(source.key, ()) if _within(source.field, wall.field))


NO_WALLS = Walls()


def _within(place: str, field_: str) -> bool:
    return not field_ or place == field_ or place.startswith((f"{field_}.", f"{field_}["))


def walls(documents: Iterable[Document], kinds: Kinds) -> Walls:
    by_route: dict[Key, list[_AtRoute]] = {}
    unmet: dict[Key, tuple[tuple[str, str], ...]] = {}
    every: dict[Firewall, None] = {}
    for document in documents:
        made = firewall(document)
        every[made] = None
        complaints = list(unused_targets(document, (*CALLED, *_ROUTES)))
        for place, key, section in _named(document):
            found, why = _found(kinds, key, section)
            if why:
                complaints.append((place, why))
            by_route.setdefault(key, []).extend(_AtRoute(field=meant, firewall=made) for meant in found)
        unmet[document.key] = tuple(complaints)
    return Walls(by_route={key: tuple(found) for key, found in by_route.items()}, unmet=unmet, every=tuple(every))


def _named(document: Document) -> Iterator[tuple[str, Key, str]]:
    """The routes that a document names: its own field, the route, and the name of a rule."""
    for index, target in enumerate(document.spec.targets):
        if target.kind in _ROUTES:
            place = "spec.targetRef" if document.spec.target_ref else f"spec.targetRefs[{index}]"
            yield place, Key(kind=target.kind, namespace=document.key.namespace, name=target.name), target.section


def _found(kinds: Kinds, key: Key, section: str) -> tuple[tuple[str, ...], str]:
    """The fields of a route's document that a rule's name means, which several may have; an empty one means them all. Or why none does."""
    spec, list_ = _ROUTES[key.kind]
    route = kinds.of(spec).get(key)
    if route is None:
        return (), f"not in force: there is no {key.kind} {key.namespace}/{key.name}"
    if not section:
        return ("",), ""
    rules = getattr(route.spec, list_)
    found = tuple(f"spec.{list_}[{i}]" for i, rule in enumerate(rules) if rule.name == section)
    return found, "" if found else f'not in force: {key.kind} {key.name} has no rule with the name "{section}"'


def firewall(document: Document) -> Firewall:
    """Where one is for routes of gRPC, such calls are let in; what they say to each other is not looked at."""
    key, spec = document.key, document.spec
    thresholds = spec.anomaly_thresholds or _NO_THRESHOLDS
    grpc = any(t.kind == "GRPCRoute" for t in spec.targets)
    return Firewall(
        name=f"{key.namespace}/{key.name}",
        block=spec.mode is Mode.BLOCK,
        paranoia=spec.paranoia_level,
        told_paranoia=spec.detection_level or spec.paranoia_level,
        thresholds=(thresholds.requests, thresholds.answers),
        excluded=tuple(sorted(set(spec.excluded_rules))),
        exclusions=tuple(map(_exclusion, spec.exclusions)),
        content_types=(*spec.content_types, *(_OF_GRPC if grpc else ())),
        rules=spec.rules,
        requests=_bodies(spec.max_body_bytes, spec.long_bodies),
        answers=_bodies(spec.answers.max_body_bytes, spec.answers.long_bodies) if spec.answers else None,
        required=spec.required,
    )


def _exclusion(of: Spec) -> Exclusion:
    return Exclusion(
        paths=of.paths,
        rules=of.rules,
        tags=of.tags,
        parameters=of.parameters,
        headers=tuple(name.lower() for name in of.headers),
        cookies=of.cookies,
    )


def _bodies(most: int, long: LongBodies) -> Bodies:
    return Bodies(most=most, lenient=long is LongBodies.PASS)
