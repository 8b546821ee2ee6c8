"""What OpenID providers tell of themselves (OpenID Connect Discovery 1.0, sections 3 and 4)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from tulle.model.logins import Provider
from tulle.reach import ANYWHERE, Reach
from tulle.server.fetching import UnusableError, json_object

SUFFIX = "/.well-known/openid-configuration"


async def fetch(uri: str, timeout: float, reach: Reach = ANYWHERE) -> Provider:
    """Raises UnusableError, too, where it speaks for another issuer than the one that was asked (section 4.3)."""
    said = await json_object(uri, timeout, reach)
    issuer = said.get("issuer")
    if not isinstance(issuer, str) or issuer.rstrip("/") != uri.removesuffix(SUFFIX):
        raise UnusableError("what is there is about another issuer")
    methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Provider(
        authorization_endpoint=_endpoint(said, "authorization_endpoint", uri),
        token_endpoint=_endpoint(said, "token_endpoint", uri),
        end_session_endpoint=_endpoint(said, "end_session_endpoint", uri) if said.get("end_session_endpoint") else "",
        basic=isinstance(methods, list) and "client_secret_post" not in methods,
    )


def _endpoint(said: dict[str, Any], name: str, uri: str) -> str:
    """One that can be used as it is, and is not less safe than the issuer. Raises UnusableError."""
    written = said.get(name)
    if not isinstance(written, str) or not written.isascii() or not written.isprintable() or " " in written:
        raise UnusableError(f"it names no {name}")
    if not _usable(written, ("https", urlsplit(uri).scheme)):
        raise UnusableError(f"its {name} is no URL with https")
    return written


def _usable(written: str, schemes: tuple[str, ...]) -> bool:
    try:
        url = urlsplit(written)
        return (
            bool(url.hostname) and url.scheme in schemes and url.port != 0 and not (url.fragment or url.username) and len(written) <= 2048
        )
    except ValueError:
        return False
