"""What can be told of identities: which certificate each proxy has acknowledged, how far a rotation is, and who speaks mutual TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from tulle.compile import Built
from tulle.compile.edges import Edge, edges
from tulle.model.tls import MESH_CERTIFICATE, MESH_ROOTS
from tulle.registry.agents import Agent, Agents, Callers, Shown
from tulle.registry.liveness import State
from tulle.resources.certificates import about, parse
from tulle.server.fleet import Fleet, Member
from tulle.translate.snapshot import SECRET, Entry, Snapshot
from tulle.translate.static import decode

if TYPE_CHECKING:
    from tulle.ca.authority import Authority
    from tulle.ca.delivery import Deliveries

STEPS = ("begin", "switch", "finish")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A certificate that a proxy has."""

    proxy: str
    namespace: str
    name: str
    """`default` for its own in the mesh, else as the proxy asked for it."""
    names: tuple[str, ...]
    """What it is for: the identity, or hosts."""
    serial: int
    not_before: datetime
    not_after: datetime
    latest: bool
    """It is the one that the proxy is to have."""
    shown: bool | None = None
    """The proxy itself says that it uses it, as its agent last looked; None where there is no agent to ask."""


class TooEarlyError(Exception):
    """A step of a rotation that some proxies are not ready for. The message names them."""


class Running(Protocol):
    """The state of a control plane."""

    fleet: Fleet
    built: Built
    authority: Authority
    deliveries: Deliveries
    agents: Agents


class Trust:
    """`renewed` is called when proxies are to have something new."""

    def __init__(self, running: Running, renewed: Callable[[], None]) -> None:
        self._running, self._renewed = running, renewed

    @property
    def authority(self) -> Authority:
        return self._running.authority

    def certificates(self) -> Iterator[Served]:
        """Of all proxies, by proxy and name: those that they acknowledged, then those that they have from files of their own."""
        for node_id, member in sorted(self._running.fleet.members.items()):
            held, agent = member.acked.get(SECRET), self._agent(node_id)
            sent = [served for entry in held.entries(SECRET) if (served := _served(member, entry))] if held else []
            told = {one.serial: one for one in agent.report.certificates} if agent else {}
            yield from (replace(one, shown=f"{one.serial:x}" in told) if told else one for one in sent)
            known = {one.names for one in sent}
            # Those of the same names are of an earlier time: the agent looks now and then only.
            yield from filter(None, (_of_file(member, one) for _, one in sorted(told.items()) if one.names not in known))

    def _agent(self, node_id: str) -> Agent | None:
        return self._running.agents.known.get(node_id.removeprefix("sidecar~"))

    @property
    def every(self) -> float:
        """Seconds between two reports of an agent."""
        return self._running.agents.every

    def edges(self) -> Iterator[Edge]:
        return edges(self._running.built.mesh, (member.node for member in self._running.fleet.members.values()))

    def callers(self) -> Iterator[tuple[str, Callers]]:
        """By proxy, who called its workload, with mutual TLS and without, as its agent last said."""
        for node_id in sorted(self._running.fleet.members):
            agent = self._agent(node_id)
            yield from ((node_id, counted) for counted in (agent.report.callers if agent else ()))

    def behind(self) -> tuple[str, ...]:
        """The proxies that have not yet acknowledged the roots and the certificate that they are to have, and such agents of members."""
        proxies = (node_id for node_id, member in sorted(self._running.fleet.members.items()) if not _is_ready(member))
        held = self.authority.held()
        reports = ((agent.report, agent.life.state) for _, agent in sorted(self._running.agents.known.items()))
        return (*proxies, *(f"agent {said.id}" for said, state in reports if said.holds not in ("", held) and state is State.ALIVE))

    def rotate(self, step: str, *, force: bool = False) -> None:
        """Takes a step of a rotation. Raises TooEarlyError, and AuthorityError for one that is not the next."""
        waiting = self.behind()
        if waiting and step != "begin" and not force:
            raise TooEarlyError(f"these proxies have not taken the last step yet: {', '.join(waiting)}")
        {"begin": self.authority.begin, "switch": self.authority.switch, "finish": self.authority.finish}[step]()
        self._running.deliveries.renew()
        self._renewed()


def _is_ready(member: Member) -> bool:
    """A proxy that never asked for a secret has no use for any."""
    held = member.acked.get(SECRET)
    return held is None or all(_version(held, name) == _version(member.snapshot, name) for name in (MESH_CERTIFICATE, MESH_ROOTS))


def _version(of: Snapshot, name: str) -> str:
    entry = of.get(SECRET, name)
    return entry.version if entry else ""


def _of_file(member: Member, told: Shown) -> Served | None:
    """Named by nobody but the document that has the path. None for what no certificate has: anybody may run an agent."""
    try:
        serial = int(told.serial or "0", 16)
        not_before, not_after = map(datetime.fromisoformat, (told.not_before, told.not_after))
    except ValueError:
        return None
    return Served(
        proxy=member.node.id,
        namespace=member.node.namespace,
        name="(file)",
        names=told.names,
        serial=serial,
        not_before=not_before,
        not_after=not_after,
        latest=True,
        shown=True,
    )


def _served(member: Member, entry: Entry) -> Served | None:
    """None for what is no certificate, or lies in a file of the proxy's machine."""
    chain = decode(entry).tls_certificate.certificate_chain.inline_bytes
    if not chain:
        return None
    try:
        first = parse(chain)[0]
    except ValueError:
        return None
    found = about(first)
    return Served(
        proxy=member.node.id,
        namespace=member.node.namespace,
        name=entry.name,
        names=found.names,
        serial=first.serial_number,
        not_before=found.not_before,
        not_after=found.not_after,
        latest=_version(member.snapshot, entry.name) == entry.version,
    )
