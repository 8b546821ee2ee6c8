"""Prepared queries, executed: among the instances here, and where none of these is left, in other datacenters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import re2

from tulle.logs import Log
from tulle.registry.catalog import Kept
from tulle.registry.registry import Registry
from tulle.registry.transitions import Refused
from tulle.server.consul import shapes
from tulle.server.consul.near import by_distance
from tulle.server.consul.place import Place

Query = dict[str, Any]
Entry = Mapping[str, Any]
"""An instance with its node and its checks, as answers have it."""
_SLOT = re.compile(r"\$\{\s*(name\.full|name\.prefix|name\.suffix|agent\.segment|match\(\s*(\d{1,3})\s*\))\s*\}")
_log = Log("queries")


class Asking:
    def __init__(self, registry: Registry, place: Place) -> None:
        self._registry = registry
        self._place = place

    def found(self, name: str) -> Query:
        """By id, by name, or by the template with the longest prefix of the name. Raises Refused(404)."""
        queries = self._registry.tables.queries
        if name in queries:
            return shown(queries[name])
        folded = name.lower()
        named = [kept for kept in queries.values() if kept.value["Name"].lower() == folded and not is_template(kept.value)]
        if named:
            return shown(named[0])
        templates = [kept for kept in queries.values() if is_template(kept.value) and folded.startswith(kept.value["Name"].lower())]
        if not templates:
            raise Refused(404, "Query not found")
        return _filled(shown(max(templates, key=lambda kept: len(kept.value["Name"]))), name)

    async def execute(self, name: str, limit: int = 0, near: str = "") -> dict[str, Any]:
        """The answer to a query; `near` goes before what the query itself says. Raises Refused(404)."""
        query = self.found(name)
        asked = query["Service"]
        datacenter, nodes, failovers = self._place.datacenter, self._here(asked), 0
        for other in () if nodes else self._others(asked["Failover"]):
            failovers += 1
            if nodes := await self._there(other, asked):
                datacenter = other
                break
        self._registry.dice.shuffle(nodes)
        if near := near or asked["Near"]:
            nodes = by_distance(nodes, lambda entry: str(entry["Node"]["Node"]), near, self._registry.tables)
        nodes = nodes[:limit] if limit else nodes
        return {"Service": asked["Service"], "Nodes": nodes, "DNS": query["DNS"], "Datacenter": datacenter, "Failovers": failovers}

    def _here(self, asked: Query) -> list[Entry]:
        tables = self._registry.tables
        entries = (shapes.entry(kept, tables, self._place.datacenter) for kept in tables.instances_of(asked["Service"]))
        return [entry for entry in entries if suits(entry, asked)]

    def _others(self, failover: Query) -> Iterable[str]:
        """Each once: the nearest, which are the first to be joined, then those named. Unknown ones are passed over."""
        known = list(self._place.wan.places)
        named = [*failover["Datacenters"], *(target["Datacenter"] for target in failover.get("Targets", ()))]
        return dict.fromkeys([*known[: failover["NearestN"]], *(name for name in named if name in known)])

    async def _there(self, datacenter: str, asked: Query) -> list[Entry]:
        path = f"/v1/health/service/{quote(asked['Service'], safe='')}?dc={datacenter}"
        try:
            entries = await self._place.wan.get(datacenter, path)
        except OSError as error:
            _log.warning("a datacenter is passed over", datacenter=datacenter, error=str(error))
            return []
        return [entry for entry in entries or [] if suits(entry, asked)]


def suits(entry: Entry, asked: Query) -> bool:
    """Whether an instance is healthy enough, and what is meant."""
    bad = ("warning", "critical") if asked["OnlyPassing"] else ("critical",)
    if any(check["Status"] in bad for check in entry["Checks"] if check["CheckID"] not in asked["IgnoreCheckIDs"]):
        return False
    tags = {tag.lower() for tag in entry["Service"]["Tags"] or ()}
    wanted = [(tag.startswith("!"), tag.lstrip("!").lower()) for tag in asked["Tags"]]
    node_meta, meta = (entry["Node"] or {}).get("Meta") or {}, entry["Service"]["Meta"] or {}
    return (
        all((tag in tags) != negated for negated, tag in wanted)
        and all(node_meta.get(key) == value for key, value in asked["NodeMeta"].items())
        and all(meta.get(key) == value for key, value in asked["ServiceMeta"].items())
    )


def shown(kept: Kept[Query]) -> Query:
    return {**kept.value, "CreateIndex": kept.created, "ModifyIndex": kept.modified}


def is_template(query: Query) -> bool:
    return bool(query["Template"]["Type"])


def pattern(text: str) -> Any:
    """A regular expression of a template. Raises Refused."""
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
    match = pattern(template["Regexp"]).search(name) if template["Regexp"] else None
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
