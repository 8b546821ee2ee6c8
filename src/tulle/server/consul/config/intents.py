"""Intentions in the words of Consul's API: one by one, and as the entry that holds all those of a destination."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tulle.compile.consul.intentions import ANY, Intent, destination_of, intents
from tulle.model.resource import Resource
from tulle.resources.consul import ServiceIntentions
from tulle.resources.consul.common import SAME
from tulle.server.consul.config.spelling import to_api, to_document

Intention = dict[str, Any]
_FOR_ALL = "every.service"
"""The name of the document for the destination `*`: no service can have it, as it has a dot."""
_HERE = ("namespace", "partition")
"""Of a source. Where they are not SAME, other callers are meant, who must not be taken for these."""


def document_name(name: str) -> str:
    return _FOR_ALL if name == ANY else name


def to_spec(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What a body says of a destination, as documents write it."""
    spec = to_document(ServiceIntentions, said)
    sources = spec.get("sources")
    if isinstance(sources, list):
        spec["sources"] = [_without(source) if isinstance(source, dict) else source for source in sources]
    return {**spec, "destination": {"name": name}}


def _without(source: Mapping[str, Any]) -> dict[str, Any]:
    """Clients send back what they were told: names of the one namespace, precedences, empty actions."""
    kept = {key: value for key, value in source.items() if key != "precedence" and value not in ("", [])}
    return {key: value for key, value in kept.items() if not (key in _HERE and value in SAME)}


def shown_entry(resource: Resource[ServiceIntentions], said: Mapping[str, Any]) -> dict[str, Any]:
    """The entry, with what follows from the names of its sources."""
    found = sorted(intents([resource]), key=lambda i: -i.precedence)
    sources = {source["Name"]: source for source in said.get("Sources", ())}
    told = [{"Type": "consul", **sources[i.source.name], "Precedence": i.precedence} for i in found]
    rest = {key: value for key, value in said.items() if key not in ("Destination", "Sources")}
    return {"Name": destination_of(resource), "Sources": told, **rest}


def listed(resources: Iterable[Resource[ServiceIntentions]]) -> list[Intention]:
    """All intentions, those that decide first first."""
    found = sorted(intents(resources), key=lambda i: (-i.precedence, i.destination, i.source.name))
    return [shown(intent) for intent in found]


def shown(intent: Intent) -> Intention:
    source, resource = intent.source, intent.resource
    written = json.loads(resource.document)["spec"]["sources"][intent.index]
    permissions = to_api(type(source), {"permissions": written.get("permissions") or []})["Permissions"]
    return {
        "ID": source.legacy_id or "",
        "Description": source.description or "",
        "SourceNS": "default",
        "SourceName": source.name,
        "DestinationNS": "default",
        "DestinationName": intent.destination,
        "SourceType": "consul",
        **({"SourcePeer": source.peer} if source.peer else {}),
        **({"SourceSamenessGroup": source.sameness_group} if source.sameness_group else {}),
        "Action": source.action.value if source.action else "",
        **({"Permissions": permissions} if permissions else {}),
        "Meta": dict(source.legacy_meta or {}),
        "Precedence": intent.precedence,
        "CreatedAt": source.legacy_create_time or "0001-01-01T00:00:00Z",
        "UpdatedAt": source.legacy_update_time or "0001-01-01T00:00:00Z",
        "CreateIndex": resource.created,
        "ModifyIndex": resource.revision,
    }


def is_for(intention: Intention, source: str, destination: str) -> bool:
    is_of_here = not intention.keys() & {"SourcePeer", "SourceSamenessGroup"}
    return bool(is_of_here and intention["SourceName"] in (ANY, source) and intention["DestinationName"] in (ANY, destination))
