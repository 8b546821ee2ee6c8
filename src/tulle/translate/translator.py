"""From a view to a snapshot, doing again only what changed.

A layer that was seen before gives the very bundle that it gave then. A new layer mostly holds objects of the one before
it: what was made of those is taken over, down to the single virtual hosts of a route table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from tulle.model.access import Access
from tulle.model.proxy import Cluster, EndpointGroup, HttpConnections, Layer, Listener, ProxyView
from tulle.model.resource import Source
from tulle.model.routing import RouteTable
from tulle.model.tls import Secret
from tulle.translate import tls
from tulle.translate.access import by_edge_table, by_table
from tulle.translate.clusters import cluster
from tulle.translate.endpoints import load_assignment
from tulle.translate.listeners import listener, own_tables, references, shared_tables
from tulle.translate.memo import Memo
from tulle.translate.patching import Patcher
from tulle.translate.routes import HostPart, admission, host_part, table_body
from tulle.translate.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, Bundle, Entry, Reference, Snapshot, content_hash

_SPARE_TABLES = 8
"""A table may be megabytes, and seldom is one wanted again."""


class Translator:
    """Makes snapshots, and remembers what it made for the layers that are in use."""

    def __init__(self) -> None:
        self._bundles: WeakKeyDictionary[Layer, Bundle] = WeakKeyDictionary()
        self._secrets = Memo(_secret)
        self._patcher = Patcher()
        self._clusters = Memo(_cluster)
        self._endpoints = Memo(_endpoints)
        self._listeners = Memo(_listener)
        self._own_tables = Memo(_tables_of)
        self._tables = Memo(self._table, spare=_SPARE_TABLES)
        self._hosts = Memo(host_part)

    def snapshot(self, view: ProxyView) -> Snapshot:
        """All that the view's proxy is to be sent. Layers seen before are not looked into again."""
        bundles = tuple(self.bundle(layer) for layer in view.layers)
        if view.patches is None:
            return Snapshot(bundles=bundles)
        declared = {x.name: x.declared_port for x in view.listeners}
        return Snapshot(bundles=self._patcher.patched(bundles, view.patches, declared))

    def bundle(self, layer: Layer) -> Bundle:
        """The entries of one layer; for the same layer always the same bundle."""
        if (made := self._bundles.get(layer)) is None:
            made = self._bundles[layer] = Bundle.of(self._entries(layer))
            self._hold(layer)
        return made

    def _entries(self, layer: Layer) -> Iterator[Entry]:
        yield from map(self._secrets, layer.secrets)
        yield from map(self._clusters, layer.clusters)
        yield from map(self._endpoints, layer.endpoints)
        yield from map(self._listeners, layer.listeners)
        yield from itertools.chain.from_iterable(map(self._own_tables, layer.listeners))
        yield from _admitting(map(self._tables, layer.route_tables), layer.listeners)

    def _hold(self, layer: Layer) -> None:
        self._secrets.hold(layer, layer.secrets)
        self._clusters.hold(layer, layer.clusters)
        self._endpoints.hold(layer, layer.endpoints)
        self._listeners.hold(layer, layer.listeners)
        self._own_tables.hold(layer, layer.listeners)
        self._tables.hold(layer, layer.route_tables)
        self._hosts.hold(layer, (host for table in layer.route_tables for host in table.virtual_hosts))

    def _table(self, table: RouteTable) -> Entry:
        return _table(table, [self._hosts(host) for host in table.virtual_hosts])


def _tables_of(of: Listener) -> tuple[Entry, ...]:
    """Those that belong to it alone."""
    found = own_tables(of).values()
    made = ((_table(table, [host_part(host) for host in table.virtual_hosts]), access) for table, access in found)
    return tuple(_with(entry, access, admission(by_table(access))) if access else entry for entry, access in made)


def _admitting(tables: Iterable[Entry], listeners: Iterable[Listener]) -> Iterator[Entry]:
    """With who is let in, where gateways serve the tables. Listeners that share one and disagree say it alone."""
    agreed: dict[str, Access | None] = {}
    for name, access in itertools.chain.from_iterable(map(shared_tables, listeners)):
        agreed[name] = access if agreed.setdefault(name, access) == access else None
    said: dict[int, bytes] = {}
    for entry in tables:
        if (access_ := agreed.get(entry.name)) is None:
            yield entry
            continue
        if id(access_) not in said:
            said[id(access_)] = admission(by_edge_table(access_))
        yield _with(entry, access_, said[id(access_)])


def _with(entry: Entry, access: Access, said: bytes) -> Entry:
    """A table with more behind it. What it has, maybe megabytes, is not looked into again."""
    sources = (*entry.sources, *dict.fromkeys(policy.source for policy in access.policies if policy.source))
    version = content_hash(f"{entry.version} {content_hash(said)}".encode())
    return replace(entry, body=entry.body + said, version=version, sources=sources)


def _table(table: RouteTable, hosts: list[HostPart]) -> Entry:
    named = dict.fromkeys(itertools.chain.from_iterable(host.references for host in hosts))
    # Told apart by identity: to hash the sources of a thousand rules would cost more than all the rest.
    found = list(itertools.chain.from_iterable(host.sources for host in hosts))
    sources = dict(zip(map(id, found), found, strict=True))
    return _entry(ROUTES, table.name, table_body(table, hosts), tuple(sources.values()), named)


def _secret(of: Secret) -> Entry:
    return _entry(SECRET, of.name, _serialised(tls.secret(of)), of.sources)


def _cluster(of: Cluster) -> Entry:
    apart = cluster(of)
    needs: list[Reference] = [*tls.references(of.tls), *tls.references(of.mesh_tls)]
    needs += [(ENDPOINTS, of.name)] if apart.HasField("eds_cluster_config") else []
    if of.internal_listener:
        needs.append((LISTENER, of.internal_listener))
    return _entry(CLUSTER, of.name, _serialised(apart), of.sources, needs)


def _endpoints(of: EndpointGroup) -> Entry:
    return _entry(ENDPOINTS, of.name, _serialised(load_assignment(of)), of.sources)


def _listener(of: Listener) -> Entry:
    sources = dict.fromkeys((*of.sources, *_chain_sources(of)))
    return _entry(LISTENER, of.name, _serialised(listener(of)), tuple(sources), references(of))


def _chain_sources(of: Listener) -> Iterator[Source]:
    for chain in of.chains:
        if chain.source:
            yield chain.source
        yield from (policy.source for policy in chain.serve.access.policies if policy.source)
        if isinstance(chain.serve, HttpConnections):
            yield from (transcoding.source for transcoding in chain.serve.transcodings)
            yield from (issuer.source for tokens in chain.serve.tokens for issuer in tokens.issuers if issuer.source)
            yield from chain.serve.screen.sources
            yield from (login.source for login in chain.serve.logins if login.source)
            yield from (limit.source for limit in chain.serve.limits if limit.source)


def _serialised(message: Any) -> bytes:
    body: bytes = message.SerializeToString(deterministic=True)
    return body


def _entry(type_url: str, name: str, body: bytes, sources: tuple[Source, ...], needs: Iterable[Reference] = ()) -> Entry:
    return Entry(
        type_url=type_url,
        name=name,
        version=content_hash(body),
        body=body,
        sources=sources,
        references=tuple(needs),
    )
