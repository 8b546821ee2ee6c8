"""Policies that are always there, and those that stand for an identity."""

from __future__ import annotations

import json
from typing import Any

GLOBAL_MANAGEMENT = "00000000-0000-0000-0000-000000000001"
GLOBAL_READ_ONLY = "00000000-0000-0000-0000-000000000002"
_NAMED = ("agent", "event", "key", "node", "query", "service", "session")


def _everything(access: str) -> str:
    named = [f'{kind}_prefix "" {{ policy = "{access}"{_intentions(kind, access)} }}' for kind in _NAMED]
    return "\n".join([*(f'{kind} = "{access}"' for kind in ("acl", "keyring", "mesh", "operator", "peering")), *named])


def _intentions(kind: str, access: str) -> str:
    return f' intentions = "{access}"' if kind == "service" else ""


def _policy(identifier: str, name: str, description: str, access: str) -> dict[str, Any]:
    return {"ID": identifier, "Name": name, "Description": description, "Rules": _everything(access), "Datacenters": []}


BUILTIN = {
    GLOBAL_MANAGEMENT: _policy(GLOBAL_MANAGEMENT, "global-management", "A policy that grants unlimited access", "write"),
    GLOBAL_READ_ONLY: _policy(
        GLOBAL_READ_ONLY, "builtin/global-read-only", "A policy that grants unlimited read-only access to all components", "read"
    ),
}


def service_identity(name: str) -> str:
    """What a service needs to register itself and to find others."""
    own, sidecar = json.dumps(name), json.dumps(f"{name}-sidecar-proxy")
    return (
        f'service {own} {{ policy = "write" }} service {sidecar} {{ policy = "write" }} '
        'service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }'
    )


def node_identity(name: str) -> str:
    """What an agent needs to keep its node in the catalog."""
    return f'node {json.dumps(name)} {{ policy = "write" }} service_prefix "" {{ policy = "read" }}'
