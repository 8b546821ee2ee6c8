"""RequestAuthentication: which JSON Web Tokens (RFC 7519) are taken, and where they stand in a request."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from typing import Annotated
from urllib.parse import urlsplit

from tulle.resources.attachment import Attached
from tulle.resources.names import HeaderName
from tulle.resources.scalars import Duration, Flag, Text, choice, text_that
from tulle.resources.spec import Problem, Spec, shown


def _filled(value: str) -> str | None:
    return None if value else "must not be empty"


def _http_url(value: str) -> str | None:
    complaint = f"must be a URL with http or https, of at most 2048 characters, not {shown(value)}"
    try:
        url = urlsplit(value)
        _ = url.port
    except ValueError:
        return complaint
    return None if url.scheme in ("http", "https") and url.hostname and len(value) <= 2048 else complaint


def _key_set(value: str) -> str | None:
    try:
        keys = json.loads(value)
    except (ValueError, RecursionError):
        return "must be a set of keys as JSON (RFC 7517, 5)"
    if not isinstance(keys, dict) or not isinstance(keys.get("keys"), list):
        return 'must be a JSON object with a list "keys" (RFC 7517, 5)'
    private = next((i for i, key in enumerate(keys["keys"]) if isinstance(key, dict) and "d" in key), None)
    return None if private is None else f"must hold public keys alone, and number {private + 1} is a private one"


Filled = Annotated[str, text_that(_filled)]


class Presence(Enum):
    OPTIONAL = "OPTIONAL"
    REQUIRED = "REQUIRED"


class TokenHeader(Spec):
    name: HeaderName
    prefix: Text = ""


class ClaimToHeader(Spec):
    header: HeaderName
    claim: Filled


class JwtRule(Spec):
    at_most_one_of = (("jwks_uri", "jwks"),)

    issuer: Filled
    audiences: tuple[Filled, ...] = ()
    jwks_uri: Annotated[str, text_that(_http_url)] | None = None
    jwks: Annotated[str, text_that(_key_set)] | None = None
    from_headers: tuple[TokenHeader, ...] = ()
    from_params: tuple[Filled, ...] = ()
    from_cookies: tuple[Filled, ...] = ()
    output_payload_to_header: HeaderName | None = None
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    forward_original_token: Flag = False
    timeout: Duration = timedelta(seconds=5)
    """For fetching `jwks_uri`."""
    space_delimited_claims: tuple[Filled, ...] = ()
    presence: Annotated[Presence, choice(Presence)] = Presence.OPTIONAL


class RequestAuthentication(Attached):
    jwt_rules: tuple[JwtRule, ...] = ()

    def check(self) -> Iterable[Problem]:
        if len(self.jwt_rules) > 4096:
            yield ("jwt_rules",), "must have at most 4096 items"
