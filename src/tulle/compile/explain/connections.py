"""What becomes of a connection before, or instead of, requests: TLS is ended or passed on, and whole connections go to clusters."""

from __future__ import annotations

from dataclasses import replace

from tulle.compile.explain import policies
from tulle.compile.explain.access import NOBODY, Caller, decide
from tulle.compile.explain.chains import Connection
from tulle.compile.explain.outcome import Backends, to_cluster
from tulle.compile.explain.trace import Share, Step, TlsEnded, Trace, quote
from tulle.model.frozen import FrozenMap
from tulle.model.proxy import FilterChain, TcpConnections
from tulle.model.tls import DownstreamTls

BLACK_HOLE = "BlackHoleCluster"


def closed(why: str, *steps: Step) -> Trace:
    """The proxy closes the connection."""
    return Trace(closed=why, steps=steps)


def handshake(chain: FilterChain, connection: Connection) -> Trace:
    """How the connection begins: with `closed` where it comes to nothing."""
    if chain.tls is None:
        if connection.tls and not isinstance(chain.serve, TcpConnections):
            return _refused("the caller speaks TLS, plain HTTP is taken here")
        return Trace()
    if not connection.tls:
        return _refused("the connection is plain, TLS is wanted here")
    ended = _ended(chain.tls, connection)
    return Trace(tls=ended, steps=(Step(rule="TLS", matched=True, why=_said(ended)),))


def _refused(why: str) -> Trace:
    return closed(why, Step(rule="TLS", matched=False, why=f"{why}: the connection is closed"))


def _ended(tls: DownstreamTls, connection: Connection) -> TlsEnded:
    wanted = "" if tls.trust is None else "required" if tls.require_certificate else "optional"
    agreed = next((name for name in tls.protocols if name in connection.alpn), "")
    return TlsEnded(certificates=tls.certificates, client_certificate=wanted, protocol=agreed, server_name=connection.sni)


def _said(ended: TlsEnded) -> str:
    names = " or ".join(ended.certificates)
    fitting = f", whichever fits {quote(ended.server_name)}" if len(ended.certificates) > 1 and ended.server_name else ""
    wanted = {
        "required": "; callers without a certificate that is trusted are refused",
        "optional": "; callers may show a certificate, which must then be trusted",
    }
    agreed = f"; ALPN agrees on {quote(ended.protocol)}" if ended.protocol else ""
    return f"TLS is ended here with the certificate {names}{fitting}{wanted.get(ended.client_certificate, '')}{agreed}"


def requests_wanted(start: Trace, routes: str) -> Trace:
    """A connection to where requests are routed one by one."""
    ask = "https://" if start.tls else "http://"
    step = Step(rule=routes, matched=True, why=f"requests are routed here one by one; {ask} asks where one goes")
    return replace(start, route_config=routes, steps=(*start.steps, step))


def passed(start: Trace, serve: TcpConnections, backends: Backends, caller: Caller = NOBODY, *, udp: bool = False) -> Trace:
    """Whole connections are passed on; what is inside is not looked at."""
    decision, asked = decide(serve.access, caller, None)
    start = replace(start, allowed=decision, steps=(*start.steps, *asked))
    if decision and decision.decision == "deny":
        return replace(start, closed=f"access is denied by {decision.by}")
    taking = [c for c in serve.clusters if c.weight or len(serve.clusters) == 1]
    trace = replace(start, policies=FrozenMap(policies.of_connections(serve)), steps=(*start.steps, _passing(udp=udp)))
    if not taking:
        return _nowhere(trace, "no destination has a weight")
    if len(taking) > 1:
        targets = backends.targets
        shares = (Share(name=c.cluster, weight=c.weight, endpoints=targets.get(c.cluster, ())) for c in taking)
        return replace(trace, weighted_clusters=tuple(shares))
    name = taking[0].cluster
    trace = to_cluster(trace, name, backends, otherwise="datagrams are dropped" if udp else "the connection is closed")
    if name == BLACK_HOLE or name not in backends.clusters:
        return _nowhere(trace, "no such service is known here" if name == BLACK_HOLE else f"there is no cluster {name}")
    return trace


def _nowhere(trace: Trace, why: str) -> Trace:
    step = Step(rule="connection", matched=False, why=f"it leads nowhere: {why}")
    return replace(trace, closed=why, steps=(*trace.steps, step))


def _passing(*, udp: bool) -> Step:
    if udp:
        return Step(rule="UDP", matched=True, why="all datagrams from one port of a caller are a session, which is passed on whole")
    return Step(rule="TCP", matched=True, why="the listener passes whole connections on and does not look at requests")
