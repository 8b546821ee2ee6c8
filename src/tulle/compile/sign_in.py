"""People who sign in at a provider (OpenID Connect Core 1.0, section 3.1): what a gateway needs for it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from tulle.compile.policies import DEFAULT
from tulle.model.logins import SignIn
from tulle.model.proxy import Cluster, HttpConnections, Listener
from tulle.model.resource import Resource
from tulle.model.service import Endpoint, Resolution
from tulle.model.tls import SYSTEM_ROOTS, Generic, Hidden, Trust, UpstreamTls
from tulle.resources.core_secret import Secret
from tulle.resources.security.authentication import Authentication, OidcSpec

CLIENT, COOKIES = "client-secret", "cookie-secret"
"""Entries of the Secret. Without the second one the first stands for it, too."""
_PORTS = {"http": 80, "https": 443}


def sign_in(document: Resource[Authentication], spec: OidcSpec, secret: Secret | None) -> SignIn | None:
    """None where the Secret or its entry is not there."""
    shown = secret.entries.get(CLIENT, Hidden(b"")).reveal().strip() if secret else b""
    if not (secret and shown):
        return None
    name = f"{document.key.namespace}/{document.key.name}"
    # Another key than the one that the provider knows, and the same on every replica and after every restart.
    derived = hmac.new(shown, f"cookies of {name}".encode(), hashlib.sha256).hexdigest().encode()
    sealed = secret.entries.get(COOKIES, Hidden(b"")).reveal().strip() or derived
    sources = (document.at("spec.oidc"),)
    return SignIn(
        client_id=spec.client_id,
        client_secret=Generic(name=f"sign-in-client://{name}", value=Hidden(shown), sources=sources),
        cookie_secret=Generic(name=f"sign-in-cookies://{name}", value=Hidden(sealed), sources=sources),
        authorization_endpoint=spec.authorization_endpoint,
        token_endpoint=spec.token_endpoint,
        end_session_endpoint=spec.end_session_endpoint or "",
        cluster=_cluster_name(spec.token_endpoint),
        scopes=spec.scopes,
        redirect_path=spec.redirect_path,
        logout_path=spec.logout_path,
        forward_token=spec.forward_bearer_token,
    )


def of_listeners(listeners: Iterable[Listener]) -> Iterator[SignIn]:
    """All that they ask people for."""
    for chain in (chain for listener in listeners for chain in listener.chains):
        if isinstance(chain.serve, HttpConnections):
            yield from (login.by for login in chain.serve.logins if isinstance(login.by, SignIn))


def clusters(listeners: Iterable[Listener]) -> tuple[Cluster, ...]:
    """The providers that the proxy asks for tokens, each once."""
    found = {by.cluster: by for by in of_listeners(listeners)}
    return tuple(_cluster(by) for _, by in sorted(found.items()))


def secrets(listeners: Iterable[Listener]) -> tuple[Generic, ...]:
    """What the proxy must know for it, each once."""
    found = {one.name: one for by in of_listeners(listeners) for one in (by.client_secret, by.cookie_secret)}
    return tuple(found[name] for name in sorted(found))


def _place(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme]


def _cluster_name(url: str) -> str:
    scheme, host, port = _place(url)
    return f"sign-in|{port}|{scheme}|{host}"


def _cluster(by: SignIn) -> Cluster:
    scheme, host, port = _place(by.token_endpoint)
    tls = UpstreamTls(trust=Trust(authority=SYSTEM_ROOTS, names=(host,)), sni=host) if scheme == "https" else None
    return Cluster(
        name=by.cluster,
        policy=DEFAULT,
        resolution=Resolution.DNS,
        endpoints=(Endpoint(address=host, port=port),),
        http=True,
        tls=tls,
        sources=by.client_secret.sources,
    )
