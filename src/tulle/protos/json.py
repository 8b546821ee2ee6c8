"""Messages as plain values and back, in Protobuf's JSON mapping with the field names of Envoy's own documentation."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from google.protobuf import json_format

from tulle.protos.library import library
from tulle.protos.names import NAMES

_FIELD = re.compile(r"@?[a-z][a-z0-9_]*")


def to_dict(message: Any) -> dict[str, Any]:
    """The message as dicts, lists and scalars, with what is packed inside it laid open."""
    _load_all_names()
    fields = json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=library().pool)
    return {name: _plain(value) for name, value in fields.items()}


def from_dict(name: str, fields: dict[str, Any]) -> Any:
    """A message of a type by its full name. Raises json_format.ParseError on a field that the type does not have."""
    _load_all_names()
    _load_packed(fields)
    return json_format.ParseDict(fields, library().message(name)(), descriptor_pool=library().pool)


def _plain(value: object) -> object:
    """Without the mapping types of their own that the library makes of what is packed, and with the keys of maps in order."""
    if isinstance(value, dict):
        # The fields of a message come in the order of their numbers, the keys of a map in an order that changes from run to run.
        items = value.items() if all(_FIELD.fullmatch(name) for name in value) else sorted(value.items())
        return {name: _plain(item) for name, item in items}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _load_packed(value: object) -> None:
    """The types that values in `Any` say they are of. Those that do not exist are left to the parser to complain of."""
    if isinstance(value, dict):
        name = value.get("@type")
        if isinstance(name, str):
            with contextlib.suppress(KeyError):
                library().message(name.rpartition("/")[2])
        for inner in value.values():
            _load_packed(inner)
    elif isinstance(value, list):
        for inner in value:
            _load_packed(inner)


def _load_all_names() -> None:
    for name in NAMES.values():
        library().message(name)
