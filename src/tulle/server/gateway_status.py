"""What the statuses of Gateways and routes have beyond conditions of their own, as the running mesh and the store know it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tulle.model.proxy import Node
from tulle.model.resource import Condition
from tulle.resources.annotations import original_source
from tulle.server.forms import condition_json
from tulle.server.transitions import each_condition

NO_ADDRESS, BAD_ADDRESS = "AddressNotAssigned", "AddressNotUsable"
_NOT_OURS = "Cannot assign requested address"
"""What a proxy says of an address that its machine does not have."""


def gateway_programmed(found: Condition, accepted: Condition | None) -> Condition:
    """In the specification's words: a Gateway that no proxy serves has no address, and one that is not accepted is not programmed."""
    if accepted and accepted.status is not True:
        reason = "Pending" if accepted.status is None else "Invalid"
        return Condition(type=found.type, status=accepted.status, reason=reason, message=accepted.message)
    if found.reason == "NoProxy":
        return Condition(type=found.type, status=False, reason=NO_ADDRESS, message="no gateway proxy that serves it is connected")
    return unusable(found)


def unusable(found: Condition) -> Condition:
    """A refusal, in the specification's words where it is for an address of the Gateway's."""
    return replace(found, reason=BAD_ADDRESS) if found.reason == "Refused" and _NOT_OURS in found.message else found


def set_programmed(found: Condition, accepted: Condition | None) -> Condition:
    """The same for a ListenerSet."""
    if accepted and accepted.status is not True:
        reason = _OF_SETS.get(accepted.reason, accepted.reason)
        return Condition(type=found.type, status=accepted.status, reason=reason, message=accepted.message)
    if found.reason == "NoProxy":
        why = "no gateway proxy that serves its Gateway is connected"
        return Condition(type=found.type, status=False, reason="ParentNotProgrammed", message=why)
    return found


_OF_SETS = {"ParentNotAccepted": "ParentNotProgrammed"}


def with_listeners(details: Mapping[str, Any], programmed: Condition) -> dict[str, Any]:
    """A listener that could be served is so no sooner than the proxies have it."""
    if programmed.status is True or "listeners" not in details:
        return dict(details)
    said = condition_json(replace(programmed, reason="Pending"))
    listeners = [
        {**one, "conditions": [said if (c["type"], c["status"]) == ("Programmed", "True") else c for c in one["conditions"]]}
        for one in details["listeners"]
    ]
    return {**details, "listeners": listeners}


def addresses(nodes: Iterable[Node], asked: Iterable[str]) -> list[dict[str, str]]:
    """Where a Gateway is served: at the addresses that it asks for, else at those of its proxies."""
    wanted = list(asked)
    found = wanted or [node.ip if node.bind in ("0.0.0.0", "::") else node.bind for node in nodes]
    return [{"type": "IPAddress", "value": value} for value in dict.fromkeys(found)]


def callers_hidden(node: Node, annotations: Mapping[str, str]) -> Iterable[Condition]:
    """That endpoints see a proxy's address although a Gateway wants them to see the callers'."""
    if original_source(annotations).on and not node.transparent:
        text = f"{node.id} may not send from addresses of others (CAP_NET_ADMIN), so endpoints see its own"
        yield Condition(type="OriginalSource", status=False, reason="NoCapability", message=text)


def observed(details: Mapping[str, Any], generation: int) -> dict[str, Any]:
    """With the generation of the document that each condition was made for."""
    return each_condition(details, lambda _, condition: {**condition, "observedGeneration": generation})
