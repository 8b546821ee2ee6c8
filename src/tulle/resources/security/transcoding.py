"""Transcoding: JSON over HTTP for gRPC services, as `google.api.http` maps it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator
from functools import lru_cache

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError

from tulle.resources.attachment import Attached
from tulle.resources.scalars import Flag, Text
from tulle.resources.spec import Problem, Spec


class Print(Spec):
    """How answers are written."""

    add_whitespace: Flag = False
    always_print_primitive_fields: Flag = False
    always_print_enums_as_ints: Flag = False
    preserve_proto_field_names: Flag = False


class Transcoding(Attached):
    descriptors: Text | None = None
    """Base64 of what `protoc --include_imports --descriptor_set_out` writes."""
    descriptor_file: Text | None = None
    """The same as a file on the proxy's machine."""
    services: tuple[Text, ...] = ()
    """All in `descriptors` where none are named."""
    auto_mapping: Flag = True
    ignore_unknown_query_parameters: Flag = False
    convert_grpc_status: Flag = True
    print: Print = Print.unsaid()

    def check(self) -> Iterable[Problem]:
        if self.descriptor_file:
            if self.descriptors:
                yield ("descriptor_file",), "must not stand beside descriptors"
            if not self.descriptor_file.startswith("/"):
                yield ("descriptor_file",), "must be an absolute path on the proxy's machine"
            if not self.services:
                yield ("services",), "required beside descriptorFile, which only the proxy reads"
        elif self.descriptors:
            yield from self._problems(self.descriptors)
        else:
            yield ("descriptors",), "required, or descriptorFile"

    def _problems(self, written: str) -> Iterator[Problem]:
        try:
            found = described(written)
        except ValueError as error:
            yield ("descriptors",), str(error)
            return
        files = {file.name for file in found.file}
        for needed in dict.fromkeys(name for file in found.file for name in file.dependency if name not in files):
            yield ("descriptors",), f"lacks {needed}: make them with protoc --include_imports"
        known = services_of(found)
        if not known:
            yield ("descriptors",), "holds no service"
        for index, name in enumerate(self.services):
            if name not in known:
                yield ("services", index), f"{name} is not among the descriptors: {', '.join(known) or 'there is no service'}"


@lru_cache(maxsize=64)
def described(written: str) -> FileDescriptorSet:
    """What stands in `descriptors`. Raises ValueError."""
    try:
        raw = base64.b64decode("".join(written.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64 of a file that protoc wrote with --descriptor_set_out") from None
    try:
        return FileDescriptorSet.FromString(raw)
    except DecodeError:
        raise ValueError("is no google.protobuf.FileDescriptorSet: make it with protoc --include_imports --descriptor_set_out") from None


def services_of(found: FileDescriptorSet) -> tuple[str, ...]:
    """Their full names."""
    return tuple(".".join(part for part in (file.package, service.name) if part) for file in found.file for service in file.service)
