"""Keys, requests for certificates, and the certificates that answer TLS-ALPN-01."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tulle.ca.keys import dump_key, load_key
from tulle.model.tls import Hidden
from tulle.resources.certificates import pair_problems, parse
from tulle.resources.security.certificate import Algorithm, KeyWish

_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""RFC 8737, section 6.1."""
_CURVES = {256: ec.SECP256R1, 384: ec.SECP384R1}
_AN_HOUR, _A_WEEK = timedelta(hours=1), timedelta(days=7)


class UnfitError(ValueError):
    """What the authority gave is not what was asked for."""


def new_key(wish: KeyWish) -> Hidden:
    """As PEM."""
    if wish.algorithm is Algorithm.ECDSA:
        return dump_key(ec.generate_private_key(_CURVES[wish.bits]()))
    return dump_key(rsa.generate_private_key(public_exponent=65537, key_size=wish.bits))


def suits(key: Hidden, wish: KeyWish) -> bool:
    """Whether a key is of the kind that is wished for."""
    try:
        found = load_key(key.reveal())
    except ValueError:
        return False
    return isinstance(found, ec.EllipticCurvePrivateKey) is (wish.algorithm is Algorithm.ECDSA) and found.key_size == wish.bits


def request(key: Hidden, names: Iterable[str]) -> bytes:
    """A request (CSR, RFC 2986) for these hosts, as DER."""
    hosts = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]), [])
    return builder.add_extension(hosts, critical=False).sign(load_key(key.reveal()), SHA256()).public_bytes(Encoding.DER)


def validation(host: str, answer: str, now: datetime) -> tuple[Hidden, Hidden]:
    """The certificate that answers TLS-ALPN-01 for a host, and its key (RFC 8737, section 3)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - _AN_HOUR, now + _A_WEEK)
    # As DER: an OCTET STRING of 32 bytes.
    proof = x509.UnrecognizedExtension(_ACME_IDENTIFIER, b"\x04\x20" + sha256(answer.encode()).digest())
    made = (
        builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
        .add_extension(proof, critical=True)
        .sign(key, SHA256())
    )
    return Hidden(made.public_bytes(Encoding.PEM)), dump_key(key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What may be told of a certificate that came."""

    fingerprint: str
    """SHA-256, in hex."""
    serial: str
    issuer: str
    not_before: datetime
    not_after: datetime


def given(chain: bytes, key: Hidden, names: Iterable[str]) -> Given:
    """Raises UnfitError for a chain that is none, is not for this key, or not for all of these hosts."""
    for _, problem in pair_problems(chain, key.reveal()):
        raise UnfitError(f"what the authority gave {problem}")
    found = about(chain)
    missing = set(names) - set(_hosts(parse(chain)[0]))
    if missing:
        raise UnfitError(f"the certificate that the authority gave is not for {', '.join(sorted(missing))}")
    return found


def about(chain: bytes) -> Given:
    """Of the first certificate. Raises ValueError."""
    leaf = parse(chain)[0]
    return Given(
        fingerprint=leaf.fingerprint(SHA256()).hex(),
        serial=f"{leaf.serial_number:x}",
        issuer=leaf.issuer.rfc4514_string(),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
    )


def _hosts(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
