"""Authentication (tulle.dev/v1): callers show a key or a password, or sign in. Names of Secrets stand here, never what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from tulle.resources.attachment import Attached
from tulle.resources.names import HeaderName
from tulle.resources.scalars import Flag, Text, text_that
from tulle.resources.security.oidc import RESERVED, Filled, OidcSpec, SecretName
from tulle.resources.spec import Problem, Spec, shown


def _path(value: str) -> str | None:
    fine = value.startswith("/") and "*" not in value[:-1] and not set(value) & set("?#")
    return None if fine else f"must be a path, or the beginning of one before *, not {shown(value)}"


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
    if name and name.lower() in RESERVED:
        yield (field,), f"must not be {name}, which requests cannot do without"


class Authentication(Attached):
    """What several of them ask of one request must all be shown."""

    one_of = (("api_keys", "basic", "oidc"),)

    api_keys: ApiKeysSpec | None = None
    basic: BasicSpec | None = None
    oidc: OidcSpec | None = None
    excluded_paths: tuple[ExcludedPath, ...] = ()
