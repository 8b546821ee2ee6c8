"""Endpoints by their distance from a caller: who is asked first, and who stands in (BEHAVIOURS 24)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from tulle.compile.zones import Zone, counted, shares, zone_of
from tulle.model.frozen import FrozenMap
from tulle.model.identity import NO_LABELS, Labels, Locality
from tulle.model.proxy import LocalityGroup
from tulle.model.service import Endpoint, Service
from tulle.model.traffic import Distribution, LocalityRules, TrafficPolicy

REGION = "topology.kubernetes.io/region"
ZONE = "topology.kubernetes.io/zone"
SUBZONE = "topology.istio.io/subzone"
NETWORK = "topology.istio.io/network"
HOSTNAME = "kubernetes.io/hostname"
"""Stands for the machine: the label if it is set, else the address."""

_NEAR = (NETWORK, REGION, ZONE)
DISTRIBUTIONS = {
    "PreferClose": LocalityRules(failover_priority=(*_NEAR, SUBZONE)),
    "PreferSameZone": LocalityRules(failover_priority=(*_NEAR, SUBZONE)),
    "PreferSameNode": LocalityRules(failover_priority=(*_NEAR, SUBZONE, HOSTNAME)),
}
"""What a service's `trafficDistribution` comes to."""
_DEFAULT = LocalityRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standpoint:
    """Where a caller stands, as far as rules ask for it. Proxies with equal ones share their endpoints."""

    locality: Locality = Locality()
    labels: Labels = NO_LABELS
    peers: tuple[tuple[Zone, int], ...] = ()
    """How many callers of its kind there are in each zone."""


ANYWHERE = Standpoint()


def in_force(policy: TrafficPolicy, service: Service) -> LocalityRules | None:
    """A DestinationRule speaks before the service. Without outlier detection only shares are in force: else nobody would ever fail over."""
    said = policy.load_balancer.locality
    if said is None and service.traffic_distribution in DISTRIBUTIONS:
        return DISTRIBUTIONS[service.traffic_distribution]
    rules = said or _DEFAULT
    if rules.zones:
        return _judged(rules) if policy.outlier_detection else _unjudged(rules)
    return rules if rules.enabled and (rules.distribute or policy.outlier_detection) else None


def _judged(rules: LocalityRules) -> LocalityRules:
    return replace(rules, by_region=True)


def _unjudged(rules: LocalityRules) -> LocalityRules:
    """Nobody tells when to fail over: only zones count."""
    return replace(rules, failover=(), failover_priority=())


def asked_labels(rules: Iterable[LocalityRules]) -> frozenset[str]:
    """The labels of a caller that rules compare with those of endpoints."""
    return frozenset(label for rule in rules for label in rule.failover_priority if "=" not in label)


def standpoint(
    locality: Locality, labels: Mapping[str, str], address: str, asked: Iterable[str], peers: tuple[tuple[Zone, int], ...] = ()
) -> Standpoint:
    known = placed_labels(labels, locality, address)
    return Standpoint(locality=locality, labels=FrozenMap({key: known[key] for key in asked if key in known}), peers=peers)


def placed_labels(labels: Mapping[str, str], locality: Locality, address: str, network: str = "") -> dict[str, str]:
    """Labels, and what Kubernetes would say in labels of the place. Labels that are set stay."""
    of_place = {REGION: locality.region, ZONE: locality.zone, SUBZONE: locality.subzone, NETWORK: network, HOSTNAME: address}
    return {key: value for key, value in of_place.items() if value} | dict(labels)


class _Spot(NamedTuple):
    locality: Locality
    priority: int


def grouped(endpoints: tuple[Endpoint, ...], rules: LocalityRules | None, caller: Standpoint) -> tuple[LocalityGroup, ...]:
    """The endpoints as a caller sees them, nearest first; empty where all are the same to it."""
    if rules is None or not endpoints:
        return ()
    if rules.distribute:
        return _distributed(endpoints, rules.distribute, caller.locality)
    if rules.zones:
        return _zoned(endpoints, rules, caller)
    spots: dict[_Spot, list[Endpoint]] = {}
    rank = _rank(rules, caller)
    for endpoint in endpoints:
        spots.setdefault(_Spot(endpoint.locality, rank(endpoint)), []).append(endpoint)
    ranks = sorted({spot.priority for spot in spots})
    if len(ranks) < 2:
        return ()
    ordered = sorted(spots.items(), key=lambda item: item[0].priority)
    return tuple(
        LocalityGroup(locality=spot.locality, endpoints=tuple(found), priority=ranks.index(spot.priority)) for spot, found in ordered
    )


def stood_in(
    own: tuple[Endpoint, ...], near: tuple[LocalityGroup, ...], others: Iterable[tuple[Endpoint, ...]]
) -> tuple[LocalityGroup, ...]:
    """The endpoints of a service (`near`: as a caller sees them), and behind them those that stand in, each group after the one before.

    Empty where nobody stands in.
    """
    behind = [found for found in others if found]
    if not behind:
        return near
    first = near or ((LocalityGroup(locality=Locality(), endpoints=own),) if own else ())
    last = max((group.priority for group in first), default=-1)
    groups = (LocalityGroup(locality=Locality(), endpoints=found, priority=last + n) for n, found in enumerate(behind, 1))
    return (*first, *groups)


def _zoned(endpoints: tuple[Endpoint, ...], rules: LocalityRules, caller: Standpoint) -> tuple[LocalityGroup, ...]:
    """First the zones that have a share, then the others of the region, then what is farther."""
    failover = dict(reversed(rules.failover))
    parts = shares(zone_of(caller.locality), counted(endpoints), dict(caller.peers), rules.zones)
    spots: dict[tuple[int, int, bool], dict[Locality, list[Endpoint]]] = {}
    for endpoint in endpoints:
        region = _region(caller.locality, endpoint.locality, failover) if rules.by_region else 0
        spare = bool(parts) and zone_of(endpoint.locality) not in parts
        spot = (_unlike(rules.failover_priority, caller, endpoint), region, spare)
        spots.setdefault(spot, {}).setdefault(endpoint.locality, []).append(endpoint)
    found: list[LocalityGroup] = []
    for priority, spot in enumerate(sorted(spots)):
        groups = [LocalityGroup(locality=place, endpoints=tuple(there), priority=priority) for place, there in spots[spot].items()]
        for zone in dict.fromkeys(zone_of(group.locality) for group in groups):
            inside = [group for group in groups if zone_of(group.locality) == zone]
            found += _shared(inside, parts[zone] / 100) if zone in parts else inside
    return tuple(found) if len(spots) > 1 or parts else ()


def _region(caller: Locality, other: Locality, failover: Mapping[str, str]) -> int:
    """0 in the caller's region; else as `distance`."""
    return distance(caller, other, failover) if caller.region != other.region else 0


def _rank(rules: LocalityRules, caller: Standpoint) -> Callable[[Endpoint], int]:
    """How far an endpoint is; labels weigh more than places, where rules speak of both."""
    by_place = bool(rules.failover) or not rules.failover_priority
    failover = dict(reversed(rules.failover))

    def rank(endpoint: Endpoint) -> int:
        near = _unlike(rules.failover_priority, caller, endpoint) * 5
        return near + (distance(caller.locality, endpoint.locality, failover) if by_place else 0)

    return rank


def distance(caller: Locality, other: Locality, failover: Mapping[str, str]) -> int:
    """0 to 2 within a region; 3 beyond; 4 beyond, where the caller's region fails over to another region than this."""
    if caller.region != other.region:
        return 4 if caller.region in failover and failover[caller.region] != other.region else 3
    if caller.zone != other.zone:
        return 2
    return 0 if caller.subzone == other.subzone else 1


def _unlike(priority: tuple[str, ...], caller: Standpoint, endpoint: Endpoint) -> int:
    """How many of the labels are left from the first that differs."""
    if not priority:
        return 0
    labels = placed_labels(endpoint.labels, endpoint.locality, endpoint.address, endpoint.network)
    for position, entry in enumerate(priority):
        key, given, value = entry.partition("=")
        if (value if given else caller.labels.get(key, "")) != labels.get(key, ""):
            return len(priority) - position
    return 0


def _distributed(endpoints: tuple[Endpoint, ...], rules: tuple[Distribution, ...], caller: Locality) -> tuple[LocalityGroup, ...]:
    """Endpoints in places that get no share are left out."""
    rule = next((r for r in rules if lies_in(caller, r.caller)), None)
    if rule is None:
        return ()
    places: dict[Locality, list[Endpoint]] = {}
    for endpoint in endpoints:
        places.setdefault(endpoint.locality, []).append(endpoint)
    groups: list[LocalityGroup] = []
    for pattern, share in sorted(rule.shares, key=lambda pair: -_detail(pair[0])):
        meant = [place for place in places if lies_in(place, pattern)]
        found = [LocalityGroup(locality=place, endpoints=tuple(places.pop(place))) for place in meant]
        if share:
            groups += _shared(found, share)
    return tuple(sorted(groups, key=lambda g: str(g.locality)))


def _shared(groups: list[LocalityGroup], share: float) -> list[LocalityGroup]:
    """Places that one share is for divide it by the weights of their endpoints."""
    own = [sum(max(e.weight, 1) for e in group.endpoints) for group in groups]
    return [replace(group, weight=max(1, round(share * 100 * weight / sum(own)))) for group, weight in zip(groups, own, strict=True)]


def _detail(pattern: str) -> int:
    return sum(1 for part in pattern.split("/") if part and part != "*")


def lies_in(place: Locality, pattern: str) -> bool:
    """Whether a place is meant by `region/zone/subzone`, whose later parts may be absent; `*` stands for any part."""
    wanted = Locality.parse(pattern)
    pairs = ((wanted.region, place.region), (wanted.zone, place.zone), (wanted.subzone, place.subzone))
    return wanted.region != "" and all(want in ("", "*") or want == has for want, has in pairs)
