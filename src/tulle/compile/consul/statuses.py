"""What became of an entry: what stands in its way, and what of it leads nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from tulle.compile import names
from tulle.compile.consul.entries import GLOBAL, Entries
from tulle.compile.consul.intentions import ANY, problems
from tulle.compile.consul.routing import end, reached
from tulle.compile.findings import Found
from tulle.compile.policies import Tuning
from tulle.model.resource import Resource
from tulle.resources.consul import ProxyDefaults, ServiceIntentions, ServiceResolver, ServiceRouter, ServiceSplitter

if TYPE_CHECKING:
    from tulle.compile.scope import Scope


def found(scope: Scope, resource: Resource[object]) -> Iterator[Found]:
    """All that is to be said of an entry, each with its place."""
    entries, spec = scope.structure.rules.entries, resource.spec
    host = names.resolve(resource.key.name, resource.key.namespace, scope.domain)
    if isinstance(spec, ProxyDefaults) and resource.key.name != GLOBAL:
        yield resource.at("metadata.name"), f"not in force: the only name that proxy-defaults can have is {GLOBAL}"
    if isinstance(spec, ServiceIntentions):
        intentions = cast("Resource[ServiceIntentions]", resource)
        yield from ((resource.at(field), why) for field, why in problems(intentions))
        yield from _strangers(scope, intentions)
    if isinstance(spec, ServiceResolver):
        yield from _resolver_found(scope, resource, host)
    if isinstance(spec, ServiceRouter | ServiceSplitter | ServiceResolver):
        yield from _steering_found(scope, entries, resource, host)


def _resolver_found(scope: Scope, resource: Resource[object], host: str) -> Iterator[Found]:
    tuning: Tuning | None = scope.tuning(host)
    if host not in scope.backends:
        yield resource.at("metadata.name"), f"no service {host} is known"
    elif tuning is not None and tuning.key != resource.key:
        other = f"{tuning.policy_source} ({tuning.policy_source.origin})"
        yield resource.at("spec"), f"not in force: {other} is for service {host}, and goes first"


def _steering_found(scope: Scope, entries: Entries, resource: Resource[object], host: str) -> Iterator[Found]:
    steering = scope.steering(host)
    if steering is None:
        return
    if steering.resource.key.kind not in ("ServiceRouter", "ServiceSplitter", "ServiceResolver"):
        other = f"{steering.resource.key.kind} {steering.resource.key.namespace}/{steering.resource.key.name} ({steering.resource.origin})"
        yield resource.at("spec"), f"does not steer requests: {other} is for service {host}, and goes first"
        return
    yield from _lost(scope, entries, resource, host)
    yield from _other_protocol(scope, resource, host)


def _lost(scope: Scope, entries: Entries, resource: Resource[object], host: str) -> Iterator[Found]:
    """Ends of this very entry that lead nowhere."""
    backend = scope.backends.get(host)
    port = backend.ports[0].number if backend and backend.ports else 0
    for leg in reached(entries, host):
        result = end(leg, scope, port)
        if result.why and leg.source.key == resource.key:
            yield leg.source, f"{result.why}: its requests are answered with 503"


def _other_protocol(scope: Scope, resource: Resource[object], host: str) -> Iterator[Found]:
    backend = scope.backends.get(host)
    if isinstance(resource.spec, ServiceResolver) or backend is None:
        return
    for port in backend.ports:
        if not port.protocol.is_http:
            spoken = f"port {port.number}, which speaks {port.protocol.value}"
            yield resource.at("spec"), f"not in force on {spoken}: requests cannot be told apart"


def _strangers(scope: Scope, resource: Resource[ServiceIntentions]) -> Iterator[Found]:
    """Sources of which no service is known: perhaps a name is misspelt."""
    for index, source in enumerate(resource.spec.sources):
        host = names.resolve(source.name, resource.key.namespace, scope.domain)
        if source.name != ANY and host not in scope.backends:
            yield (
                resource.at(f"spec.sources[{index}].name"),
                f"no service {host} is known: callers are told by the service account of that name",
            )
