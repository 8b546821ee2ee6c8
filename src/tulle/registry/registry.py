"""The registry: decides on the picture in memory, writes through the journal, and answers when its own picture shows it.

Whoever has had an answer reads what it wrote. Waits and results of checks go through here too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random

from tulle.model.service import Health, Registration
from tulle.registry import rows, transitions
from tulle.registry.catalog import SERF_HEALTH, Check, CheckKey, CheckKind, Node, Service, ServiceKey
from tulle.registry.membership import in_mesh
from tulle.registry.port import Changes, Journal, Write
from tulle.registry.tables import Tables
from tulle.registry.transitions import Refused
from tulle.registry.waiting import Topic, Waiting

OUTPUT_INTERVAL = 300.0
"""Seconds after which an output that alone has changed reaches the catalog, at most."""
TICK = 0.2
STRAY = 30.0
"""Seconds for which checks outlive the workload that they speak of."""
_BEHIND = 0.05

Decide = Callable[[Tables], Sequence[Write]]
Heard = Callable[[CheckKey, Health, str], None]


class Registry:
    """`run` follows the journal until it is cancelled or `close` is called; `ready` is set when the picture is there."""

    def __init__(
        self,
        journal: Journal,
        node: Node,
        *,
        clock: Callable[[], float],
        dice: Random,
        server_port: int = 8300,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`node`: the one this agent speaks for; an empty id is chosen once and kept. `clock` counts seconds and never goes back.

        `now` is the time of day, for people: seconds since 1970.
        """
        self.node = node
        self.tables = Tables(node.name)
        self.waiting = Waiting()
        self.ready = asyncio.Event()
        self.clock = clock
        self.dice = dice
        self.outputs: dict[CheckKey, str] = {}
        """Newer outputs of checks than the catalog has."""
        self.heard: list[Heard] = []
        """Called when a client tells the result of a TTL check, before it is in the catalog."""
        self.since: dict[CheckKey, float] = {}
        """When a check came to the status that it has, as far as this process saw it: the time of day."""
        self._journal = journal
        self.now = now
        self._server_port = server_port
        self._advanced = asyncio.Event()
        self._mesh: dict[str, Registration] = {}
        self._mesh_keys: dict[tuple[str, str], str] = {}
        self._mesh_changed = asyncio.Event()
        self._due: dict[CheckKey, float] = {}
        self._lock_delays: dict[str, float] = {}
        self._session_ends: dict[str, float] = {}
        self._strays: dict[ServiceKey, float] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self._follow(), name="registry")
            await self._advanced.wait()
            await self._appear()
            self.ready.set()
            ticking = tasks.create_task(self._tick(), name="registry clock")
            await asyncio.wait([following])
            ticking.cancel()

    def close(self) -> None:
        """Ends all waits."""
        self.waiting.close()
        self._advance()

    # === following

    async def _follow(self) -> None:
        async for revision, everything, changes in self._journal.follow():
            told = [*changes, *self.tables.absent(changes)] if everything else changes
            self._delay_locks(told)
            if told or everything:
                self._touch(self.tables.apply(revision, told))
            if everything or self.tables.forgets:
                self.tables.forget()
                self.waiting.raise_floor(revision)
            self.tables.revision = revision
            self._advance()

    def _touch(self, touched: Sequence[tuple[Topic, int]]) -> None:
        now = self.now()
        for key in self.tables.turned:
            if key in self.tables.checks:
                self.since[key] = now
            else:
                self.since.pop(key, None)
        self.tables.turned.clear()
        self.waiting.changed(touched)
        if self.tables.moved:
            self._rebuild_mesh()

    def _advance(self) -> None:
        self._advanced.set()
        self._advanced = asyncio.Event()

    async def _reached(self, revision: int) -> None:
        while self.tables.revision < revision and not self.waiting.closed:
            await self._advanced.wait()

    # === writing

    async def change(self, decide: Decide) -> bool:
        """Decides and writes, again for as long as others are faster. Whether anything was to be written.

        Returns when the picture shows it. Raises what `decide` does, and the store's errors.
        """
        while True:
            writes = transitions.merged(decide(self.tables))
            if not writes:
                return False
            revision = await self._journal.commit(writes)
            if revision is not None:
                await self._reached(revision)
                return True
            advanced = self._advanced
            try:
                async with asyncio.timeout(_BEHIND):
                    await advanced.wait()
            except TimeoutError:
                continue

    async def _appear(self) -> None:
        """Puts this agent's node into the catalog, as Consul's servers do."""
        if not self.tables.self_id:
            identifier = self.node.id or _uuid(self.dice)
            await self.change(lambda _: [("put", rows.SELF, identifier.encode(), 0)])
        self.node = replace(self.node, id=self.tables.self_id)
        name = self.node.name
        serf = Check(node=name, id=SERF_HEALTH, name="Serf Health Status", status=Health.PASSING, output="Agent alive and reachable")
        consul = Service(node=name, id="consul", name="consul", port=self._server_port)
        here = transitions.Entering(node=self.node, service=consul, checks=(serf,))
        await self.change(lambda tables: transitions.enter(tables, here))

    # === checks

    async def update(self, check_id: str, status: Health, output: str, now: float, node: str = "") -> None:
        """A check of this agent (or of `node`) has come to a result at the time `now`. Its status reaches the catalog at once.

        An output that alone has changed is shown by the agent at once, and by the catalog within OUTPUT_INTERVAL. Raises Refused(404)
        when there is no such check.
        """
        key = (node or self.node.name, check_id)
        kept = self.tables.checks.get(key)
        if kept is None:
            raise Refused(404, f"Unknown check ID {check_id!r}. Ensure that the check ID is passed, not the check name.")
        if kept.value.status is status:
            self._defer(key, output, now)
            return
        self.outputs.pop(key, None)
        self._due.pop(key, None)
        await self.change(lambda tables: transitions.told(tables, kept.value, status, output) if key in tables.checks else [])

    def _defer(self, key: CheckKey, output: str, now: float) -> None:
        if output == self.tables.checks[key].value.output:
            self.outputs.pop(key, None)
            self._due.pop(key, None)
        else:
            self.outputs[key] = output
            self._due.setdefault(key, now + OUTPUT_INTERVAL * self.dice.uniform(0.5, 1.0))

    def output(self, check: Check) -> str:
        """As this agent knows it, which may be newer than the catalog."""
        return self.outputs.get(check.key, check.output)

    async def beat(self, check_id: str, status: Health, output: str) -> None:
        """A client tells the result of its TTL check. Raises Refused when it is none."""
        key = (self.node.name, check_id)
        kept = self.tables.checks.get(key)
        if kept is None:
            raise Refused(404, f"Unknown check ID {check_id!r}. Ensure that the check ID is passed, not the check name.")
        if kept.value.probe.kind is not CheckKind.TTL:
            raise Refused(404, f"CheckID {check_id!r} does not have associated TTL")
        shown = shortened(output, kept.value.probe.output_max_size)
        for hear in self.heard:
            hear(key, status, shown)
        await self.update(check_id, status, shown, self.clock())

    async def _push_outputs(self, now: float) -> None:
        for key in [key for key, due in self._due.items() if due <= now]:
            self._due.pop(key)
            output = self.outputs.pop(key, None)
            kept = self.tables.checks.get(key)
            if kept and output is not None:
                await self.change(_telling(kept.value, output))

    # === sessions

    def started(self, identifier: str, ttl: float) -> None:
        """A session was made or renewed: its time begins anew. It is ended between one and two times its TTL after that."""
        if ttl:
            self._session_ends[identifier] = self.clock() + ttl * 1.5

    async def end_session(self, identifier: str) -> None:
        """Ends a session, and keeps others for a while from what it had locked."""
        await self.change(lambda tables: transitions.end_session(tables, identifier))

    def _delay_locks(self, changes: Changes) -> None:
        """For each session that has ended: what it still holds in the picture is kept from others for a while."""
        for key, row in changes:
            kept = None if row else self.tables.sessions.get(key.removeprefix(rows.SESSIONS))
            if kept and key.startswith(rows.SESSIONS) and kept.value.lock_delay > 0:
                until = self.clock() + kept.value.lock_delay
                self._lock_delays |= dict.fromkeys(self.tables.locks.get(kept.value.id, ()), until)

    def delayed(self, key: str) -> bool:
        """Whether a key cannot be locked yet, as a session that held it has just ended."""
        return self._lock_delays.get(key, 0.0) > self.clock()

    async def _end_sessions(self, now: float) -> None:
        for identifier, kept in list(self.tables.sessions.items()):
            if kept.value.ttl and identifier not in self._session_ends:
                self.started(identifier, kept.value.ttl)
        for identifier in [identifier for identifier, end in self._session_ends.items() if end <= now]:
            await self.end_session(identifier)
            self._session_ends.pop(identifier, None)
        self._lock_delays = {key: until for key, until in self._lock_delays.items() if until > now}

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = self.clock()
            await self._push_outputs(now)
            await self._end_sessions(now)
            await self._drop_strays(now)

    async def _drop_strays(self, now: float) -> None:
        """What was said of a workload goes after it; one that only lost touch for a moment finds it again."""
        strays = self.tables.strays()
        self._strays = {key: self._strays.get(key, now) for key in strays}
        for key in [key for key, since in self._strays.items() if now - since >= STRAY]:
            await self.change(partial(_leaving, key))

    # === the mesh

    def mesh(self) -> Mapping[str, Registration]:
        """What of the catalog the mesh can send to, by its identity there."""
        return self._mesh

    async def watch_mesh(self) -> AsyncIterator[tuple[int, Mapping[str, Registration]]]:
        """First what the mesh can send to, then that after each change, with the revision that it is true at."""
        while True:
            changed = self._mesh_changed
            yield self.tables.revision, dict(self._mesh)
            await changed.wait()

    def _rebuild_mesh(self) -> None:
        moved, self.tables.moved = self.tables.moved, set()
        changed = False
        for key in moved:
            identity, registration = in_mesh(self.tables, key)
            changed |= self._put_mesh(key, identity, registration)
        if changed:
            self._mesh_changed.set()
            self._mesh_changed = asyncio.Event()

    def _put_mesh(self, key: tuple[str, str], identity: str, registration: Registration | None) -> bool:
        old = self._mesh_keys.pop(key, None)
        held = self._mesh.pop(old, None) if old else None
        if registration:
            self._mesh[identity] = registration
            self._mesh_keys[key] = identity
        return held != registration


def _leaving(key: ServiceKey, tables: Tables) -> Sequence[Write]:
    gone = key not in tables.services
    return [write for check in tables.checks_of(key) for write in transitions.leave_check(tables, check.value)] if gone else []


def _telling(check: Check, output: str) -> Decide:
    def decide(tables: Tables) -> Sequence[Write]:
        kept = tables.checks.get(check.key)
        return transitions.told(tables, kept.value, kept.value.status, output) if kept else []

    return decide


def shortened(output: str, limit: int) -> str:
    """The first bytes of a client's words."""
    data = output.encode()
    if len(data) <= limit:
        return output
    return f"{data[:limit].decode(errors='ignore')} ... (captured {limit} of {len(data)} bytes)"


def _uuid(dice: Random) -> str:
    digits = f"{dice.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
