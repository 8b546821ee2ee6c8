"""Where requests for a service end: through splitters, redirects and default subsets, as Consul's discovery chain does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tulle.compile.actions import header_ops
from tulle.compile.consul.entries import Entries
from tulle.model.resource import Source
from tulle.model.routing import NO_OPS, HeaderOps
from tulle.resources.consul.common import HttpHeaderModifiers
from tulle.resources.networking.http_actions import HeaderOperations

WHOLE = 10_000
"""Hundredths of a percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A share of the requests for a service, and where it goes."""

    host: str
    subset: str = ""
    parts: int = WHOLE
    request: HeaderOps = NO_OPS
    response: HeaderOps = NO_OPS
    source: Source


def operations(modifiers: HttpHeaderModifiers | None) -> HeaderOps:
    if modifiers is None:
        return NO_OPS
    return header_ops(HeaderOperations.model_construct(set=modifiers.set, add=modifiers.add, remove=modifiers.remove))


def legs(entries: Entries, start: Leg, seen: frozenset[str] = frozenset()) -> tuple[Leg, ...]:
    """A splitter is asked where no subset is named, and once on the way."""
    splitter = entries.splitters.get(start.host) if not start.subset and start.host not in seen else None
    if splitter is None:
        return (resolved(entries, start),)
    return tuple(_united(_split(entries, start, seen)))


def _split(entries: Entries, start: Leg, seen: frozenset[str]) -> Iterator[Leg]:
    splitter = entries.splitters[start.host]
    for index, split in enumerate(splitter.spec.splits):
        own = Leg(
            host=entries.host(split.service, splitter.key.namespace, start.host),
            subset=split.service_subset or "",
            parts=round(start.parts * split.parts / WHOLE),
            request=_both(start.request, operations(split.request_headers)),
            response=_both(start.response, operations(split.response_headers)),
            source=splitter.at(f"spec.splits[{index}]"),
        )
        yield from legs(entries, own, seen | {start.host}) if own.parts else ()


def _both(first: HeaderOps, then: HeaderOps) -> HeaderOps:
    return HeaderOps(remove=first.remove + then.remove, set=first.set + then.set, add=first.add + then.add)


def _united(found: Iterator[Leg]) -> Iterator[Leg]:
    """Shares that lead to the same in the same way are one."""
    parts: dict[Leg, int] = {}
    for leg in found:
        alike = replace(leg, parts=0)
        parts[alike] = parts.get(alike, 0) + leg.parts
    return (replace(leg, parts=share) for leg, share in parts.items())


def resolved(entries: Entries, leg: Leg) -> Leg:
    """Follows redirects, and fills in the default subset. A circle of redirects ends where it began."""
    seen: set[str] = set()
    while resolver := entries.resolvers.get(leg.host):
        redirect = resolver.spec.redirect
        if redirect is None or leg.host in seen or not (redirect.service or redirect.service_subset):
            return leg if leg.subset or not resolver.spec.default_subset else replace(leg, subset=resolver.spec.default_subset)
        seen.add(leg.host)
        host = entries.host(redirect.service, resolver.key.namespace, leg.host)
        leg = replace(leg, host=host, subset=redirect.service_subset or ("" if redirect.service else leg.subset))
    return leg
