"""`/v1/connect/intentions`: who may call whom, one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from tulle.compile.consul.intentions import ANY
from tulle.registry.registry import Registry
from tulle.registry.transitions import Refused
from tulle.resources.consul.intentions import Source
from tulle.server.consul.app import Route
from tulle.server.consul.body import Body
from tulle.server.consul.config import intents
from tulle.server.consul.config.held import TOPIC, HeldEntries
from tulle.server.consul.config.intents import Intention
from tulle.server.consul.config.spelling import to_document
from tulle.server.consul.filters import INTENTION, test_of
from tulle.server.consul.wire import TRUE_REPLY, Ask, Found, Reply

KIND = "service-intentions"
_ATTEMPTS = 20
_ONLY = {
    **dict.fromkeys(("sourcens", "destinationns", "sourcepartition", "destinationpartition"), "default"),
    **dict.fromkeys(("sourcepeer", "sourcesamenessgroup"), ""),
    "sourcetype": "consul",
}
"""Fields with the one value that they can have."""
_TOLD = ("id", "precedence", "createdat", "updatedat", "createindex", "modifyindex", "hash")
"""What clients were told, and send back."""
_FIELDS = frozenset({"description", "sourcename", "destinationname", "action", "permissions", "meta", *_TOLD, *_ONLY})
Change = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


class IntentionApi:
    def __init__(self, held: HeldEntries, registry: Registry, *, allow: bool) -> None:
        """`allow`: callers that no intention speaks of are let in."""
        self._held = held
        self._registry = registry
        self._allow = allow

    def routes(self) -> Sequence[Route]:
        table = (
            ("GET", "", self.all),
            ("POST", "", self.create),
            ("GET", "/exact", self.one),
            ("PUT", "/exact", self.put),
            ("DELETE", "/exact", self.delete),
            ("GET", "/match", self.match),
            ("GET", "/check", self.check),
            ("GET", "/", self.by_id),
            ("PUT", "/", self.update),
            ("DELETE", "/", self.forget),
        )
        return [Route(method=method, path=f"/v1/connect/intentions{path}", handler=handler) for method, path, handler in table]

    def _listed(self) -> list[Intention]:
        return intents.listed(self._held.of(KIND))

    def _found(self, look: Callable[[], Reply]) -> Found:
        return Found(topics=(TOPIC,), look=look, index=lambda: self._held.index)

    # === reading

    def all(self, ask: Ask) -> Found:
        passes = test_of(ask, INTENTION)
        return self._found(lambda: Reply(value=[i for i in self._listed() if passes(i)]))

    def one(self, ask: Ask) -> Found:
        source, destination = ends(ask)

        def look() -> Reply:
            pairs = {(i["SourceName"], i["DestinationName"]): i for i in self._listed()}
            if found := pairs.get((source, destination)):
                return Reply(value=found)
            return Reply(status=404, body=b"Intention not found", media="text/plain; charset=utf-8")

        return self._found(look)

    def match(self, ask: Ask) -> Found:
        by, names = ask.get("by"), ask.all("name")
        if not by:
            raise Refused(400, "required query parameter 'by' not set")
        if by not in ("source", "destination"):
            raise Refused(400, "'by' parameter must be one of 'source' or 'destination'")
        if not names or "" in names:
            raise Refused(400, "required query parameter 'name' not set")
        side = "SourceName" if by == "source" else "DestinationName"

        def look() -> Reply:
            return Reply(value={name: [i for i in self._listed() if i[side] in (name, ANY)] for name in names})

        return self._found(look)

    def check(self, ask: Ask) -> Found:
        source, destination = ends(ask)
        if ask.get("source-type") not in ("", "consul"):
            raise Refused(400, "'source-type' is not supported")

        def look() -> Reply:
            return Reply(value={"Allowed": self.allows(source, destination)})

        return self._found(look)

    def allows(self, source: str, destination: str) -> bool:
        """Whether every call of a service to another is let in."""
        return self.verdict(source, destination)[0]

    def verdict(self, source: str, destination: str) -> tuple[bool, str]:
        """The same, and why."""
        first = next((i for i in self._listed() if intents.is_for(i, source, destination)), None)
        if first is None:
            return self._allow, "Default behavior configured by ACLs"
        ends_ = f"default/{first['SourceName']} => default/{first['DestinationName']}"
        if not first["Action"]:
            return False, f"Matched intention with permissions, which are asked of each request: {ends_}"
        matched = f"Matched L4 intention: {ends_} (Precedence: {first['Precedence']}, Action: {first['Action'].upper()})"
        return first["Action"] == "allow", matched

    # === writing

    async def put(self, ask: Ask) -> Reply:
        source, destination = ends(ask)
        await self._set(destination, _source(ask.json(), ask, source))
        return TRUE_REPLY

    async def delete(self, ask: Ask) -> Reply:
        source, destination = ends(ask)
        await self._change(destination, lambda sources: [s for s in sources if s["name"] != source])
        return TRUE_REPLY

    async def create(self, ask: Ask) -> Reply:
        body = ask.json()
        source, destination = body.text("SourceName"), body.text("DestinationName")
        if not source or not destination:
            raise Refused(400, "Bad Request: SourceName and DestinationName must be set")
        if any((i["SourceName"], i["DestinationName"]) == (source, destination) for i in self._listed()):
            raise Refused(400, "duplicate intention found: an intention with this source and destination exists")
        identifier = str(UUID(int=self._registry.dice.getrandbits(128), version=4))
        await self._set(destination, {**_source(body, ask, source), "legacyId": identifier})
        return Reply(value={"ID": identifier})

    def by_id(self, ask: Ask) -> Found:
        _known_uuid(ask.rest)

        def look() -> Reply:
            found = next((i for i in self._listed() if i["ID"] == ask.rest), None)
            return Reply(value=found) if found else Reply(status=404, body=b"Intention not found", media="text/plain; charset=utf-8")

        return self._found(look)

    async def update(self, ask: Ask) -> Reply:
        before, body = self._by_id(ask.rest), ask.json()
        source = _source(body, ask, before["SourceName"])
        await self._set(before["DestinationName"], {**source, "legacyId": ask.rest})
        return Reply(value={"ID": ask.rest})

    async def forget(self, ask: Ask) -> Reply:
        before = self._by_id(ask.rest)
        await self._change(before["DestinationName"], lambda sources: [s for s in sources if s["name"] != before["SourceName"]])
        return TRUE_REPLY

    def _by_id(self, identifier: str) -> Intention:
        _known_uuid(identifier)
        found = next((i for i in self._listed() if i["ID"] == identifier), None)
        if found is None:
            raise Refused(404, "Intention not found")
        return found

    async def _set(self, destination: str, source: dict[str, Any]) -> None:
        await self._change(destination, lambda sources: [*(s for s in sources if s["name"] != source["name"]), source])

    async def _change(self, destination: str, change: Change) -> None:
        """Changes the sources of a destination's entry, again for as long as others are faster; an entry without any goes."""
        name = intents.document_name(destination)
        for _ in range(_ATTEMPTS):
            resource = self._held.get(KIND, name)
            written = json.loads(resource.document).get("spec") if resource else None
            spec: dict[str, Any] = written or {"destination": {"name": destination}}
            before: list[dict[str, Any]] = spec.get("sources") or []
            sources = change(before)
            if sources == before:
                return
            if not sources:
                await self._held.delete(KIND, name)
                return
            if await self._held.put(KIND, name, {**spec, "sources": sources}, resource.revision if resource else 0):
                return
        raise Refused(500, "other writers change the same intentions all the time: try again")


def ends(ask: Ask) -> tuple[str, str]:
    """The source and the destination that a request names. Raises Refused."""
    for name in ("source", "destination"):
        if not ask.get(name):
            raise Refused(400, f"required query parameter '{name}' not set")
    source, destination = (ask.get(name).removeprefix("default/") for name in ("source", "destination"))
    return source, destination


def _source(body: Body, ask: Ask, name: str) -> dict[str, Any]:
    """What a body says of one source, as documents write it. Raises Refused."""
    document = ask.document()
    _check_known(document)
    action = body.text("Action").lower()
    given = {key.replace("_", "").lower(): value for key, value in document.items()}
    permissions = to_document(Source, {"permissions": given.get("permissions") or []})["permissions"]
    if bool(action) == bool(permissions):
        raise Refused(400, "Bad Request: exactly one of Action and Permissions must be set")
    said: dict[str, Any] = {"action": action} if action else {"permissions": permissions}
    if description := body.text("Description"):
        said["description"] = description
    if meta := dict(body.words("Meta")):
        said["legacyMeta"] = meta
    return {"name": name, **said}


def _check_known(document: Mapping[str, Any]) -> None:
    """Raises Refused for what would be passed over, and for callers elsewhere: they must not be taken for those of the same name here."""
    for key, value in document.items():
        field = key.replace("_", "").lower()
        if field not in _FIELDS:
            raise Refused(400, f"Bad Request: {key} is no field of an intention")
        if value and value != _ONLY.get(field, value):
            raise Refused(400, f'Bad Request: {key} can only be "{_ONLY[field]}" here')


def _known_uuid(text: str) -> None:
    try:
        UUID(text)
    except ValueError:
        raise Refused(400, "Bad request: intention id is not a UUID") from None
