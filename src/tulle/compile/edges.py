"""Who calls whom, and how: what each proxy speaks to the services that it knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from tulle.compile import names
from tulle.compile.catalog import Backend
from tulle.compile.mesh import Mesh
from tulle.compile.peers import Ruled
from tulle.compile.scope import scope_of
from tulle.compile.views import view
from tulle.model.proxy import Cluster, Node
from tulle.model.resource import Source
from tulle.model.service import Endpoint, Port, Protocol
from tulle.model.tls import MESH_CERTIFICATE


class Speech(Enum):
    """What a proxy speaks to the instances of a service."""

    MUTUAL = "mutual TLS"
    PARTLY = "mutual TLS to some"
    OTHER = "other TLS"
    PLAIN = "plain text"
    NOBODY = "no instances"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One proxy and one port of a service."""

    caller: str
    """Id of the proxy."""
    namespace: str
    """Of the service."""
    host: str
    port: int
    speech: Speech
    instances: int
    mutual: int
    """So many of the instances take mutual TLS."""
    modes: tuple[str, ...]
    """What their PeerAuthentications say."""
    sources: tuple[Source, ...]
    """Where those, and a DestinationRule that speaks of TLS, stand."""

    @property
    def fails(self) -> bool:
        """Plain text goes to instances that take none."""
        return self.speech in (Speech.PLAIN, Speech.OTHER, Speech.PARTLY) and "STRICT" in self.modes


def edges(mesh: Mesh, nodes: Iterable[Node]) -> Iterator[Edge]:
    """By caller, host and port. Services outside of the mesh, and datagrams, have no part in it."""
    for node in sorted(nodes, key=lambda n: n.id):
        backends = scope_of(mesh.structure, node, mesh.memo).backends
        made = {c.name: c for c in view(mesh, node).clusters}
        for backend in (b for _, b in sorted(backends.items()) if not b.service.external):
            for port in backend.ports:
                cluster = made.get(names.cluster_name(backend.key.host, port.number))
                if cluster is not None and port.protocol is not Protocol.UDP:
                    yield _edge(mesh, node, backend, port, cluster)


def _edge(mesh: Mesh, node: Node, backend: Backend, port: Port, cluster: Cluster) -> Edge:
    found = mesh.endpoint_set(backend.key)
    endpoints = found.by_port.get(port.key, ()) if found else ()
    mutual = sum(e.mtls for e in endpoints)
    ruled = tuple(dict.fromkeys(_ruled(mesh, backend, port, e) for e in endpoints))
    sources = [r.source for r in ruled if r.source]
    if cluster.mesh_tls is None:
        sources += [source for source in cluster.sources if source.key.kind == "DestinationRule"]
    return Edge(
        caller=node.id,
        namespace=backend.key.namespace,
        host=backend.key.host,
        port=port.number,
        speech=_speech(cluster, len(endpoints), mutual),
        instances=len(endpoints),
        mutual=mutual,
        modes=tuple(sorted({r.mode.value for r in ruled})),
        sources=tuple(dict.fromkeys(sources)),
    )


def _ruled(mesh: Mesh, backend: Backend, port: Port, endpoint: Endpoint) -> Ruled:
    number = port.target if isinstance(port.target, int) and port.target else port.number
    return mesh.structure.peers.posture(backend.key.namespace, endpoint.labels).port(number)


def _speech(cluster: Cluster, instances: int, mutual: int) -> Speech:
    if not instances:
        return Speech.NOBODY
    if cluster.tls:
        return Speech.MUTUAL if cluster.tls.certificate == MESH_CERTIFICATE else Speech.OTHER
    if cluster.mesh_tls is None or not mutual:
        return Speech.PLAIN
    return Speech.MUTUAL if mutual == instances else Speech.PARTLY
