"""What bodies say of tokens, read and checked."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

from tulle.registry import durations
from tulle.registry.acl.authorities import Paper, digest, now
from tulle.registry.transitions import Refused
from tulle.server.consul.body import Body

LEAST, MOST = 60.0, 24 * 3600.0
"""Seconds for which a token that ends may hold."""
_SERVICE = re.compile(r"[a-z0-9]([a-z0-9_-]{0,254}[a-z0-9])?")


def check_uuid(text: str, field: str) -> None:
    """Raises Refused."""
    try:
        valid = len(text) == 36 and bool(UUID(text))
    except ValueError:
        valid = False
    if not valid:
        raise Refused(500, f"Invalid Token: {field} is not a valid UUID")


def fresh(accessor: str, secret: str, description: str) -> Paper:
    """A token that is linked to nothing."""
    return {
        "AccessorID": accessor,
        "SecretHash": digest(secret),
        "Description": description,
        "Policies": [],
        "Roles": [],
        "ServiceIdentities": [],
        "NodeIdentities": [],
        "Local": False,
        "CreateTime": now().isoformat().replace("+00:00", "Z"),
    }


def expiration(body: Body) -> dict[str, str]:
    """When a token's time is over, where a body says so. Raises Refused."""
    if body.text("ExpirationTime"):
        raise Refused(400, "ExpirationTime cannot be used here: say ExpirationTTL")
    seconds = body.seconds("ExpirationTTL")
    if not seconds:
        return {}
    if not LEAST <= seconds <= MOST:
        bounds = f"{durations.show(LEAST)} and {durations.show(MOST)}"
        raise Refused(500, f"Invalid Token: ExpirationTTL must be between {bounds}, not {durations.show(seconds)}")
    return {"ExpirationTime": (now() + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")}


def service_identities(body: Body) -> list[dict[str, Any]]:
    """Raises Refused."""
    found = [{"ServiceName": i.text("ServiceName"), "Datacenters": list(i.texts("Datacenters"))} for i in body.parts("ServiceIdentities")]
    for identity in found:
        if not _SERVICE.fullmatch(str(identity["ServiceName"])):
            raise Refused(
                500,
                f"Service identity {str(identity['ServiceName'])[:64]!r} has an invalid name. Only lowercase alphanumeric characters, "
                "'-' and '_' are allowed",
            )
    return found


def node_identities(body: Body) -> list[dict[str, Any]]:
    """Raises Refused."""
    found = [{"NodeName": i.text("NodeName"), "Datacenter": i.text("Datacenter")} for i in body.parts("NodeIdentities")]
    for identity in found:
        if not identity["NodeName"] or not identity["Datacenter"]:
            raise Refused(500, "Node identity is missing the node name or the datacenter field on this token")
    return found
