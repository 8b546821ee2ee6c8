"""How endpoints stand: what active checks say of each, and which proxies have ejected it, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from tulle.model.service import Endpoint, Health, Registration, Service, port_key, port_number
from tulle.registry.agents import Agents
from tulle.registry.catalog import Kept
from tulle.registry.catalog import Service as Instance
from tulle.registry.registry import Registry
from tulle.registry.tables import Tables
from tulle.server.ports import CheckInfo, EjectionInfo, EndpointInfo

Place = tuple[str, int]
"""Address and port."""


class Standing:
    def __init__(self, registry: Registry, agents: Agents) -> None:
        self._registry = registry
        self._agents = agents

    def told(self, service: Service, endpoints: Iterable[EndpointInfo]) -> list[EndpointInfo]:
        """With what is known of each."""
        ejected = self._ejected(service.host)
        instances = self._instances(service.name)
        return [self._told(info, instances, ejected) for info in endpoints]

    def _told(
        self, info: EndpointInfo, instances: Mapping[Place, Kept[Instance]], ejected: Mapping[tuple[int, Place], list[EjectionInfo]]
    ) -> EndpointInfo:
        place = (info.endpoint.address, info.endpoint.port)
        kept = instances.get(place)
        checks = tuple(self._checks(kept)) if kept else ()
        return replace(info, checks=checks, ejected=tuple(ejected.get((info.service_port, place), ())))

    def _instances(self, name: str) -> Mapping[Place, Kept[Instance]]:
        tables = self._registry.tables
        return {place: kept for kept in tables.instances_of(name) for place in _places(tables, kept.value)}

    def _checks(self, kept: Kept[Instance]) -> Iterator[CheckInfo]:
        for check in self._registry.tables.health_checks(kept.value.key):
            since = self._registry.since.get(check.value.key)
            yield CheckInfo(
                id=check.value.id,
                name=check.value.name,
                state=check.value.status,
                since=datetime.fromtimestamp(since, UTC) if since else None,
                output=self._registry.output(check.value) or check.value.notes,
            )

    def _ejected(self, host: str) -> Mapping[tuple[int, Place], list[EjectionInfo]]:
        """By the service's port and the place."""
        found: dict[tuple[int, Place], list[EjectionInfo]] = {}
        for agent, ejections in sorted(self._agents.ejections().items()):
            for ejection in ejections:
                port, _, of = ejection.cluster.partition("|")[2].partition("|")
                if of.partition("|")[2] == host and port.isdecimal():
                    told = EjectionInfo(by=agent, reason=ejection.reason, since=ejection.since)
                    found.setdefault((int(port), (ejection.address, ejection.port)), []).append(told)
        return found


def _places(tables: Tables, instance: Instance) -> Iterator[Place]:
    if instance.of_run:
        run = tables.runs[instance.id]
        yield from ((run.address, port.target) for port in run.ports)
    else:
        node = tables.nodes.get(instance.node)
        yield instance.address or (node.value.address if node else ""), instance.port


def failing(service: Service, registrations: Iterable[Registration], known: Iterable[EndpointInfo]) -> Iterator[EndpointInfo]:
    """The instances of a service that get no requests, as their checks fail: the mesh does not hold them among its endpoints."""
    there = {(info.service_port, info.endpoint.address, info.endpoint.port) for info in known}
    for registration in registrations:
        if (registration.service, registration.namespace, registration.health) != (service.name, service.namespace, Health.CRITICAL):
            continue
        for port in registration.ports:
            of = service.port(port_key(port.number, udp=port.protocol.value == "UDP"))
            if of and (port_number(of.key), registration.address, port.target) not in there:
                yield EndpointInfo(endpoint=_endpoint(registration, port.target), service_port=of.number)


def _endpoint(registration: Registration, port: int) -> Endpoint:
    return Endpoint(
        address=registration.address,
        port=port,
        labels=registration.labels,
        locality=registration.locality,
        weight=registration.weight,
        health=registration.health,
        service_account=registration.service_account,
        workload=registration.id,
    )
