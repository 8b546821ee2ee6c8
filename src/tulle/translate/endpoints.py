"""The endpoints of a cluster: envoy.config.endpoint.v3.ClusterLoadAssignment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tulle.model.identity import Locality
from tulle.model.proxy import EndpointGroup
from tulle.model.service import Endpoint, Health
from tulle.protos import pb
from tulle.translate.values import Fields, number

_HEALTH = {Health.PASSING: "UNKNOWN", Health.WARNING: "UNKNOWN", Health.CRITICAL: "UNHEALTHY"}
"""A warning is for people: the endpoint still takes requests, as in Consul. UNKNOWN is Envoy's word for "as far as we know, well"."""

_NOWHERE = Locality()


def load_assignment(group: EndpointGroup) -> Any:
    """The message for endpoints that are sent apart from their cluster."""
    return pb.ClusterLoadAssignment(**assignment(group.name, group.endpoints))


def assignment(cluster: str, endpoints: Iterable[Endpoint]) -> Fields:
    """The fields of the message, endpoints grouped by locality in the order of their first endpoint."""
    places: dict[Locality, list[Endpoint]] = {}
    for endpoint in endpoints:
        places.setdefault(endpoint.locality, []).append(endpoint)
    return {"cluster_name": cluster, "endpoints": [_place(locality, there) for locality, there in places.items()]}


def _place(locality: Locality, endpoints: list[Endpoint]) -> Fields:
    where = {} if locality == _NOWHERE else {"region": locality.region, "zone": locality.zone, "sub_zone": locality.subzone}
    weight = sum(max(endpoint.weight, 1) for endpoint in endpoints)
    return {"locality": where, "lb_endpoints": [_lb_endpoint(endpoint) for endpoint in endpoints], "load_balancing_weight": number(weight)}


def _lb_endpoint(endpoint: Endpoint) -> Fields:
    where = {"address": address(endpoint.address, endpoint.port)}
    made: Fields = {"endpoint": where, "load_balancing_weight": number(max(endpoint.weight, 1))}
    # Weight 0 asks for no traffic; Envoy has no such weight, but it has a health that does the same.
    health = "DRAINING" if endpoint.weight < 1 else _HEALTH[endpoint.health]
    return made | {"health_status": health} if health != "UNKNOWN" else made


def address(host: str, port: int) -> Fields:
    """An envoy.config.core.v3.Address; a path is a Unix socket."""
    if host.startswith(("/", "@")):
        return {"pipe": {"path": host}}
    return {"socket_address": {"address": host, "port_value": port}}
