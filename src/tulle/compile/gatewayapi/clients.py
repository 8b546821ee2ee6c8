"""Certificates that Gateways show to backends (`spec.tls.backend`): a Gateway has clusters of its own for them.

Several Gateways share a proxy, and only one of them may be meant: so no other's requests go out with its certificate.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tulle.compile import names
from tulle.compile.credentials import Keyring
from tulle.compile.gatewayapi.backend_tls import holding
from tulle.compile.gatewayapi.documents import Documents, reference
from tulle.compile.gatewayapi.listeners import FINE, Verdict, refusal
from tulle.model.proxy import Cluster, EndpointGroup
from tulle.model.resource import Key, Resource
from tulle.resources.gatewayapi import Gateway
from tulle.resources.gatewayapi.types import SecretReference

if TYPE_CHECKING:
    from tulle.compile.scope import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A Gateway with a certificate of its own."""

    gateway: Key
    place: tuple[str, str]
    """Namespace and name of the Secret."""
    problem: Verdict = FINE
    """Why the reference is not valid, as far as documents tell."""

    @property
    def name(self) -> str:
        return f"{self.gateway.namespace}/{self.gateway.name}"


Clients = Mapping[Key, Client]


def clients(documents: Documents) -> Clients:
    return {g.key: made for g in documents.gateways if documents.is_ours(g.spec.gateway_class_name) and (made := _client(g, documents))}


def _client(gateway: Resource[Gateway], documents: Documents) -> Client | None:
    tls = gateway.spec.tls
    ref = tls.backend.client_certificate_ref if tls and tls.backend else None
    if ref is None or refusal(gateway)[0]:
        return None
    namespace = ref.namespace or gateway.key.namespace
    return Client(gateway=gateway.key, place=(namespace, ref.name), problem=_judged(gateway, ref, namespace, documents))


def _judged(gateway: Resource[Gateway], ref: SecretReference, namespace: str, documents: Documents) -> Verdict:
    if ref.group or ref.kind != "Secret":
        return "InvalidClientCertificateRef", f"certificates come from Secrets, not from {ref.kind} {ref.name}"
    if not documents.permits(reference(gateway), ("", "Secret", namespace), ref.name):
        own = gateway.key.namespace
        return "RefNotPermitted", f"no ReferenceGrant in namespace {namespace} lets Gateways of {own} refer to Secret {ref.name}"
    return FINE


def resolved(client: Client | None, keyring: Keyring) -> Verdict:
    """What is wrong with the certificate that a Gateway refers to."""
    if client is None or client.problem[0] or keyring.certificate_at(*client.place):
        return client.problem if client else FINE
    namespace, name = client.place
    return "InvalidClientCertificateRef", f"there is no certificate and key in a Secret {name} in namespace {namespace}"


def dialled(cluster: str, client: str, scope: Scope) -> str:
    """The cluster that a Gateway's requests go to: its own one where TLS is spoken to the service. `client` empty: as everyone's."""
    if not client or not cluster.startswith("outbound|") or "/udp|" in cluster:
        return cluster
    port, _, host = names.parse_cluster_name(cluster)
    return names.client_cluster(cluster, client) if holding(scope, host, port) else cluster


def own_clusters(cluster: Cluster, found: Iterable[Client], keyring: Keyring) -> Iterator[Cluster]:
    """What stands beside a cluster that a BackendTLSPolicy speaks for: one for each client."""
    for client in found:
        certificate = "" if client.problem[0] else keyring.certificate_at(*client.place)
        tls = replace(cluster.tls, certificate=certificate) if cluster.tls else None
        yield replace(cluster, name=names.client_cluster(cluster.name, client.name), tls=tls)


def own_endpoints(groups: Iterable[EndpointGroup], claimed: Container[str], found: Iterable[Client]) -> Iterator[EndpointGroup]:
    """The endpoints of a service, and behind those of clusters that are claimed the same for each client."""
    clients_ = tuple(found)
    for group in groups:
        yield group
        if group.name in claimed:
            yield from (replace(group, name=names.client_cluster(group.name, client.name)) for client in clients_)
