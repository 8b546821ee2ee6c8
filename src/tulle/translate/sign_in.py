"""People who sign in at a provider: Envoy's oauth2 filter. Its secrets come to the proxy by name (SDS)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from tulle.model.logins import SignIn
from tulle.protos import pb
from tulle.translate.snapshot import CLUSTER, SECRET, Reference
from tulle.translate.values import ADS, YES, Fields, duration

NAME = "envoy.filters.http.oauth2"
_TIMEOUT = timedelta(seconds=5)
_COOKIES = ("bearer_token", "oauth_hmac", "oauth_expires", "id_token", "refresh_token", "oauth_nonce", "code_verifier")


def oauth2(of: SignIn) -> Any:
    """The filter's configuration."""
    fields: Fields = {
        "token_endpoint": {"uri": of.token_endpoint, "cluster": of.cluster, "timeout": duration(_TIMEOUT)},
        "authorization_endpoint": of.authorization_endpoint,
        "redirect_uri": f"%REQ(x-forwarded-proto)%://%REQ(:authority)%{of.redirect_path}",
        "redirect_path_matcher": {"path": {"exact": of.redirect_path}},
        "signout_path": {"path": {"exact": of.logout_path}},
        "forward_bearer_token": of.forward_token,
        "auth_scopes": list(of.scopes),
        "use_refresh_token": YES,
        "credentials": {
            "client_id": of.client_id,
            "token_secret": {"name": of.client_secret.name, "sds_config": ADS},
            "hmac_secret": {"name": of.cookie_secret.name, "sds_config": ADS},
        },
        # Strict cookies would not be there when the provider sends people back.
        "cookie_configs": {f"{name}_cookie_config": {"same_site": "LAX"} for name in _COOKIES},
    }
    if of.end_session_endpoint:
        fields["end_session_endpoint"] = of.end_session_endpoint
    return pb.OAuth2(config=fields)


def references(of: SignIn) -> Iterator[Reference]:
    """What it cannot do without."""
    yield (CLUSTER, of.cluster)
    yield from ((SECRET, name) for name in (of.client_secret.name, of.cookie_secret.name))
