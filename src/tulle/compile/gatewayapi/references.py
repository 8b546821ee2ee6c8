"""What rules send to: references to backends, with what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tulle.compile import names
from tulle.compile.gatewayapi.documents import Documents, Route, reference
from tulle.model.resource import Key, Resource, Source
from tulle.resources.gatewayapi.connection_routes import ConnectionRoute
from tulle.resources.gatewayapi.types import BackendReference

if TYPE_CHECKING:
    from tulle.compile.scope import Scope

ISTIO = "networking.istio.io"


SERVICES = (("", "Service"), ("core", "Service"))


def hosts_meant(group: str, kind: str, name: str, namespace: str, documents: Documents, domain: str) -> tuple[str, ...] | None:
    """The full names of what a policy or a route says that it is for: a Service or a ServiceEntry; None for things of other kinds."""
    if (group, kind) in SERVICES:
        return (names.resolve(name, namespace, domain),)
    if (group, kind) == (ISTIO, "ServiceEntry"):
        found = documents.entries.get(Key(kind="ServiceEntry", namespace=namespace, name=name), ())
        return tuple(names.resolve(host, namespace, domain) for host in found)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A reference to a backend, as far as it can be judged without knowing which services there are."""

    source: Source
    host: str = ""
    """Full name of the service; empty where the reference is not valid."""
    port: int = 0
    reason: str = ""
    message: str = ""


def resolve(spec: BackendReference, route: Resource[Route], field: str, documents: Documents, domain: str) -> Ref:
    source = route.at(field)
    kind = (spec.group, spec.kind)
    namespace = spec.namespace or route.key.namespace
    if kind == (ISTIO, "Hostname"):
        why = "" if spec.port else "a Hostname needs a port"
        return Ref(source=source, host="" if why else spec.name, port=spec.port or 0, reason="InvalidKind" if why else "", message=why)
    if kind not in SERVICES:
        shown = f"{spec.kind}.{spec.group}" if spec.group else spec.kind
        return Ref(source=source, reason="InvalidKind", message=f"requests are sent to Services, not to {shown} {spec.name}")
    if not documents.permits(reference(route), ("", "Service", namespace), spec.name):
        message = f"no ReferenceGrant in namespace {namespace} lets {route.key.kind}s of {route.key.namespace} refer to Service {spec.name}"
        return Ref(source=source, reason="RefNotPermitted", message=message)
    return Ref(source=source, host=names.resolve(spec.name, namespace, domain), port=spec.port or 0)


def judged(ref: Ref, scope: Scope, *, udp: bool = False) -> tuple[str, str]:
    """Why a reference leads nowhere for the proxies of a scope: reason and message, empty where it leads somewhere."""
    if ref.reason:
        return ref.reason, ref.message
    backend = scope.backends.get(ref.host)
    if backend is None:
        return "BackendNotFound", f"service {ref.host} is not known in namespace {scope.namespace}"
    numbers = [p.number for p in backend.served(udp=udp)]
    if ref.port not in numbers:
        has = ", ".join(map(str, numbers)) or "none"
        return "BackendNotFound", f"service {ref.host} has no {'UDP ' if udp else ''}port {ref.port} (its ports: {has})"
    return "", ""


Refs = tuple[tuple[int, Ref, int], ...]
"""Rule, backend and weight of each share."""


def connection_refs(route: Resource[Route], documents: Documents, domain: str) -> Refs:
    """What a TLSRoute, TCPRoute or UDPRoute sends to; empty for other routes."""
    if not isinstance(route.spec, ConnectionRoute):
        return ()
    return tuple(
        (i, resolve(backend, route, f"spec.rules[{i}].backendRefs[{n}]", documents, domain), backend.weight)
        for i, rule in enumerate(route.spec.rules)
        for n, backend in enumerate(rule.backend_refs)
    )
