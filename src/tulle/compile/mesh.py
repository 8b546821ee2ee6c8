"""The compiled mesh: the value that views of proxies are cut from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tulle.compile.catalog import Catalog, EndpointSet, ServiceKey
from tulle.compile.memo import Memo
from tulle.compile.scope import Structure
from tulle.model.mesh import MeshSettings
from tulle.model.service import Endpoint, Service


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mesh:
    """Services, rules and endpoints of one moment. What its views share is kept in `memo`, and handed on to the next mesh."""

    structure: Structure
    catalog: Catalog
    memo: Memo

    @property
    def settings(self) -> MeshSettings:
        return self.structure.settings

    @property
    def services(self) -> tuple[Service, ...]:
        """All services, by host and namespace."""
        return tuple(backend.service for backend in self.structure.backends.values())

    def endpoints(self, service: Service) -> Mapping[int, tuple[Endpoint, ...]]:
        """The endpoints of a service that take requests, by the service's ports."""
        found = self.endpoint_set(ServiceKey(service.host, service.namespace))
        return found.by_port if found else {}

    def endpoint_set(self, key: ServiceKey) -> EndpointSet | None:
        return self.catalog.endpoints.get(key)
