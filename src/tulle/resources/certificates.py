"""Certificates and keys as PEM: whether they can be used, and what may be told of them. Keys are looked at, and never shown.

`cryptography` is loaded when a certificate is first looked at: most commands never do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SOON = timedelta(days=14)
_LEAST_RSA = 2048
"""Bits; Envoy takes no shorter key."""
_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What anybody may know of a certificate."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    """Its subject alternative names."""
    not_before: datetime
    not_after: datetime
    fingerprint: str
    """SHA-256 of the certificate, in hex with colons."""
    authority: bool
    """Whether it may sign others."""


def parse(pem: bytes) -> tuple[Certificate, ...]:
    """All certificates of a text, in their order. Raises ValueError, without any of the text, where there is none or one is broken."""
    from cryptography.x509 import InvalidVersion, load_pem_x509_certificates  # noqa: PLC0415 - slow to load

    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise ValueError("holds no certificate: it must be PEM, with -----BEGIN CERTIFICATE-----")
    try:
        return tuple(load_pem_x509_certificates(pem))
    except (ValueError, InvalidVersion):
        raise ValueError("holds a certificate that cannot be read") from None


def about(certificate: Certificate) -> About:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - slow to load

    digest = certificate.fingerprint(SHA256()).hex().upper()
    return About(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=_names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=":".join(digest[i : i + 2] for i in range(0, len(digest), 2)),
        authority=_signs(certificate),
    )


def _names(certificate: Certificate) -> tuple[str, ...]:
    from cryptography.x509 import SubjectAlternativeName  # noqa: PLC0415 - slow to load

    return tuple(str(name.value) for name in _extension(certificate, SubjectAlternativeName) or ())


def _signs(certificate: Certificate) -> bool:
    from cryptography.x509 import BasicConstraints  # noqa: PLC0415 - slow to load

    found = _extension(certificate, BasicConstraints)
    return found is not None and bool(found.ca)


def _extension(certificate: Certificate, kind: Any) -> Any:
    """None where there is none that can be read."""
    from cryptography.x509 import DuplicateExtension, ExtensionNotFound, UnsupportedGeneralNameType  # noqa: PLC0415 - slow to load

    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (ExtensionNotFound, DuplicateExtension, UnsupportedGeneralNameType, ValueError):
        return None


def pair_problems(chain: bytes, key: bytes) -> Iterator[tuple[str, str]]:
    """What is wrong with a certificate (`chain`) and its private key (`key`), none of which is in the words."""
    leaf: Certificate | None = None
    try:
        leaf = parse(chain)[0]
    except ValueError as error:
        yield "chain", str(error)
    try:
        private = _private(key)
    except ValueError as error:
        yield "key", str(error)
        return
    if complaint := _unusable(private):
        yield "key", complaint
    elif leaf is not None and not _belong(leaf, private):
        yield "key", "is not the key of the certificate beside it"


def _private(pem: bytes) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - slow to load

    if b"PRIVATE KEY-----" not in pem:
        raise ValueError("holds no private key: it must be PEM, with -----BEGIN PRIVATE KEY-----")
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError("is protected by a password: proxies need it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is a private key that cannot be read") from None


def _unusable(key: Any) -> str:
    """Why the proxy would not take a key; empty where it would."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415 - slow to load

    if isinstance(key, RSAPrivateKey):
        return "" if key.key_size >= _LEAST_RSA else f"is an RSA key of {key.key_size} bits: proxies take {_LEAST_RSA} or more"
    if isinstance(key, EllipticCurvePrivateKey):
        return "" if key.curve.name in _CURVES else f"is on the curve {key.curve.name}: proxies take P-256, P-384 and P-521"
    return "must be an RSA or an ECDSA key"


def _belong(certificate: Certificate, key: Any) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - slow to load

    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        same: bool = certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
    except (ValueError, UnsupportedAlgorithm):  # it is for a key of another kind
        return False
    return same


def age_problem(pem: bytes, now: datetime) -> str:
    """What is wrong with the dates of the first certificate of a text; empty where all is well, or nothing can be read."""
    try:
        first = about(parse(pem)[0])
    except ValueError:
        return ""
    if now >= first.not_after:
        return f"the certificate of {first.subject or first.names} expired on {first.not_after:%Y-%m-%d %H:%M} UTC"
    if now < first.not_before:
        return f"the certificate of {first.subject or first.names} is not valid before {first.not_before:%Y-%m-%d %H:%M} UTC"
    if now + min(SOON, (first.not_after - first.not_before) / 4) >= first.not_after:
        return f"the certificate of {first.subject or first.names} expires on {first.not_after:%Y-%m-%d %H:%M} UTC"
    return ""
