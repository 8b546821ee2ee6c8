"""Documents carried out by a real Envoy that is led over xDS, secrets included; the documents may change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from support.compiled import inputs
from support.led_envoy import led_envoy
from tulle.compile import Built, build, view
from tulle.model.challenges import Challenge
from tulle.model.proxy import Node
from tulle.model.service import Registration
from tulle.server.ads import Ads
from tulle.translate import Snapshot, Translator


class LedMesh:
    """`rejections` are what the proxy refused."""

    def __init__(self, text: str, *registrations: Registration, beside: Sequence[Any] = ()) -> None:
        self._registrations = registrations
        self.built: Built = build(inputs(text, *registrations))
        self.node: Node | None = None
        self.rejections: list[object] = []
        self._translator = Translator()
        self.ads = Ads(self, beside=beside)

    async def change(self, text: str, *challenges: Challenge) -> None:
        """Puts other documents into force; returns when the proxy has taken them. `challenges`: to be answered from now on."""
        self.built = build(replace(inputs(text, *self._registrations), challenges=challenges), self.built)
        assert self.node
        self.ads.offer(self.node.id, self.snapshot(self.node))
        await self.settled()

    async def settled(self, seconds: float = 120) -> None:
        """Until the proxy has taken everything, or refused something."""
        async with asyncio.timeout(seconds):
            while not (self.node and (self.rejections or self.ads.settled(self.node.id))):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)

    def snapshot(self, node: Node) -> Snapshot:
        result = self._translator.snapshot(view(self.built.mesh, node))
        assert result.problems() == ()
        return result

    def connected(self, node: Node, *_version: str) -> Snapshot:
        self.node = node
        return self.snapshot(node)

    def disconnected(self, _node_id: str) -> None:
        """Nothing depends on it."""

    def acknowledged(self, _node_id: str, _type_url: str, _snapshot: Snapshot) -> None:
        """What is settled is asked of the server."""

    def complete(self, _node_id: str, _snapshot: Snapshot) -> None:
        """As above."""

    def rejected(self, _node_id: str, rejection: object) -> None:
        self.rejections.append(rejection)


@asynccontextmanager
async def led_mesh(
    node: Node, text: str, *registrations: Registration, roots: str = "", delta: bool = True, beside: Sequence[Any] = ()
) -> AsyncIterator[LedMesh]:
    """Yields when the proxy has taken all that it was sent. `beside`: what the control plane serves beside discovery."""
    mesh = LedMesh(text, *registrations, beside=beside)
    (xds,) = await mesh.ads.start(["127.0.0.1:0"])
    try:
        async with led_envoy(node, f"127.0.0.1:{xds}", delta=delta, roots=roots):
            await mesh.settled()
            yield mesh
    finally:
        await mesh.ads.stop(0)
