"""Guards as what is asked of requests first. Those of the root namespace and of the own one add up: of each limit the strictest holds."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from tulle.compile.access import any_of, confined, none_of, plain_paths
from tulle.compile.attachment import by_namespace, is_for, takes
from tulle.compile.disguises import text
from tulle.compile.walls import Document as Walled
from tulle.compile.walls import firewall
from tulle.model.access import Access, AccessPolicy, AccessRule, Attribute, Condition, Effect, Is, Within
from tulle.model.identity import Labels
from tulle.model.resource import Key, Resource
from tulle.model.screen import NO_SCREEN, PathLevel, Screen, Underscores
from tulle.resources.security.firewall import Firewall as FirewallSpec
from tulle.resources.security.guard import Guard, GuardedAddresses, GuardedHeaders

ScreenDocument = Resource[Guard | FirewallSpec]
_LEVELS, _UNDERSCORES = list(PathLevel), list(Underscores)
_NO_HEADERS = GuardedHeaders.model_construct()
_NO_ADDRESSES = GuardedAddresses.model_construct()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Screens:
    """All Guards of the mesh, by namespace, each list from the oldest."""

    root_namespace: str = ""
    by_namespace: Mapping[str, tuple[ScreenDocument, ...]] = field(default_factory=dict)

    def at(self, namespace: str, labels: Labels, service: str = "") -> tuple[ScreenDocument, ...]:
        """Those that hold at a workload of a service, or at what a proxy serves for all Gateways alike."""
        return tuple(g for g in self._in(self.root_namespace, namespace) if takes(g, namespace, labels, service))

    def at_edge(self, namespace: str, labels: Labels, served: Mapping[Key, frozenset[str]], *, requests: bool) -> Screen:
        """What holds at a proxy's port that serves the hosts of some Gateways.

        Where one Gateway of several has a Guard, its lists are for the hosts of this one. Its limits are for all, as one port has one set.
        """
        everywhere, own = self.at(namespace, labels), list[ScreenDocument]()
        policies = [_policy(g, requests=requests) for g in everywhere]
        for guard in self._in(*(g.namespace for g in served)):
            named = [g for g in served if is_for(guard, g)]
            if named and guard not in everywhere:
                own.append(guard)
                policies.append(_for_hosts(_policy(guard, requests=requests), served, named, requests=requests))
        return _screen((*everywhere, *own), policies)

    def _in(self, *namespaces: str) -> Iterator[ScreenDocument]:
        for namespace in dict.fromkeys(namespaces):
            yield from self.by_namespace.get(namespace, ())


NO_SCREENS = Screens()


def screens(documents: Iterable[ScreenDocument], root_namespace: str) -> Screens:
    """The Guards of a mesh, which come from the oldest."""
    return Screens(root_namespace=root_namespace, by_namespace=by_namespace(documents))


def screen(guards: Iterable[ScreenDocument], *, requests: bool) -> Screen:
    """What some Guards say together of requests, or of connections, of which only the address is known."""
    found = tuple(guards)
    return _screen(found, [_policy(g, requests=requests) for g in found])


def _screen(guards: tuple[ScreenDocument, ...], policies: list[AccessPolicy]) -> Screen:
    if not guards:
        return NO_SCREEN
    specs = [g.spec for g in guards if isinstance(g.spec, Guard)]
    headers = [spec.headers or _NO_HEADERS for spec in specs]
    return Screen(
        access=Access(policies=tuple(p for p in policies if p.rules)),
        body_bytes=_least(s.max_body_bytes for s in specs),
        header_count=_least(h.max_count for h in headers),
        header_kilobytes=_least(h.max_kilobytes for h in headers),
        path=max((s.path_normalization for s in specs if s.path_normalization), key=_LEVELS.index, default=None),
        underscores=max((h.underscores for h in headers if h.underscores), key=_UNDERSCORES.index, default=Underscores.ALLOW),
        firewalls=tuple(firewall(cast("Walled", g)) for g in guards if isinstance(g.spec, FirewallSpec)),
        sources=tuple(g.at("spec") for g in guards),
    )


def _least(limits: Iterable[int | None]) -> int | None:
    return min((n for n in limits if n is not None), default=None)


def _for_hosts(policy: AccessPolicy, served: Mapping[Key, frozenset[str]], named: Container[Key], *, requests: bool) -> AccessPolicy:
    if all(gateway in named for gateway in served):
        return policy
    return confined(policy, {host for gateway, hosts in served.items() if gateway in named for host in hosts}, requests=requests)


def _policy(guard: ScreenDocument, *, requests: bool) -> AccessPolicy:
    """What its lists refuse. Each list is a rule of its own, so that one can tell by which a call was refused."""
    key = guard.key
    name = f"ns[{key.namespace}]-guard[{key.name}]"
    rules = tuple(
        AccessRule(name=f"{name}-{place}", callers=refused, source=guard.at(f"spec.{place}"))
        for place, refused in _refused(guard.spec, requests=requests)
    )
    return AccessPolicy(name=name, effect=Effect.DENY, rules=rules, source=guard.at("spec"))


def _refused(spec: Guard | FirewallSpec, *, requests: bool) -> Iterator[tuple[str, Condition]]:
    if isinstance(spec, Guard):
        yield from _of_connections(spec)
        yield from _of_requests(spec) if requests else ()


def _of_connections(spec: Guard) -> Iterator[tuple[str, Condition]]:
    addresses = spec.addresses or _NO_ADDRESSES
    if addresses.deny:
        yield "addresses.deny", any_of(map(_from, addresses.deny))
    if addresses.allow:
        yield "addresses.allow", none_of(any_of(map(_from, addresses.allow)))


def _from(network: str) -> Condition:
    return Within(attribute=Attribute.REMOTE_IP, network=network)


def _of_requests(spec: Guard) -> Iterator[tuple[str, Condition]]:
    if spec.methods:
        yield "methods", none_of(any_of(Is(attribute=Attribute.METHOD, match=text(m)) for m in spec.methods))
    if spec.paths:
        yield "paths", none_of(plain_paths(spec.paths))


def before(first: Access, then: Access) -> Access:
    """For connections, which have no screen of their own: both, those that deny together."""
    return replace(then, policies=(*first.policies, *then.policies)) if first else then
