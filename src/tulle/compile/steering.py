"""A VirtualService ready for use: full names, delegates merged in, each rule with its place in the document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tulle.compile import delegation, names
from tulle.compile.kinds import Age, age
from tulle.model.resource import Key, Resource, Source
from tulle.model.routing import Route, Skipped
from tulle.resources.networking.virtual_service import HttpMatch, HttpRoute, TcpRoute, TlsRoute, VirtualService

if TYPE_CHECKING:
    from tulle.compile.routes import Place

Parts = tuple[tuple[Route, ...], tuple[Skipped, ...]]
"""Routes, and the rules that are not among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One of a rule's alternatives and where it stands. None takes everything."""

    spec: HttpMatch | None
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HttpRule:
    spec: HttpRoute
    conditions: tuple[Condition, ...]
    source: Source
    namespace: str
    """Where its short names resolve: that of the document that it stands in."""
    resource: Resource[VirtualService]
    """That document."""
    via: Source | None = None
    """The rule of another document that delegates to it."""

    def at(self, field: str) -> Source:
        """The place of a field of this rule. What it has from a rule that delegates to it is placed at the rule itself."""
        return self.resource.at(f"{self.source.field}.{field}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TcpRule:
    spec: TcpRoute
    source: Source
    port_name: str = ""
    """The port of its host that it is for, where it names one."""
    udp: bool | None = None
    """Whether it is for datagrams or for connections; None for both."""
    client: str = ""
    """The Gateway that shows a certificate of its own to backends."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TlsRule:
    """Connections by the name that the caller asks for, which TLS shows before anything is encrypted."""

    spec: TlsRoute
    source: Source
    port_name: str = ""
    client: str = ""
    """Both as a TcpRule's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Steering:
    key: Key
    resource: Resource[VirtualService]
    age: Age
    hosts: tuple[str, ...]
    gateways: frozenset[str]
    """`mesh` or `namespace/name`."""
    http: tuple[HttpRule, ...]
    tcp: tuple[TcpRule, ...]
    tls: tuple[TlsRule, ...] = ()
    targets: tuple[str, ...]
    """Full names of all services that its rules send to."""
    problems: tuple[tuple[Source, str], ...] = ()
    """Parts that are left out, and why."""
    export_to: tuple[str, ...] = ()
    """The namespaces whose proxies it is for; empty for all."""
    make: Callable[[Place], Parts] | None = None
    """Makes the routes, where they do not come of `http`."""

    @property
    def namespace(self) -> str:
        return self.key.namespace

    def exported_to(self, namespace: str) -> bool:
        return names.exported(self.export_to, self.key.namespace, namespace)


Documents = Mapping[Key, Resource[VirtualService]]


def delegate_keys(resource: Resource[VirtualService]) -> tuple[Key, ...]:
    """The documents that this one hands requests to."""
    return tuple(_delegate_key(resource, rule) for rule in resource.spec.http if rule.delegate)


def steering(resource: Resource[VirtualService], documents: Documents, domain: str) -> Steering:
    spec, key = resource.spec, resource.key
    problems: list[tuple[Source, str]] = []
    http = tuple(_http_rules(resource, documents, problems))
    return Steering(
        key=key,
        resource=resource,
        age=age(resource),
        hosts=tuple(dict.fromkeys(names.resolve(host, key.namespace, domain) for host in spec.hosts)),
        gateways=frozenset(names.gateway_name(g, key.namespace) for g in spec.gateways) or frozenset((names.MESH,)),
        http=http,
        tcp=tuple(TcpRule(spec=rule, source=resource.at(f"spec.tcp[{i}]")) for i, rule in enumerate(spec.tcp)),
        tls=tuple(TlsRule(spec=rule, source=resource.at(f"spec.tls[{i}]")) for i, rule in enumerate(spec.tls)),
        targets=tuple(
            sorted(
                {
                    *_http_targets(http, domain),
                    *(names.resolve(d.destination.host, key.namespace, domain) for t in spec.tcp for d in t.route),
                    *(names.resolve(d.destination.host, key.namespace, domain) for t in spec.tls for d in t.route),
                }
            )
        ),
        problems=tuple(problems),
        export_to=spec.export_to,
    )


def _http_targets(rules: tuple[HttpRule, ...], domain: str) -> Iterator[str]:
    for rule in rules:
        spec = rule.spec
        hosts = (
            *(d.destination.host for d in spec.route),
            *(m.destination.host for m in spec.mirrors),
            spec.mirror.host if spec.mirror else "",
        )
        yield from (names.resolve(host, rule.namespace, domain) for host in hosts if host)


def _http_rules(resource: Resource[VirtualService], documents: Documents, problems: list[tuple[Source, str]]) -> Iterator[HttpRule]:
    for index, rule in enumerate(resource.spec.http):
        place = f"spec.http[{index}]"
        own = HttpRule(
            spec=rule,
            conditions=_conditions(resource, rule, place),
            source=resource.at(place),
            namespace=resource.key.namespace,
            resource=resource,
        )
        if rule.delegate is None:
            yield own
            continue
        other = documents.get(_delegate_key(resource, rule))
        complaint = _undeliverable(resource, rule, other)
        if complaint or other is None:
            problems.append((resource.at(f"{place}.delegate"), complaint))
        else:
            yield from _delegated(own, other, problems)


def _delegate_key(resource: Resource[VirtualService], rule: HttpRoute) -> Key:
    target = rule.delegate
    name, namespace = (target.name, target.namespace) if target else ("", "")
    return Key(kind=resource.key.kind, namespace=namespace or resource.key.namespace, name=name or "")


def _undeliverable(resource: Resource[VirtualService], rule: HttpRoute, other: Resource[VirtualService] | None) -> str:
    key = _delegate_key(resource, rule)
    if other is None:
        return f"VirtualService {key.namespace}/{key.name} does not exist: this rule is left out"
    if other.spec.hosts:
        return f"VirtualService {key.namespace}/{key.name} has hosts, so it cannot be delegated to: this rule is left out"
    if not names.exported(other.spec.export_to, key.namespace, resource.key.namespace):
        return f"VirtualService {key.namespace}/{key.name} is not exported to namespace {resource.key.namespace}: this rule is left out"
    return ""


def _conditions(resource: Resource[VirtualService], rule: HttpRoute, place: str) -> tuple[Condition, ...]:
    if not rule.match:
        return (Condition(spec=None, source=resource.at(place)),)
    return tuple(Condition(spec=match, source=resource.at(f"{place}.match[{i}]")) for i, match in enumerate(rule.match))


def _delegated(root: HttpRule, other: Resource[VirtualService], problems: list[tuple[Source, str]]) -> Iterator[HttpRule]:
    for index, rule in enumerate(other.spec.http):
        source = other.at(f"spec.http[{index}]")
        if rule.delegate is not None:
            problems.append((source, "a VirtualService that was delegated to cannot delegate again: this rule is left out"))
            continue
        own = HttpRule(
            spec=rule,
            conditions=_conditions(other, rule, f"spec.http[{index}]"),
            source=source,
            namespace=other.key.namespace,
            resource=other,
        )
        united = _united(root, own)
        if united is None:
            problems.append((source, f"can never match together with {root.source} that delegates to it: this rule is left out"))
        else:
            yield united


def _united(root: HttpRule, leaf: HttpRule) -> HttpRule | None:
    """The leaf's rule for what both match; None where one of its alternatives lies outside of what the root matches."""
    found: list[Condition] = []
    for condition in leaf.conditions:
        both = [Condition(spec=spec, source=condition.source) for outer in root.conditions for spec in _both(outer, condition)]
        if not both:
            return None
        found += both
    return replace(leaf, spec=delegation.routes(root.spec, leaf.spec), conditions=tuple(found), via=root.source)


def _both(root: Condition, leaf: Condition) -> tuple[HttpMatch | None, ...]:
    try:
        return (delegation.conditions(root.spec, leaf.spec),)
    except delegation.ConflictError:
        return ()
