"""Whether a value is one of Envoy's messages: every unknown field is told with its path."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from google.protobuf.json_format import ParseError

from tulle.protos import from_dict, message
from tulle.resources.spec import Place, Problem, shown

MESSAGES = {
    "LISTENER": "envoy.config.listener.v3.Listener",
    "FILTER_CHAIN": "envoy.config.listener.v3.FilterChain",
    "NETWORK_FILTER": "envoy.config.listener.v3.Filter",
    "LISTENER_FILTER": "envoy.config.listener.v3.ListenerFilter",
    "HTTP_FILTER": "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    "ROUTE_CONFIGURATION": "envoy.config.route.v3.RouteConfiguration",
    "VIRTUAL_HOST": "envoy.config.route.v3.VirtualHost",
    "HTTP_ROUTE": "envoy.config.route.v3.Route",
    "CLUSTER": "envoy.config.cluster.v3.Cluster",
    "EXTENSION_CONFIG": "envoy.config.core.v3.TypedExtensionConfig",
    "BOOTSTRAP": "envoy.config.bootstrap.v3.Bootstrap",
}
"""What `applyTo` names, and the message that its value is (a part of)."""

_ANY = "google.protobuf.Any"


def problems(apply_to: str, value: dict[str, Any]) -> Iterator[Problem]:
    name = MESSAGES[apply_to]
    found = list(_walk(value, message(name).DESCRIPTOR, ()))
    yield from found
    if not found:
        try:
            from_dict(name, value)
        except (ParseError, ValueError, TypeError) as error:
            yield (), f"is no {name}: {error}"


def _walk(value: Any, kind: Any, place: Place) -> Iterator[Problem]:
    if kind.full_name == _ANY:
        yield from _packed(value, place)
        return
    if kind.file.package == "google.protobuf":
        return
    if not isinstance(value, dict):
        yield place, f"must be a mapping, not {shown(value)}"
        return
    for key, inner in value.items():
        field = _field(kind, key)
        if field is None:
            yield (*place, key), _unknown(kind, key)
        elif field.message_type is not None and inner is not None:
            yield from _inside(inner, field, (*place, key))


def _field(kind: Any, key: object) -> Any:
    return kind.fields_by_name.get(key) or next((f for f in kind.fields if key in (f.json_name, f.camelcase_name)), None)


def _inside(value: Any, field: Any, place: Place) -> Iterator[Problem]:
    kind = field.message_type
    if kind.GetOptions().map_entry:
        of_value = kind.fields_by_name["value"].message_type
        if of_value is not None and isinstance(value, dict):
            for key, inner in value.items():
                yield from _walk(inner, of_value, (*place, key))
    elif field.is_repeated:
        for index, inner in enumerate(value if isinstance(value, list) else ()):
            yield from _walk(inner, kind, (*place, index))
    else:
        yield from _walk(value, kind, place)


def _packed(value: Any, place: Place) -> Iterator[Problem]:
    """What stands in an Any says its own type."""
    if not isinstance(value, dict) or not isinstance(value.get("@type"), str):
        yield place, 'must be a mapping with "@type"'
        return
    name = value["@type"].rpartition("/")[2]
    try:
        kind = message(name).DESCRIPTOR
    except KeyError:
        hint = "; types of the API v2 are not known any more" if ".v2" in name else ""
        yield (*place, "@type"), f"this Envoy has no type {name}{hint}"
        return
    yield from _walk({key: inner for key, inner in value.items() if key != "@type"}, kind, place)


def _unknown(kind: Any, key: object) -> str:
    near = difflib.get_close_matches(str(key), [f.name for f in kind.fields], n=1)
    return f'unknown field "{key}" of {kind.full_name}' + (f'; did you mean "{near[0]}"?' if near else "")
