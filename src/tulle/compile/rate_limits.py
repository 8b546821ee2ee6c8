"""Which RateLimits hold where: those of the root namespace and those of a workload's own add up, as policies do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from tulle.compile.attachment import by_namespace, is_for, takes, unused_targets
from tulle.compile.disguises import CLIMBING_TARGET, allowed_host, any_case, leaves_room, refused_host, refused_targets, text
from tulle.model.access import Attribute
from tulle.model.identity import Labels
from tulle.model.rate_limits import Counted, CountKey, Only, RateLimit
from tulle.model.resource import Key, Resource, Source
from tulle.model.routing import Compare, StringMatch
from tulle.resources.security.rate_limit import FailureMode, Limit, LimitMatch, Scope, Unit
from tulle.resources.security.rate_limit import RateLimit as Spec

Document = Resource[Spec]

SPANS = {
    Unit.SECOND: timedelta(seconds=1),
    Unit.MINUTE: timedelta(minutes=1),
    Unit.HOUR: timedelta(hours=1),
    Unit.DAY: timedelta(days=1),
    Unit.MONTH: timedelta(days=30),
}
_ANY = StringMatch(compare=Compare.PREFIX, value="")
_NAMED = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RateLimits:
    """All of the mesh, by namespace, each list from the oldest."""

    root_namespace: str = ""
    by_namespace: Mapping[str, tuple[Document, ...]] = field(default_factory=dict)
    shared: Mapping[str, RateLimit] = field(default_factory=dict)
    """Those that hold over all proxies, by name."""

    def at(self, namespace: str, labels: Labels, service: str = "") -> tuple[RateLimit, ...]:
        """What holds at a workload of a service, or at all that a proxy serves."""
        found = (d for d in self._in(self.root_namespace, namespace) if takes(d, namespace, labels, service))
        return tuple(limit for document in found for limit in limits(document))

    def at_edge(self, namespace: str, labels: Labels, served: Mapping[Key, frozenset[str]]) -> tuple[RateLimit, ...]:
        """The same for a port that serves the hosts of some Gateways: what names one of them counts requests for its hosts alone."""
        made = list(self.at(namespace, labels))
        known = {limit.name for limit in made}
        for document in self._in(*(g.namespace for g in served)):
            named = [g for g in served if is_for(document, g)]
            if named:
                hosts = {h for g in named for h in served[g]} if served.keys() - named else {"*"}
                made += (_confined(limit, hosts) for limit in limits(document) if limit.name not in known)
        return tuple(made)

    def _in(self, *namespaces: str) -> Iterator[Document]:
        for namespace in dict.fromkeys(namespaces):
            yield from self.by_namespace.get(namespace, ())


NO_RATE_LIMITS = RateLimits()


def rate_limits(documents: Iterable[Document], root_namespace: str) -> RateLimits:
    """The RateLimits of a mesh, which come from the oldest."""
    every = tuple(documents)
    shared = {limit.name: limit for document in every for limit in limits(document) if limit.shared}
    return RateLimits(root_namespace=root_namespace, by_namespace=by_namespace(every), shared=shared)


def limits(document: Document) -> Iterator[RateLimit]:
    """The limits of a document, whatever it is for."""
    key, spec = document.key, document.spec
    for index, limit in enumerate(spec.limits):
        yield RateLimit(
            name=f"{key.namespace}/{key.name}/{index}",
            requests=limit.requests,
            per=SPANS[limit.per],
            burst=limit.burst or limit.requests,
            by=tuple(map(_count_key, limit.by)),
            only=tuple(_only(limit)),
            shared=spec.scope is Scope.GLOBAL,
            told=spec.headers,
            fail_closed=spec.failure_mode is FailureMode.CLOSED,
            patience=spec.timeout,
            source=document.at(f"spec.limits[{index}]"),
        )


def idle(document: Document) -> Iterator[tuple[Source, str]]:
    """What of a document is not in force, and why."""
    return ((document.at(field), why) for field, why in unused_targets(document))


def _count_key(written: str) -> CountKey:
    """Header names are the same in any case."""
    counted = Counted(written.partition("[")[0])
    names = tuple(_NAMED.findall(written))
    return CountKey(counted=counted, name=tuple(n.lower() for n in names) if counted is Counted.HEADER else names)


def _only(limit: Limit) -> Iterator[Only]:
    """However it is written, what is limited counts; what is let off does so as it stands alone."""
    match = limit.match or LimitMatch.model_construct()
    for attribute, wanted, unwanted in (
        (Attribute.METHOD, map(_method, match.methods), map(text, match.not_methods)),
        (Attribute.PATH, refused_targets(match.paths) if match.paths else (), map(text, match.not_paths)),
        (Attribute.HOST, map(refused_host, match.hosts), map(allowed_host, match.not_hosts)),
    ):
        if found := tuple(one or _ANY for one in wanted):
            yield Only(attribute=attribute, matches=found)
        if found := tuple(one or _ANY for one in unwanted):
            hiding = attribute is Attribute.PATH and any(map(leaves_room, match.not_paths))
            yield Only(attribute=attribute, matches=found, negated=True, but=(CLIMBING_TARGET,) if hiding else ())


def _method(value: str) -> StringMatch | None:
    return any_case(text(value))


def _confined(limit: RateLimit, hosts: Iterable[str]) -> RateLimit:
    meant = tuple(allowed_host(h) for h in sorted(hosts))
    if None in meant:
        return limit
    return replace(limit, only=(*limit.only, Only(attribute=Attribute.HOST, matches=tuple(m for m in meant if m))))
