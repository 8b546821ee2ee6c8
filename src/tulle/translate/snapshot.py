"""What a proxy is sent: every resource serialised once, with a version that is the hash of its content.

The resources of one Layer form a Bundle, shared by all proxies of that layer; a Snapshot is one proxy's bundles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain

from tulle.model.resource import Source

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type

TYPES = (SECRET, CLUSTER, ENDPOINTS, LISTENER, ROUTES)
"""In the order in which they are to be sent, so that nothing names what is not there yet (Envoy's xDS protocol, eventual consistency)."""

PLAIN = {CLUSTER: "cluster", ENDPOINTS: "endpoints of", LISTENER: "listener", ROUTES: "route table", SECRET: "secret"}

Reference = tuple[str, str]
"""Type URL and name of a resource."""


def content_hash(body: bytes) -> str:
    """The version of a resource: equal content is an equal version, on every replica and after every restart."""
    return blake2b(body, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One resource. `references` are the resources that it cannot do without."""

    type_url: str
    name: str
    version: str
    body: bytes = field(repr=False)
    """It may hold a key, so it is never shown as it is."""
    sources: tuple[Source, ...] = ()
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """The entries of one Layer, by type URL and name. Equal by identity: the same bundle object holds the same entries."""

    entries: Mapping[str, Mapping[str, Entry]]
    duplicates: tuple[Reference, ...] = ()
    """Names that the layer held more than once. The first one stands."""

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Bundle:
        by_type: dict[str, dict[str, Entry]] = {}
        later = [entry for entry in entries if by_type.setdefault(entry.type_url, {}).setdefault(entry.name, entry) is not entry]
        return cls(entries=by_type, duplicates=tuple((entry.type_url, entry.name) for entry in later))

    def __iter__(self) -> Iterator[Entry]:
        return chain.from_iterable(named.values() for named in self.entries.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that one proxy is sent. Names do not overlap between its bundles."""

    bundles: tuple[Bundle, ...] = field(default=())

    def get(self, type_url: str, name: str) -> Entry | None:
        for bundle in self.bundles:
            if found := bundle.entries.get(type_url, {}).get(name):
                return found
        return None

    def entries(self, type_url: str) -> Iterator[Entry]:
        """All entries of a type."""
        return chain.from_iterable(bundle.entries.get(type_url, {}).values() for bundle in self.bundles)

    def names(self, type_url: str) -> Iterator[str]:
        return (entry.name for entry in self.entries(type_url))

    def versions(self) -> dict[Reference, str]:
        """The version of every resource: two snapshots that would do the same have equal ones."""
        return {(entry.type_url, entry.name): entry.version for entry in self}

    def __iter__(self) -> Iterator[Entry]:
        return chain.from_iterable(self.bundles)

    def problems(self) -> tuple[str, ...]:
        """What would not work: resources named but not there, names that stand twice. Empty for a sound snapshot."""
        return (*self._duplicates(), *self._dangling())

    def _duplicates(self) -> Iterator[str]:
        seen: set[Reference] = set()
        for bundle in self.bundles:
            own = {(type_url, name) for type_url, named in bundle.entries.items() for name in named}
            for type_url, name in (*bundle.duplicates, *sorted(own & seen)):
                yield f"{PLAIN[type_url]} {name!r} is there twice"
            seen |= own

    def _dangling(self) -> Iterator[str]:
        there = {(entry.type_url, entry.name) for entry in self}
        for entry in self:
            for type_url, name in entry.references:
                if (type_url, name) not in there:
                    yield f"{PLAIN[entry.type_url]} {entry.name!r} names {PLAIN[type_url]} {name!r}, which is not there"
