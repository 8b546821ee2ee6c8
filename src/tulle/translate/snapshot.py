"""What one proxy is to hold, serialised: entries in bundles that many proxies share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tulle.model.resource import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One resource as it goes over the wire."""

    type_url: str
    name: str
    version: str
    """Hash of `body`: equal content bears an equal version, on every control plane and after every restart."""
    body: bytes
    """The serialised message, without the `Any` around it."""
    sources: tuple[Source, ...] = ()
    """What users wrote that made this resource what it is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """The entries of one layer: type URL, then name. Equal by identity: the same bundle object means that nothing in it changed."""

    entries: Mapping[str, Mapping[str, Entry]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """All that one proxy is to hold: bundles whose names do not overlap. Equal by identity."""

    bundles: tuple[Bundle, ...] = ()

    def get(self, type_url: str, name: str) -> Entry | None:
        """The entry of that type and name, if the snapshot has it."""
        for bundle in self.bundles:
            if (table := bundle.entries.get(type_url)) and (entry := table.get(name)):
                return entry
        return None

    def of(self, type_url: str) -> Iterator[Entry]:
        """The entries of one type."""
        for bundle in self.bundles:
            yield from bundle.entries.get(type_url, {}).values()
