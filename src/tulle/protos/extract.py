"""Finds the serialised FileDescriptorProtos that protobuf's C++ runtime keeps inside a program.

Each begins with its own file name (field 1), and its fields follow one another. So: look for a name that ends in `.proto`
behind a length that fits, then walk field by field for as long as it still looks like a FileDescriptorProto.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from mmap import mmap

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError

VERSION = 1
"""Changes when what is extracted from the same binary changes."""

_ROOTS = rb"envoy|xds|udpa|validate|google|cel|opentelemetry|prometheus|io|opencensus"
_START = re.compile(rb"\x0a([\x08-\x7f])((?:" + _ROOTS + rb")[a-zA-Z0-9_/\-.]*\.proto)\x12")
_NAME = 1
_LENGTH_DELIMITED = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 12})
_VARINTS = frozenset({10, 11, 14})
_TOO_LONG = 5_000_000


def extract(program: bytes | mmap) -> FileDescriptorSet:
    """All descriptors in the program, each file once, by name. Empty when there are none."""
    found: dict[str, FileDescriptorProto] = {}
    for file in _files(program):
        found.setdefault(file.name, file)
    return FileDescriptorSet(file=[found[name] for name in sorted(found)])


def _files(program: bytes | mmap) -> Iterator[FileDescriptorProto]:
    for start in _START.finditer(program):
        if start.group(1)[0] != len(start.group(2)):
            continue
        try:
            yield FileDescriptorProto.FromString(program[start.start() : _end(program, start.start())])
        except DecodeError:
            continue


def _end(program: bytes | mmap, start: int) -> int:
    """Where the message that begins at `start` stops looking like a FileDescriptorProto."""
    end = start
    while (following := _skip_field(program, end, first=end == start)) is not None:
        end = following
    return end


def _skip_field(program: bytes | mmap, at: int, *, first: bool) -> int | None:
    try:
        key, at = _varint(program, at)
        field, wire = key >> 3, key & 7
        value, at = _varint(program, at)
    except (IndexError, ValueError):
        return None
    if wire == 0 and field in _VARINTS:
        return at
    another_file = field == _NAME and not first
    if wire != 2 or field not in _LENGTH_DELIMITED or another_file or value > _TOO_LONG or at + value > len(program):
        return None
    return at + value


def _varint(program: bytes | mmap, at: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 36, 7):
        byte = program[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
    raise ValueError("not a varint of a descriptor")
