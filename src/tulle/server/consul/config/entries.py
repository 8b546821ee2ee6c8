"""`/v1/config`: configuration entries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tulle.model.resource import Resource
from tulle.registry.transitions import Refused
from tulle.server.consul.app import Route
from tulle.server.consul.body import BadBodyError
from tulle.server.consul.config import intents
from tulle.server.consul.config.held import KINDS, TOPIC, HeldEntries
from tulle.server.consul.config.spelling import to_api, to_document
from tulle.server.consul.wire import TRUE_REPLY, Ask, Found, Reply

GLOBAL = "global"
_DROPPED = ("kind", "name", "createindex", "modifyindex", "hash", "status")
_EMPTY: Mapping[str, tuple[str, ...]] = {
    "service-defaults": ("TransparentProxy", "MeshGateway", "Expose"),
    "proxy-defaults": ("TransparentProxy", "MeshGateway", "Expose", "AccessLogs"),
}
"""Parts that answers have even where nothing was said."""


class ConfigApi:
    def __init__(self, held: HeldEntries) -> None:
        self._held = held

    def routes(self) -> Sequence[Route]:
        return [
            Route(method="PUT", path="/v1/config", handler=self.put),
            Route(method="GET", path="/v1/config/", handler=self.get),
            Route(method="DELETE", path="/v1/config/", handler=self.delete),
        ]

    async def put(self, ask: Ask) -> Reply:
        kind, name, said = read(ask)
        spec = intents.to_spec(name, said) if kind == "service-intentions" else to_document(KINDS[kind], said)
        done = await self._held.put(kind, intents.document_name(name), spec, ask.number("cas"))
        return Reply(value=done)

    def get(self, ask: Ask) -> Found:
        kind, _, name = ask.rest.partition("/")
        known_kind(kind)

        def look() -> Reply:
            if not name:
                return Reply(value=[shown(resource) for resource in self._held.of(kind)])
            resource = self._held.get(kind, intents.document_name(name))
            if resource is None:
                message = f'Config entry not found for "{kind}" / "{name}"'
                return Reply(status=404, body=message.encode(), media="text/plain; charset=utf-8")
            return Reply(value=shown(resource))

        return Found(topics=(TOPIC,), look=look, index=lambda: self._held.index)

    async def delete(self, ask: Ask) -> Reply:
        kind, _, name = ask.rest.partition("/")
        known_kind(kind)
        if not name:
            raise Refused(400, "Missing config entry name")
        document = intents.document_name(name)
        if (expected := ask.number("cas")) is not None:
            resource = self._held.get(kind, document)
            if resource is None or resource.revision != expected:
                return Reply(value=False)
        await self._held.delete(kind, document)
        return TRUE_REPLY if expected is not None else Reply(value={})


def known_kind(kind: str) -> None:
    """Raises Refused."""
    if kind not in KINDS:
        raise Refused(400, f"invalid config entry kind: {kind[:64]}")


def read(ask: Ask) -> tuple[str, str, dict[str, Any]]:
    """The kind, the name and the rest of a body. Raises Refused."""
    document = ask.document()
    if not isinstance(document, dict):
        raise BadBodyError("the body must be an object")
    body = ask.json()
    kind = body.text("Kind")
    if kind not in KINDS:
        raise BadBodyError(f"invalid config entry kind: {kind[:64]}" if kind else "Payload does not contain a Kind key at the top level")
    name = body.text("Name") or (GLOBAL if kind == "proxy-defaults" else "")
    if not name:
        raise Refused(400, "Bad Request: Name is required")
    if kind == "proxy-defaults" and name != GLOBAL:
        raise Refused(400, f'Bad Request: invalid name ({name!r}), only "{GLOBAL}" is supported')
    return kind, name, {key: value for key, value in document.items() if key.replace("_", "").lower() not in _DROPPED}


def shown(resource: Resource[Any]) -> dict[str, Any]:
    """An entry as answers tell it."""
    kind = next(name for name, spec in KINDS.items() if spec is type(resource.spec))
    written = json.loads(resource.document).get("spec") or {}
    said = to_api(KINDS[kind], written)
    if kind == "service-intentions":
        said = intents.shown_entry(resource, said)
    rest: dict[str, Any] = {part: {} for part in _EMPTY.get(kind, ()) if part not in said}
    name = said.pop("Name", resource.key.name)
    return {"Kind": kind, "Name": name, **said, **rest, "CreateIndex": resource.created, "ModifyIndex": resource.revision}
