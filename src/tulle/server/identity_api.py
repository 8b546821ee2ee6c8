"""`/api/v1/identity/jwt` and `/api/v1/ca/jwt-keys`: tokens that say who a workload is, and the keys that sign them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tulle.logs import Log
from tulle.model.identity import Identity
from tulle.server.access.caller import Caller, Role, caller_of
from tulle.server.forms import answer, form_of, problem, seconds

if TYPE_CHECKING:
    from tulle.ca.jwt_keys import JwtKeys

BODY_LIMIT = 64 * 1024
LONGEST_OVERLAP = 30 * 86_400.0
"""Seconds between the publication of a key and the first token that it signs."""
_log = Log("identity")


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class _JwtForm(_Form):
    audience: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=255)], ...], Field(min_length=1, max_length=16)]
    workload: Annotated[str, Field(alias="for", max_length=400)] = ""
    """`NAMESPACE/SERVICE_ACCOUNT`; a workload that has joined need not say it."""
    ttl: Annotated[str, Field(max_length=40)] = ""


class _TurnForm(_Form):
    after: Annotated[str, Field(max_length=40)] = ""
    """How long the key is published before it signs."""


class IdentityApi:
    def __init__(self, keys: Callable[[], JwtKeys]) -> None:
        self._keys = keys

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/identity/jwt", self.issue, methods=["POST"]),
            Route("/api/v1/ca/jwt-keys", self.list, methods=["GET"]),
            Route("/api/v1/ca/jwt-keys", self.rotate, methods=["POST"]),
            Route("/api/v1/ca/jwt-keys/{id}", self.revoke, methods=["DELETE"]),
        ]

    async def issue(self, request: Request) -> Response:
        """Who may have which identity is decided here: a workload its own, an operator any of the namespaces that it may change."""
        form = await form_of(request, _JwtForm, BODY_LIMIT)
        caller = caller_of(request)
        namespace, account = _asked(form, caller)
        caller.check([namespace])
        caller.check_account(account)
        try:
            identity = Identity(trust_domain=self._keys().trust_domain, namespace=namespace, service_account=account)
            issued = self._keys().issue(identity, form.audience, **_lifetime(form.ttl))
        except ValueError as error:
            raise problem(400, str(error)) from None
        if caller.role is not Role.WORKLOAD:
            _log.info("a token was issued for a workload", identity=identity.uri(), audience=",".join(form.audience), by=caller.id or "-")
        said = {
            "identity": identity.uri(),
            "issuer": self._keys().issuer,
            "audience": list(issued.audiences),
            "expires": f"{issued.not_after:%Y-%m-%dT%H:%M:%SZ}",
            "token": issued.token.reveal().decode(),
        }
        return answer(said, 201)

    async def list(self, _: Request) -> Response:
        return answer(self._told())

    async def rotate(self, request: Request) -> Response:
        from tulle.ca.files import AuthorityError  # noqa: PLC0415 - slow to load
        from tulle.ca.jwt import AHEAD  # noqa: PLC0415 - slow to load

        form = await form_of(request, _TurnForm, BODY_LIMIT)
        after = timedelta(seconds=seconds(form.after, "after", least=0.0, most=LONGEST_OVERLAP)) if form.after else AHEAD
        try:
            self._keys().rotate(after)
        except AuthorityError as error:
            raise problem(409, str(error)) from None
        return answer(self._told(), 201)

    async def revoke(self, request: Request) -> Response:
        try:
            self._keys().revoke(request.path_params["id"])
        except LookupError as error:
            raise problem(404, str(error.args[0])) from None
        return answer(self._told())

    def _told(self) -> dict[str, Any]:
        keys = [{"id": key.id, "turn": key.turn.value, "signsFrom": f"{key.signs_from:%Y-%m-%dT%H:%M:%SZ}"} for key in self._keys().told()]
        return {"issuer": self._keys().issuer, "keys": keys}


def _asked(form: _JwtForm, caller: Caller) -> tuple[str, str]:
    if not form.workload and caller.role is Role.WORKLOAD:
        return caller.namespaces[0], caller.service_account
    namespace, slash, account = form.workload.partition("/")
    if not (namespace and slash and account):
        raise problem(400, "for: say whose token it is to be, as NAMESPACE/SERVICE_ACCOUNT")
    return namespace, account


def _lifetime(ttl: str) -> dict[str, timedelta]:
    from tulle.ca.jwt import LONGEST, SHORTEST  # noqa: PLC0415 - slow to load

    if not ttl:
        return {}
    return {"lifetime": timedelta(seconds=seconds(ttl, "ttl", least=SHORTEST.total_seconds(), most=LONGEST.total_seconds()))}
