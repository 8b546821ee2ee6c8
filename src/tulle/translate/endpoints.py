"""The endpoints of a cluster: envoy.config.endpoint.v3.ClusterLoadAssignment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tulle.model.identity import Locality
from tulle.model.proxy import EndpointGroup, LocalityGroup
from tulle.model.service import Endpoint, Health
from tulle.protos import pb
from tulle.translate.values import Fields, number

_HEALTH = {Health.PASSING: "UNKNOWN", Health.WARNING: "UNKNOWN", Health.CRITICAL: "UNHEALTHY"}
"""A warning is for people: the endpoint still takes requests, as in Consul. UNKNOWN is Envoy's word for "as far as we know, well"."""

_BITS = 31
"""What the sum of all weights may take."""

_NOWHERE = Locality()
_MESH_TLS: Fields = {"fields": {"tlsMode": {"string_value": "istio"}}}
"""What an endpoint that takes the mesh's mutual TLS is known by (Istio's metadata)."""


def load_assignment(group: EndpointGroup) -> Any:
    """The message for endpoints that are sent apart from their cluster."""
    return pb.ClusterLoadAssignment(**assignment(group.name, group.endpoints, group.localities))


def assignment(cluster: str, endpoints: Iterable[Endpoint], localities: Iterable[LocalityGroup] = ()) -> Fields:
    """The fields of the message: as grouped by `localities`, else by locality in the order of their first endpoint."""
    groups = tuple(localities) or _by_locality(endpoints)
    lightened = _lightened(groups)
    return {"cluster_name": cluster, "endpoints": [_place(group, lightened) for group in groups]}


def _lightened(groups: Iterable[LocalityGroup]) -> int:
    """By how many bits all weights are made smaller: together they must not come to more than Envoy counts."""
    whole = sum(_weight(endpoint) for group in groups for endpoint in group.endpoints)
    return max(0, whole.bit_length() - _BITS)


def _weight(endpoint: Endpoint, lightened: int = 0) -> int:
    return max(endpoint.weight >> lightened, 1)


def _by_locality(endpoints: Iterable[Endpoint]) -> tuple[LocalityGroup, ...]:
    places: dict[Locality, list[Endpoint]] = {}
    for endpoint in endpoints:
        places.setdefault(endpoint.locality, []).append(endpoint)
    return tuple(LocalityGroup(locality=locality, endpoints=tuple(there)) for locality, there in places.items())


def _place(group: LocalityGroup, lightened: int) -> Fields:
    at = group.locality
    where = {} if at == _NOWHERE else {"region": at.region, "zone": at.zone, "sub_zone": at.subzone}
    weight = sum(_weight(endpoint, lightened) for endpoint in group.endpoints) if group.weight is None else group.weight
    inside = [_lb_endpoint(endpoint, lightened) for endpoint in group.endpoints]
    made: Fields = {"locality": where, "lb_endpoints": inside, "load_balancing_weight": number(weight)}
    return made | {"priority": group.priority} if group.priority else made


def _lb_endpoint(endpoint: Endpoint, lightened: int) -> Fields:
    where = {"address": address(endpoint.address, endpoint.port)}
    made: Fields = {"endpoint": where, "load_balancing_weight": number(_weight(endpoint, lightened))}
    if endpoint.mtls:
        made["metadata"] = {"filter_metadata": {"envoy.transport_socket_match": _MESH_TLS}}
    # Weight 0 asks for no traffic; Envoy has no such weight, but it has a health that does the same.
    health = "DRAINING" if endpoint.weight < 1 else _HEALTH[endpoint.health]
    return made | {"health_status": health} if health != "UNKNOWN" else made


def address(host: str, port: int) -> Fields:
    """An envoy.config.core.v3.Address; a path is a Unix socket."""
    if host.startswith(("/", "@")):
        return {"pipe": {"path": host}}
    return {"socket_address": {"address": host, "port_value": port}}
