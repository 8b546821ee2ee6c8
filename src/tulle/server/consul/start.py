"""The registry and its place, as the settings say."""

from __future__ import annotations

import socket
import time
from random import SystemRandom

from tulle.registry.catalog import Node
from tulle.registry.registry import Registry
from tulle.registry.rows import PREFIXES
from tulle.server.consul.place import Place
from tulle.settings import Settings
from tulle.store.journal import Journal
from tulle.store.port import Store

_ANY = ("0.0.0.0", "::", "")
SERVER_PORT = 8300


def consul_registry(store: Store, settings: Settings) -> Registry:
    """Of this machine's agent; it is to be run."""
    node = Node(name=settings.node or socket.gethostname(), address=_address(settings))
    return Registry(Journal(store, PREFIXES), node, clock=time.monotonic, dice=SystemRandom(), server_port=SERVER_PORT)


def place_of(settings: Settings) -> Place:
    address = _address(settings)
    host = f"[{address}]" if ":" in address else address
    return Place(
        datacenter=settings.datacenter, leader=f"{host}:{SERVER_PORT}", server_port=SERVER_PORT, scripts=settings.enable_script_checks
    )


def _address(settings: Settings) -> str:
    host = settings.api.host
    return "127.0.0.1" if host in _ANY or settings.api.is_loopback else host
