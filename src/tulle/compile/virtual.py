"""Addresses for services of ServiceEntries that name none (BEHAVIOURS 15).

They stand for the service where one address must: in a URL, in a rule's `destinationSubnets`, in DNS. A service keeps its address as long
as no older one wants it.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address

from tulle.compile.catalog import ServiceKey

FIRST = IPv4Address("240.240.0.0")
"""Of Istio's network 240.240.0.0/16, which nobody uses: nothing is routed there."""
_SIZE = 2**16


def allocated(wanting: Iterable[ServiceKey], taken: Collection[str]) -> Mapping[ServiceKey, str]:
    """An address for each service, from the oldest to the youngest, none of them in `taken`; none for those that come when all are gone."""
    used = {_number(text) for text in taken} | {n for n in range(_SIZE) if n % 256 in (0, 255)}
    found: dict[ServiceKey, str] = {}
    for key in wanting:
        if len(used) >= _SIZE:
            break
        place = zlib.crc32(f"{key.namespace}/{key.host}".encode()) % _SIZE
        while place in used:
            place = (place + 1) % _SIZE
        used.add(place)
        found[key] = str(FIRST + place)
    return found


def _number(text: str) -> int:
    """Its place in the network; below 0 or too high for addresses elsewhere."""
    try:
        return int(IPv4Address(text)) - int(FIRST)
    except ValueError:
        return -1
