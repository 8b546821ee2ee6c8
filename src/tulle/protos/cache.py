"""Keeps extracted descriptors in the user's cache directory, one file per Envoy binary. A cache that fails is no cache: never an error."""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from mmap import ACCESS_READ, mmap
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError

from tulle.protos import extract


def directory(environ: Mapping[str, str] = os.environ) -> Path | None:
    """`$XDG_CACHE_HOME/tulle`, else `~/.cache/tulle`; None for a user without a home.

    The XDG Base Directory Specification has relative paths ignored.
    """
    base = environ.get("XDG_CACHE_HOME", "")
    if base.startswith("/"):
        return Path(base, "tulle")
    try:
        return Path(environ.get("HOME") or "~").expanduser() / ".cache" / "tulle"
    except RuntimeError:
        return None


def load(binary: Path, folder: Path | None) -> FileDescriptorSet:
    """The descriptors of `binary`, from the cache in `folder` if they are there; else extracted, and kept there for the next time.

    Raises OSError when the binary cannot be read.
    """
    if folder is None:
        return _extract(binary)
    file = folder / f"envoy-{fingerprint(binary)}.desc"
    return _read(file) or _extract_into(binary, file)


def fingerprint(binary: Path) -> str:
    """Another binary, or another version of the extraction, has another one. Cheap: the program itself is not read."""
    stat = binary.stat()
    text = f"{extract.VERSION} {binary.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _read(file: Path) -> FileDescriptorSet | None:
    try:
        found = FileDescriptorSet.FromString(gzip.decompress(file.read_bytes()))
    except (OSError, EOFError, zlib.error, DecodeError):
        return None
    return found if found.file else None


def _extract_into(binary: Path, file: Path) -> FileDescriptorSet:
    found = _extract(binary)
    with suppress(OSError):
        _write(file, gzip.compress(found.SerializeToString(), mtime=0))
    return found


def _extract(binary: Path) -> FileDescriptorSet:
    with binary.open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as program:
        return extract.extract(program)


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all, and readable by this user only: several processes may do this at once."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as temporary:
            temporary.write(data)
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
