"""The two spellings of an entry: `PathPrefix` in Consul's API, `pathPrefix` in documents."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import UnionType
from typing import Any, Union

from tulle.registry import durations
from tulle.resources.paths import folded
from tulle.resources.spec import Spec

_CAPITALS = frozenset({"http", "id", "ip", "json", "jwt", "sni", "tls", "ttl"})


def to_document(model: type[Spec], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a body says, as documents write it. Unknown names stay as they are; a number is a duration in nanoseconds."""
    return _spelled(model, given, lambda _, alias: alias)


def to_api(model: type[Spec], written: Mapping[str, Any]) -> dict[str, Any]:
    """What a document says, as answers write it."""
    return _spelled(model, written, lambda field, _: pascal(field))


def pascal(field: str) -> str:
    """`path_prefix` as `PathPrefix`, `source_ip` as `SourceIP`."""
    parts = field.strip("_").split("_")
    return "".join(part.upper() if part in _CAPITALS else part[:1].upper() + part[1:] for part in parts)


def _spelled(model: type[Spec], given: Mapping[str, Any], name: Callable[[str, str], str]) -> dict[str, Any]:
    fields = {folded(field): (field, info) for field, info in model.model_fields.items()}
    found: dict[str, Any] = {}
    for key, value in given.items():
        if (known := fields.get(folded(key))) is None:
            found[key] = value
        elif value is not None:
            field, info = known
            found[name(field, info.alias or field)] = _value(info.annotation, value, name)
    return found


def _value(annotation: Any, value: Any, name: Callable[[str, str], str]) -> Any:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, UnionType):
        return _value(next(a for a in inner if a is not type(None)), value, name)
    if origin is typing.Annotated:
        return _value(inner[0], value, name)
    if annotation is timedelta and type(value) is int:
        return durations.show(value / 1e9)
    if isinstance(annotation, type) and issubclass(annotation, Spec) and isinstance(value, Mapping):
        return _spelled(annotation, value, name)
    if origin is tuple and isinstance(value, list):
        return [_value(inner[0], item, name) for item in value]
    if origin is not None and isinstance(value, Mapping) and len(inner) == 2:
        return {key: _value(inner[1], item, name) for key, item in value.items()}
    return value
