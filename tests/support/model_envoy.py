"""What an Envoy does with what it is sent, reduced to names: warming, subscriptions, acknowledgements, refusals, resumed sessions.

Bodies are texts. A cluster says `eds` or `static`; a listener names its route table; a route table names its clusters. A body that
contains `poison` is refused: of clusters and listeners only the bad ones, and by name; else the whole response, without a name.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tulle.discovery import CDS, EDS, LDS, RDS, Mode, Request, Send
from tulle.protos import pb

TYPES = (CDS, EDS, LDS, RDS)


@dataclass
class Held:
    version: str
    body: str


@dataclass
class Response:
    type_url: str
    nonce: str
    resources: dict[str, Held]
    removed: tuple[str, ...]


def decode(mode: Mode, command: Send) -> Response:
    raw = command.body + command.nonce
    if mode is Mode.DELTA:
        message = pb.DeltaDiscoveryResponse.FromString(raw)
        found = {r.name: Held(r.version, r.resource.value.decode()) for r in message.resources}
        assert all(r.resource.type_url == message.type_url for r in message.resources)
        assert len(found) == len(message.resources), "a name stands twice in a response"
        assert not found.keys() & set(message.removed_resources), "a name is sent and removed at once"
        removed = tuple(message.removed_resources)
    else:
        message = pb.DiscoveryResponse.FromString(raw)
        bodies = [r.value.decode() for r in message.resources]
        found = {body.partition(" ")[0]: Held("", body) for body in bodies}
        assert len(found) == len(bodies), "a name stands twice in a response"
        removed = ()
    assert message.type_url == command.type_url
    return Response(message.type_url, message.nonce, found, removed)


@dataclass
class ModelEnvoy:
    """`inbox` is what the network still has for it, `outbox` what it has said."""

    mode: Mode
    inbox: deque[Send] = field(default_factory=deque)
    outbox: deque[Request] = field(default_factory=deque)
    resources: dict[str, dict[str, Held]] = field(default_factory=lambda: {t: {} for t in TYPES})
    """Accepted, by type and name."""
    active: dict[str, str] = field(default_factory=dict)
    """Listeners that serve, with their bodies; a changed one keeps its old body here until its routes have come."""
    live: set[str] = field(default_factory=set)
    """Clusters that may be used."""
    warming: set[str] = field(default_factory=set)
    """Clusters that wait for endpoints since they were added or changed."""
    asked: dict[str, set[str]] = field(default_factory=lambda: {EDS: set(), RDS: set()})
    nonces: dict[str, str] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    refused: set[tuple[str, str]] = field(default_factory=set)
    cut_off: set[str] = field(default_factory=set)
    """Clusters that the last connection left warming, with endpoints from before: these they take after a while."""

    def connect(self) -> None:
        """A new stream; asks for everything that it asked for before, and says what it has."""
        self.inbox.clear()
        self.outbox.clear()
        self.nonces.clear()
        self.begun.clear()
        self.cut_off = {name for name in self.warming if name in self.resources[EDS]}
        self._begin(CDS, ())
        if self.asked[EDS]:
            self._begin(EDS, tuple(sorted(self.asked[EDS])))
        self._begin(LDS, ())
        if self.asked[RDS]:
            self._begin(RDS, tuple(sorted(self.asked[RDS])))

    def lose_patience(self) -> None:
        """The initial fetch timeout of clusters that were left warming."""
        self.live |= self.cut_off & self.warming
        self.warming -= self.cut_off

    def _begin(self, type_url: str, names: tuple[str, ...]) -> None:
        self.begun.add(type_url)
        held = {n: r.version for n, r in self.resources[type_url].items()} if self.mode is Mode.DELTA else {}
        self.outbox.append(Request(type_url=type_url, subscribe=names, held=held))

    def read(self) -> None:
        """Takes one response in."""
        response = decode(self.mode, self.inbox.popleft())
        self.nonces[response.type_url] = response.nonce
        accepted, error = self._judge(response)
        if self.mode is Mode.SOTW and response.type_url in (CDS, LDS):
            kept = {n for n in self.resources[response.type_url] if n in response.resources}
            gone = tuple(n for n in self.resources[response.type_url] if n not in kept)
        else:
            gone = response.removed
        if accepted or error is None or response.type_url in (CDS, LDS):
            {CDS: self._clusters, EDS: self._endpoints, LDS: self._listeners, RDS: self._routes}[response.type_url](accepted, gone)
        self._settle()
        self._answer(response, error)

    def _judge(self, response: Response) -> tuple[dict[str, Held], str | None]:
        bad = [name for name, held in response.resources.items() if "poison" in held.body]
        self.refused |= {(response.type_url, name) for name in bad}
        good = {name: held for name, held in response.resources.items() if name not in bad}
        self.refused -= {(response.type_url, name) for name in good}
        if not bad:
            return response.resources, None
        if response.type_url in (CDS, LDS):
            return good, "Error adding/updating thing(s) " + ", ".join(f"{name}: is bad" for name in bad)
        return {}, "malformed"

    def _clusters(self, changed: dict[str, Held], gone: tuple[str, ...]) -> None:
        mine = self.resources[CDS]
        for name in gone:
            mine.pop(name, None)
            self.live.discard(name)
            self.warming.discard(name)
        for name, held in changed.items():
            before = mine.get(name)
            mine[name] = held
            if before is not None and before.body == held.body:
                continue
            if "static" in held.body:
                self.live.add(name)
                self.warming.discard(name)
            else:
                self.warming.add(name)

    def _endpoints(self, changed: dict[str, Held], gone: tuple[str, ...]) -> None:
        mine = self.resources[EDS]
        for name, held in changed.items():
            if name in self.asked[EDS]:
                mine[name] = held
                if name in self.warming:
                    self.warming.discard(name)
                    self.live.add(name)
        for name in gone:
            mine.pop(name, None)

    def _listeners(self, changed: dict[str, Held], gone: tuple[str, ...]) -> None:
        for name in gone:
            self.resources[LDS].pop(name, None)
            self.active.pop(name, None)
        self.resources[LDS].update(changed)

    def _routes(self, changed: dict[str, Held], gone: tuple[str, ...]) -> None:
        mine = self.resources[RDS]
        mine.update({name: held for name, held in changed.items() if name in self.asked[RDS]})
        for name in gone:
            mine.pop(name, None)

    def _settle(self) -> None:
        for name, held in self.resources[LDS].items():
            if words(held.body)[0] in self.resources[RDS]:
                self.active[name] = held.body
        self._ask(EDS, {name for name, held in self.resources[CDS].items() if "static" not in held.body})
        wanted = {words(held.body)[0] for held in self.resources[LDS].values()} | {words(body)[0] for body in self.active.values()}
        self._ask(RDS, wanted)

    def _ask(self, type_url: str, wanted: set[str]) -> None:
        before = self.asked[type_url]
        new, old = wanted - before, before - wanted
        self.asked[type_url] = wanted
        for name in old:
            self.resources[type_url].pop(name, None)
        if not (new or old):
            return
        if type_url not in self.begun:
            self._begin(type_url, tuple(sorted(wanted)))
        elif self.mode is Mode.DELTA:
            self.outbox.append(Request(type_url=type_url, subscribe=tuple(sorted(new)), unsubscribe=tuple(sorted(old))))
        else:
            self.outbox.append(Request(type_url=type_url, nonce=self.nonces.get(type_url, ""), subscribe=tuple(sorted(wanted))))

    def _answer(self, response: Response, error: str | None) -> None:
        names = ()
        if self.mode is Mode.SOTW and response.type_url in self.asked:
            names = tuple(sorted(self.asked[response.type_url]))
        self.outbox.append(Request(type_url=response.type_url, nonce=response.nonce, error=error, subscribe=names))

    def missing(self) -> set[tuple[str, str]]:
        """Route tables and clusters (or their endpoints) that serving listeners use, and that are not there."""
        out = set()
        for body in self.active.values():
            table = words(body)[0]
            if table not in self.resources[RDS]:
                out.add((RDS, table))
                continue
            for cluster in words(self.resources[RDS][table].body):
                if cluster not in self.live:
                    out.add((CDS, cluster))
                elif cluster in self.asked[EDS] and cluster not in self.resources[EDS] and cluster not in self.warming:
                    out.add((EDS, cluster))
        return out


def words(body: str) -> list[str]:
    """What a body refers to: `name version ref ref`."""
    return [word for word in body.split()[2:] if word not in ("eds", "static", "poison")]
