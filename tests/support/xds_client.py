"""A bare client of the discovery service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from tulle.discovery.node import to_metadata
from tulle.model.proxy import Node
from tulle.protos import message, pb
from tulle.server.ads import METHODS, SERVICE

TEXT_OF_METHOD = {mode: f"/{SERVICE}/{name}" for name, mode in METHODS.items()}


def node_message(node: Node) -> Any:
    made = message("envoy.config.core.v3.Node")(id=node.id, user_agent_name="test", user_agent_version="1.2")
    made.metadata.update(to_metadata(node))
    return made


class Client:
    def __init__(self, open_: Callable[[], Any], *, delta: bool) -> None:
        self._open, self._delta = open_, delta
        self.call = open_()
        self._request, self._response = (
            (pb.DeltaDiscoveryRequest, pb.DeltaDiscoveryResponse) if delta else (pb.DiscoveryRequest, pb.DiscoveryResponse)
        )

    def again(self) -> Client:
        """Another stream on the same connection."""
        return Client(self._open, delta=self._delta)

    async def send(self, **fields: Any) -> None:
        await self.call.write(self._request(**fields).SerializeToString())

    async def receive(self) -> Any:
        """The next response. Raises the stream's error when there is none."""
        raw = await self.call.read()
        if raw is grpc.aio.EOF:
            await self.call.code()
            raise EOFError(await self.call.details())
        return self._response.FromString(raw)

    async def ending(self) -> tuple[grpc.StatusCode, str]:
        """How the stream ended."""
        return await self.call.code(), await self.call.details()


@asynccontextmanager
async def xds_client(address: str, *, delta: bool = True, secure: grpc.ChannelCredentials | None = None) -> AsyncIterator[Client]:
    path = next(text for mode, text in TEXT_OF_METHOD.items() if (mode.value == "delta") == delta)
    async with grpc.aio.secure_channel(address, secure) if secure else grpc.aio.insecure_channel(address) as channel:
        client = Client(channel.stream_stream(path), delta=delta)
        try:
            yield client
        finally:
            client.call.cancel()
