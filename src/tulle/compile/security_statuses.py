"""What of the documents that say who may call, and how often, is not in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from tulle.compile import logins, rate_limits, tokens
from tulle.compile.attachment import unused_targets
from tulle.compile.findings import Found
from tulle.compile.guards import Policy, unused
from tulle.compile.scope import Structure
from tulle.compile.screens import ScreenDocument
from tulle.model.resource import Resource
from tulle.resources.security import (
    Authentication,
    AuthorizationPolicy,
    Firewall,
    Guard,
    PeerAuthentication,
    RateLimit,
    RequestAuthentication,
    Transcoding,
)

KINDS = (Authentication, AuthorizationPolicy, Firewall, Guard, PeerAuthentication, RateLimit, RequestAuthentication, Transcoding)


def found(structure: Structure, resource: Resource[object]) -> Iterator[Found]:
    """For a document of one of these kinds."""
    match resource.spec:
        case AuthorizationPolicy():
            policy = cast("Policy", resource)
            yield from ((policy.at(field), why) for field, why in unused(structure.rules.guards, policy))
        case RequestAuthentication():
            yield from _of_authentication(structure, cast("tokens.Authentication", resource))
        case PeerAuthentication():
            yield from _of_peers(structure, cast("Resource[PeerAuthentication]", resource))
        case Authentication():
            login = cast("logins.Document", resource)
            yield from ((login.at(field), why) for field, why in logins.unmet(structure.logins, login))
        case Guard() | Firewall():
            yield from _of_screen(structure, cast("ScreenDocument", resource))
        case Transcoding():
            document = cast("Resource[Transcoding]", resource)
            yield from ((document.at(where), why) for where, why in unused_targets(document))
        case RateLimit():
            yield from rate_limits.idle(cast("rate_limits.Document", resource))


def _of_screen(structure: Structure, document: ScreenDocument) -> Iterator[Found]:
    if not isinstance(document.spec, Firewall):
        yield from ((document.at(field), why) for field, why in unused_targets(document))
        return
    yield from ((document.at(field), why) for field, why in structure.rules.dressing.walls.unmet.get(document.key, ()))
    if why := structure.no_firewall or structure.broken_firewalls.get(f"{document.key.namespace}/{document.key.name}"):
        then = "requests are refused with 503" if document.spec.required else "requests go on unchecked"
        yield document.at("spec"), f"not in force, {then}: {why}"


def _of_authentication(structure: Structure, document: tokens.Authentication) -> Iterator[Found]:
    return (
        (document.at(field), why) for field, why in (*unused_targets(document), *tokens.without_keys(structure.authentications, document))
    )


def _of_peers(structure: Structure, resource: Resource[PeerAuthentication]) -> Iterator[Found]:
    selector = resource.spec.selector
    if selector and selector.match_labels and resource.key.namespace == structure.rules.root_namespace:
        why = "not in force: in the root namespace a policy is for the whole mesh, and one with a selector is ignored"
        yield resource.at("spec.selector"), why
    elif first := structure.peers.overruled(resource):
        yield (
            resource.at("spec"),
            f"not in force: PeerAuthentication {first.key.name} ({first.origin}) is for the same workloads, and older",
        )
    else:
        yield from _of_ports(structure, resource)


def _of_ports(structure: Structure, resource: Resource[PeerAuthentication]) -> Iterator[Found]:
    """Ports that no workload there has. In Istio they go by where the application listens, so people write that."""
    namespace = resource.key.namespace
    there = (backend.service for key, backend in structure.backends.items() if key.namespace == namespace)
    served = {port.number for service in there for port in service.ports}
    opened = {i.port.number for sidecar in structure.rules.sidecars.get(namespace, ()) for i in sidecar.spec.ingress}
    for number in sorted(resource.spec.ports.keys() - served - opened) if served else ():
        why = f"has no effect: no service in namespace {namespace} has port {number}; it must be the number that callers dial"
        yield resource.at(f"spec.portLevelMtls.{number}"), why
