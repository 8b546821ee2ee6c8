"""gRPC for callers who speak JSON over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field

from tulle.model.resource import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcoding:
    """Which gRPC methods can be called by JSON, and how answers are written."""

    source: Source
    services: tuple[str, ...]
    """Full names: `shop.Talk`."""
    descriptors: bytes = field(default=b"", repr=False)
    """A serialised google.protobuf.FileDescriptorSet; empty where it is in a file."""
    descriptor_file: str = ""
    """On the proxy's machine."""
    auto_mapping: bool = True
    """Methods without `google.api.http` are reached by POST at `/SERVICE/METHOD`."""
    ignore_unknown_query_parameters: bool = False
    convert_status: bool = True
    """Errors come as JSON with their details, too."""
    indented: bool = False
    unset_fields: bool = False
    enum_numbers: bool = False
    names_as_written: bool = False
    """Of fields; else in lowerCamelCase."""
