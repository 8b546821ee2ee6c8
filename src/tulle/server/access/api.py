"""`/api/v1/tokens`: admins hand out tokens, and take them back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tulle.model.identity import CONTROL_NAMESPACE
from tulle.server.access.caller import Caller, Role, caller_of
from tulle.server.access.tokens import Token, Tokens, new_id
from tulle.server.forms import Namespace, answer, body_of, problem, seconds

if TYPE_CHECKING:
    from tulle.ca.authority import Authority

BODY_LIMIT = 64 * 1024
JOIN_TTL = "10m"
LONGEST = 366 * 86_400.0
LONGEST_JOIN = 7 * 86_400.0
"""Seconds. A token to join with is for a machine that is being set up."""


CERTIFICATE_TTL = "720h"
_WORKLOAD = r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$"
_WANTED = {"for": "must be NAMESPACE/SERVICE_ACCOUNT, such as shop/web", "role": "must be viewer, operator or admin"}


class _TokenForm(BaseModel):
    """Either a role for the API, or for whom to join."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, alias_generator=to_camel, populate_by_name=True)

    name: Annotated[str, Field(max_length=100)] = ""
    role: Role | None = None
    namespaces: Annotated[tuple[Namespace, ...], Field(max_length=100)] = ()
    workload: Annotated[str, Field(alias="for", pattern=_WORKLOAD)] = ""
    """`NAMESPACE/SERVICE_ACCOUNT`"""
    gateway: bool = False
    ttl: str = ""
    csr: Annotated[str, Field(max_length=32 * 1024)] = ""
    """PEM: the role is for who shows a certificate for this key, and there is no text."""


class TokensApi:
    def __init__(self, tokens: Tokens, fingerprint: Callable[[], str], authority: Callable[[], Authority] | None = None) -> None:
        """`fingerprint` of the mesh's root, for those who join to know it by. Without `authority` there are no client certificates."""
        self._tokens = tokens
        self._fingerprint = fingerprint
        self._authority = authority

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/tokens", self.list, methods=["GET"]),
            Route("/api/v1/tokens", self.create, methods=["POST"]),
            Route("/api/v1/tokens/{id}", self.delete, methods=["DELETE"]),
        ]

    async def list(self, request: Request) -> Response:
        caller = caller_of(request)
        return answer({"tokens": [token_json(token) for token in await self._tokens.all() if _within(caller, token)]})

    async def create(self, request: Request) -> Response:
        try:
            form = _TokenForm.model_validate_json(await body_of(request, BODY_LIMIT))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise problem(400, f"the token cannot be made: {field}: {_WANTED.get(field, first['msg'])}") from None
        wanted, ttl = _wanted(form)
        if not _within(caller_of(request), wanted):
            raise problem(403, "a token that is for some namespaces cannot make one for others")
        if wanted.gateway and caller_of(request).namespaces:
            raise problem(403, "a gateway gets keys of all namespaces: its token is for an admin of the whole mesh to make")
        if form.csr:
            return await self._certify(form.csr, replace(wanted, id=new_id(), certificate=True), ttl)
        token, text = await self._tokens.create(wanted, fingerprint=self._fingerprint() if wanted.once else "", ttl=ttl)
        return answer({**token_json(token), "token": text}, 201)

    async def _certify(self, csr: str, wanted: Token, ttl: float) -> Response:
        from tulle.ca.files import AuthorityError  # noqa: PLC0415 - slow to load

        if self._authority is None or wanted.once:
            raise problem(400, "csr: goes with a role")
        try:
            issued = self._authority().sign_holder(csr.encode(), wanted.id, timedelta(seconds=ttl))
        except AuthorityError as error:
            raise problem(503, str(error)) from None
        except ValueError as error:
            raise problem(400, f"csr: {error}") from None
        token, _ = await self._tokens.create(wanted, ttl=ttl)
        return answer({**token_json(token), "certificate": issued.chain.decode(), "roots": self._authority().bundle().decode()}, 201)

    async def delete(self, request: Request) -> Response:
        identifier = request.path_params["id"]
        found = next((token for token in await self._tokens.all() if token.id == identifier), None)
        if found is None or not _within(caller_of(request), found):
            raise problem(404, f"there is no token {identifier!r}")
        await self._tokens.delete(identifier)
        return answer({"id": identifier})


def _wanted(form: _TokenForm) -> tuple[Token, float]:
    """What is asked for, and for how many seconds. Raises 400."""
    if bool(form.role) == bool(form.workload):
        raise problem(400, "the body must say either role (viewer, operator, admin) or for (NAMESPACE/SERVICE_ACCOUNT)")
    if form.workload:
        if form.namespaces:
            raise problem(400, "namespaces: a token to join with is for the namespace in for")
        namespace, _, account = form.workload.partition("/")
        if namespace == CONTROL_NAMESPACE:
            raise problem(400, f"for: {CONTROL_NAMESPACE} is the control plane's own namespace: nobody joins there")
        token = Token(
            id="",
            role=Role.WORKLOAD,
            name=form.name,
            namespaces=(namespace,),
            service_account=account,
            gateway=form.gateway,
            once=True,
            created=0.0,
        )
        return token, seconds(form.ttl or JOIN_TTL, "ttl", least=1.0, most=LONGEST_JOIN)
    if form.gateway:
        raise problem(400, "gateway: goes with for")
    if form.role is None or form.role is Role.WORKLOAD:
        raise problem(400, "role: a workload gets its token by joining; write viewer, operator or admin")
    token = Token(id="", role=form.role, name=form.name, namespaces=tuple(sorted(set(form.namespaces))), created=0.0)
    ttl = form.ttl or (CERTIFICATE_TTL if form.csr else "")
    return token, seconds(ttl, "ttl", least=1.0, most=LONGEST) if ttl else 0.0


def _within(caller: Caller, token: Token) -> bool:
    """Whether a token is for namespaces of the caller's alone."""
    return not caller.namespaces or bool(token.namespaces and set(token.namespaces) <= set(caller.namespaces))


def token_json(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role.value,
        "namespaces": [] if token.service_account else list(token.namespaces),
        "for": f"{token.namespaces[0]}/{token.service_account}" if token.service_account else "",
        "gateway": token.gateway,
        "once": token.once,
        "certificate": token.certificate,
        "vouchedKey": token.vouched_key,
        "vouchedSerial": token.vouched_serial,
        "created": _time(token.created),
        "expires": _time(token.expires) if token.expires else "",
    }


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
