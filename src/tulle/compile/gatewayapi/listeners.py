"""The listeners of a Gateway, its own and those of the ListenerSets that it takes: which can be served, and for which routes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tulle.compile import names
from tulle.compile.gatewayapi.documents import Documents, chooses, seniority
from tulle.compile.memo import Memo
from tulle.model.resource import Key, Resource, Source
from tulle.resources.gatewayapi import Gateway, ListenerSet
from tulle.resources.gatewayapi.gateway import ListenerNamespaces
from tulle.resources.gatewayapi.listeners import Listener, RouteFrom, RouteNamespaces, TlsMode
from tulle.resources.gatewayapi.types import GROUP

_KINDS = {
    "HTTP": ("HTTPRoute", "GRPCRoute"),
    "HTTPS": ("HTTPRoute", "GRPCRoute"),
    "TLS": ("TLSRoute",),
    "TCP": ("TCPRoute",),
    "UDP": ("UDPRoute",),
}
_ENDED = ("TLSRoute", "TCPRoute")
"""The kinds for TLS that is ended at the gateway."""
_OVER_TLS = ("HTTPS", "TLS")
_TOGETHER = {"HTTPS": "TLS"}
"""Protocols that can share a port because callers name the host first."""

Verdict = tuple[str, str]
"""A reason, in the words of the specification, and what it is about."""
FINE: Verdict = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Section:
    """One listener of a Gateway. Equal by identity."""

    id: str
    """Names it among all listeners: what routes are bound to."""
    gateway: Resource[Gateway]
    owner: Resource[Gateway] | Resource[ListenerSet]
    """The document that declares it."""
    spec: Listener
    source: Source
    kinds: tuple[str, ...]
    """Of the routes that it takes."""
    foreign_kinds: tuple[str, ...] = ()
    """Of the routes that it is meant to take but cannot."""
    refused: Verdict = FINE
    """Why it is not accepted."""
    conflict: Verdict = FINE

    @property
    def usable(self) -> bool:
        return not self.refused[0] and not self.conflict[0]

    @property
    def hostname(self) -> str:
        return self.spec.hostname or "*"

    @property
    def is_http(self) -> bool:
        return self.spec.protocol in ("HTTP", "HTTPS")

    @property
    def ends_connections(self) -> bool:
        """Whether TLS is ended here for what is no HTTP: each host is a server of its own then."""
        return self.spec.protocol == "TLS" and self.spec.tls is not None and self.spec.tls.mode is TlsMode.TERMINATE

    def bound(self, host: str) -> str:
        """Names one host of a listener that ends connections."""
        return f"{self.id}/{host}"

    def takes(self, kind: str, namespace: str, documents: Documents) -> str:
        """Why it does not take routes of a kind from a namespace; empty where it does."""
        if kind not in self.kinds:
            return f"listener {self.spec.name} takes no {kind}"
        if not admits(self.spec.allowed_routes.namespaces, namespace, self.owner.key.namespace, documents):
            return f"listener {self.spec.name} takes no routes from namespace {namespace}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sections:
    """All listeners of one Gateway. Equal by identity."""

    gateway: Resource[Gateway]
    all: tuple[Section, ...]
    sets: tuple[Resource[ListenerSet], ...]
    """Those that it takes."""

    def of(self, owner: Key) -> tuple[Section, ...]:
        return tuple(s for s in self.all if s.owner.key == owner)


def admits(allowed: RouteNamespaces | ListenerNamespaces, namespace: str, own: str, documents: Documents) -> bool:
    if allowed.from_ is RouteFrom.ALL:
        return True
    if allowed.from_ is RouteFrom.SELECTOR:
        return allowed.selector is not None and chooses(allowed.selector, documents.labels_of(namespace))
    return allowed.from_ is RouteFrom.SAME and namespace == own


def refusal(gateway: Resource[Gateway]) -> Verdict:
    """Why a Gateway of ours is not served at all."""
    strange = next((a for a in gateway.spec.addresses if a.type != "IPAddress"), None)
    if strange is not None:
        what = f"{strange.type} {strange.value or ''}".rstrip()
        return "UnsupportedAddress", f"a Gateway is served on IP addresses of its proxies, not at {what}"
    parameters = gateway.spec.infrastructure.parameters_ref if gateway.spec.infrastructure else None
    if parameters is not None:
        return "InvalidParameters", f"there are no parameters of kind {parameters.kind}: infrastructure.parametersRef is for Kubernetes"
    return FINE


def parent_of(listeners: Resource[ListenerSet]) -> tuple[str, str]:
    """Namespace and name of the Gateway that a ListenerSet is for."""
    parent = listeners.spec.parent_ref
    return (parent.namespace or listeners.key.namespace, parent.name)


def takes_set(gateway: Resource[Gateway], listeners: Resource[ListenerSet], documents: Documents) -> bool:
    allowed = gateway.spec.allowed_listeners
    return allowed is not None and admits(allowed.namespaces, listeners.key.namespace, gateway.key.namespace, documents)


def overlapping(section: Section, known: Sections) -> str:
    """The listeners that end or pass TLS on the same port for names that are among its own; empty where there are none."""
    if section.spec.protocol not in _OVER_TLS or not section.usable:
        return ""
    others = (s for s in known.all if s is not section and s.usable and s.spec.port == section.spec.port and s.spec.protocol in _OVER_TLS)
    return ", ".join(s.spec.name for s in others if names.overlap(section.hostname, s.hostname))


def sections(gateway: Resource[Gateway], wanted: Iterable[Resource[ListenerSet]], documents: Documents, memo: Memo) -> Sections:
    """`wanted`: the ListenerSets that name the Gateway."""
    taken = tuple(sorted((s for s in wanted if takes_set(gateway, s, documents)), key=seniority))
    return memo.get(("sections", gateway.key), (gateway, taken), lambda: Sections(gateway=gateway, all=_all(gateway, taken), sets=taken))


def _all(gateway: Resource[Gateway], taken: tuple[Resource[ListenerSet], ...]) -> tuple[Section, ...]:
    """Indistinct listeners of the Gateway itself are all left out; those of sets give way to what was there before."""
    own = [_section(gateway, gateway, i, spec) for i, spec in enumerate(gateway.spec.listeners)]
    done = [replace(s, conflict=next(_conflicts(s, (o for o in own if o is not s)), FINE)) for s in own]
    for listeners in taken:
        for index, spec in enumerate(listeners.spec.listeners):
            section = _section(gateway, listeners, index, spec)
            done.append(replace(section, conflict=next(_conflicts(section, (o for o in done if not o.conflict[0])), FINE)))
    return tuple(done)


def _section(gateway: Resource[Gateway], owner: Resource[Gateway] | Resource[ListenerSet], index: int, spec: Listener) -> Section:
    able = _ENDED if spec.protocol == "TLS" and spec.tls and spec.tls.mode is TlsMode.TERMINATE else _KINDS.get(spec.protocol, ())
    wanted = spec.allowed_routes.kinds
    named = [k.kind if k.group == GROUP else f"{k.kind}.{k.group}" for k in wanted]
    path = (gateway.key.namespace, gateway.key.name, *(() if owner is gateway else (owner.key.namespace, owner.key.name)), spec.name)
    return Section(
        id="/".join(path),
        gateway=gateway,
        owner=owner,
        spec=spec,
        source=owner.at(f"spec.listeners[{index}]"),
        kinds=tuple(k for k in able if not wanted or k in named),
        foreign_kinds=tuple(k for k in named if k not in able),
        refused=_refused(spec),
    )


def _refused(spec: Listener) -> Verdict:
    if spec.protocol not in _KINDS:
        return "UnsupportedProtocol", f"protocol {spec.protocol} is none of {', '.join(_KINDS)}"
    return FINE


def _conflicts(section: Section, others: Iterable[Section]) -> Iterator[Verdict]:
    mine = section.spec
    for other in others:
        theirs = other.spec
        if mine.port != theirs.port or (mine.protocol == "UDP") != (theirs.protocol == "UDP"):
            continue
        one, two = (_TOGETHER.get(p, p) for p in (mine.protocol, theirs.protocol))
        if one != two:
            yield "ProtocolConflict", f"port {mine.port} is for {theirs.protocol} in listener {theirs.name}"
        elif mine.hostname == theirs.hostname:
            bare = mine.protocol in ("TCP", "UDP")
            reason = "HostnameConflict" if mine.protocol == theirs.protocol and not bare else "ProtocolConflict"
            yield reason, f"listener {theirs.name} has port {mine.port}{'' if bare else f' and hostname {section.hostname}'}, too"
