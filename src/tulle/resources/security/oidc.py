"""Signing in at an OpenID provider: a part of Authentication. The client's secret stands in a Secret, never here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import Enum
from typing import Annotated
from urllib.parse import urlsplit

from tulle.model.frozen import FrozenMap
from tulle.resources.names import HeaderName, Host, dns_name, header_name
from tulle.resources.networking.common import StringMatch
from tulle.resources.scalars import NO_TEXTS, Duration, Flag, Map, TextMap, choice, text_that
from tulle.resources.spec import Problem, Spec, shown


def _filled(value: str) -> str | None:
    return None if value else "must not be empty"


def _whole_path(value: str) -> str | None:
    fine = re.fullmatch(r"/[-A-Za-z0-9._~/]+", value)
    return None if fine else f"must be a path of letters, digits and -._~/, longer than /, not {shown(value)}"


def _url(value: str) -> str | None:
    complaint = f"must be a URL with http or https, without fragment, not {shown(value)}"
    try:
        url = urlsplit(value)
        _ = url.port
    except ValueError:
        return complaint
    good = url.scheme in ("http", "https") and url.hostname and not (url.fragment or url.username)
    plain = value.isascii() and value.isprintable() and " " not in value
    return None if good and plain else complaint


def _scope(value: str) -> str | None:
    """RFC 6749, section 3.3."""
    return None if re.fullmatch(r"[!#-\[\]-~]+", value) else f"must be ASCII without spaces, quotes and backslashes, not {shown(value)}"


def _cookie(value: str) -> str | None:
    """RFC 6265, section 4.1.1."""
    fine = re.fullmatch(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+", value)
    return None if fine else f"must be the name of a cookie, not {shown(value)}"


RESERVED = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te"})
"""Headers without which a request is another one, or none."""
WholePath = Annotated[str, text_that(_whole_path)]
Url = Annotated[str, text_that(_url)]
Scope = Annotated[str, text_that(_scope)]
SecretName = Annotated[str, text_that(dns_name)]
Filled = Annotated[str, text_that(_filled)]
CookieName = Annotated[str, text_that(_cookie)]


class ClientAuthentication(Enum):
    """OpenID Connect Core 1.0, section 9."""

    POST = "client_secret_post"
    BASIC = "client_secret_basic"


class SameSite(Enum):
    LAX = "Lax"
    STRICT = "Strict"
    NONE = "None"


class CookieNames(Spec):
    """Two sign-ins on one host need names of their own."""

    access_token: CookieName = "BearerToken"  # noqa: S105 - a name
    id_token: CookieName = "IdToken"  # noqa: S105 - a name
    refresh_token: CookieName = "RefreshToken"  # noqa: S105 - a name
    session: CookieName = "OauthHMAC"
    """The signature of all others."""
    expires: CookieName = "OauthExpires"
    nonce: CookieName = "OauthNonce"
    code_verifier: CookieName = "CodeVerifier"

    def check(self) -> Iterable[Problem]:
        names = [getattr(self, field) for field in type(self).model_fields]
        if len(set(names)) < len(names):
            yield (), "must be different names"


_NO_HEADERS: Mapping[str, StringMatch] = FrozenMap()
_OWN = frozenset(
    {"client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "resource"}
)
"""Parameters that the gateway sets itself."""


class OidcSpec(Spec):
    """People sign in at a provider, by the code flow (OpenID Connect Core 1.0, section 3.1) with PKCE (RFC 7636)."""

    issuer: Url | None = None
    """The provider tells its endpoints (OpenID Connect Discovery 1.0); those that stand here go before."""
    client_id: Filled
    secret: SecretName
    """With an entry `client-secret`, and perhaps `cookie-secret`."""
    authorization_endpoint: Url | None = None
    token_endpoint: Url | None = None
    end_session_endpoint: Url | None = None
    client_authentication: Annotated[ClientAuthentication, choice(ClientAuthentication)] | None = None
    """How the gateway shows the client's secret: by default as the provider tells, or else in the body."""
    authorization_params: TextMap = NO_TEXTS
    """More for the provider's page, such as `prompt` or `audience`."""
    scopes: tuple[Scope, ...] = ("openid",)
    resources: tuple[Url, ...] = ()
    """What access tokens are to be for (RFC 8707)."""
    redirect_path: WholePath = "/oauth2/callback"
    logout_path: WholePath = "/logout"
    post_logout_redirect: Url | None = None
    """Where the provider sends people after they have signed out; by default to the host's root."""
    deny_redirect: Map[StringMatch] = _NO_HEADERS
    """Requests with one of these headers are answered 401, and not sent to the provider: scripts cannot sign in."""
    forward_bearer_token: Flag = False
    id_token_header: HeaderName | None = None
    """The endpoint gets the ID token in it."""
    refresh_token: Flag = True
    """Whether a sign-in goes on after the access token has ended, as long as the provider says so."""
    token_ttl: Duration | None = None
    """For how long people are signed in where the provider does not say."""
    refresh_token_ttl: Duration | None = None
    sign_in_ttl: Duration = timedelta(minutes=10)
    """How much time people have at the provider."""
    cookie_names: CookieNames = CookieNames.unsaid()
    cookie_domain: Host | None = None
    """Of a sign-in that is to hold for several hosts."""
    same_site: Annotated[SameSite, choice(SameSite)] = SameSite.LAX

    def check(self) -> Iterable[Problem]:
        if not self.issuer:
            for name in ("authorization_endpoint", "token_endpoint"):
                if not getattr(self, name):
                    yield (name,), "required where no issuer tells it"
        if self.redirect_path == self.logout_path:
            yield ("logout_path",), "must not be the redirectPath"
        if self.end_session_endpoint and "openid" not in self.scopes:
            yield ("end_session_endpoint",), "needs the scope openid"
        taken = RESERVED | ({"authorization"} if self.forward_bearer_token else set())
        if self.id_token_header and self.id_token_header.lower() in taken:
            yield ("id_token_header",), f"must not be {self.id_token_header}, which has another use"
        for name in self.deny_redirect:
            if complaint := header_name(name):
                yield ("deny_redirect", name), complaint
        for name in self.authorization_params:
            if name in _OWN or not re.fullmatch(r"[A-Za-z0-9._~-]+", name):
                yield ("authorization_params", name), "is no parameter that can be added"
