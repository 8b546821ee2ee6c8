"""`/api/v1/join`: a workload shows a token that was made for it once, and gets a certificate for a key that it keeps to itself.

Instead of a token it may show a certificate of an authority that the operator has named.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tulle.logs import Log
from tulle.model.identity import Identity
from tulle.server.access.caller import Role
from tulle.server.access.door import shown
from tulle.server.access.tokens import Token, Tokens, new_id
from tulle.server.forms import answer, form_of, problem

if TYPE_CHECKING:
    from tulle.ca.authority import Authority, Issued
    from tulle.ca.vouching import JoinAuthority, Vouched

BODY_LIMIT = 64 * 1024
_log = Log("join")
Text = Annotated[str, Field(min_length=1, max_length=32 * 1024)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class _JoinForm(_Form):
    token: Text
    csr: Text
    workload: Annotated[str, Field(alias="for", max_length=400)]
    """`NAMESPACE/SERVICE_ACCOUNT`: a workload that mistakes whose token it has does not use it up."""


class _CertificateForm(_Form):
    certificate: Text
    """The chain, PEM."""
    csr: Text
    signature: Text
    """Base64: of the request and the mesh's roots, made with the key of the certificate."""
    workload: Annotated[str, Field(alias="for", max_length=400)]


class _RenewForm(_Form):
    certificate: Text
    csr: Text
    signature: Text
    """Base64: of the request, made with the key of the certificate."""


class JoinApi:
    def __init__(
        self,
        tokens: Tokens,
        authority: Callable[[], Authority],
        now: Callable[[], float] = time.time,
        *,
        xds_tls: bool = False,
        vouching: JoinAuthority | None = None,
        gateways: frozenset[str] = frozenset(),
    ) -> None:
        """`xds_tls`: proxies are given their configuration over TLS. `vouching`: whose certificates let machines join.

        `gateways`: the workloads (`NAMESPACE/SERVICE_ACCOUNT`) whom those make gateways.
        """
        self._tokens, self._authority, self._now, self._xds_tls = tokens, authority, now, xds_tls
        self._vouching, self._gateways = vouching, gateways

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/join", self.join, methods=["POST"]),
            Route("/api/v1/join/certificate", self.join_vouched, methods=["POST"]),
            Route("/api/v1/join/renew", self.renew, methods=["POST"]),
            Route("/api/v1/join/roots", self.roots, methods=["GET"]),
        ]

    async def roots(self, _: Request) -> Response:
        """Whoever knows the fingerprint of one knows whether to believe this."""
        return answer({"roots": self._authority().bundle().decode()})

    async def join(self, request: Request) -> Response:
        form = await form_of(request, _JoinForm, BODY_LIMIT)
        found = await self._tokens.may_join(form.token)
        if found is None:
            raise self._refused(request, "the token is not known, was used already, or its time is over")
        token, revision = found
        identity = token.identity(self._authority().trust_domain)
        if form.workload != f"{identity.namespace}/{identity.service_account}":
            raise self._refused(request, f"the token is for another than {form.workload[:100]!r}")
        holder = new_id()
        issued = self._signed(request, form.csr, identity, holder)
        if not await self._tokens.use(token, revision):
            raise self._refused(request, "the token was used already")
        wanted = replace(token, id=holder, once=False)
        _, text = await self._tokens.create(wanted, ttl=self._left(issued))
        _log.info("a workload has joined", identity=identity.uri(), token=token.id, peer=_peer(request))
        return self._told(issued, identity, text)

    async def join_vouched(self, request: Request) -> Response:
        """A workload shows what another authority, whom the operator has named, says of it, and becomes a member.

        It may be a gateway only where the operator, not that authority, says so.
        """
        form = await form_of(request, _CertificateForm, BODY_LIMIT)
        vouched = self._vouched(request, form)
        identity, holder = vouched.identity, new_id()
        if form.workload != f"{identity.namespace}/{identity.service_account}":
            raise self._refused(request, f"the certificate is for another than {form.workload[:100]!r}")
        issued = self._signed(request, form.csr, identity, holder)
        wanted = Token(
            id=holder,
            role=Role.WORKLOAD,
            namespaces=(identity.namespace,),
            service_account=identity.service_account,
            gateway=form.workload in self._gateways,
            vouched_key=vouched.key,
            vouched_serial=vouched.serial,
            created=0.0,
        )
        if not (text := await self._tokens.vouch(wanted, self._left(issued))):
            raise self._refused(request, "the certificate lets nobody join any more: a membership that came of it was ended")
        _log.info("a workload has joined", identity=identity.uri(), serial=vouched.serial, key=vouched.key, peer=_peer(request))
        return self._told(issued, identity, text)

    def _vouched(self, request: Request, form: _CertificateForm) -> Vouched:
        if self._vouching is None:
            raise self._refused(request, "nobody joins here with a certificate: the control plane was started without --join-ca")
        from tulle.ca.files import AuthorityError  # noqa: PLC0415 - slow to load

        try:
            now = datetime.fromtimestamp(self._now(), UTC)
            return self._vouching.check(form.certificate.encode(), form.csr.encode(), _decoded(form.signature), now)
        except AuthorityError as error:
            raise problem(503, str(error)) from None
        except ValueError as error:
            raise self._refused(request, str(error)) from None

    async def renew(self, request: Request) -> Response:
        """With the certificate, the proof that its key is there, and the token that came with it: deleting that one ends a membership."""
        from tulle.ca.joining import proven  # noqa: PLC0415 - slow to load

        form = await form_of(request, _RenewForm, BODY_LIMIT)
        text = shown(request.headers)
        held = await self._tokens.find(text)
        try:
            signature, now = _decoded(form.signature), datetime.fromtimestamp(self._now(), UTC)
            identity, holder = proven(form.certificate.encode(), form.csr.encode(), signature, self._authority().bundle(), now)
        except ValueError as error:
            raise self._refused(request, str(error)) from None
        own = self._authority().trust_domain
        if held is None or held.role is not Role.WORKLOAD or held.id != holder or held.identity(own) != identity:
            raise self._refused(request, f"{identity.uri()} has no token any more that goes with its certificate: it must join anew")
        issued = self._signed(request, form.csr, identity, holder)
        if not await self._tokens.extend(held, self._left(issued)):
            raise self._refused(request, "the token was taken back")
        return self._told(issued, identity, text)

    def _signed(self, request: Request, csr: str, identity: Identity, holder: str) -> Issued:
        from tulle.ca.files import AuthorityError  # noqa: PLC0415 - slow to load

        try:
            return self._authority().sign(csr.encode(), identity, holder=holder)
        except AuthorityError as error:
            raise problem(503, str(error)) from None
        except ValueError as error:
            raise self._refused(request, str(error)) from None

    def _left(self, issued: Issued) -> float:
        return issued.not_after.timestamp() - self._now()

    def _refused(self, request: Request, why: str) -> Exception:
        _log.warning("a workload may not join", peer=_peer(request), why=why)
        return problem(403, why)

    def _told(self, issued: Issued, identity: Identity, token: str) -> Response:
        return answer(
            {
                "identity": identity.uri(),
                "certificate": issued.chain.decode(),
                "roots": self._authority().bundle().decode(),
                "notBefore": f"{issued.not_before:%Y-%m-%dT%H:%M:%SZ}",
                "notAfter": f"{issued.not_after:%Y-%m-%dT%H:%M:%SZ}",
                "token": token,
                "xdsTls": self._xds_tls,
            },
            201,
        )


def _decoded(signature: str) -> bytes:
    try:
        return base64.b64decode(signature, validate=True)
    except ValueError:
        raise ValueError("the signature is not base64") from None


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""
