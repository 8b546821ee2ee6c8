"""What becomes of a request in one route table: the virtual host, the route, and what the route does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from tulle.compile import names
from tulle.compile.explain import framed, hosts, policies
from tulle.compile.explain.access import DENIED, NOBODY, Caller, before_tokens, both, decide
from tulle.compile.explain.logins import admitted
from tulle.compile.explain.match import compare, verdicts
from tulle.compile.explain.rate_limits import counted
from tulle.compile.explain.request import Refused, Seen, Wire, receive, speaks_grpc
from tulle.compile.explain.rewrite import location, rewritten, tls_location
from tulle.compile.explain.tokens import shown
from tulle.compile.explain.trace import Answer, Moved, Rewritten, Share, Step, Target, Trace, place, quote, rule
from tulle.model.firewall import Firewall
from tulle.model.frozen import FrozenMap
from tulle.model.proxy import Cluster, EndpointGroup, HttpConnections, ProxyView
from tulle.model.routing import (
    INVALID_BACKEND,
    Abort,
    Cors,
    DirectResponse,
    Forward,
    Redirect,
    Route,
    RouteTable,
    Skipped,
    VirtualHost,
    WeightedCluster,
)
from tulle.model.service import Endpoint, Resolution

_GRPC_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_UNKNOWN = 2
UNGUARDED = HttpConnections(stat_prefix="", routes="")
"""Connections without policies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """The clusters of a view, and who answers for them. None stands for a cluster that is not there."""

    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    targets: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, view: ProxyView) -> Backends:
        groups = {group.name: group for group in view.endpoints}
        clusters = {cluster.name: cluster for cluster in view.clusters}
        return cls(clusters=clusters, targets={name: _targets(c, groups.get(name)) for name, c in clusters.items()})


def _targets(cluster: Cluster, group: EndpointGroup | None) -> tuple[Target, ...]:
    """Those that are asked first come first, where places make a difference."""
    holder = cluster if cluster.endpoints is not None else group
    if holder is None:
        return ()
    if not holder.localities:
        return tuple(_target(e) for e in holder.endpoints or ())
    ordered = sorted(holder.localities, key=lambda place: place.priority)
    return tuple(replace(_target(e), locality=str(p.locality), priority=p.priority) for p in ordered for e in p.endpoints)


def _target(endpoint: Endpoint) -> Target:
    return Target(address=_address(endpoint.address, endpoint.port), workload=endpoint.workload, health=endpoint.health.value)


def _address(host: str, port: int) -> str:
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def route(table: RouteTable, wire: Wire, backends: Backends, guard: HttpConnections = UNGUARDED, caller: Caller = NOBODY) -> Trace:
    """The explanation of a request against one route table, behind the policies of the connections that it comes by."""
    seen = framed.receive(wire) if wire.version > 1 else receive(wire)
    trace = Trace(route_config=table.name)
    if isinstance(seen, Refused) and not seen.status:
        return replace(trace, closed=seen.why, steps=(Step(rule="HTTP", matched=False, why=f"{seen.why}: the connection is closed"),))
    if isinstance(seen, Refused):
        step = Step(rule="HTTP", matched=False, why=f"{seen.why}: answered {seen.status} before any route is tried")
        return replace(
            trace, direct_response=_answer(seen.status, seen.body, grpc=not seen.body and speaks_grpc(wire.headers)), steps=(step,)
        )
    guard = UNGUARDED if _is_for_everybody(table, seen) else guard
    trace, seen, caller = _guarded(trace, guard, caller, seen)
    if trace.direct_response:
        return trace
    found = hosts.find(table, seen.authority)
    before = (*trace.steps, *counted(guard.limits, caller, seen), *found.steps)
    if found.host is None:
        step = Step(rule=table.name, matched=False, why=f"no virtual host takes {quote(seen.authority)}: answered 404")
        return replace(trace, direct_response=_answer(404, "", grpc=seen.grpc), steps=(*before, step))
    trace = replace(trace, virtual_host=found.host.name)
    if found.host.require_tls and seen.forwarded_proto != "https":
        return _to_tls(replace(trace, steps=before), found.host, seen)
    return _routes(trace, before, found.host, seen, backends)


def _is_for_everybody(table: RouteTable, seen: Seen) -> bool:
    """Whether the route that takes a request asks nobody."""
    host = hosts.find(table, seen.authority).host
    asking = (candidate for candidate in host.routes if candidate.unguarded is not None) if host else ()
    return any(_try(candidate, seen).matched for candidate in asking)


def _guarded(trace: Trace, guard: HttpConnections, caller: Caller, seen: Seen) -> tuple[Trace, Seen, Caller]:
    """What the policies make of a request, in the order in which they are asked: an answer where one refuses it."""
    screened, steps = decide(guard.screen.access, caller, seen)
    if screened and screened.decision == "deny":
        return replace(trace, allowed=screened, direct_response=_answer(403, DENIED, grpc=seen.grpc), steps=steps), seen, caller
    entered = admitted(guard.logins, seen)
    first, then = before_tokens(guard.access)
    ask, asked = (None, ()) if entered.refused else decide(first, caller, entered.seen)
    trace, denied = replace(trace, allowed=ask), ask is not None and ask.decision == "deny"
    said = shown(() if entered.refused or denied else guard.tokens, entered.seen)
    seen, caller = replace(entered.seen, claims=said.claims), replace(caller, claims=said.claims)
    steps = (*steps, *entered.steps, *asked, *said.steps)
    if denied:
        return replace(trace, direct_response=_answer(403, DENIED, grpc=seen.grpc), steps=steps), seen, caller
    if refusal := entered.refused or said.refused:
        answer = _answer(refusal.status, refusal.body, grpc=seen.grpc)
        return replace(trace, allowed=None, direct_response=answer, steps=steps), seen, caller
    decision, asked = decide(then, caller, seen)
    decision = both(ask if ask and ask.decision == "ask" else None, decision or ask)
    steps = (*steps, *asked, *map(_looked_at, guard.screen.firewalls), *_written(guard, seen))
    trace = replace(trace, allowed=decision or screened, steps=steps)
    refused = decision is not None and decision.decision == "deny"
    return (replace(trace, direct_response=_answer(403, DENIED, grpc=seen.grpc)) if refused else trace), seen, caller


def _looked_at(by: Firewall) -> Step:
    then = "may refuse it" if by.block else "notes what it finds"
    return Step(
        rule=f"Firewall/{by.name.partition('/')[2]}", matched=True, why=f"the Core Rule Set, at level {by.paranoia}, looks at it and {then}"
    )


def _written(guard: HttpConnections, seen: Seen) -> Iterator[Step]:
    """A call by JSON is routed as it came, and becomes gRPC after that."""
    for of in () if seen.grpc else guard.transcodings:
        why = f"what its descriptors map to a method of {', '.join(of.services)} becomes gRPC; its route is chosen as it came"
        yield Step(rule=f"{of.source.key.kind}/{of.source.key.name}", source=place(of.source), matched=True, why=why)


def _routes(trace: Trace, before: tuple[Step, ...], host: VirtualHost, seen: Seen, backends: Backends) -> Trace:
    steps = list(before)
    for candidate in host.routes:
        if _is_own_tunnel(candidate) and seen.method != "CONNECT":
            continue
        step = _try(candidate, seen)
        steps.append(step)
        if step.matched:
            trace = replace(trace, route=candidate.name or step.rule)
            return _act(trace, (*steps, *_skipped(host)), candidate, seen, backends)
    steps += _skipped(host)
    steps.append(Step(rule=f"virtual host {host.name}", matched=False, why="none of its routes takes the request: answered 404"))
    return replace(trace, direct_response=_answer(404, "", grpc=seen.grpc), steps=tuple(steps))


def _is_own_tunnel(candidate: Route) -> bool:
    """What the mesh adds for CONNECT is no rule that a user would look for when other requests are explained."""
    return candidate.source is None and isinstance(candidate.action, Forward) and candidate.action.connect


def _try(candidate: Route, seen: Seen) -> Step:
    found = list(verdicts(candidate, seen))
    lost = [v.why for v in found if not v.holds]
    via = [f"{candidate.via} ({place(candidate.via)}) delegates to it"] if candidate.via else []
    why = "; ".join((lost or [v.why for v in found]) + via)
    return Step(rule=rule(candidate.source, candidate.name), source=place(candidate.source), matched=not lost, why=why)


def _skipped(host: VirtualHost) -> tuple[Step, ...]:
    return tuple(_not_in_force(skipped) for skipped in host.skipped)


def _not_in_force(of: Skipped) -> Step:
    return Step(rule=str(of.source), source=place(of.source), matched=False, why=f"not in force: {of.why}")


def _to_tls(trace: Trace, host: VirtualHost, seen: Seen) -> Trace:
    rule_ = f"virtual host {host.name}"
    if seen.refuses and seen.cut:
        return _cut(trace, Step(rule=rule_, matched=True, why=f"{seen.refuses}: the connection is closed"), seen)
    if seen.refuses:
        return _end(trace, Step(rule=rule_, matched=True, why=seen.refuses), seen, 403)
    step = Step(rule=rule_, matched=True, why="it wants TLS, so plain requests are sent to https")
    return replace(trace, redirect=_moved(seen, 301, tls_location(seen)), steps=(*trace.steps, step))


def _act(trace: Trace, steps: tuple[Step, ...], chosen: Route, seen: Seen, backends: Backends) -> Trace:
    if seen.refuses and seen.cut:
        return _cut(replace(trace, steps=steps), _because(chosen, f"{seen.refuses}: the connection is closed"), seen)
    if seen.refuses:
        return _end(replace(trace, steps=steps), _because(chosen, seen.refuses), seen, 403)
    trace = replace(trace, policies=FrozenMap(policies.of_route(chosen)), steps=(*steps, *map(_looked_at, chosen.firewalls)))
    trace = replace(trace, steps=(*trace.steps, *map(_not_in_force, chosen.lost)))
    if isinstance(chosen.action, Forward) and chosen.action.clusters and chosen.cors and _preflight(chosen.cors, seen):
        step = _because(chosen, "a CORS preflight is answered by the proxy")
        return replace(trace, direct_response=Answer(status=200), steps=(*trace.steps, step))
    if chosen.fault and chosen.fault.abort and (status := _certain(chosen.fault.abort)) is not None:
        step = _because(chosen, "its fault aborts every request")
        return _end(trace, step, seen, status, "fault filter abort", chosen.fault.abort.grpc_status)
    if isinstance(chosen.action, Redirect):
        return replace(trace, redirect=_moved(seen, chosen.action.status, location(seen, chosen.match, chosen.action)))
    if isinstance(chosen.action, DirectResponse):
        if chosen.lost:
            return _end(trace, _because(chosen, "nothing takes its requests"), seen, chosen.action.status)
        body = chosen.action.body.decode("utf-8", "replace")
        return replace(trace, direct_response=_answer(chosen.action.status, body, grpc=seen.grpc))
    return _forwarded(trace, chosen, chosen.action, seen, backends)


def _because(chosen: Route, why: str) -> Step:
    return Step(rule=rule(chosen.source, chosen.name), source=place(chosen.source), matched=True, why=why)


def _cut(trace: Trace, step: Step, seen: Seen) -> Trace:
    return replace(trace, closed=seen.refuses, steps=(*trace.steps, step))


def _end(trace: Trace, step: Step, seen: Seen, status: int, body: str = "", grpc_status: int | None = None) -> Trace:
    """The proxy answers by itself, for a reason that deserves a step of its own."""
    return replace(trace, direct_response=_answer(status, body, grpc_status, grpc=seen.grpc), steps=(*trace.steps, step))


def _answer(status: int, body: str, grpc_status: int | None = None, *, grpc: bool) -> Answer:
    """The proxy's own answer, which a gRPC caller gets as HTTP 200 with a gRPC status."""
    if not grpc:
        return Answer(status=status, body=body)
    code = _GRPC_OF_HTTP.get(status, _UNKNOWN) if grpc_status is None else grpc_status
    return Answer(status=200, body=body, grpc_status=code)


def _moved(seen: Seen, status: int, where: str) -> Moved:
    """A redirect is an answer of the proxy's own, too: a gRPC caller sees 200."""
    return Moved(status=200 if seen.grpc else status, location=where)


def _preflight(cors: Cors, seen: Seen) -> bool:
    origin = seen.header("origin")
    if seen.method != "OPTIONS" or not origin or not seen.header("access-control-request-method"):
        return False
    return not cors.forward_unmatched_preflights or any(compare(allowed, origin) for allowed in cors.allow_origins)


def _certain(abort: Abort) -> int | None:
    """The HTTP status that every request gets; None where some requests go through."""
    if abort.percent < 100:
        return None
    return 200 if abort.grpc_status is not None else abort.http_status


def _forwarded(trace: Trace, chosen: Route, action: Forward, seen: Seen, backends: Backends) -> Trace:
    if not action.clusters:
        return _end(trace, _because(chosen, "it names no destination that exists"), seen, 503)
    if len(action.clusters) > 1:
        shares = tuple(_share(seen, chosen, action, cluster, backends) for cluster in action.clusters)
        lost = next((c for c in action.clusters if c.cluster == INVALID_BACKEND), None)
        why = f"a destination is not valid: its share is answered with {action.unknown_status}"
        steps = (*trace.steps, _because(chosen, why)) if lost else trace.steps
        return replace(trace, weighted_clusters=shares, steps=steps)
    only = action.clusters[0]
    change = _changed(seen, chosen, action, only, backends)
    if only.cluster == INVALID_BACKEND:
        return _end(trace, _because(chosen, "its destination is not valid"), seen, action.unknown_status)
    return to_cluster(replace(trace, rewritten=change or None), only.cluster, backends)


def to_cluster(trace: Trace, name: str, backends: Backends, *, otherwise: str = "answered 503") -> Trace:
    """The end of an explanation: the cluster and who answers for it."""
    cluster = backends.clusters.get(name)
    extra = _about(name, cluster, otherwise) or _deserted(name, cluster, backends, otherwise)
    more = policies.of_cluster(cluster) if cluster else {}
    return replace(
        trace,
        cluster=name,
        endpoints=backends.targets.get(name, ()),
        policies=FrozenMap({**trace.policies, **more}),
        steps=(*trace.steps, *extra),
    )


def _deserted(name: str, cluster: Cluster | None, backends: Backends, otherwise: str) -> tuple[Step, ...]:
    """Nobody stands in for a subset, or a service, that has no endpoints (BEHAVIOURS 8)."""
    looked_up = cluster is not None and cluster.resolution is not Resolution.STATIC
    if looked_up or backends.targets.get(name) or not names.is_outbound(name):
        return ()
    subset = name.split("|")[2]
    who = f'no instance has the labels of subset "{subset}", and no other stands in' if subset else "no instance answers for it"
    return (Step(rule=f"cluster {name}", matched=False, why=f"{who}: {otherwise}"),)


def _about(name: str, cluster: Cluster | None, otherwise: str) -> tuple[Step, ...]:
    if cluster is None:
        return (Step(rule=f"cluster {name}", matched=False, why=f"there is no such cluster: {otherwise}"),)
    if cluster.internal_listener:
        why = f"requests inside the tunnel enter the listener {cluster.internal_listener} and are routed there one by one"
        return (Step(rule=f"cluster {name}", matched=True, why=why),)
    if cluster.resolution is Resolution.DYNAMIC_DNS:
        return (Step(rule=f"cluster {name}", matched=True, why="the very host that is asked for is looked up and called"),)
    return ()


def _share(seen: Seen, chosen: Route, action: Forward, cluster: WeightedCluster, backends: Backends) -> Share:
    change = _changed(seen, chosen, action, cluster, backends)
    targets = backends.targets.get(cluster.cluster, ())
    answers = FrozenMap(policies.operations(cluster.response_headers))
    return Share(name=cluster.cluster, weight=cluster.weight, endpoints=targets, rewritten=change or None, response_headers=answers)


def _changed(seen: Seen, chosen: Route, action: Forward, cluster: WeightedCluster, backends: Backends) -> Rewritten:
    change = rewritten(seen, chosen, action, cluster)
    names = {target.address.rpartition(":")[0] for target in backends.targets.get(cluster.cluster, ())}
    if action.auto_host_rewrite and change.host is None and len(names) == 1:
        return replace(change, host=names.pop())
    return change
