"""What Consul's clients register, as the mesh sees it."""

from __future__ import annotations

import re
from ipaddress import ip_address

from tulle.model.frozen import FrozenMap
from tulle.model.service import Health, Protocol, RegisteredPort, Registration
from tulle.registry.catalog import Service, ServiceKey, worst
from tulle.registry.tables import Tables

WEB = 80
"""The port at which callers reach a service of Consul's API whatever ports its instances have."""
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PROTOCOLS = {p.value.lower(): p for p in Protocol if p is not Protocol.UDP}


def in_mesh(tables: Tables, key: ServiceKey) -> tuple[str, Registration | None]:
    """How the mesh knows an instance of the catalog: its identity there, and the registration, if it can be one.

    An instance of a service that is no DNS label, that has no port, or whose address is no IP address is in the catalog only. A workload
    of `tulle run` speaks for itself, unless a check that was added here (such as maintenance) is worse.
    """
    found = tables.services.get(key)
    node = tables.nodes.get(key[0])
    identity = f"@consul/{key[0]}/{key[1]}"
    if found is None:
        return identity, None
    health = worst([check.value.status for check in tables.health_checks(key)])
    if found.value.of_run:
        return _overridden(tables.runs[key[1]], health)
    service = found.value
    address = service.address or (node.value.address if node else "")
    if not (service.port and _is_address(address) and _LABEL.fullmatch(service.name.lower())) or service.kind or service.name == "consul":
        return identity, None
    return identity, _registration(service, address, health)


def _overridden(own: Registration, health: Health) -> tuple[str, Registration | None]:
    if worst([own.health, health]) is own.health:
        return own.id, None
    return own.id, Registration(
        id=own.id,
        service=own.service,
        namespace=own.namespace,
        address=own.address,
        ports=own.ports,
        labels=own.labels,
        service_account=own.service_account,
        locality=own.locality,
        weight=own.weight,
        health=health,
        proxy=own.proxy,
        node=own.node,
        meta=own.meta,
    )


def _registration(service: Service, address: str, health: Health) -> Registration:
    labels = {key: value for key, value in service.meta.items() if key and len(key) <= 63}
    return Registration(
        id=service.id,
        service=service.name.lower(),
        address=address,
        ports=_ports(service),
        labels=FrozenMap(labels),
        weight=max(1, service.warning_weight if health is Health.WARNING else service.passing_weight),
        health=health,
        meta=service.meta,
        tags=service.tags,
    )


def _ports(service: Service) -> tuple[RegisteredPort, ...]:
    """The instance's own port; and, for HTTP, port 80, so that `http://name` reaches instances on whatever ports they have."""
    protocol = _PROTOCOLS.get(service.meta.get("protocol", "http").lower(), Protocol.TCP)
    own = RegisteredPort(number=service.port, target=service.port, name=f"port-{service.port}", protocol=protocol)
    if not protocol.is_http or service.port == WEB:
        return (own,)
    return (RegisteredPort(number=WEB, target=service.port, name="web", protocol=protocol), own)


def _is_address(text: str) -> bool:
    try:
        return not ip_address(text).is_unspecified
    except ValueError:
        return False
