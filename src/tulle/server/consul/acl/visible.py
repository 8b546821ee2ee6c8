"""What of an answer one may see: lists are shortened, as Consul does, so that clients with few rights still work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tulle.registry.acl.authority import Authority
from tulle.server.consul.wire import Ask, Reply

FILTERED = {"x-consul-results-filtered-by-acls": "true"}


class Sight:
    """`hidden`: something was kept back."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self.hidden = False

    def sees(self, kind: str, name: str) -> bool:
        seen = self._authority.allows(kind, name)
        self.hidden = self.hidden or not seen
        return seen

    def node(self, name: str) -> bool:
        return self.sees("node", name)

    def service(self, name: str) -> bool:
        return self.sees("service", name)

    def intention(self, source: str, destination: str) -> bool:
        """One of its two ends will do."""
        seen = any(self._authority.allows("intention", name) for name in (source, destination))
        self.hidden = self.hidden or not seen
        return seen


Show = Callable[[Any, Sight], Any]


def _each(test: Callable[[Any, Sight], bool]) -> Show:
    """Items of a list, or of an object by their values."""

    def show(value: Any, sight: Sight) -> Any:
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if test(item, sight)}
        return [item for item in value if test(item, sight)]

    return show


def _check(item: Any, sight: Sight) -> bool:
    return sight.node(item["Node"]) and (not item["ServiceName"] or sight.service(item["ServiceName"]))


def _agent_check(item: Any, sight: Sight) -> bool:
    return sight.service(item["ServiceName"]) if item["ServiceID"] else sight.node(item["Node"])


def _entry(item: Any, sight: Sight) -> bool:
    return sight.node(item["Node"]["Node"]) and sight.service(item["Service"]["Service"])


def _services(value: Any, sight: Sight) -> Any:
    return {name: tags for name, tags in value.items() if sight.service(name)}


def _on_node(value: Any, sight: Sight) -> Any:
    if value is None or not sight.node(value["Node"]["Node"]):
        return None
    return {**value, "Services": _each(lambda item, s: s.service(item["Service"]))(value["Services"], sight)}


def _keys(value: Any, sight: Sight) -> Any:
    return [item for item in value if sight.sees("key", item if isinstance(item, str) else item["Key"])]


def _answer(value: Any, sight: Sight) -> Any:
    """Of a query that was executed, or asked for."""
    if isinstance(value, dict) and "Nodes" in value:
        return {**value, "Nodes": _each(_entry)(value["Nodes"], sight)}
    return value


def _intention(item: Any, sight: Sight) -> bool:
    return sight.intention(item["SourceName"], item["DestinationName"])


def _entries(value: Any, sight: Sight) -> Any:
    if not isinstance(value, list):
        return value
    kinds = {"service-intentions": "intention", "proxy-defaults": ""}
    return [item for item in value if not (kind := kinds.get(item["Kind"], "service")) or sight.sees(kind, item["Name"])]


def _of_node(key: str, kind: str = "node") -> Show:
    return _each(lambda item, sight: sight.sees(kind, item[key]))


_SHOWN: Mapping[str, Show] = {
    "agent/services": _each(lambda item, sight: sight.service(item["Service"])),
    "agent/checks": _each(_agent_check),
    "agent/members": _each(lambda item, sight: sight.node(item["Name"])),
    "catalog/nodes": _of_node("Node"),
    "catalog/services": _services,
    "catalog/service/": _each(lambda item, sight: sight.node(item["Node"]) and sight.service(item["ServiceName"])),
    "catalog/connect/": _each(lambda item, sight: sight.node(item["Node"]) and sight.service(item["ServiceName"])),
    "catalog/node/": _on_node,
    "catalog/node-services/": _on_node,
    "health/service/": _each(_entry),
    "health/connect/": _each(_entry),
    "health/node/": _each(_check),
    "health/checks/": _each(_check),
    "health/state/": _each(_check),
    "kv/": _keys,
    "session/info/": _of_node("Node", "session"),
    "session/node/": _of_node("Node", "session"),
    "session/list": _of_node("Node", "session"),
    "event/list": _of_node("Name", "event"),
    "query": _of_node("Name", "query"),
    "query/": _answer,
    "config/": _entries,
    "connect/intentions": _each(_intention),
    "connect/intentions/match": lambda value, sight: {name: _each(_intention)(found, sight) for name, found in value.items()},
    "coordinate/nodes": _of_node("Node"),
    "coordinate/node/": _of_node("Node"),
}
SHOWN: dict[str, Show] = {f"/v1/{path}": show for path, show in _SHOWN.items()}
"""By the part of the path that chooses the handler."""


def visible(path: str, ask: Ask, reply: Reply) -> Reply:
    """The answer without what the one who asks may not see."""
    show = SHOWN.get(path) if ask.method in ("GET", "HEAD") else None
    if show is None or ask.authority.is_free or reply.status != 200 or reply.body is not None:
        return reply
    sight = Sight(ask.authority)
    value = show(reply.value, sight)
    if not sight.hidden:
        return reply
    if path == "/v1/kv/" and not value:
        return Reply(status=404, body=b"")
    headers = {**reply.headers, **(FILTERED if ask.secret else {})}
    return Reply(status=reply.status, value=value, media=reply.media, headers=headers)
