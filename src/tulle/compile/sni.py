"""Connections of workloads told apart by the name that they ask for in TLS, where all come to one address (VirtualService `tls`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tulle.compile import tcp as tcp_routes
from tulle.compile.routes import Place, subnet_mismatch
from tulle.compile.steering import Steering
from tulle.model.proxy import FilterChain, Listener


def told_apart(listener: Listener, steering: Steering | None, place: Place) -> Listener:
    """The listener with a chain for each name that a rule speaks of, before those that it has."""
    chains = tuple(_chains(steering, place)) if steering else ()
    if not chains:
        return listener
    sources = tuple(dict.fromkeys((*listener.sources, *(c.source for c in chains if c.source))))
    return replace(listener, chains=(*chains, *listener.chains), sources=sources)


def _chains(steering: Steering, place: Place) -> Iterator[FilterChain]:
    """For each name the first rule holds. A lone `*` is for all that ask for some name."""
    taken: set[str] = set()
    for rule, match in tcp_routes.tls_matches(steering, place):
        wanted = tuple(name for host in match.sni_hosts if (name := host.lower()) not in taken)
        if subnet_mismatch(place, match.destination_subnets) or not wanted:
            continue
        taken.update(wanted)
        yield FilterChain(
            name=f"{rule.source.key.name}.{rule.source.field}",
            serve=tcp_routes.by_rule(rule, place),
            server_names=() if "*" in wanted else tuple(dict.fromkeys(wanted)),
            transport_protocol="tls",
            source=rule.source,
        )
