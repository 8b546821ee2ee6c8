"""Services beside the discovery service, for those alone that the gate lets in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from tulle.server.access.gate import NotAdmittedError

Admit = Callable[[Any], Awaitable[object]]
"""Looks at the context of a call. Raises NotAdmittedError."""


class Guarded(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Wraps a handler whose methods take one message and give one, or take and give streams."""

    def __init__(self, handler: Any, admit: Admit) -> None:
        self._handler, self._admit = handler, admit

    def service(self, handler_call_details: Any) -> Any:
        inner = self._handler.service(handler_call_details)
        if inner is None:
            return None
        forms = {"request_deserializer": inner.request_deserializer, "response_serializer": inner.response_serializer}
        if inner.stream_stream:
            return grpc.stream_stream_rpc_method_handler(self._streams(inner.stream_stream), **forms)
        return grpc.unary_unary_rpc_method_handler(self._unary(inner.unary_unary), **forms)

    def _unary(self, answer: Any) -> Any:
        async def serve(request: Any, context: Any) -> Any:
            await self._check(context)
            return await answer(request, context)

        return serve

    def _streams(self, answer: Any) -> Any:
        async def serve(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            await self._check(context)
            async for message in answer(requests, context):
                yield message

        return serve

    async def _check(self, context: Any) -> None:
        try:
            await self._admit(context)
        except NotAdmittedError as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
