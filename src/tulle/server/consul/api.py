"""All of Consul's API put together."""

from __future__ import annotations

from tulle.registry.registry import Registry
from tulle.server.consul.agent import AgentApi
from tulle.server.consul.app import ConsulApp
from tulle.server.consul.catalog import CatalogApi
from tulle.server.consul.place import Place


def consul_app(registry: Registry, place: Place) -> ConsulApp:
    routes = [*AgentApi(registry, place).routes(), *CatalogApi(registry, place).routes()]
    return ConsulApp(registry, routes, place.datacenter)
