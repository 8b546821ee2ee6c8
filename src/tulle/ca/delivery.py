"""The certificates of connected proxies: made when one connects, and anew at about half their life.

In this form the control plane makes the keys, too, and hands each over the stream of its proxy: over loopback or a Unix socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from tulle.ca.authority import Authority, Issued
from tulle.ca.clock import utc
from tulle.ca.federation import Federation
from tulle.ca.files import AuthorityError
from tulle.logs import Log
from tulle.model.identity import CONTROL_NAMESPACE, Identity
from tulle.model.proxy import Layer, Node
from tulle.model.tls import MESH_CERTIFICATE, MESH_ROOTS, Certificate, Hidden
from tulle.model.tls import Authority as Trusted

HALF, JITTER = 0.5, 0.05
"""Of a certificate's life: when it is renewed, and by how much that differs from proxy to proxy, so that not all come at once."""
RETRY = timedelta(minutes=1)
LONGEST_SLEEP = 60.0
"""Seconds. Clocks jump, machines sleep, other domains change their roots: so often one looks anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one proxy has."""

    issued: Issued
    renew_at: datetime
    layer: Layer


_log = Log("ca")


class Deliveries:
    """Gives each proxy its own certificate and the roots. Used from one event loop only."""

    def __init__(
        self,
        authority: Authority,
        federation: Federation | None = None,
        *,
        aliases: tuple[str, ...] = (),
        now: Callable[[], datetime] = utc,
        dice: Random | None = None,
    ) -> None:
        """`aliases`: other names of the authority's own trust domain, which matter where there are others beside it."""
        self.authority = authority
        self._federation, self._aliases = federation or Federation(), aliases
        self._now, self._dice = now, dice or Random()  # noqa: S311 - spreads renewals, guards nothing
        self._held: dict[str, Held] = {}
        self._roots = self._trusted()
        self._news = asyncio.Event()

    def layers(self, node: Node) -> tuple[Layer, ...]:
        """The same layers as before while neither certificate nor roots change. Raises ValueError for a node that can have no identity.

        While the authority cannot sign, proxies keep what they have.
        """
        if node.namespace == CONTROL_NAMESPACE:
            raise ValueError(f"{CONTROL_NAMESPACE} is the control plane's own namespace: no proxy is of it")
        identity = Identity(
            trust_domain=self.authority.trust_domain, namespace=node.namespace, service_account=node.service_account or "default"
        )
        held = self._held.get(node.id)
        if held is None or held.issued.identity != identity or held.renew_at <= self._now():
            held = self._held[node.id] = self._renewed(held, identity)
            self._news.set()
        return held.layer, self._roots

    def forget(self, node_id: str) -> None:
        """The proxy is gone."""
        self._held.pop(node_id, None)

    def held(self) -> Iterator[tuple[str, Issued]]:
        """By proxy, what each was given last."""
        return ((node_id, held.issued) for node_id, held in sorted(self._held.items()))

    def renew(self, *, everything: bool = False) -> None:
        """Whoever asks next gets today's roots, and a new certificate in place of one that another generation signed, or of any."""
        self._roots = self._trusted()
        kept = {} if everything else self._held
        self._held = {node_id: held for node_id, held in kept.items() if self.authority.is_current(held.issued)}

    async def run(self, due: Callable[[], None]) -> None:
        """Calls `due` whenever some certificate has become due: whoever asks for layers then gets new ones."""
        while True:
            self._news.clear()
            first = min((held.renew_at for held in self._held.values()), default=None)
            wait = LONGEST_SLEEP if first is None else min((first - self._now()).total_seconds(), LONGEST_SLEEP)
            if self._roots.secrets != (fresh := self._trusted()).secrets:
                self._roots = fresh
                due()
            if wait <= 0:
                due()
                await asyncio.sleep(1)
                continue
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                pass

    def _renewed(self, held: Held | None, identity: Identity) -> Held:
        try:
            return self._made(identity)
        except AuthorityError as error:
            if held is None or held.issued.identity != identity:
                raise ValueError(str(error)) from None
            _log.warning("a certificate could not be renewed", identity=identity.uri(), error=str(error))
            return replace(held, renew_at=self._now() + RETRY)

    def _made(self, identity: Identity) -> Held:
        issued = self.authority.issue(identity)
        now = self._now()
        life: timedelta = issued.not_after - now
        certificate = Certificate(name=MESH_CERTIFICATE, chain=Hidden(issued.chain), key=issued.key or "")
        renew_at = now + life * (HALF + self._dice.uniform(-JITTER, JITTER))
        return Held(issued=issued, renew_at=renew_at, layer=Layer(secrets=(certificate,)))

    def _trusted(self) -> Layer:
        own, others = Hidden(self.authority.bundle()), self._federation.bundles()
        if not others:
            return Layer(secrets=(Trusted(name=MESH_ROOTS, roots=own),))
        bundles = dict.fromkeys((self.authority.trust_domain, *self._aliases), own)
        bundles = {domain: Hidden(roots) for domain, roots in others} | bundles
        return Layer(secrets=(Trusted(name=MESH_ROOTS, roots=own, bundles=tuple(sorted(bundles.items()))),))
