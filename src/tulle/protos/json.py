"""Messages as plain values and back, in Protobuf's JSON mapping with the field names of Envoy's own documentation."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from tulle.protos.library import library
from tulle.protos.names import NAMES


def to_dict(message: Any) -> dict[str, Any]:
    """The message as dicts, lists and scalars, with what is packed inside it laid open."""
    _load_all_names()
    fields = json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=library().pool)
    return {name: _plain(value) for name, value in fields.items()}


def from_dict(name: str, fields: dict[str, Any]) -> Any:
    """A message of a type by its full name. Raises json_format.ParseError on a field that the type does not have."""
    _load_all_names()
    return json_format.ParseDict(fields, library().message(name)(), descriptor_pool=library().pool)


def _plain(value: object) -> object:
    """Without the mapping types of their own that the library makes of what is packed."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _load_all_names() -> None:
    for name in NAMES.values():
        library().message(name)
