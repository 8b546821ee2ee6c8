"""The entries of the mesh, found by the service that they are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from tulle.compile import names
from tulle.compile.kinds import Kinds
from tulle.compile.memo import Memo
from tulle.model.resource import Resource
from tulle.resources.consul import ProxyDefaults, ServiceDefaults, ServiceIntentions, ServiceResolver, ServiceRouter, ServiceSplitter

E = TypeVar("E")
KINDS = (ProxyDefaults, ServiceDefaults, ServiceIntentions, ServiceResolver, ServiceRouter, ServiceSplitter)
ByHost = Mapping[str, Resource[E]]
GLOBAL = "global"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entries:
    """Each by the full name of its service. Equal by identity."""

    domain: str = ""
    defaults: ByHost[ServiceDefaults] = field(default_factory=dict)
    routers: ByHost[ServiceRouter] = field(default_factory=dict)
    splitters: ByHost[ServiceSplitter] = field(default_factory=dict)
    resolvers: ByHost[ServiceResolver] = field(default_factory=dict)
    intentions: tuple[Resource[ServiceIntentions], ...] = ()
    proxy: Resource[ProxyDefaults] | None = None

    def host(self, service: str | None, namespace: str, own: str) -> str:
        """The full name of a service as an entry of `namespace` writes it; `own` where it writes none."""
        return names.resolve(service, namespace, self.domain) if service else own


NO_ENTRIES = Entries()


def collect(kinds: Kinds, domain: str, memo: Memo) -> Entries:
    """The same object as before, if no entry changed."""
    found = tuple(kinds.of(spec) for spec in KINDS)
    return memo.get(("consul entries",), (*found, domain), lambda: _collected(kinds, domain)) if any(found) else NO_ENTRIES


def _collected(kinds: Kinds, domain: str) -> Entries:
    def of(spec: type[E]) -> ByHost[E]:
        return {names.resolve(key.name, key.namespace, domain): resource for key, resource in kinds.of(spec).items()}

    return Entries(
        domain=domain,
        defaults=of(ServiceDefaults),
        routers=of(ServiceRouter),
        splitters=of(ServiceSplitter),
        resolvers=of(ServiceResolver),
        intentions=tuple(kinds.of(ServiceIntentions).values()),
        proxy=next((r for key, r in kinds.of(ProxyDefaults).items() if key.name == GLOBAL), None),
    )
