"""`/v1/query`: questions that are kept under a name, so that programs ask for `.query` names and operators decide what that means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from tulle.registry import durations, rows
from tulle.registry.port import Write
from tulle.registry.registry import Registry
from tulle.registry.tables import Tables
from tulle.registry.transitions import Refused
from tulle.server.consul.app import Route
from tulle.server.consul.asking import Asking, Query, pattern, shown
from tulle.server.consul.body import Body
from tulle.server.consul.place import Place
from tulle.server.consul.wire import DONE, Ask, Found, Reply

TEMPLATE = "name_prefix_match"


class QueryApi:
    def __init__(self, registry: Registry, place: Place) -> None:
        self._registry = registry
        self._asking = Asking(registry, place)

    def routes(self) -> Sequence[Route]:
        return [
            Route(method="POST", path="/v1/query", handler=self.create),
            Route(method="GET", path="/v1/query", handler=self.all),
            Route(method="GET", path="/v1/query/", handler=self.one),
            Route(method="PUT", path="/v1/query/", handler=self.update),
            Route(method="DELETE", path="/v1/query/", handler=self.delete),
        ]

    @property
    def _tables(self) -> Tables:
        return self._registry.tables

    async def create(self, ask: Ask) -> Reply:
        identifier = str(UUID(int=self._registry.dice.getrandbits(128), version=4))
        query = _query(ask.json(), identifier)
        await self._registry.change(lambda tables: _entering(tables, query))
        return Reply(value={"ID": identifier})

    async def update(self, ask: Ask) -> Reply:
        if ask.rest not in self._tables.queries:
            raise Refused(404, "Query not found")
        query = _query(ask.json(), ask.rest)
        await self._registry.change(lambda tables: _entering(tables, query))
        return DONE

    async def delete(self, ask: Ask) -> Reply:
        await self._registry.change(lambda tables: _leaving(tables, ask.rest))
        return DONE

    def all(self, _: Ask) -> Found:
        queries = self._tables.queries
        return Found(topics=(("queries",),), look=lambda: Reply(value=[shown(queries[i]) for i in sorted(queries)]))

    async def one(self, ask: Ask) -> Found | Reply:
        name, _, verb = ask.rest.rpartition("/")
        if name and verb == "execute":
            answer = await self._asking.execute(name, ask.number("limit") or 0, ask.get("near"))
            return Reply(value=answer, headers={"x-consul-knownleader": "true", "x-consul-lastcontact": "0"})
        if name and verb == "explain":
            return Reply(value={"Query": self._asking.found(name)})

        def look() -> Reply:
            kept = self._tables.queries.get(ask.rest)
            return Reply(value=[shown(kept)]) if kept else Reply(status=404, body=b"Query not found", media="text/plain; charset=utf-8")

        return Found(topics=(("query", ask.rest),), look=look)


def _query(body: Body, identifier: str) -> Query:
    """What is kept of a body. Raises Refused."""
    service = body.part("Service") or Body({})
    name = service.text("Service")
    if not name:
        raise Refused(400, "Must provide a Service name to query")
    template = body.part("Template") or Body({})
    if template.text("Type") not in ("", TEMPLATE):
        raise Refused(400, f"Bad Template.Type {template.text('Type')[:64]!r}: only {TEMPLATE} is known")
    if service.flag("Connect"):
        raise Refused(400, "Service.Connect cannot be asked for here")
    dns = (body.part("DNS") or Body({})).seconds("TTL")
    if dns < 0:
        raise Refused(400, "DNS TTL must be >=0")
    pattern(template.text("Regexp"))
    return {
        "ID": identifier,
        "Name": body.text("Name"),
        "Session": body.text("Session"),
        "Token": "",
        "Template": {"Type": template.text("Type"), "Regexp": template.text("Regexp"), "RemoveEmptyTags": template.flag("RemoveEmptyTags")},
        "Service": {
            "Service": name,
            "Failover": _failover(service.part("Failover") or Body({})),
            "OnlyPassing": service.flag("OnlyPassing"),
            "IgnoreCheckIDs": list(service.texts("IgnoreCheckIDs")),
            "Near": service.text("Near"),
            "Tags": list(service.texts("Tags")),
            "NodeMeta": dict(service.words("NodeMeta")),
            "ServiceMeta": dict(service.words("ServiceMeta")),
            "Connect": False,
        },
        "DNS": {"TTL": durations.show(dns) if dns else ""},
    }


def _failover(body: Body) -> Query:
    """Where to go when nothing is left here. Raises Refused."""
    nearest = body.number("NearestN")
    if nearest < 0:
        raise Refused(400, f"Bad NearestN '{nearest}', must be >= 0")
    found: Query = {"NearestN": nearest, "Datacenters": [name.lower() for name in body.texts("Datacenters")]}
    targets = body.parts("Targets")
    if targets and (nearest or found["Datacenters"]):
        raise Refused(400, "Targets cannot be populated with NearestN or Datacenters")
    if any(target.text("Peer") for target in targets):
        raise Refused(400, "Failover.Targets: Peer cannot be asked for here; name a Datacenter")
    return found | ({"Targets": [{"Datacenter": target.text("Datacenter").lower()} for target in targets]} if targets else {})


def _entering(tables: Tables, query: Query) -> Sequence[Write]:
    same = [i for i, kept in tables.queries.items() if kept.value["Name"] == query["Name"] != "" and i != query["ID"]]
    if same:
        raise Refused(500, f"name {query['Name']!r} aliases an existing query name")
    if query["Session"] and query["Session"] not in tables.sessions:
        raise Refused(500, "invalid session")
    before = tables.queries.get(query["ID"])
    if before and before.value == query:
        return []
    data = json.dumps(query, separators=(",", ":")).encode()
    return [("put", rows.QUERIES + query["ID"], data, before.modified if before else 0)]


def _leaving(tables: Tables, identifier: str) -> Sequence[Write]:
    kept = tables.queries.get(identifier)
    return [("delete", rows.QUERIES + identifier, b"", kept.modified)] if kept else []
