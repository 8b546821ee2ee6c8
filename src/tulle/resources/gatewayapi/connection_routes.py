"""TLSRoute, TCPRoute and UDPRoute: where whole connections and packets go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from tulle.resources.gatewayapi.types import Backends, Hostname, ParentReferences, SectionName, items, parent_problems
from tulle.resources.spec import Problem, Spec


class ConnectionRule(Spec):
    name: SectionName | None = None
    backend_refs: Backends


class ConnectionRoute(Spec):
    parent_refs: ParentReferences = ()
    rules: Annotated[tuple[ConnectionRule, ...], items(1, 1)]

    def check(self) -> Iterable[Problem]:
        return parent_problems(self.parent_refs)


class TcpRoute(ConnectionRoute):
    pass


class UdpRoute(ConnectionRoute):
    pass


class TlsRoute(ConnectionRoute):
    """`hostnames` are the server names that callers ask for. Versions before v1 may leave them out, and mean all."""

    hostnames: Annotated[tuple[Hostname, ...], items(1024)] = ()
