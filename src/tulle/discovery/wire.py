"""Requests parsed, responses encoded.

Responses are written by hand so that their bodies can be shared: a message is the same whatever order its fields come in, so the
body is encoded once for all streams and each stream adds its own nonce (field 5 in both protocols).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import Enum
from typing import Any

from tulle.discovery.events import NOBODY, Request
from tulle.protos import pb
from tulle.translate.snapshot import Entry


class Mode(Enum):
    """The two protocols: every response names all there is, or only what changed."""

    SOTW = "sotw"
    DELTA = "delta"


def parse(raw: bytes, mode: Mode) -> tuple[Request, Any | None]:
    """A request, and the message of the Node that sent it if it is there. Raises ValueError for bytes that are no request."""
    try:
        message = (pb.DeltaDiscoveryRequest if mode is Mode.DELTA else pb.DiscoveryRequest).FromString(raw)
    except Exception as error:
        if type(error).__name__ != "DecodeError":
            raise
        raise ValueError(f"not a discovery request: {error}") from error
    node = message.node if message.HasField("node") else None
    error_text = message.error_detail.message if message.HasField("error_detail") else None
    if mode is Mode.SOTW:
        names = tuple(message.resource_names)
        return Request(type_url=message.type_url, nonce=message.response_nonce, error=error_text, subscribe=names), node
    request = Request(
        type_url=message.type_url,
        nonce=message.response_nonce,
        error=error_text,
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        held=dict(message.initial_resource_versions) if message.initial_resource_versions else NOBODY,
    )
    return request, node


def encode(mode: Mode, type_url: str, entries: Iterable[Entry], removed: Iterable[str] = ()) -> bytes:
    """A response but for its nonce. State-of-the-world responses cannot say `removed`."""
    if mode is Mode.DELTA:
        parts = [_delimited(2, _resource(entry)) for entry in entries]
        parts.extend(_delimited(6, name.encode()) for name in removed)
    else:
        digest = hashlib.blake2b(digest_size=8)
        parts = []
        for entry in entries:
            digest.update(f"{entry.name}={entry.version}\n".encode())
            parts.append(_delimited(2, _any(entry)))
        parts.append(_delimited(1, digest.hexdigest().encode()))
    parts.append(_delimited(4, type_url.encode()))
    return b"".join(parts)


def encode_nonce(nonce: str) -> bytes:
    """The part of a response that is one stream's own."""
    return _delimited(5, nonce.encode())


def _any(entry: Entry) -> bytes:
    return _delimited(1, entry.type_url.encode()) + _delimited(2, entry.body)


def _resource(entry: Entry) -> bytes:
    """A `envoy.service.discovery.v3.Resource`."""
    return _delimited(3, entry.name.encode()) + _delimited(1, entry.version.encode()) + _delimited(2, _any(entry))


def _delimited(field: int, content: bytes) -> bytes:
    return bytes((field << 3 | 2,)) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
