from __future__ import annotations

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, MessageOptions
from hypothesis import given
from hypothesis import strategies as st

from tulle.protos.extract import extract


def file(name: str, *, messages: int = 1) -> FileDescriptorProto:
    kinds = [DescriptorProto(name=f"Kind{n}", options=MessageOptions(deprecated=True)) for n in range(messages)]
    return FileDescriptorProto(name=name, package="envoy.test", message_type=kinds, syntax="proto3")


def test_files_between_other_bytes_are_found_once_and_in_order() -> None:
    one, two = file("envoy/test/one.proto"), file("envoy/test/two.proto", messages=300)
    program = b"\x7fELF\x00\xff" + two.SerializeToString() + b"\x00" * 9 + one.SerializeToString() + b"\xff" + one.SerializeToString()
    assert list(extract(program).file) == [one, two]


def test_files_that_touch_each_other_are_two() -> None:
    one, two = file("envoy/test/one.proto"), file("envoy/test/two.proto")
    assert list(extract(one.SerializeToString() + two.SerializeToString()).file) == [one, two]


def test_a_name_that_is_only_mentioned_is_no_file() -> None:
    assert not extract(b'\x0a\x14envoy/test/one.proto" was not found').file
    assert not extract(b"\x0a\x15envoy/test/one.proto\x12\x04test").file


def test_a_file_cut_short_is_left_out_without_an_error() -> None:
    data = file("envoy/test/one.proto").SerializeToString()
    for length in range(len(data)):
        assert all(found.name == "envoy/test/one.proto" for found in extract(data[:length]).file)


def test_what_only_looks_like_a_file_is_left_out() -> None:
    broken_message = b"\x22\x02\x0a\x7f"
    endless_number = b"\x22" + b"\xff" * 9
    start = b"\x0a\x14envoy/test/one.proto\x12\x01p"
    assert not extract(start + broken_message).file
    assert [found.package for found in extract(start + endless_number).file] == ["p"]


@given(st.binary(max_size=64))
def test_no_bytes_after_a_name_are_an_error(tail: bytes) -> None:
    extract(b"\x0a\x14envoy/test/one.proto\x12" + tail)
