"""`/api/v1/registrations`: instances tell of themselves, and renew it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tulle.model.resource import Origin, Violation
from tulle.registry import form
from tulle.registry.registrations import Registrations
from tulle.server.access.caller import Caller, Role, caller_of
from tulle.server.forms import answer, body_of, problem, seconds
from tulle.server.ports import Live

BODY_LIMIT = 256 * 1024
TTL = "30s"
"""Of a registration that does not say."""

There = Callable[[str, str], Awaitable[None]]
"""Takes the name of a machine and an address of it."""


class RegistryApi:
    def __init__(self, registrations: Registrations, live: Live, there: There | None = None) -> None:
        """`there` makes sure that the machine of a registration is known."""
        self._registrations = registrations
        self._live = live
        self._there = there

    def routes(self) -> list[Route]:
        one = "/api/v1/registrations/{id:path}"
        return [
            Route("/api/v1/registrations", self.list, methods=["GET"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.put, methods=["PUT"]),
            Route(one, self.delete, methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        caller, found = caller_of(request), await self._registrations.all()
        seen = (found[identifier] for identifier in sorted(found) if caller.sees(found[identifier].namespace))
        return answer({"registrations": [form.to_json(registration) for registration in seen]})

    async def get(self, request: Request) -> Response:
        identifier = request.path_params["id"]
        found = (await self._registrations.all()).get(identifier)
        if not found or not caller_of(request).sees(found.namespace):
            raise problem(404, f"there is no registration {identifier!r}")
        return answer(form.to_json(found))

    async def put(self, request: Request) -> Response:
        """Registers or renews; `?ttl=` is the time in which it must be renewed, `?wait=` waits for the proxies."""
        identifier = request.path_params["id"]
        ttl = seconds(request.query_params.get("ttl", TTL), "ttl", least=1.0, most=86_400.0)
        wait = seconds(request.query_params.get("wait", "0"), "wait")
        try:
            registration = form.parse(identifier, await body_of(request, BODY_LIMIT))
        except form.RegistrationError as error:
            violations = [
                Violation(origin=Origin(), resource=f"registration/{identifier}", field=m.field, message=m.message) for m in error.mistakes
            ]
            raise problem(400, f"registration {identifier!r} cannot be used: {error}", violations) from None
        caller = caller_of(request)
        caller.check((registration.namespace,))
        caller.check_account(registration.service_account)
        await self._check(caller, identifier)
        if self._there:
            await self._there(registration.node, registration.address)
        by = caller.id if caller.role is Role.WORKLOAD else ""
        return await self._done(identifier, await self._registrations.register(registration, ttl, by), wait)

    async def delete(self, request: Request) -> Response:
        """Takes an instance out; with `?wait=` the answer comes when no proxy sends to it any more, or when that time is over."""
        identifier = request.path_params["id"]
        wait = seconds(request.query_params.get("wait", "0"), "wait")
        await self._check(caller_of(request), identifier)
        revision = await self._registrations.deregister(identifier)
        if revision is None:
            raise problem(404, f"there is no registration {identifier!r}")
        return await self._done(identifier, revision, wait)

    async def _check(self, caller: Caller, identifier: str) -> None:
        """Raises 403 where there is such a registration, and it is none of the caller's."""
        if caller.namespaces and (found := (await self._registrations.all()).get(identifier)):
            caller.check((found.namespace,))
            caller.check_account(found.service_account)

    async def _done(self, identifier: str, revision: int, wait: float) -> Response:
        body: dict[str, Any] = {"id": identifier, "revision": revision}
        if wait:
            progress = await self._live.wait_acknowledged(revision, wait)
            body["acknowledged"] = {"complete": progress.complete, "proxies": progress.proxies, "acknowledged": progress.acknowledged}
        return answer(body)
