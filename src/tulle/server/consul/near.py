"""`?near=`: answers in the order of the distance from a node."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tulle.registry.coordinates import HERE, Coordinate, round_trip
from tulle.registry.tables import Tables
from tulle.server.consul.wire import Ask, Reply

AGENT = "_agent"
"""How callers name the node of the agent that they ask."""


def placed(tables: Tables) -> Mapping[str, Coordinate]:
    """All nodes whose place is known; this agent's own stands in the middle, unless something else was said."""
    return {tables.local: HERE, **{name: kept.value for name, kept in tables.coordinates.items() if name in tables.nodes}}


_OF: Mapping[str, Callable[[Any], str]] = {
    "/v1/catalog/nodes": lambda item: str(item["Node"]),
    "/v1/catalog/service/": lambda item: str(item["Node"]),
    "/v1/catalog/connect/": lambda item: str(item["Node"]),
    "/v1/health/service/": lambda item: str(item["Node"]["Node"]),
    "/v1/health/connect/": lambda item: str(item["Node"]["Node"]),
    "/v1/health/ingress/": lambda item: str(item["Node"]["Node"]),
    "/v1/health/checks/": lambda item: str(item["Node"]),
    "/v1/health/state/": lambda item: str(item["Node"]),
}


def nearest(path: str, ask: Ask, tables: Tables, reply: Reply) -> Reply:
    """The same in the order of the distance from the node that `?near=` names; those whose place nobody knows come last."""
    node_of = _OF.get(path) if ask.get("near") else None
    if node_of is None or not isinstance(reply.value, list):
        return reply
    value = by_distance(reply.value, node_of, ask.get("near"), tables)
    return Reply(status=reply.status, value=value, media=reply.media, headers=reply.headers)


def by_distance(items: list[Any], node_of: Callable[[Any], str], near: str, tables: Tables) -> list[Any]:
    """Unchanged where nobody knows the place of the node that they are to be near to."""
    known = placed(tables)
    start = known.get(tables.local if near == AGENT else near)
    if start is None:
        return items
    distance = {name: round_trip(start, coordinate) for name, coordinate in known.items()}
    return sorted(items, key=lambda item: distance.get(node_of(item), math.inf))
