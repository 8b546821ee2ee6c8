"""All of Consul's API put together."""

from __future__ import annotations

from tulle.registry.registry import Registry
from tulle.server.consul.agent import AgentApi
from tulle.server.consul.app import ConsulApp
from tulle.server.consul.catalog import CatalogApi
from tulle.server.consul.events import EventApi
from tulle.server.consul.kv import KvApi, SessionApi
from tulle.server.consul.place import Place


def consul_app(registry: Registry, place: Place) -> ConsulApp:
    parts = (AgentApi(registry, place), CatalogApi(registry, place), KvApi(registry), SessionApi(registry, place), EventApi(registry))
    return ConsulApp(registry, [route for part in parts for route in part.routes()], place.datacenter)
