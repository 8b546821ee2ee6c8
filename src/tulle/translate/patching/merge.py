"""Merging one message into another as Istio does: fields of messages one by one, lists appended, what is packed in Any unpacked."""

from __future__ import annotations

from typing import Any

from tulle.protos import any_, library

_ANY = "google.protobuf.Any"
_WHOLE = ("google.protobuf.Duration", "google.protobuf.Timestamp")
"""Messages that are one value: the new one stands."""


def merge(target: Any, patch: Any, *, replace_lists: bool = False) -> None:
    """Changes `target`."""
    for field, value in patch.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _merge_map(getattr(target, field.name), value, field, replace_lists)
        elif field.is_repeated:
            if replace_lists:
                target.ClearField(field.name)
            getattr(target, field.name).extend(value)
        elif field.message_type is None:
            setattr(target, field.name, value)
        else:
            _merge_message(getattr(target, field.name), value, replace_lists)


def _merge_message(target: Any, value: Any, replace_lists: bool) -> None:
    name = value.DESCRIPTOR.full_name
    if name == _ANY:
        _merge_packed(target, value, replace_lists)
    elif name in _WHOLE:
        target.CopyFrom(value)
    else:
        target.SetInParent()
        merge(target, value, replace_lists=replace_lists)


def _merge_packed(target: Any, value: Any, replace_lists: bool) -> None:
    if target.type_url != value.type_url:
        target.CopyFrom(value)
        return
    inside = library().unpack(target)
    merge(inside, library().unpack(value), replace_lists=replace_lists)
    target.CopyFrom(any_(inside))


def _merge_map(target: Any, value: Any, field: Any, replace_lists: bool) -> None:
    if field.message_type.fields_by_name["value"].message_type is None:
        target.update(value)
        return
    for key, inner in value.items():
        _merge_message(target[key], inner, replace_lists)
