"""Who callers must show to be, before anything else is asked of a request: a client by its key, a user by a password."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tulle.model.resource import Source
from tulle.model.routing import HeaderMatch, StringMatch
from tulle.model.tls import Generic, Hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPlace:
    """Where a request may bear a key: one of the three."""

    header: str = ""
    query: str = ""
    cookie: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeys:
    """Clients known by keys. Without any client nobody is let in."""

    clients: tuple[tuple[str, Hidden], ...]
    """Name and key. No key stands there twice."""
    places: tuple[KeyPlace, ...]
    """In the order in which they are looked into; the first that holds something counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    """Users with passwords (RFC 7617). Without any user nobody is let in."""

    users: tuple[tuple[str, Hidden], ...]
    """Name, and the SHA-1 of the password in base64. No name stands there twice."""
    realm: str = ""
    """What people are told that the password is for; empty for the URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What an OpenID provider tells of itself (OpenID Connect Discovery 1.0, section 3)."""

    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str = ""
    basic: bool = False
    """It wants the client's secret in `authorization`, and not in the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookies:
    """The names of those that remember a sign-in, and who gets them."""

    access_token: str
    id_token: str
    refresh_token: str
    session: str
    expires: str
    nonce: str
    code_verifier: str
    domain: str = ""
    """Empty for the host alone."""
    same_site: str = "LAX"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """People sign in at a provider, who sends them back with a code (RFC 6749, section 4.1). Cookies remember it."""

    client_id: str
    client_secret: Generic
    cookie_secret: Generic
    """With which cookies are signed and tokens in them encrypted."""
    provider: Provider
    cluster: str
    """Through which the token endpoint is reached."""
    scopes: tuple[str, ...]
    resources: tuple[str, ...] = ()
    redirect_path: str
    logout_path: str
    after_logout: str = ""
    """Where the provider sends people who have signed out; empty for the host's root."""
    scripts: tuple[HeaderMatch, ...] = ()
    """Requests with one of these headers are answered 401, and not sent to the provider."""
    forward_token: bool = False
    """The endpoint, and what looks at tokens, gets the access token in `authorization`."""
    id_token_header: str = ""
    """The header in which the endpoint gets the ID token; empty for none."""
    refresh: bool = True
    token_ttl: timedelta | None = None
    refresh_token_ttl: timedelta | None = None
    sign_in_ttl: timedelta
    cookies: Cookies


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What is asked of requests."""

    name: str
    by: ApiKeys | Passwords | SignIn
    told_by: str = ""
    """The header that tells the endpoint who calls; empty for none. Callers cannot set it themselves."""
    forward: bool = False
    """The endpoint gets the key or the password, too."""
    excluded: tuple[StringMatch, ...] = ()
    """Paths, with their queries, for which nothing is asked."""
    never_excluded: tuple[StringMatch, ...] = ()
    """Those among them for which it is asked all the same."""
    hosts: tuple[StringMatch, ...] = ()
    """For which it is asked; empty: for all."""
    source: Source | None = None
