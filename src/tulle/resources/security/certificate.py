"""Certificate (tulle.dev/v1): a certificate that a public authority gives (ACME, RFC 8555), and that is kept fresh in a Secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any
from urllib.parse import urlsplit

from tulle.model.challenges import ChallengeType
from tulle.resources.names import dns_name, fqdn, is_ip
from tulle.resources.networking.common import repeated
from tulle.resources.scalars import Duration, Flag, Text, choice, text_that, whole
from tulle.resources.spec import Place, Problem, Spec, shown

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
_MOST_NAMES = 100
"""In one certificate, as most authorities have it."""
_SHORTEST = timedelta(minutes=1)


def _dns_name(value: str) -> str | None:
    if "*" in value:
        return f"must be a host name without wildcard, not {shown(value)}: authorities give wildcards for records in DNS (DNS-01) only"
    if is_ip(value) or "." not in value:
        return f"must be a host name with a domain that the authority can look up, not {shown(value)}"
    return fqdn(value)


def _as_borne(name: str) -> str:
    """A host in the form in which certificates bear it."""
    return name.lower().removesuffix(".")


def _https(value: str) -> str | None:
    complaint = f"must be a URL with https, not {shown(value)}"
    try:
        url = urlsplit(value)
        _ = url.port
    except ValueError:
        return complaint
    good = url.scheme == "https" and url.hostname and not (url.fragment or url.username)
    return None if good and value.isascii() and value.isprintable() and " " not in value else complaint


def _email(value: str) -> str | None:
    name, at, host = value.rpartition("@")
    plain = value.isascii() and value.isprintable() and not set(value) & set(" ,?&")
    return None if at and name and plain and fqdn(host) is None else f"must be an address such as ops@example.com, not {shown(value)}"


def _path(value: str) -> str | None:
    return None if value.startswith("/") else f"must be an absolute path on the control plane's machine, not {shown(value)}"


SecretName = Annotated[str, text_that(dns_name)]


class SecretEntry(Spec):
    name: SecretName
    key: Text = "secret"


class ExternalAccount(Spec):
    """An account that the user has with the authority already (RFC 8555, section 7.3.4)."""

    key_id: Text
    key_secret_ref: SecretEntry
    """The MAC key, in base64url as authorities show it, in a Secret of the document's namespace."""


class Issuer(Spec):
    server: Annotated[str, text_that(_https)] = LETS_ENCRYPT
    """Its directory."""
    email: Annotated[str, text_that(_email)] | None = None
    """Whom the authority may write to."""
    terms_of_service_agreed: Flag = False
    ca_file: Annotated[str, text_that(_path)] | None = None
    """Who vouches for the server, as PEM on the control plane's machine; None: those that the machine trusts."""
    external_account_binding: ExternalAccount | None = None

    @classmethod
    def shape(cls, given: Mapping[str, Any]) -> Iterable[Problem]:  # type: ignore[override]
        yield from super().shape(given)
        if given.get("terms_of_service_agreed") is not True:
            where: Place = ("terms_of_service_agreed",)
            server = given.get("server", LETS_ENCRYPT)
            at = " (https://letsencrypt.org/repository/)" if server == LETS_ENCRYPT else ""
            yield where, f"must be true: the authority gives certificates to those only who agree to its terms of service{at}"


class Algorithm(Enum):
    ECDSA = "ECDSA"
    RSA = "RSA"


class RotationPolicy(Enum):
    ALWAYS = "Always"
    NEVER = "Never"


SIZES = {Algorithm.ECDSA: (256, 384), Algorithm.RSA: (2048, 3072, 4096)}


class KeyWish(Spec):
    algorithm: Annotated[Algorithm, choice(Algorithm)] = Algorithm.ECDSA
    size: Annotated[int, whole(256, 4096)] | None = None
    """Bits; None: the first of SIZES."""
    rotation_policy: Annotated[RotationPolicy, choice(RotationPolicy)] = RotationPolicy.ALWAYS
    """Whether each certificate has a new key, or all have the one that is in the Secret."""

    def check(self) -> Iterable[Problem]:
        known = SIZES[self.algorithm]
        if self.size is not None and self.size not in known:
            yield ("size",), f"must be one of {', '.join(map(str, known))} where the algorithm is {self.algorithm.value}, not {self.size}"

    @property
    def bits(self) -> int:
        return self.size or SIZES[self.algorithm][0]


class Certificate(Spec):
    secret_name: SecretName | None = None
    """Where it is put; None: a Secret of the document's name."""
    dns_names: tuple[Annotated[str, text_that(_dns_name)], ...]
    issuer: Issuer
    challenge: Annotated[ChallengeType, choice(ChallengeType)] = ChallengeType.HTTP_01
    private_key: KeyWish = KeyWish.unsaid()
    renew_before: Duration | None = None
    """So long before its end it is renewed; None: when a third of its life is left."""

    def check(self) -> Iterable[Problem]:
        if not self.dns_names:
            yield ("dns_names",), "must have at least one item"
        if len(self.dns_names) > _MOST_NAMES:
            yield ("dns_names",), f"must have at most {_MOST_NAMES} items"
        yield from repeated("dns_names", map(_as_borne, self.dns_names))
        if self.renew_before is not None and self.renew_before < _SHORTEST:
            yield ("renew_before",), "must be at least 1m"

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts, as certificates bear them."""
        return tuple(sorted(map(_as_borne, self.dns_names)))
