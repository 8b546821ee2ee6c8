"""Zone-aware balancing: requests stay in the caller's zone as far as that loads no endpoint more than another.

As Envoy does where it knows its callers (its documentation calls it zone aware routing): a zone that has a smaller share of the endpoints
than of the callers keeps what its endpoints can take, and hands the rest to zones that have more than their callers need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tulle.model.identity import Locality
from tulle.model.service import Endpoint

Zone = tuple[str, str]
"""Region and zone."""
SCALE = 10_000
"""Shares are told as parts of this."""


def zone_of(place: Locality) -> Zone:
    return (place.region, place.zone)


def counted(endpoints: Iterable[Endpoint]) -> Mapping[Zone, int]:
    """How many endpoints each zone has; those of no known zone are not counted."""
    found: dict[Zone, int] = {}
    for endpoint in endpoints:
        if endpoint.locality.zone:
            zone = zone_of(endpoint.locality)
            found[zone] = found.get(zone, 0) + 1
    return dict(sorted(found.items()))


def shares(own: Zone, served: Mapping[Zone, int], callers: Mapping[Zone, int], minimum: int) -> Mapping[Zone, int]:
    """The share of each zone in the requests of a caller in `own`; empty where zones are not looked at.

    Zones of another region are not among them. `callers`: how many there are in each zone; where nobody is known, as many in each.
    """
    near = {zone: number for zone, number in served.items() if zone[0] == own[0]}
    if own not in near or len(near) < 2 or sum(near.values()) < minimum:
        return {}
    have = _parts({zone: callers.get(zone, 0) for zone in near} if any(callers.get(z) for z in near) else dict.fromkeys(near, 1))
    offer = _parts(near)
    if offer[own] >= have[own]:
        return {own: SCALE}
    kept = offer[own] / have[own]
    spare = {zone: max(0.0, offer[zone] - have[zone]) for zone in near if zone != own}
    rest = {zone: (1 - kept) * room / sum(spare.values()) for zone, room in spare.items() if room}
    return {zone: max(1, round(part * SCALE)) for zone, part in {own: kept, **rest}.items()}


def _parts(numbers: Mapping[Zone, int]) -> Mapping[Zone, float]:
    total = sum(numbers.values())
    return {zone: number / total for zone, number in numbers.items()}


def caller_zones(places: Sequence[Locality]) -> tuple[tuple[Zone, int], ...]:
    """How many callers of a service each zone has."""
    known = [zone_of(place) for place in places if place.zone]
    return tuple((zone, known.count(zone)) for zone in sorted(set(known)))
