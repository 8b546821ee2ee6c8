"""Several real proxies of one mesh, each with its own identity from a real authority."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from support.certificates import Pair
from support.compiled import inputs
from support.led_envoy import led_envoy
from support.lone_envoy import LoneEnvoy
from tulle.ca.authority import Authority
from tulle.ca.delivery import Deliveries
from tulle.ca.federation import Federation
from tulle.compile import Built, build, view
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Identity
from tulle.model.mesh import MeshSettings
from tulle.model.proxy import InboundPort, Node, Role, Upstream
from tulle.model.service import Protocol, RegisteredPort, Registration
from tulle.server.ads import Ads
from tulle.translate import Snapshot, Translator

STRICT, PERMISSIVE, DISABLE = (
    f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: istio-system}}
spec: {{mtls: {{mode: {mode}}}}}
"""
    for mode in ("STRICT", "PERMISSIVE", "DISABLE")
)


def sidecar(name: str, *inbound: InboundPort, calls: tuple[Upstream, ...] = (), account: str = "") -> Node:
    return Node(
        id=f"sidecar~{name}",
        role=Role.SIDECAR,
        service=name,
        labels=FrozenMap({"app": name}),
        service_account=account or name,
        inbound=inbound,
        upstreams=calls,
    )


def registered(node: Node) -> Registration:
    """The instance behind a sidecar."""
    return instance(node.service, *node.inbound, account=node.service_account, proxy=node.id)


def instance(service: str, *inbound: InboundPort, account: str = "default", proxy: str = "") -> Registration:
    ports = (RegisteredPort(number=p.service_port, target=p.listen, protocol=p.protocol, name=p.protocol.value.lower()) for p in inbound)
    labels = FrozenMap({"app": service})
    return Registration(id=service, service=service, ports=tuple(ports), service_account=account, proxy=proxy, labels=labels)


def opened(number: int, listen: int, target: int = 1, protocol: Protocol = Protocol.HTTP) -> InboundPort:
    return InboundPort(service_port=number, listen=listen, target=target, protocol=protocol)


class Meshed:
    """`pair` makes certificates as an attacker, or a mistake, may have them."""

    def __init__(
        self,
        folder: Path,
        text: str,
        *registrations: Registration,
        partners: Mapping[str, Path] | None = None,
        life: timedelta | None = None,
    ) -> None:
        """`partners`: other trust domains and the files of their roots. `life`: of connections."""
        self.authority = Authority(folder / "ca", "cluster.local")
        others = tuple((domain, str(path)) for domain, path in (partners or {}).items())
        self.deliveries = Deliveries(self.authority, Federation(others))
        self._settings = MeshSettings(federated=tuple(partners or ()), connection_life=life)
        self.nodes: dict[str, Node] = {}
        self.envoys: dict[str, LoneEnvoy] = {}
        self.rejections: list[object] = []
        self._registrations = registrations
        self._built: Built = build(inputs(text, *registrations, settings=self._settings))
        self._translator = Translator()
        self.ads = Ads(self)

    def pair(
        self,
        account: str = "web",
        *,
        trust_domain: str = "cluster.local",
        life: timedelta = timedelta(hours=1),
        by: Authority | None = None,
    ) -> Pair:
        issued = (by or self.authority).issue(Identity(trust_domain=trust_domain, service_account=account), lifetime=life)
        assert issued.key
        return Pair(issued.chain, issued.key.reveal())

    async def change(self, text: str, *registrations: Registration) -> None:
        """Puts other documents into force; returns when the proxies have taken them."""
        self._registrations = registrations or self._registrations
        self._built = build(inputs(text, *self._registrations, settings=self._settings), self._built)
        await self.offered()

    async def offered(self) -> None:
        """All proxies have what they are to have now."""
        for node in self.nodes.values():
            self.ads.offer(node.id, self._snapshot(node))
        await self.settled(len(self.nodes))

    async def settled(self, proxies: int, seconds: float = 120) -> None:
        async with asyncio.timeout(seconds):
            while not (len(self.nodes) == proxies and all(map(self.ads.settled, self.nodes))):
                assert not self.rejections, self.rejections
                await asyncio.sleep(0.01)

    def _snapshot(self, node: Node) -> Snapshot:
        seen = view(self._built.mesh, node)
        result = self._translator.snapshot(replace(seen, layers=(*seen.layers, *self.deliveries.layers(node))))
        assert result.problems() == ()
        return result

    def connected(self, node: Node, *_version: str) -> Snapshot:
        self.nodes[node.id] = node
        return self._snapshot(node)

    def disconnected(self, _node_id: str) -> None:
        """Nothing depends on it."""

    def acknowledged(self, _node_id: str, _type_url: str, _snapshot: Snapshot) -> None:
        """What is settled is asked of the server."""

    def complete(self, _node_id: str, _snapshot: Snapshot) -> None:
        """As above."""

    def rejected(self, _node_id: str, rejection: object) -> None:
        self.rejections.append(rejection)


@asynccontextmanager
async def meshed(
    folder: Path,
    text: str,
    nodes: tuple[Node, ...],
    *registrations: Registration,
    delta: bool = True,
    partners: Mapping[str, Path] | None = None,
    life: timedelta | None = None,
) -> AsyncIterator[Meshed]:
    """Yields when all proxies have taken what they were sent."""
    mesh = Meshed(folder, text, *registrations, *(registered(node) for node in nodes if node.inbound), partners=partners, life=life)
    (xds,) = await mesh.ads.start(["127.0.0.1:0"])
    try:
        async with AsyncExitStack() as stack:
            for node in nodes:
                mesh.envoys[node.id] = await stack.enter_async_context(led_envoy(node, f"127.0.0.1:{xds}", delta=delta))
            await mesh.settled(len(nodes))
            yield mesh
    finally:
        await mesh.ads.stop(0)
