"""`/v1/coordinate`: where nodes lie in the network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from tulle.registry import rows
from tulle.registry.coordinates import DIMENSIONS, HERE, Coordinate, valid
from tulle.registry.port import Write
from tulle.registry.registry import Registry
from tulle.registry.tables import Tables
from tulle.registry.transitions import Refused
from tulle.server.consul.app import Route
from tulle.server.consul.body import BadBodyError, Body
from tulle.server.consul.near import placed
from tulle.server.consul.place import Place
from tulle.server.consul.wire import DONE, Ask, Found, Reply


class CoordinateApi:
    def __init__(self, registry: Registry, place: Place) -> None:
        self._registry = registry
        self._place = place

    def routes(self) -> Sequence[Route]:
        return [
            Route(method="GET", path="/v1/coordinate/datacenters", handler=self.datacenters),
            Route(method="GET", path="/v1/coordinate/nodes", handler=self.nodes),
            Route(method="GET", path="/v1/coordinate/node/", handler=self.node),
            Route(method="PUT", path="/v1/coordinate/update", handler=self.update),
        ]

    def datacenters(self, _: Ask) -> Reply:
        own = {**shown(self._registry.node.name, HERE), "Node": f"{self._registry.node.name}.{self._place.datacenter}"}
        return Reply(value=[{"Datacenter": self._place.datacenter, "AreaID": "wan", "Coordinates": [own]}])

    def nodes(self, ask: Ask) -> Found:
        def look() -> Reply:
            known = placed(self._registry.tables)
            return Reply(value=[shown(name, known[name]) for name in sorted(known) if not ask.get("segment")])

        return Found(topics=(("nodes",), ("coordinates",)), look=look)

    def node(self, ask: Ask) -> Found:
        def look() -> Reply:
            found = placed(self._registry.tables).get(ask.rest)
            return Reply(value=[shown(ask.rest, found)]) if found else Reply(status=404, body=b"")

        return Found(topics=(("node", ask.rest), ("coordinates",)), look=look)

    async def update(self, ask: Ask) -> Reply:
        """A node that is not known is passed over, as its coordinate may be on its way before it is."""
        body = ask.json()
        name, coordinate = body.text("Node"), read(body.part("Coord") or Body({}))
        if not name:
            raise Refused(400, "Missing node name")

        def decide(tables: Tables) -> Sequence[Write]:
            kept = tables.coordinates.get(name)
            if name not in tables.nodes or (kept and kept.value == coordinate):
                return []
            data = json.dumps(coordinate.document(), separators=(",", ":")).encode()
            return [("put", rows.COORDINATES + quote(name, safe=""), data, kept.modified if kept else 0)]

        await self._registry.change(decide)
        return DONE


def read(body: Body) -> Coordinate:
    """Raises Refused."""
    vec = body.given.get("vec")
    numbers = [_number(body, name) for name in ("Error", "Adjustment", "Height")]
    if not isinstance(vec, list) or len(vec) != DIMENSIONS or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in vec):
        raise BadBodyError(f"Coord.Vec must be a list of {DIMENSIONS} numbers")
    if not valid([*vec, *numbers]):
        raise BadBodyError("Coord must hold finite numbers only")
    return Coordinate(vec=tuple(float(n) for n in vec), error=numbers[0], adjustment=numbers[1], height=numbers[2])


def _number(body: Body, name: str) -> float:
    value = body.given.get(name.lower(), 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadBodyError(f"Coord.{name} must be a number")
    return float(value)


def shown(node: str, coordinate: Coordinate) -> dict[str, Any]:
    return {"Node": node, "Segment": "", "Coord": coordinate.document()}
