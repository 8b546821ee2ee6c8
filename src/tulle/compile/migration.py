"""The way to mutual TLS alone: which workloads a policy can turn to it, what stands in the way, and whether one that was turned fares well.

Going back is always safe, so doubts are decided that way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import Enum

from tulle.compile import names
from tulle.compile.edges import Edge, Speech
from tulle.compile.mesh import Mesh
from tulle.compile.peers import Posture, Ruled
from tulle.compile.whereabouts import Whom
from tulle.model.proxy import Node, Role
from tulle.model.resource import Source
from tulle.model.service import Protocol
from tulle.resources.security.peer_authentication import MtlsMode

APP = "app"
"""The label by which workloads are told apart: each that runs in the mesh has it."""
_PLAIN = frozenset({Speech.PLAIN, Speech.OTHER})
_SLACK = 0.01
"""So much more of all requests may be answered 5xx than before."""
_NAMED = 5
"""So many callers are named in a sentence."""
_FACTOR = 1.5
"""So many times as often as before may happen what also happened before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainCaller:
    """Who calls a workload in plain text, from one address."""

    port: int
    """As callers know it."""
    whom: Whom
    calls: int = 0
    """Requests on a port for HTTP; on others connections."""
    refused: int = 0
    """Connections."""
    last: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Callers in plain text."""

    connections: int = 0
    last: datetime | None = None
    callers: tuple[PlainCaller, ...] = ()
    """The latest first: not all, where there are many."""


NOBODY = Heard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The workloads of a namespace with one value of the label `app`: what one PeerAuthentication can single out."""

    namespace: str
    name: str
    """The value of the label."""
    proxies: tuple[str, ...]
    hosts: tuple[str, ...]
    """The services that they answer for."""
    ports: Mapping[int, Ruled]
    """What holds for each port that they serve."""
    own: Source | None = None
    """The policy that singles them out already."""
    without: bool = False
    """The mesh has no identities."""
    speakers: tuple[Edge, ...] = ()
    """Proxies that speak plain text to them, as rules say."""
    heard: Heard = NOBODY
    connections: int = 0
    """That they had with mutual TLS."""

    @property
    def document(self) -> str:
        """The name of the policy that turns them."""
        return f"{self.name}-strict"


def groups(mesh: Mesh, nodes: Iterable[Node], edges: Iterable[Edge] = ()) -> Iterator[Group]:
    """Of connected sidecars, by namespace and name. What was counted is for others to fill in."""
    speakers: dict[str, tuple[Edge, ...]] = {}
    for edge in (e for e in edges if e.speech in _PLAIN):
        speakers[edge.host] = (*speakers.get(edge.host, ()), edge)
    found: dict[tuple[str, str], list[Node]] = {}
    for node in sorted(nodes, key=lambda n: n.id):
        if node.role is Role.SIDECAR and node.labels.get(APP) and any(_ports(node)):
            found.setdefault((node.namespace, node.labels[APP]), []).append(node)
    for (namespace, name), members in sorted(found.items()):
        postures = {node.id: mesh.catalog.peers.posture(namespace, node.labels) for node in members}
        hosts = {names.resolve(node.service, namespace, mesh.settings.domain) for node in members if node.service}
        own = next((posture.own for posture in postures.values() if posture.own), None)
        yield Group(
            namespace=namespace,
            name=name,
            proxies=tuple(node.id for node in members),
            hosts=tuple(sorted(hosts)),
            ports=dict(sorted(pair for node in members for pair in _ruled(node, postures[node.id]))),
            own=own.at("spec") if own else None,
            without=any(posture.without for posture in postures.values()),
            speakers=tuple(edge for host in sorted(hosts) for edge in speakers.get(host, ())),
        )


def _ports(node: Node) -> Iterator[int]:
    return (port.service_port for port in node.inbound if port.protocol is not Protocol.UDP)


def _ruled(node: Node, posture: Posture) -> Iterator[tuple[int, Ruled]]:
    return ((number, posture.port(number)) for number in _ports(node))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What went wrong with calls to a group since its proxies started."""

    refused: int = 0
    """Connections in plain text, where only mutual TLS is taken."""
    failed: int = 0
    """Connections that began TLS and came to nothing."""
    unreached: int = 0
    """Connections that callers' proxies could not make."""
    requests: int = 0
    errors: int = 0
    """Requests that the group answered 5xx."""
    call_errors: int = 0
    """Requests that callers' proxies answered 5xx, or passed such an answer on."""

    def since(self, before: Counts) -> Counts:
        """What was added. A proxy that was started again counts from zero."""
        pairs = ((f.name, getattr(self, f.name), getattr(before, f.name)) for f in fields(self))
        return Counts(**{name: now - then if now >= then else now for name, now, then in pairs})


class Way(Enum):
    TURN = "turn"
    DONE = "done"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    group: Group
    way: Way
    why: str = ""


def plan(found: Iterable[Group], now: datetime, quiet: timedelta) -> tuple[Step, ...]:
    """What to do with each group, those first that have the fewest callers.

    `quiet`: for so long there may have been no callers in plain text.
    """
    ordered = sorted(found, key=lambda g: (g.connections, g.namespace, g.name))
    return tuple(_step(group, now, quiet) for group in ordered)


def _step(group: Group, now: datetime, quiet: timedelta) -> Step:
    if all(ruled.mode is MtlsMode.STRICT for ruled in group.ports.values()):
        return Step(group=group, way=Way.DONE)
    if why := _ruled_out(group) or _spoken_to(group.speakers) or _called(group.heard, now, quiet):
        return Step(group=group, way=Way.SKIP, why=why)
    return Step(group=group, way=Way.TURN)


def _ruled_out(group: Group) -> str:
    """What documents say against it: what somebody decided for these workloads is for them to change."""
    if group.without:
        return "the mesh has no identities: mutual TLS is off"
    if group.own:
        return f"{_place(group.own)} is about just these workloads: change it there"
    said = next((r.source for r in group.ports.values() if r.mode is MtlsMode.DISABLE and r.source), None)
    return f"{_place(said)} says DISABLE for it: change that first" if said else ""


def _place(source: Source) -> str:
    return f"{source.key.kind} {source.key.namespace}/{source.key.name} ({source.origin})"


def _spoken_to(speakers: tuple[Edge, ...]) -> str:
    if not speakers:
        return ""
    first, more = speakers[0], len(speakers) - 1
    rules = "; ".join(_place(source) for source in first.sources if source.key.kind == "DestinationRule")
    because = f", as {rules} says" if rules else ""
    return f"{first.caller} speaks {first.speech.value} to it{because}" + (f", and {more} more do" if more else "")


def _called(heard: Heard, now: datetime, quiet: timedelta) -> str:
    if heard.last is None or now - heard.last > quiet:
        return ""
    called = f"it is called in plain text: {_many(heard.connections, 'connection')}, the last at {heard.last:%Y-%m-%dT%H:%M:%SZ}"
    lately = tuple(dict.fromkeys(str(caller.whom) for caller in heard.callers if now - caller.last <= quiet))
    return called + _by(lately)


def _by(whom: tuple[str, ...]) -> str:
    more = len(whom) - _NAMED
    return f", by {', '.join(whom[:_NAMED])}" + (f" and {more} more" if more > 0 else "") if whom else ""


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What was counted in some seconds."""

    seconds: float
    counts: Counts = Counts()


def verdict(before: Window, during: Window, refused: tuple[str, ...] = ()) -> str:
    """Why a group that was turned is to go back; empty where all is well. `before`: how it fared until then. `refused`: whom, if known."""
    now, then = during.counts, before.counts
    share = during.seconds / max(before.seconds, 1.0) * _FACTOR
    if now.refused:
        return f"refused: {_many(now.refused, 'connection')} in plain text" + _by(refused)
    if now.failed > then.failed * share:
        return f"failed in the handshake of TLS: {_many(now.failed, 'connection')}"
    if now.unreached > then.unreached * share:
        return f"could not be made by callers: {_many(now.unreached, 'connection')}"
    slack = max(1.0, now.requests * _SLACK)
    if now.errors > then.errors * share + slack:
        return f"answered 5xx: {now.errors} of {_many(now.requests, 'request')}"
    if now.call_errors > then.call_errors * share + slack:
        return f"answered 5xx: {_many(now.call_errors, 'request')} of callers"
    return ""
