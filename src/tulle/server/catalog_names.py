"""The catalog as the DNS asks for it. What is looked up by anything but a name is indexed when it is first asked for."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from tulle.dns.question import DEFAULT_NAMESPACE, IpAddress
from tulle.dns.zone import Instance, Machine, ServiceName, as_address
from tulle.registry.catalog import Node, Service, worst
from tulle.registry.registry import Registry

_TOPICS = (("nodes",), ("services",), ("checks",))
_NOWHERE = Node(name="", address="")


class CatalogNames:
    """A Directory over a registry's live picture."""

    def __init__(self, registry: Registry, ingress: Callable[[ServiceName], Iterable[Instance]]) -> None:
        """`ingress` knows the gateways."""
        self._registry = registry
        self._ingress = ingress
        self._connect: Mapping[ServiceName, Sequence[Instance]] | None = None
        self._owners: Mapping[IpAddress, Machine | Instance] | None = None

    @property
    def server(self) -> Machine:
        return _machine(self._registry.node)

    async def follow(self, changed: Callable[[], None]) -> None:
        """Calls `changed` whenever names may stand for something else. Until the registry is closed, or it is cancelled."""
        waiting = self._registry.waiting
        while not waiting.closed:
            change = waiting.wait(_TOPICS)
            self._connect = self._owners = None
            changed()
            await change

    def machine(self, name: str) -> Machine | None:
        nodes = self._registry.tables.nodes
        kept = nodes.get(name) or next((kept for own, kept in nodes.items() if own.lower() == name), None)
        return _machine(kept.value) if kept else None

    def instances(self, name: ServiceName) -> Sequence[Instance]:
        found = (self._instance(kept.value) for kept in self._registry.tables.instances_of(name[1]))
        return [instance for instance in found if instance.namespace == name[0]]

    def connect(self, name: ServiceName) -> Sequence[Instance]:
        if self._connect is None:
            found: dict[ServiceName, list[Instance]] = defaultdict(list)
            for kept in self._registry.tables.services.values():
                if service := _connected(kept.value):
                    instance = self._instance(kept.value)
                    found[instance.namespace, service.lower()].append(instance)
            self._connect = found
        return self._connect.get(name, ())

    def ingress(self, name: ServiceName) -> Sequence[Instance]:
        return list(self._ingress(name))

    def at(self, address: IpAddress) -> Machine | Instance | None:
        if self._owners is None:
            owners: dict[IpAddress, Machine | Instance] = {}
            for owner in self._all():
                if (at := as_address(owner.address)) is not None:
                    owners.setdefault(at, owner)
            self._owners = owners
        return self._owners.get(address)

    def _all(self) -> Iterator[Machine | Instance]:
        """The machines first."""
        tables = self._registry.tables
        yield from (_machine(kept.value) for kept in tables.nodes.values())
        yield from (self._instance(kept.value) for kept in tables.services.values())

    def _instance(self, service: Service) -> Instance:
        tables = self._registry.tables
        node = tables.nodes.get(service.node)
        run = tables.runs.get(service.id) if service.of_run else None
        return Instance(
            id=service.id,
            service=service.name,
            namespace=run.namespace if run else DEFAULT_NAMESPACE,
            machine=_machine(node.value if node else _NOWHERE),
            address=service.address,
            port=service.port,
            tags=service.tags,
            status=worst([check.value.status for check in tables.health_checks(service.key)]),
            weight=service.passing_weight,
            warning_weight=service.warning_weight,
        )


def _machine(node: Node) -> Machine:
    return Machine(name=node.name, address=node.address, meta=node.meta)


def _connected(service: Service) -> str:
    """The service for which an instance takes mutual TLS: a proxy's destination, or its own if it speaks so itself."""
    if service.kind == "connect-proxy":
        return str(_part(service.proxy).get("DestinationServiceName", ""))
    return service.name if _part(service.connect).get("Native") is True else ""


def _part(text: str) -> Mapping[str, object]:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}
