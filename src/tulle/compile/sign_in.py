"""People who sign in at a provider (OpenID Connect Core 1.0, section 3.1): what a gateway needs for it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlencode, urlsplit

from tulle.compile.match import text
from tulle.compile.policies import DEFAULT
from tulle.model.logins import Cookies, Provider, SignIn
from tulle.model.proxy import Cluster, HttpConnections, Listener
from tulle.model.resource import Resource
from tulle.model.routing import HeaderMatch
from tulle.model.service import Endpoint, Resolution
from tulle.model.tls import SYSTEM_ROOTS, Generic, Hidden, Trust, UpstreamTls
from tulle.resources.core_secret import Secret
from tulle.resources.security.authentication import Authentication
from tulle.resources.security.oidc import ClientAuthentication, OidcSpec

CLIENT, COOKIES = "client-secret", "cookie-secret"
"""Entries of the Secret. Without the second one the first stands for it, too."""
_PORTS = {"http": 80, "https": 443}


def discovery(issuer: str) -> str:
    """Where a provider tells of itself (OpenID Connect Discovery 1.0, section 4)."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def asks(spec: OidcSpec) -> str | None:
    """The URI that must be asked before anybody can sign in. None where the document says all that is needed."""
    return discovery(spec.issuer) if spec.issuer and not (spec.authorization_endpoint and spec.token_endpoint) else None


def sign_in(document: Resource[Authentication], spec: OidcSpec, secret: Secret | None, told: Provider | None) -> SignIn | None:
    """None where the Secret or its entry is not there, or the provider has not told yet what the document leaves to it."""
    shown = secret.entries.get(CLIENT, Hidden(b"")).reveal().strip() if secret else b""
    provider = _provider(spec, told)
    if not (secret and shown and provider):
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
        provider=provider,
        cluster=_cluster_name(provider.token_endpoint),
        scopes=spec.scopes,
        resources=spec.resources,
        redirect_path=spec.redirect_path,
        logout_path=spec.logout_path,
        after_logout=spec.post_logout_redirect or "",
        scripts=tuple(HeaderMatch(name=header.lower(), match=text(wanted)) for header, wanted in sorted(spec.deny_redirect.items())),
        forward_token=spec.forward_bearer_token,
        id_token_header=(spec.id_token_header or "").lower(),
        refresh=spec.refresh_token,
        token_ttl=spec.token_ttl,
        refresh_token_ttl=spec.refresh_token_ttl,
        sign_in_ttl=spec.sign_in_ttl,
        cookies=_cookies(spec),
    )


def _provider(spec: OidcSpec, told: Provider | None) -> Provider | None:
    """What the document says goes before what the provider tells."""
    authorization = spec.authorization_endpoint or (told.authorization_endpoint if told else "")
    token = spec.token_endpoint or (told.token_endpoint if told else "")
    if not (authorization and token):
        return None
    said = spec.client_authentication
    return Provider(
        authorization_endpoint=_with(authorization, spec.authorization_params),
        token_endpoint=token,
        end_session_endpoint=spec.end_session_endpoint or (told.end_session_endpoint if told and "openid" in spec.scopes else ""),
        basic=said is ClientAuthentication.BASIC if said else bool(told and told.basic),
    )


def _with(url: str, parameters: Mapping[str, str]) -> str:
    return url + ("&" if "?" in url else "?") + urlencode(sorted(parameters.items())) if parameters else url


def _cookies(spec: OidcSpec) -> Cookies:
    names = spec.cookie_names
    return Cookies(
        access_token=names.access_token,
        id_token=names.id_token,
        refresh_token=names.refresh_token,
        session=names.session,
        expires=names.expires,
        nonce=names.nonce,
        code_verifier=names.code_verifier,
        domain=spec.cookie_domain or "",
        same_site=spec.same_site.name,
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
    scheme, host, port = _place(by.provider.token_endpoint)
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
