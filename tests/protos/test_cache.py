from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from tulle.protos.cache import directory, fingerprint, load

FILE = FileDescriptorProto(name="envoy/test/one.proto", package="envoy.test", syntax="proto3")


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    path = tmp_path / "envoy"
    path.write_bytes(b"\x00" + FILE.SerializeToString() + b"\xff")
    return path


def kept(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def test_the_first_load_extracts_and_the_next_reads(binary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "tulle"
    assert list(load(binary, folder).file) == [FILE]
    (file,) = kept(folder)
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700

    renamed = FileDescriptorProto(name="envoy/test/other.proto", syntax="proto3")
    file.write_bytes(gzip.compress(b"\x0a" + bytes([renamed.ByteSize()]) + renamed.SerializeToString()))
    assert list(load(binary, folder).file) == [renamed], "the second load did not read the cache"


def test_another_binary_makes_another_file(binary: Path, tmp_path: Path) -> None:
    before = fingerprint(binary)
    os.utime(binary, ns=(1, 1))
    touched = fingerprint(binary)
    binary.write_bytes(binary.read_bytes() + b"\x00")
    os.utime(binary, ns=(1, 1))
    assert len({before, touched, fingerprint(binary)}) == 3


@pytest.mark.parametrize("junk", [b"", b"not gzip", gzip.compress(b"\xff\xff\xff", mtime=0)[:-3], gzip.compress(b"\xff\xff\xff", mtime=0)])
def test_a_spoilt_cache_is_made_anew(binary: Path, tmp_path: Path, junk: bytes) -> None:
    folder = tmp_path / "cache"
    load(binary, folder)
    (file,) = kept(folder)
    good = file.read_bytes()
    file.write_bytes(junk)
    assert list(load(binary, folder).file) == [FILE]
    assert file.read_bytes() == good


def test_where_nothing_can_be_kept_it_still_works(binary: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert list(load(binary, blocked / "tulle").file) == [FILE]
    assert list(load(binary, None).file) == [FILE]
    assert blocked.read_text() == ""


def test_a_file_in_the_place_of_the_cache_leaves_no_litter(binary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    (folder / f"envoy-{fingerprint(binary)}.desc").mkdir(parents=True)
    assert list(load(binary, folder).file) == [FILE]
    assert len(kept(folder)) == 1


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/tulle"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/tulle"),
        ({"HOME": "/h"}, "/h/.cache/tulle"),
    ],
)
def test_the_directory(environ: dict[str, str], expected: str) -> None:
    assert directory(environ) == Path(expected)
