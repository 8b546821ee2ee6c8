"""How the registry's values lie in the store: JSON under keys by their kind; behind a line of JSON, the bytes of a client's value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from urllib.parse import quote, unquote

from tulle.model.frozen import FrozenMap
from tulle.model.service import Health
from tulle.registry.catalog import NO_PROBE, Check, Node, Probe, Service, TaggedAddress
from tulle.registry.kv import Behavior, Entry, Session

NODES, SERVICES, CHECKS = "catalog/nodes/", "catalog/services/", "catalog/checks/"
KV, SESSIONS, QUERIES, SELF = "consul/kv/", "consul/sessions/", "consul/queries/", "consul/self"
ACL, COORDINATES = "consul/acl/", "consul/coordinates/"
REGISTRATIONS = "registrations/"
PREFIXES = ("catalog/", "consul/", REGISTRATIONS)


def key_of(value: Node | Service | Check | Entry | Session) -> str:
    match value:
        case Node():
            return NODES + quote(value.name, safe="")
        case Service():
            return service_key(value.node, value.id)
        case Check():
            return check_key(value.node, value.id)
        case Entry():
            return KV + value.key
        case Session():
            return SESSIONS + value.id


def service_key(node: str, identifier: str) -> str:
    return f"{SERVICES}{quote(node, safe='')}/{quote(identifier, safe='')}"


def check_key(node: str, identifier: str) -> str:
    return f"{CHECKS}{quote(node, safe='')}/{quote(identifier, safe='')}"


def names(key: str) -> tuple[str, ...]:
    """What a key of the catalog names: a node, or a node and an id."""
    return tuple(unquote(part) for part in key.split("/")[2:])


def acl_names(key: str) -> tuple[str, str]:
    """The kind and the id of a token, policy or role."""
    kind, _, identifier = key.removeprefix(ACL).partition("/")
    return kind, identifier


def dump(value: Node | Service | Check | Entry | Session) -> bytes:
    if isinstance(value, Entry):
        head = {"flags": value.flags, "session": value.session, "locked": value.lock_index}
        return _text(head) + b"\n" + value.value
    return _text(_fields(value))


def load(key: str, data: bytes) -> Node | Service | Check | Entry | Session:
    """Raises ValueError when this release cannot read it."""
    if key.startswith(KV):
        line, _, value = data.partition(b"\n")
        head = json.loads(line)
        return Entry(key=key[len(KV) :], value=value, flags=head["flags"], session=head["session"], lock_index=head["locked"])
    fields_ = json.loads(data)
    if key.startswith(NODES):
        return Node(**_frozen(fields_))
    if key.startswith(SERVICES):
        tagged = {name: TaggedAddress(**address) for name, address in fields_.pop("tagged_addresses", {}).items()}
        return Service(**_frozen(fields_), tagged_addresses=FrozenMap(tagged))
    if key.startswith(CHECKS):
        probe = Probe(**_frozen(fields_.pop("probe", {}))) if "probe" in fields_ else NO_PROBE
        return Check(**_frozen(fields_ | {"status": Health(fields_["status"])}), probe=probe)
    return Session(**_frozen(fields_ | {"behavior": Behavior(fields_["behavior"])}))


def _text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_ALWAYS = ("status", "behavior", "node_checks")


def _fields(value: Node | Service | Check | Session | Probe | TaggedAddress) -> dict[str, Any]:
    """What differs from the defaults, and what has no default."""
    given: dict[str, Any] = {}
    for field in fields(value):
        content = getattr(value, field.name)
        if content != field.default or field.name in _ALWAYS:
            given[field.name] = _plain(content)
    return given


def _plain(content: object) -> object:
    if isinstance(content, FrozenMap):
        return {key: _plain(item) for key, item in sorted(content.items())}
    if isinstance(content, Probe | TaggedAddress):
        return _fields(content)
    return content.value if isinstance(content, Health | Behavior) else content


def _frozen(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _freeze(value) for name, value in data.items()}


def _freeze(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return FrozenMap({key: _freeze(item) for key, item in value.items()}) if isinstance(value, dict) else value
