"""All of Consul's API put together."""

from __future__ import annotations

from tulle.registry.registry import Registry
from tulle.registry.transitions import Refused
from tulle.server.consul.agent import AgentApi
from tulle.server.consul.app import ConsulApp, Route
from tulle.server.consul.catalog import CatalogApi
from tulle.server.consul.events import EventApi
from tulle.server.consul.kv import KvApi, SessionApi
from tulle.server.consul.place import Place
from tulle.server.consul.queries import QueryApi
from tulle.server.consul.wire import Ask, Reply


def consul_app(registry: Registry, place: Place) -> ConsulApp:
    """The API of one place. What is not there answers 404; access control is off, and says so."""
    parts = (
        AgentApi(registry, place),
        CatalogApi(registry, place),
        KvApi(registry),
        SessionApi(registry, place),
        EventApi(registry),
        QueryApi(registry, place),
    )
    routes = [route for part in parts for route in part.routes()]
    routes += [Route(method=method, path="/v1/acl/", handler=_no_acl) for method in ("GET", "PUT", "POST", "DELETE")]
    return ConsulApp(registry, routes, place.datacenter)


def _no_acl(_: Ask) -> Reply:
    raise Refused(401, "ACL support disabled")
