"""What everybody may know of the authority, at the places where others look for it: keys, and where they are.

/.well-known/openid-configuration   OpenID Connect Discovery 1.0, section 4
/.well-known/jwks.json              RFC 7517, section 5
/.well-known/spiffe-bundle          SPIFFE Trust Domain and Bundle, section 4: roots of certificates, and keys of tokens
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from ssl import PEM_cert_to_DER_cert
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from tulle.ca.authority import Authority
    from tulle.ca.jwt_keys import JwtKeys

REFRESH = 300
"""Seconds after which one should look again. Keys are published long before they sign."""
JWKS = "/.well-known/jwks.json"


class WellKnown:
    def __init__(self, keys: Callable[[], JwtKeys], authority: Callable[[], Authority]) -> None:
        self._keys, self._authority = keys, authority

    def routes(self) -> list[Route]:
        return [
            Route("/.well-known/openid-configuration", self.discovery, methods=["GET"]),
            Route(JWKS, self.key_set, methods=["GET"]),
            Route("/.well-known/spiffe-bundle", self.bundle, methods=["GET"]),
        ]

    async def discovery(self, request: Request) -> Response:
        issuer = self._keys().issuer
        at = issuer if issuer.startswith("https://") else str(request.base_url).rstrip("/")
        said = {
            "issuer": issuer,
            "jwks_uri": f"{at}{JWKS}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "claims_supported": ["iss", "sub", "aud", "iat", "exp"],
        }
        return _public(said)

    async def key_set(self, _: Request) -> Response:
        return _public({"keys": self._keys().key_set()})

    async def bundle(self, _: Request) -> Response:
        """Its sequence is left out, as it may be: the keys come from two places that do not count together."""
        roots = [_root(root.pem) for root in self._authority().roots()]
        return _public({"spiffe_refresh_hint": REFRESH, "keys": [*filter(None, roots), *self._keys().key_set("jwt-svid")]})


def _root(pem: str) -> dict[str, Any] | None:
    """As a JSON Web Key with the certificate in it (X509-SVID, 6.2). None for a key of a kind that none is made of here."""
    from tulle.ca.jwt import certificate_key  # noqa: PLC0415 - slow to load

    der = PEM_cert_to_DER_cert(pem)
    key = certificate_key(der)
    return key and {**key, "use": "x509-svid", "x5c": [base64.b64encode(der).decode()]}


def _public(said: dict[str, Any]) -> JSONResponse:
    return JSONResponse(said, headers={"cache-control": f"max-age={REFRESH}", "access-control-allow-origin": "*"})
