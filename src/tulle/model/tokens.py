"""Which JSON Web Tokens (RFC 7519) are taken, and what becomes of what they say (BEHAVIOURS.md, 20)."""

from __future__ import annotations

from dataclasses import dataclass

from tulle.model.resource import Source
from tulle.model.routing import StringMatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Tokens of one issuer. Without any place named, they stand in `Authorization: Bearer` or in the query parameter `access_token`."""

    name: str
    issuer: str
    audiences: tuple[str, ...] = ()
    """Of which a token must name one; empty: any."""
    keys: str | None = None
    """The public keys, as JSON (RFC 7517, 5). None: not known yet, so no token of the issuer is good."""
    headers: tuple[tuple[str, str], ...] = ()
    """Name, and what stands before the token."""
    parameters: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    forward: bool = False
    """The endpoint gets the token, too."""
    payload_header: str = ""
    claim_headers: tuple[tuple[str, str], ...] = ()
    """Header, and the claim (`a.b` for one within another) that it tells the endpoint of."""
    split_claims: tuple[str, ...] = ()
    """Claims that hold several words with spaces between, each of which counts."""
    required: bool = False
    """Requests without a token are refused."""
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What is asked of requests for some hosts, or for all."""

    issuers: tuple[Issuer, ...]
    hosts: tuple[StringMatch, ...] = ()
    """Empty: for all."""
