"""Authentication (tulle.dev/v1): callers show a key or a password, or sign in. Names of Secrets stand here, never what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import urlsplit

from tulle.resources.attachment import Attached
from tulle.resources.names import HeaderName, dns_name
from tulle.resources.scalars import Flag, Text, text_that
from tulle.resources.spec import Problem, Spec, shown

_RESERVED = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te"})
"""Headers without which a request is another one, or none."""


def _filled(value: str) -> str | None:
    return None if value else "must not be empty"


def _path(value: str) -> str | None:
    fine = value.startswith("/") and "*" not in value[:-1] and not set(value) & set("?#")
    return None if fine else f"must be a path, or the beginning of one before *, not {shown(value)}"


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


WholePath = Annotated[str, text_that(_whole_path)]
Url = Annotated[str, text_that(_url)]
Scope = Annotated[str, text_that(_scope)]
SecretName = Annotated[str, text_that(dns_name)]
Filled = Annotated[str, text_that(_filled)]
ExcludedPath = Annotated[str, text_that(_path)]


class KeySource(Spec):
    one_of = (("header", "query", "cookie"),)

    header: HeaderName | None = None
    query: Filled | None = None
    cookie: Filled | None = None


class ApiKeysSpec(Spec):
    """Each entry of the Secret is a client: its name, and its key."""

    secret: SecretName
    from_: tuple[KeySource, ...] = (KeySource.model_construct(header="x-api-key"),)
    client_header: HeaderName | None = None
    forward_key: Flag = False

    def check(self) -> Iterable[Problem]:
        if not self.from_:
            yield ("from",), "must name a place where keys are looked for"
        yield from _told("client_header", self.client_header)


class BasicSpec(Spec):
    """The entries of the Secret are files of users as `htpasswd -s` writes them."""

    secret: SecretName
    realm: Text = ""
    user_header: HeaderName | None = None
    forward_password: Flag = False

    def check(self) -> Iterable[Problem]:
        yield from _told("user_header", self.user_header)
        if not (self.realm.isascii() and self.realm.isprintable()) or set(self.realm) & set('"\\'):
            yield ("realm",), "must be printable ASCII without quotes and backslashes"


def _told(field: str, name: str | None) -> Iterable[Problem]:
    if name and name.lower() in _RESERVED:
        yield (field,), f"must not be {name}, which requests cannot do without"


class OidcSpec(Spec):
    """People sign in at a provider, by the code flow (OpenID Connect Core 1.0, section 3.1)."""

    client_id: Filled
    secret: SecretName
    """With an entry `client-secret`, and perhaps `cookie-secret`."""
    authorization_endpoint: Url
    token_endpoint: Url
    end_session_endpoint: Url | None = None
    scopes: tuple[Scope, ...] = ("openid",)
    redirect_path: WholePath = "/oauth2/callback"
    logout_path: WholePath = "/logout"
    forward_bearer_token: Flag = False

    def check(self) -> Iterable[Problem]:
        if self.redirect_path == self.logout_path:
            yield ("logout_path",), "must not be the redirectPath"
        if self.end_session_endpoint and "openid" not in self.scopes:
            yield ("end_session_endpoint",), "needs the scope openid"


class Authentication(Attached):
    """What several of them ask of one request must all be shown."""

    one_of = (("api_keys", "basic", "oidc"),)

    api_keys: ApiKeysSpec | None = None
    basic: BasicSpec | None = None
    oidc: OidcSpec | None = None
    excluded_paths: tuple[ExcludedPath, ...] = ()
