"""What the HTTP API asks of the running mesh. The composition root implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tulle.compile.proxy_start import ProxyStart
from tulle.model.identity import Labels
from tulle.model.proxy import InboundPort, Node, Role
from tulle.model.resource import Key, Resource, Status, Violation
from tulle.model.service import Endpoint, Health, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyInfo:
    """A connected proxy and how far it has followed."""

    id: str
    role: Role
    namespace: str
    ip: str
    connected_since: datetime
    """With a time zone."""
    current: bool
    """Whether it has acknowledged all that is in force for it."""
    acked: Mapping[str, str] = field(default_factory=dict)
    """Short type (`cluster`, `endpoints`, `listener`, `routes`) to the version last acknowledged."""
    error: str = ""
    """What it last refused, empty when it has accepted everything since."""
    version: str = ""
    """Of the data plane, as it says itself."""
    http_proxy: str = ""
    """`address:port` of the forward proxy that it offers to its workload."""
    inbound: tuple[InboundPort, ...] = ()
    """Where it takes calls for its workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInfo:
    service: Service
    endpoints: int
    healthy: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckInfo:
    """What an active check says."""

    id: str
    name: str
    state: Health
    since: datetime | None
    """With a time zone; None where nobody saw it begin."""
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EjectionInfo:
    """A proxy sends nothing to an endpoint for a while, as it failed there."""

    by: str
    """The agent whose proxy it is."""
    reason: str
    since: str
    """As the proxy told the time, ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointInfo:
    """One endpoint of one port of a service."""

    endpoint: Endpoint
    service_port: int
    checks: tuple[CheckInfo, ...] = ()
    """All that decide on it, its machine's first."""
    ejected: tuple[EjectionInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How many of the connected proxies have acknowledged everything up to the revision asked for."""

    acknowledged: int
    proxies: int
    refusals: tuple[str, ...] = ()
    """What those say that lag behind because they refuse something."""

    @property
    def complete(self) -> bool:
        return self.acknowledged >= self.proxies


class Live(Protocol):
    """The running mesh. All but the waiting methods answer at once, from memory."""

    def ready(self) -> str:
        """Why the control plane cannot serve yet; empty when it can."""
        ...

    def root_namespace(self) -> str:
        """Where documents hold for the whole mesh."""
        ...

    def status(self, key: Key) -> Status:
        """What became of a document: warnings of its compilation, and the condition `Programmed` with "N of M proxies have acknowledged".

        Nothing about acceptance, which the documents know themselves. Empty for a document that is not in force.
        """
        ...

    def warnings(self, key: Key) -> tuple[Violation, ...]:
        """Those of `status`, without asking which proxies the document concerns."""
        ...

    async def foreseen(self, change: Mapping[Key, Resource[Any] | None]) -> Sequence[Violation]:
        """What would be found wrong if documents were put into force, or (None) taken out, in which nothing is in force otherwise.

        All that would be told of these documents, and of all others what is not told today.
        """
        ...

    def changed(self) -> datetime:
        """When anything last changed: the documents, what is compiled from them, or what proxies have said."""
        ...

    def proxies(self) -> Sequence[ProxyInfo]: ...

    def proxy_start(self, namespace: str, labels: Labels) -> ProxyStart:
        """How a proxy of a namespace with these labels is to be started."""
        ...

    def bootstrap_changes(self, node: Node) -> list[dict[str, Any]]:
        """What EnvoyFilters change of the configuration that a proxy starts with: `value`, and whether lists replace (`replace_lists`)."""
        ...

    def services(self) -> Sequence[ServiceInfo]: ...

    def endpoints(self, host: str, namespaces: tuple[str, ...] = ()) -> Sequence[EndpointInfo] | None:
        """Of a service by its host name, or `name`, `name.namespace`; None for a service that the mesh does not know.

        With `namespaces` the mesh is as if it had no services in others.
        """
        ...

    def can(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answers the body of `POST /api/v1/can`: whether a call is let in. Raises ValueError for a bad question."""

    def explain(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answers the body of `POST /api/v1/explain` with a trace as JSON. Raises ValueError for a bad question, LookupError for an
        unknown proxy."""
        ...

    async def wait_acknowledged(self, revision: int, timeout: float) -> Progress:
        """Returns when all connected proxies follow the store's `revision`, or after `timeout` seconds with how far they are."""
        ...
