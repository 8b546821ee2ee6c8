"""People who sign in at a provider: Envoy's oauth2 filter. Its secrets come to the proxy by name (SDS)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from tulle.model.logins import Cookies, SignIn
from tulle.model.routing import HeaderMatch
from tulle.protos import pb
from tulle.translate.snapshot import CLUSTER, SECRET, Reference
from tulle.translate.values import ADS, Fields, duration, present, string_matcher

NAME = "envoy.filters.http.oauth2"
_TIMEOUT = timedelta(seconds=5)
_AT_THE_PROVIDER = ("oauth_nonce", "code_verifier")
"""Cookies that must be there when the provider sends people back, so they cannot be stricter than lax."""


def oauth2(of: SignIn) -> Any:
    """The filter's configuration."""
    at = of.provider
    fields: Fields = {
        "token_endpoint": {"uri": at.token_endpoint, "cluster": of.cluster, "timeout": duration(_TIMEOUT)},
        "authorization_endpoint": at.authorization_endpoint,
        "redirect_uri": f"%REQ(x-forwarded-proto)%://%REQ(:authority)%{of.redirect_path}",
        "redirect_path_matcher": {"path": {"exact": of.redirect_path}},
        "signout_path": {"path": {"exact": of.logout_path}},
        "forward_bearer_token": of.forward_token,
        "auth_scopes": list(of.scopes),
        "resources": list(of.resources),
        "auth_type": "BASIC_AUTH" if at.basic else "URL_ENCODED_BODY",
        "deny_redirect_matcher": [_header(header) for header in of.scripts],
        "use_refresh_token": {"value": of.refresh},
        "default_expires_in": of.token_ttl and duration(of.token_ttl),
        "default_refresh_token_expires_in": of.refresh_token_ttl and duration(of.refresh_token_ttl),
        "csrf_token_expires_in": duration(of.sign_in_ttl),
        "code_verifier_token_expires_in": duration(of.sign_in_ttl),
        "forward_id_token": {"header": of.id_token_header} if of.id_token_header else None,
        "credentials": {
            "client_id": of.client_id,
            "token_secret": {"name": of.client_secret.name, "sds_config": ADS},
            "hmac_secret": {"name": of.cookie_secret.name, "sds_config": ADS},
            "cookie_domain": of.cookies.domain,
            "cookie_names": _names(of.cookies),
        },
        "cookie_configs": {f"{name}_cookie_config": {"same_site": _same_site(name, of.cookies)} for name in _names(of.cookies)},
    }
    if at.end_session_endpoint:
        fields["end_session_endpoint"] = at.end_session_endpoint
        fields["post_logout_redirect_uri"] = {"uri": of.after_logout} if of.after_logout else None
    return pb.OAuth2(config=present(fields))


def _names(of: Cookies) -> dict[str, str]:
    return {
        "bearer_token": of.access_token,
        "oauth_hmac": of.session,
        "oauth_expires": of.expires,
        "id_token": of.id_token,
        "refresh_token": of.refresh_token,
        "oauth_nonce": of.nonce,
        "code_verifier": of.code_verifier,
    }


def _same_site(name: str, of: Cookies) -> str:
    return "LAX" if of.same_site == "STRICT" and name in _AT_THE_PROVIDER else of.same_site


def _header(of: HeaderMatch) -> Fields:
    return {"name": of.name, "string_match": string_matcher(of.match)} if of.match else {"name": of.name, "present_match": True}


def references(of: SignIn) -> Iterator[Reference]:
    """What it cannot do without."""
    yield (CLUSTER, of.cluster)
    yield from ((SECRET, name) for name in (of.client_secret.name, of.cookie_secret.name))
