"""`/v1/query`: questions that are kept under a name, so that programs ask for `.query` names and operators decide what that means."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import re2

from tulle.model.service import Health
from tulle.registry import durations, rows
from tulle.registry.catalog import Kept, Service
from tulle.registry.port import Write
from tulle.registry.registry import Registry
from tulle.registry.tables import Tables
from tulle.registry.transitions import Refused
from tulle.server.consul import shapes
from tulle.server.consul.app import Route
from tulle.server.consul.body import Body
from tulle.server.consul.place import Place
from tulle.server.consul.wire import DONE, Ask, Found, Reply

Query = dict[str, Any]
TEMPLATE = "name_prefix_match"
_SLOT = re.compile(r"\$\{\s*(name\.full|name\.prefix|name\.suffix|agent\.segment|match\(\s*(\d{1,3})\s*\))\s*\}")


class QueryApi:
    def __init__(self, registry: Registry, place: Place) -> None:
        self._registry = registry
        self._place = place

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
        return Found(topics=(("queries",),), look=lambda: Reply(value=[_shown(queries[i]) for i in sorted(queries)]))

    def one(self, ask: Ask) -> Found | Reply:
        name, _, verb = ask.rest.rpartition("/")
        if name and verb == "execute":
            return self._execute(ask, name)
        if name and verb == "explain":
            return Reply(value={"Query": self._found(name)})

        def look() -> Reply:
            kept = self._tables.queries.get(ask.rest)
            return Reply(value=[_shown(kept)]) if kept else Reply(status=404, body=b"Query not found", media="text/plain; charset=utf-8")

        return Found(topics=(("query", ask.rest),), look=look)

    # === asking

    def _found(self, name: str) -> Query:
        """By id, by name, or by the template with the longest prefix of the name. Raises Refused(404)."""
        queries = self._tables.queries
        if name in queries:
            return _shown(queries[name])
        named = [kept for kept in queries.values() if kept.value["Name"] == name and not _is_template(kept.value)]
        if named:
            return _shown(named[0])
        templates = [kept for kept in queries.values() if _is_template(kept.value) and name.startswith(kept.value["Name"])]
        if not templates:
            raise Refused(404, "Query not found")
        return _filled(_shown(max(templates, key=lambda kept: len(kept.value["Name"]))), name)

    def _execute(self, ask: Ask, name: str) -> Reply:
        query = self._found(name)
        asked = query["Service"]
        nodes = [shapes.entry(kept, self._tables, self._place.datacenter) for kept in self._instances(asked)]
        self._registry.dice.shuffle(nodes)
        limit = ask.number("limit")
        answer = {
            "Service": asked["Service"],
            "Nodes": nodes[:limit] if limit else nodes,
            "DNS": query["DNS"],
            "Datacenter": self._place.datacenter,
            "Failovers": 0,
        }
        return Reply(value=answer, headers={"x-consul-knownleader": "true", "x-consul-lastcontact": "0"})

    def _instances(self, asked: dict[str, Any]) -> list[Kept[Service]]:
        return [
            kept for kept in self._tables.instances_of(asked["Service"]) if self._is_healthy(kept, asked) and self._is_meant(kept, asked)
        ]

    def _is_healthy(self, kept: Kept[Service], asked: dict[str, Any]) -> bool:
        checks = (c.value for c in self._tables.health_checks(kept.value.key) if c.value.id not in asked["IgnoreCheckIDs"])
        bad = (Health.WARNING, Health.CRITICAL) if asked["OnlyPassing"] else (Health.CRITICAL,)
        return not any(check.status in bad for check in checks)

    def _is_meant(self, kept: Kept[Service], asked: dict[str, Any]) -> bool:
        tags = {tag.lower() for tag in kept.value.tags}
        wanted = [(tag.startswith("!"), tag.lstrip("!").lower()) for tag in asked["Tags"]]
        node = self._tables.nodes.get(kept.value.node)
        node_meta = node.value.meta if node else {}
        return (
            all((tag in tags) != negated for negated, tag in wanted)
            and all(node_meta.get(key) == value for key, value in asked["NodeMeta"].items())
            and all(kept.value.meta.get(key) == value for key, value in asked["ServiceMeta"].items())
        )


def _query(body: Body, identifier: str) -> Query:
    """What is kept of a body. Raises Refused."""
    service = body.part("Service") or Body({})
    name = service.text("Service")
    if not name:
        raise Refused(400, "Must provide a Service name to query")
    failover, template = service.part("Failover") or Body({}), body.part("Template") or Body({})
    if template.text("Type") not in ("", TEMPLATE):
        raise Refused(400, f"Bad Template.Type {template.text('Type')[:64]!r}: only {TEMPLATE} is known")
    if service.flag("Connect"):
        raise Refused(400, "Service.Connect cannot be asked for here")
    dns = (body.part("DNS") or Body({})).seconds("TTL")
    if dns < 0:
        raise Refused(400, "DNS TTL must be >=0")
    _pattern(template.text("Regexp"))
    return {
        "ID": identifier,
        "Name": body.text("Name"),
        "Session": body.text("Session"),
        "Token": "",
        "Template": {"Type": template.text("Type"), "Regexp": template.text("Regexp"), "RemoveEmptyTags": template.flag("RemoveEmptyTags")},
        "Service": {
            "Service": name,
            "Failover": {"NearestN": failover.number("NearestN"), "Datacenters": list(failover.texts("Datacenters"))},
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


def _shown(kept: Kept[Query]) -> Query:
    return {**kept.value, "CreateIndex": kept.created, "ModifyIndex": kept.modified}


def _is_template(query: Query) -> bool:
    return bool(query["Template"]["Type"])


def _pattern(text: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        raise Refused(400, f"Bad Template.Regexp: {error}") from None


def _filled(query: Query, name: str) -> Query:
    """A template with the name that it was found by in all its texts."""
    template = query["Template"]
    prefix: str = query["Name"]
    parts = {"name.full": name, "name.prefix": prefix, "name.suffix": name[len(prefix) :]}
    match = _pattern(template["Regexp"]).search(name) if template["Regexp"] else None
    groups: list[str | None] = [match.group(0), *match.groups()] if match else []

    def fill(slot: re.Match[str]) -> str:
        if slot[2] is not None:
            number = int(slot[2])
            return (groups[number] or "") if number < len(groups) else ""
        return parts.get(slot[1], "")

    service = _each_text(query["Service"], lambda text: _SLOT.sub(fill, text))
    if template["RemoveEmptyTags"]:
        service["Tags"] = [tag for tag in service["Tags"] if tag]
    return {**query, "Service": service}


def _each_text(value: Any, change: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    return {key: _each_text(item, change) for key, item in value.items()} if isinstance(value, dict) else value
