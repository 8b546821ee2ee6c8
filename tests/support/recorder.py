"""A control plane that offers what the test tells it to, and remembers what proxies said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tulle.discovery import Rejected
from tulle.model.proxy import Node, ProxyView
from tulle.server.ads import Ads
from tulle.translate.snapshot import Snapshot
from tulle.translate.translator import Translator


class Recorder:
    """Implements `Proxies`: every proxy gets the same snapshot."""

    def __init__(self, view: ProxyView) -> None:
        self._translator = Translator()
        self.snapshot = self.translate(view)
        self.nodes: dict[str, Node] = {}
        self.acked: dict[tuple[str, str], Snapshot] = {}
        self.held: dict[str, Snapshot] = {}
        """By node: what it has all of."""
        self.rejections: list[Rejected] = []
        self._news = asyncio.Event()

    def translate(self, view: ProxyView) -> Snapshot:
        made = self._translator.snapshot(view)
        assert not made.problems()
        return made

    def connected(self, node: Node) -> Snapshot:
        self.nodes[node.id] = node
        self._news.set()
        return self.snapshot

    def disconnected(self, node_id: str) -> None:
        del self.nodes[node_id]
        self._news.set()

    def acknowledged(self, node_id: str, type_url: str, snapshot: Snapshot) -> None:
        self.acked[node_id, type_url] = snapshot
        self._news.set()

    def complete(self, node_id: str, snapshot: Snapshot) -> None:
        self.held[node_id] = snapshot
        self._news.set()

    def rejected(self, node_id: str, rejection: Rejected) -> None:
        self.rejections.append(rejection)
        self._news.set()

    def offer(self, ads: Ads, view: ProxyView) -> Snapshot:
        self.snapshot = self.translate(view)
        for node_id in self.nodes:
            ads.offer(node_id, self.snapshot)
        return self.snapshot

    async def until(self, condition: Callable[[], bool], *, seconds: float = 60) -> None:
        """Waits for something that proxies bring about."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def took(self, *type_urls: str) -> bool:
        """Whether every connected proxy has acknowledged the latest snapshot, for these kinds."""
        return all(self.acked.get((node, type_url)) is self.snapshot for node in self.nodes for type_url in type_urls)
