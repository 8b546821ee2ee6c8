"""Meshes compiled from a few lines of YAML, and how to look into what a proxy gets of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tulle import compile as compiler
from tulle.compile import Built
from tulle.model.frozen import FrozenMap
from tulle.model.mesh import Inputs, MeshSettings
from tulle.model.proxy import (
    Cluster,
    EndpointGroup,
    HttpConnections,
    InboundPort,
    Listener,
    Node,
    ProxyView,
    Role,
    TcpConnections,
    Upstream,
)
from tulle.model.resource import Key, Resource
from tulle.model.routing import INVALID_BACKEND, Forward, Route, RouteTable, VirtualHost
from tulle.model.service import Endpoint, Health, Protocol, RegisteredPort, Registration
from tulle.resources.read import read

DOMAIN = "svc.cluster.local"


def documents(text: str, path: str = "rules.yaml") -> dict[Key, Resource[Any]]:
    """The documents of a text, the first the oldest."""
    found = read(text, path)
    assert not found.violations, [str(v) for v in found.violations]
    return {r.key: replace(r, created=place) for place, r in enumerate(found.resources, start=1)}


def instance(
    service: str,
    version: str = "v1",
    *,
    number: int = 9080,
    namespace: str = "default",
    protocol: Protocol = Protocol.HTTP,
    name: str = "http",
    id: str = "",  # noqa: A002 - as the registry calls it
    target: int = 0,
    health: Health = Health.PASSING,
    **labels: str,
) -> Registration:
    """A registered instance of one port."""
    return Registration(
        id=id or f"{service}-{version}-{namespace}",
        service=service,
        namespace=namespace,
        ports=(
            RegisteredPort(
                number=number,
                target=target or 10000 + zlib.crc32(f"{service} {version} {namespace} {number}".encode()) % 50000,
                name=name,
                protocol=protocol,
            ),
        ),
        labels=FrozenMap({"app": service, "version": version, **labels}),
        health=health,
    )


def inputs(text: str = "", *registrations: Registration, settings: MeshSettings | None = None) -> Inputs:
    return Inputs(
        resources=documents(text) if text.strip() else {},
        registrations={r.id: r for r in registrations},
        settings=settings or MeshSettings(),
    )


def built(text: str = "", *registrations: Registration, settings: MeshSettings | None = None) -> Built:
    return compiler.build(inputs(text, *registrations, settings=settings))


def sidecar(
    namespace: str = "default", *, upstreams: tuple[Upstream, ...] = (), inbound: tuple[InboundPort, ...] = (), **labels: str
) -> Node:
    return Node(
        id=f"sidecar~{namespace}-{'-'.join(labels.values())}",
        role=Role.SIDECAR,
        namespace=namespace,
        labels=FrozenMap(labels),
        http_proxy=("127.0.0.1", 15001),
        upstreams=upstreams,
        inbound=inbound,
    )


def gateway(*, privileged: bool = False, namespace: str = "istio-system", **labels: str) -> Node:
    return Node(
        id="gateway~edge",
        role=Role.GATEWAY,
        namespace=namespace,
        labels=FrozenMap(labels or {"istio": "ingressgateway"}),
        privileged_ports=privileged,
    )


def table(view: ProxyView, name: str = "http_proxy") -> RouteTable:
    return next(t for t in view.route_tables if t.name == name)


def hosts(view: ProxyView, name: str = "http_proxy") -> dict[str, VirtualHost]:
    return {h.name: h for h in table(view, name).virtual_hosts}


def routes(view: ProxyView, host: str, name: str = "http_proxy") -> tuple[Route, ...]:
    """The routes for plain requests: the forward proxy's CONNECT is left out."""
    found = hosts(view, name)
    service, _, port = host.partition(":")
    full = host if host in found else f"{service}.default.{DOMAIN}:{port}"
    return tuple(r for r in found[full].routes if r.name != "connect")


def forward(route: Route) -> Forward:
    assert isinstance(route.action, Forward), route.action
    return route.action


def shares(route: Route) -> dict[str, int]:
    """Cluster to weight, the clusters as `subset@port` of the short service name."""
    return {short(c.cluster): c.weight for c in forward(route).clusters}


def short(cluster: str) -> str:
    """`outbound|9080|v1|reviews.default.svc.cluster.local` as `reviews:9080/v1`."""
    if not cluster.startswith("outbound|"):
        return cluster
    _, port, subset, host = cluster.split("|")
    return f"{host.removesuffix(f'.default.{DOMAIN}')}:{port}" + (f"/{subset}" if subset else "")


def cluster(view: ProxyView, name: str) -> Cluster:
    return next(c for c in view.clusters if short(c.name) == name)


def endpoints(view: ProxyView, name: str) -> tuple[Endpoint, ...]:
    group: EndpointGroup = next(g for g in view.endpoints if short(g.name) == name)
    return group.endpoints


def listener(view: ProxyView, name: str) -> Listener:
    return next(x for x in view.listeners if x.name == name)


def tcp(found: Listener) -> TcpConnections:
    assert isinstance(found.chains[0].serve, TcpConnections)
    return found.chains[0].serve


def warnings(result: Built, name: str) -> list[str]:
    """The warnings of a document given as `Kind/name`."""
    return [str(w) for key, status in result.statuses.items() for w in status.warnings if f"{key.kind}/{key.name}" == name]


def plain(view: ProxyView) -> Mapping[str, Any]:
    """All of a view by value, whatever layers it is cut into."""
    return {
        "listeners": sorted(view.listeners, key=lambda x: x.name),
        "route tables": sorted(view.route_tables, key=lambda x: x.name),
        "clusters": sorted(view.clusters, key=lambda x: x.name),
        "endpoints": sorted(view.endpoints, key=lambda x: x.name),
    }


def problems(view: ProxyView) -> list[str]:
    """References that lead nowhere, and names given twice."""
    clusters, tables = {c.name for c in view.clusters}, {t.name for t in view.route_tables}
    missing = [f"cluster {name}" for name in _clusters_named(view) if name not in clusters and name != INVALID_BACKEND]
    missing += [f"table {name}" for name in _tables_named(view) if name not in tables]
    missing += [
        f"listener {c.internal_listener}" for c in view.clusters if c.internal_listener not in {"", *(x.name for x in view.listeners)}
    ]
    apart = {c.name for c in view.clusters if c.endpoints is None and c.resolution.value == "STATIC" and not c.internal_listener}
    missing += [f"endpoints {name}" for name in apart ^ {g.name for g in view.endpoints}]
    for things in (view.listeners, view.route_tables, view.clusters, view.endpoints):
        names = [thing.name for thing in things]
        missing += [f"{name} twice" for name in set(names) if names.count(name) > 1]
    for routes_ in _all_tables(view):
        domains = [d for h in routes_.virtual_hosts for d in h.domains]
        missing += [f"domain {d} twice" for d in set(domains) if domains.count(d) > 1]
        missing += [f"virtual host {h.name} without domains" for h in routes_.virtual_hosts if not h.domains]
    return missing


def _all_tables(view: ProxyView) -> Iterable[RouteTable]:
    yield from view.route_tables
    for found in view.listeners:
        for chain in found.chains:
            if isinstance(chain.serve, HttpConnections) and isinstance(chain.serve.routes, RouteTable):
                yield chain.serve.routes


def _tables_named(view: ProxyView) -> Iterator[str]:
    for found in view.listeners:
        for chain in found.chains:
            if isinstance(chain.serve, HttpConnections) and isinstance(chain.serve.routes, str):
                yield chain.serve.routes


def _clusters_named(view: ProxyView) -> Iterator[str]:
    for found in view.listeners:
        for chain in found.chains:
            if isinstance(chain.serve, TcpConnections):
                yield from (c.cluster for c in chain.serve.clusters)
    for routes_ in _all_tables(view):
        for host in routes_.virtual_hosts:
            for route in host.routes:
                if isinstance(route.action, Forward):
                    yield from (c.cluster for c in route.action.clusters)
                    yield from (m.cluster for m in route.action.mirrors)
