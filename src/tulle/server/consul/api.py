"""All of Consul's API put together."""

from __future__ import annotations

from collections.abc import Iterable

from tulle.registry.acl.authorities import Authorities, now
from tulle.registry.acl.rules import Access
from tulle.registry.registry import Registry
from tulle.registry.transitions import Refused
from tulle.server.consul.acl.papers import Papers
from tulle.server.consul.acl.policies import PolicyApi, RoleApi
from tulle.server.consul.acl.tokens import TokenApi
from tulle.server.consul.agent import AgentApi
from tulle.server.consul.app import ConsulApp, Route
from tulle.server.consul.catalog import CatalogApi
from tulle.server.consul.chain import ChainApi
from tulle.server.consul.config.entries import ConfigApi
from tulle.server.consul.config.held import HeldEntries
from tulle.server.consul.config.intentions import IntentionApi
from tulle.server.consul.connect import ConnectApi, Signs
from tulle.server.consul.coordinates import CoordinateApi
from tulle.server.consul.events import EventApi
from tulle.server.consul.kv import KvApi, SessionApi
from tulle.server.consul.operating import OperatingApi
from tulle.server.consul.place import Place
from tulle.server.consul.queries import QueryApi
from tulle.server.consul.txn import TxnApi
from tulle.server.consul.wire import Ask, Reply


def consul_app(registry: Registry, place: Place, held: HeldEntries, authority: Signs | None = None) -> ConsulApp:
    """The API of one place. What is not there answers 404. Without an `authority` nobody gets certificates."""
    authorities = _authorities(registry, place)
    intentions = IntentionApi(held, registry, allow=place.acl != "deny")
    parts = (
        AgentApi(registry, place),
        CatalogApi(registry, place),
        KvApi(registry),
        TxnApi(registry, place),
        CoordinateApi(registry, place),
        OperatingApi(registry, place, authorities),
        SessionApi(registry, place),
        EventApi(registry),
        QueryApi(registry, place),
        ConfigApi(held),
        intentions,
        ConnectApi(registry, place, intentions, authority),
        ChainApi(held, place),
    )
    routes = [route for part in parts for route in part.routes()]
    routes += _access(registry, authorities) if authorities else _no_access()
    return ConsulApp(registry, routes, place.wan, authorities)


def _authorities(registry: Registry, place: Place) -> Authorities | None:
    if place.acl == "off":
        return None
    default = Access.DENY if place.acl == "deny" else Access.WRITE
    return Authorities(registry.tables, default=default, clock=now, datacenter=place.datacenter)


def _access(registry: Registry, authorities: Authorities) -> Iterable[Route]:
    papers = Papers(registry)
    for part in (TokenApi(papers, authorities, registry.node.name), PolicyApi(papers), RoleApi(papers)):
        yield from part.routes()


def _no_access() -> Iterable[Route]:
    return [Route(method=method, path="/v1/acl/", handler=_no_acl) for method in ("GET", "PUT", "POST", "DELETE")]


def _no_acl(_: Ask) -> Reply:
    raise Refused(401, "ACL support disabled")
