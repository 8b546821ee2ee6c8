"""The control plane put together: the only file that knows every room.

Documents and registrations come in from the store, the mesh is compiled, each connected proxy is offered its snapshot; what the
proxies acknowledge and refuse comes back and becomes the status of the documents. All of it happens on one event loop. `_rebuild` holds no
await: between reading the inputs and offering the snapshots nothing else can run.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from tulle.agent import validation
from tulle.compile import Built, build, view
from tulle.discovery.events import Rejected
from tulle.dns.names import Known, Names
from tulle.dns.question import AskNode, AskQuery, AskService
from tulle.dns.sockets import Sockets
from tulle.dns.zone import Gathered
from tulle.logs import Log
from tulle.model.mesh import Inputs
from tulle.model.proxy import Node
from tulle.model.rate_limits import RateLimit
from tulle.model.tls import Hidden
from tulle.registry.agents import Agents
from tulle.registry.checking import Checking
from tulle.registry.liveness import Limits
from tulle.registry.registrations import Registrations
from tulle.registry.registry import Registry
from tulle.server.access.api import TokensApi
from tulle.server.access.first import first_token
from tulle.server.access.gate import Gate
from tulle.server.access.join import JoinApi
from tulle.server.access.tokens import Tokens, follow_ends
from tulle.server.acme.api import CertificatesApi
from tulle.server.acme.gateways import FleetGateways
from tulle.server.ads import Ads
from tulle.server.agents_api import AgentsApi
from tulle.server.catalog_names import CatalogNames
from tulle.server.checks_api import ChecksApi
from tulle.server.consul.api import consul_app
from tulle.server.consul.asking import Asking
from tulle.server.consul.config.held import HeldEntries
from tulle.server.consul.defining import Definitions
from tulle.server.consul.start import consul_registry, definitions_of, place_of
from tulle.server.firewall.beside import Beside, beside
from tulle.server.fleet import Fleet, Member
from tulle.server.gathering import Gathering
from tulle.server.guard import Guard
from tulle.server.http import application, listen, serve
from tulle.server.identity_api import IdentityApi
from tulle.server.ingress import ingress
from tulle.server.intake import Intake
from tulle.server.live import LiveMesh
from tulle.server.lookups import Lookups
from tulle.server.metrics import published
from tulle.server.migrating import Migration
from tulle.server.openness import warnings
from tulle.server.rate_limits import RateLimitService, opened
from tulle.server.refusals import Refusal, Refusals, judge
from tulle.server.standing import Standing
from tulle.server.tls import opened as opened_tls
from tulle.server.trust import Trust
from tulle.server.trust_api import TrustApi
from tulle.server.well_known import WellKnown
from tulle.settings import Settings
from tulle.store.documents import Documents
from tulle.store.key_file import KeyFile
from tulle.store.leased import LeasedValues
from tulle.store.port import Store
from tulle.store.sqlite import open_sqlite
from tulle.translate.snapshot import Snapshot
from tulle.translate.translator import Translator

if TYPE_CHECKING:
    from tulle.ca.authority import Authority
    from tulle.ca.delivery import Deliveries
    from tulle.ca.jwt_keys import JwtKeys
    from tulle.ca.vouching import JoinAuthority
    from tulle.server.acme.keeper import Keeper

BREATH = 3.0
"""A rebuild is followed by a rest of so many times as long as it took, in which changes gather: a lone change never waits for one."""
LONGEST_BREATH = 0.5

_log = Log("control")


class Control:
    """One control plane. `run` serves until `stop`; `ready` is set once documents are compiled and the addresses listen."""

    def __init__(self, settings: Settings, database: str, *, xds_socket: str = "") -> None:
        self.settings = settings
        self.ready = asyncio.Event()
        self.fleet = Fleet()
        self.store: Store
        self.documents: Documents
        self.registrations: Registrations
        self.built: Built = build(Inputs(settings=settings.mesh))
        self._database = database
        self._xds_socket = xds_socket
        self.firewall: Beside
        self._translator = Translator()
        self._refusals = Refusals(self._look_into)
        self._ads: Ads
        self.authority: Authority
        self.deliveries: Deliveries
        self.jwt_keys: JwtKeys
        self.tokens: Tokens
        self.first_token: Hidden | None = None
        """Of an admin, where the API asks for tokens."""
        self.registry: Registry
        self.agents: Agents
        self._directory: CatalogNames
        self._entries: HeldEntries
        self.live = LiveMesh(self)
        self._names = Names(settings, self._known, self._gather)
        self._lookups = Lookups(lambda: self._intake.lookups(self._lookups.complete), settings.reach)
        self._intake = Intake(self._lookups.complete(Inputs(settings=settings.mesh)))
        self._limiter: RateLimitService
        self.certificates: Keeper
        self._vouching: JoinAuthority | None

    async def run(self, stop: asyncio.Event) -> None:
        """Raises StoreError when the database cannot be used, OSError for addresses that cannot be had, and for the authority's files."""
        keys = KeyFile.of(self.settings.encryption_key_file, self._database)
        async with AsyncExitStack() as stack:
            self.store = await stack.enter_async_context(open_sqlite(self._database, time.monotonic, keys))
            await self._open(self.store)
            definitions = definitions_of(self.registry, self.settings)
            self.firewall = await stack.enter_async_context(beside(self._xds_socket, self._intake.firewalls))
            listener = listen(self.settings.api)
            stack.callback(listener.close)
            if questions := self._names.listen():
                stack.callback(questions.close)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            first = (asyncio.Event(), asyncio.Event())
            running = [tasks.create_task(self._follow_documents(first[0])), tasks.create_task(self._follow_registrations(first[1]))]
            running.append(tasks.create_task(self.registry.run()))
            for event in (*first, self.registry.ready):
                await event.wait()
            self._intake.catalog(self.registry.tables.revision, self.registry.mesh())
            self._rebuild()
            self._limiter = await opened(stack, self.settings.rate_limit_store, self._shared_limits, self.store)
            gate = Gate(self.tokens, self.authority.trust_domain, lambda: self.inputs.registrations)
            self._ads = Ads(self, beside=(self._limiter.handler(), self.firewall.handler()), gate=gate)
            tls = opened_tls(self.settings, self.authority)
            await stack.enter_async_context(self._ads.serving(self._addresses(), tls.proxies))
            stack.enter_context(published(self._ads.counters, self.fleet, self.firewall, self.certificates))
            running += [tasks.create_task(work) for work in self._work(listener, tls.api, questions, definitions)]
            _log.info("control plane serves", api=str(self.settings.api), xds=str(self.settings.xds), revision=self._intake.revision)
            for warning, address in warnings(self.settings):
                _log.warning(warning, address=str(address))
            self.ready.set()
            await stop.wait()
            self.registry.close()
            for task in running:
                task.cancel()

    async def _open(self, store: Store) -> None:
        """All that lies in the store, and in the files beside it."""
        from tulle.ca.start import open_deliveries, open_jwt_keys, open_vouching  # noqa: PLC0415 - slow to load
        from tulle.server.acme.keeper import Keeper  # noqa: PLC0415 - slow to load

        self.deliveries = open_deliveries(self.settings, self._database)
        self.authority = self.deliveries.authority
        self.jwt_keys = open_jwt_keys(self.settings, self._database)
        self._vouching = open_vouching(self.settings, lambda: self.authority)
        self._intake.own_keys(self.jwt_keys.document())
        self.tokens = Tokens(store)
        if self.settings.needs_tokens:
            self.first_token = await first_token(self.tokens, self._database)
        self.documents = Documents(store)
        self.certificates = Keeper(store, self.documents, FleetGateways(self), self._intake.challenges, reach=self.settings.reach)
        self.registrations = Registrations(LeasedValues(store, "registrations/"))
        self.registry = consul_registry(store, self.settings)
        self.agents = Agents(self.registry, Limits(silence=self.settings.node_timeout, reap=self.settings.node_reap))
        self._directory = CatalogNames(self.registry, lambda name: ingress(self.fleet, self.built.mesh, name))
        self._entries = HeldEntries(self.documents, self.registry.waiting)

    def _work(
        self, listener: socket.socket, tls: SSLContext | None, questions: Sockets | None, definitions: Definitions | None
    ) -> Iterator[Coroutine[Any, Any, None]]:
        """What goes on until the end, once the documents are compiled."""
        yield serve(self._application(definitions), listener, tls)
        yield follow_ends(self.store, lambda: self._ads.holders() | self.registrations.memberships(), self._expel)
        yield self._follow_catalog()
        yield Checking(
            self.registry, scripts=self.settings.enable_script_checks, defined_scripts=self.settings.enable_local_script_checks
        ).run()
        yield self.agents.run()
        yield self._lookups.run()
        yield self._limiter.keep(self.store)
        yield self.certificates.run()
        if definitions:
            yield definitions.run()
        yield self._keep_built()
        yield self._refusals.run()
        yield self.deliveries.run(self._intake.changed.set)
        yield self.jwt_keys.run(self._intake.own_keys)
        if questions:
            yield self._names.serve(questions)
            yield self._directory.follow(self._names.changed)

    def _application(self, definitions: Definitions | None) -> Guard:
        return application(
            self.documents,
            self.registrations,
            self.live,
            loopback=self.settings.api.is_loopback,
            consul=consul_app(self.registry, place_of(self.settings, definitions), self._entries, self.authority),
            more=[
                *ChecksApi(self.registry).routes(),
                *CertificatesApi(self.certificates).routes(),
                *TrustApi(Trust(self, self._intake.changed.set), Migration(self)).routes(),
                *AgentsApi(self.agents, self.registry, self.authority.held).routes(),
                *self._joining().routes(),
                *IdentityApi(lambda: self.jwt_keys).routes(),
                *WellKnown(lambda: self.jwt_keys, lambda: self.authority).routes(),
                *TokensApi(self.tokens, lambda: self.authority.roots()[0].fingerprint, lambda: self.authority).routes(),
            ],
            there=self.agents.there,
            tokens=self.tokens if self.settings.needs_tokens else None,
        )

    def _joining(self) -> JoinApi:
        at = self.settings
        return JoinApi(
            self.tokens, lambda: self.authority, xds_tls=at.xds_is_tls, vouching=self._vouching, gateways=frozenset(at.join_gateway)
        )

    @property
    def inputs(self) -> Inputs:
        return self._intake.inputs

    @property
    def revision(self) -> int:
        """Of the store, that the mesh is as of."""
        return self._intake.revision

    @property
    def standing(self) -> Standing:
        return Standing(self.registry, self.agents)

    # Names

    def _known(self) -> Known:
        return Known(self.built.mesh, self._directory, self._directory.server)

    async def _gather(self, asked: AskService | AskNode | AskQuery) -> Gathered:
        place = place_of(self.settings)
        return await Gathering(Asking(self.registry, place), place.wan).gather(asked)

    def _addresses(self) -> tuple[str, ...]:
        return (str(self.settings.xds), *((f"unix:{self._xds_socket}",) if self._xds_socket else ()))

    # Inputs

    async def _follow_documents(self, first: asyncio.Event) -> None:
        async for update in self.documents.watch():
            if any(key.kind == "Firewall" and key in update.in_force for key in update.changed):
                self.firewall.start()
            self._intake.documents(update)
            self._entries.take(update)
            self.certificates.take(update)
            first.set()

    async def _follow_registrations(self, first: asyncio.Event) -> None:
        async for revision, registrations in self.registrations.watch():
            self._intake.registered(revision, registrations)
            first.set()

    async def _follow_catalog(self) -> None:
        async for revision, registrations in self.registry.watch_mesh():
            self._intake.catalog(revision, registrations)

    # From inputs to proxies

    async def _keep_built(self) -> None:
        while True:
            await self._intake.changed.wait()
            self._intake.changed.clear()
            begun = time.monotonic()
            try:
                self._rebuild()
            except Exception:  # noqa: BLE001 - the pump: whatever is wrong, the mesh that was built last goes on
                _log.exception("the mesh could not be built anew; the last one stays in force", revision=self._intake.revision)
            await asyncio.sleep(min(BREATH * (time.monotonic() - begun), LONGEST_BREATH))

    def _rebuild(self) -> None:
        self.built = build(self.inputs, self.built)
        self._lookups.want(self.built.mesh.structure)
        self.firewall.know(self.built.mesh.structure.rules.dressing.walls.every)
        self._names.changed()
        for member in self.fleet.members.values():
            try:
                self._renew(member)
            except Exception:  # noqa: BLE001 - the pump: whatever is wrong with what one is to have, the others get theirs
                _log.exception("what a proxy is to have cannot be made; it keeps what it has", proxy=member.node.id)
        self.fleet.notify()
        self.certificates.stir()

    def _renew(self, member: Member) -> None:
        snapshot = self._snapshot(member.node)
        member.revision = self._intake.revision
        if snapshot.bundles != member.snapshot.bundles:
            member.snapshot = snapshot
            self._ads.offer(member.node.id, snapshot)

    def _snapshot(self, node: Node) -> Snapshot:
        seen = view(self.built.mesh, node)
        if not self.settings.mesh.mutual_tls:
            return self._translator.snapshot(seen)
        return self._translator.snapshot(replace(seen, layers=(*seen.layers, *self.deliveries.layers(node))))

    def _shared_limits(self) -> Mapping[str, RateLimit]:
        return self.built.mesh.structure.rules.rate_limits.shared

    # What proxies say

    def connected(self, node: Node) -> Snapshot:
        """A proxy's stream has begun: what it is to have."""
        snapshot = self._snapshot(node)
        since = datetime.now(UTC)
        self.fleet.members[node.id] = Member(node=node, since=since, snapshot=snapshot, revision=self._intake.revision)
        self.certificates.stir()
        _log.debug("proxy connected", proxy=node.id)
        return snapshot

    def version(self, node_id: str) -> str:
        """The program and release of a connected proxy."""
        return self._ads.version(node_id)

    def disconnected(self, node_id: str) -> None:
        self.fleet.members.pop(node_id, None)
        self.deliveries.forget(node_id)
        self.fleet.notify()
        _log.debug("proxy disconnected", proxy=node_id)

    async def _expel(self, holder: str) -> None:
        """A membership has ended: its proxies are sent away, and nobody sends to its instances any more."""
        beside = {node_id.removeprefix("sidecar~") for node_id in self._ads.expel(holder) if node_id.startswith("sidecar~")}
        for identifier in beside | self.registrations.of(holder):
            await self.registrations.deregister(identifier)

    def acknowledged(self, node_id: str, type_url: str, snapshot: Snapshot) -> None:
        if member := self.fleet.members.get(node_id):
            member.take(type_url, snapshot)
            self.fleet.notify()

    def complete(self, node_id: str, snapshot: Snapshot) -> None:
        if member := self.fleet.members.get(node_id):
            member.complete = snapshot
            self.fleet.notify()

    def rejected(self, node_id: str, rejection: Rejected) -> None:
        if (member := self.fleet.members.get(node_id)) is None:
            return
        member.refused[rejection.type_url] = rejection.message.strip()
        self.fleet.notify()
        self._refusals.put(Refusal(node=member.node, rejected=rejection, taken=member.taken.get(rejection.type_url, 0)))

    async def _look_into(self, refusal: Refusal) -> None:
        good = self._intake.good()
        for guilty in await judge(refusal, self.inputs, self.built, good, validation.refusal):
            key, revision = guilty.resource.key, guilty.resource.revision
            self._intake.forget(key, revision)
            if await self.documents.reject_in_force(key, revision, guilty.message, good.get(key)):
                _log.warning("a document is refused; its last good version stays in force", document=str(key), error=guilty.message)
