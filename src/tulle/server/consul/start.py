"""The registry and its place, as the settings say."""

from __future__ import annotations

import socket
import time
from functools import lru_cache
from pathlib import Path
from random import SystemRandom

from tulle.registry.catalog import Node
from tulle.registry.registry import Registry
from tulle.registry.rows import PREFIXES
from tulle.server.consul.defining import Definitions, OwnCatalog
from tulle.server.consul.place import Place, nothing
from tulle.server.consul.wan import FileRoots, Wan
from tulle.settings import Settings
from tulle.store.journal import Journal
from tulle.store.port import Store

_ANY = ("0.0.0.0", "::", "")
SERVER_PORT = 8300


def consul_registry(store: Store, settings: Settings) -> Registry:
    """Of this machine's agent; it is to be run."""
    node = Node(name=settings.node or socket.gethostname(), address=_address(settings))
    return Registry(Journal(store, PREFIXES), node, clock=time.monotonic, dice=SystemRandom(), server_port=SERVER_PORT)


def place_of(settings: Settings, definitions: Definitions | None = None) -> Place:
    address = _address(settings)
    host = f"[{address}]" if ":" in address else address
    return Place(
        datacenter=settings.datacenter,
        leader=f"{host}:{SERVER_PORT}",
        server_port=SERVER_PORT,
        scripts=settings.enable_script_checks,
        reload=definitions.reload if definitions else nothing,
        acl=settings.consul_acl,
        remote=not settings.api.is_loopback,
        wan=Wan(own=settings.datacenter, places=dict(settings.join_wan), credentials=_roots(settings.ca_file)),
    )


@lru_cache
def _roots(path: str) -> FileRoots:
    return FileRoots(path)


def definitions_of(registry: Registry, settings: Settings) -> Definitions | None:
    """The definition files of this agent, where there are any. Raises NotADirectoryError."""
    if not settings.config_dir:
        return None
    scripts = settings.enable_script_checks or settings.enable_local_script_checks
    catalog = OwnCatalog(registry, scripts=scripts)
    return Definitions(Path(settings.config_dir), catalog, registry.node.name, scripts=scripts)


def _address(settings: Settings) -> str:
    host = settings.api.host
    return "127.0.0.1" if host in _ANY or settings.api.is_loopback else host
