"""`/api/v1/renew`: a Certificate is asked for again now."""

from __future__ import annotations

from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tulle.model.resource import Key
from tulle.server.access.caller import caller_of
from tulle.server.forms import answer, object_of, problem


class Renewing(Protocol):
    async def renew(self, key: Key) -> bool:
        """False where there is no such Certificate. Raises StoreError."""
        ...


class CertificatesApi:
    def __init__(self, keeper: Renewing) -> None:
        self._keeper = keeper

    def routes(self) -> list[Route]:
        return [Route("/api/v1/renew", self.renew, methods=["POST"])]

    async def renew(self, request: Request) -> Response:
        said = await object_of(request)
        namespace, name = said.get("namespace", "default"), said.get("name")
        if not isinstance(namespace, str) or not isinstance(name, str):
            raise problem(400, 'the body must be {"namespace": text, "name": text}')
        caller_of(request).check((namespace,))
        if not await self._keeper.renew(Key(kind="Certificate", namespace=namespace, name=name)):
            raise problem(404, f"there is no Certificate {name!r} in namespace {namespace!r}")
        return answer({})
