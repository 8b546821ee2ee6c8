"""Certificates as values: what goes into one, and who signs it (X.509 as RFC 5280 has it; SPIFFE's X509-SVID, 3 to 5).

Pure but for the keys that are passed in: clock and serial numbers are arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tulle.ca.keys import PrivateKey, PublicKey

_ORGANISATION = "Tulle"
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_LEAST_RSA = 2048
"""Bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A certificate that may sign others, with its key."""

    certificate: x509.Certificate
    key: PrivateKey
    chain: bytes = b""
    """PEM of what stands between a leaf and the root, from this certificate upwards; empty for a root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """From when to when a certificate holds, and its serial number."""

    not_before: datetime
    not_after: datetime
    serial: int


def pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def root(key: PrivateKey, trust_domain: str, term: Term) -> Signer:
    """A certificate that signs itself."""
    name = _name(f"Root of {trust_domain} ({term.not_before:%Y-%m-%d})")
    made = _begun(name, name, key.public_key(), term)
    made = _for_signing(made, trust_domain, key.public_key(), key.public_key(), length=None)
    return Signer(certificate=made.sign(key, SHA256()), key=key)


def intermediate(parent: Signer, key: PrivateKey, trust_domain: str, term: Term) -> Signer:
    """One that signs leaves only."""
    name = _name(f"Intermediate of {trust_domain} ({term.not_before:%Y-%m-%d})")
    made = _begun(name, parent.certificate.subject, key.public_key(), term)
    signed = _for_signing(made, trust_domain, key.public_key(), parent.key.public_key(), length=0).sign(parent.key, SHA256())
    return Signer(certificate=signed, key=key, chain=pem([signed]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Whom a certificate is for."""

    uri: str = ""
    """The identity of a workload; empty for one that no proxy is to believe."""
    holder: str = ""
    """By what the control plane knows who holds it: the id of a token."""
    hosts: tuple[str, ...] = ()
    """Names and addresses by which others reach it."""

    @property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.holder)] if self.holder else [])

    @property
    def alternatives(self) -> tuple[x509.GeneralName, ...]:
        uri = (x509.UniformResourceIdentifier(self.uri),) if self.uri else ()
        return (*uri, *(_host(host) for host in self.hosts))


def leaf(signer: Signer, key: PublicKey, names: Names, term: Term) -> x509.Certificate:
    """A certificate that signs no others, good for both sides of TLS where it bears a URI, never past the life of its signer."""
    last = min(term.not_after, signer.certificate.not_valid_after_utc)
    made = _begun(names.subject, signer.certificate.subject, key, Term(not_before=term.not_before, not_after=last, serial=term.serial))
    sides = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH] if names.uri else [ExtendedKeyUsageOID.CLIENT_AUTH]
    made = (
        made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signing=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(sides), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )
    if names.alternatives:
        # Critical where there is no subject (RFC 5280, 4.2.1.6).
        made = made.add_extension(x509.SubjectAlternativeName(names.alternatives), critical=not names.holder)
    return made.sign(signer.key, SHA256())


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def requested_key(request: bytes, uri: str) -> PublicKey:
    """The key that a PEM request (CSR) is for.

    Raises ValueError for one that is broken, too weak, that asks for another identity, or to sign others. Subjects are not looked at.
    """
    try:
        asked = x509.load_pem_x509_csr(request)
        signed = asked.is_signature_valid
        wanted, signs, key = _uris(asked), _asks_to_sign(asked), asked.public_key()
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension):
        raise ValueError("the request is no certificate request that can be read") from None
    if signs:
        raise ValueError("the request asks for a certificate that signs others")
    if not signed:
        raise ValueError("the request is not signed with the key that it is for")
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        pass
    elif not isinstance(key, rsa.RSAPublicKey) or key.key_size < _LEAST_RSA:
        raise ValueError(f"the request is for a key that is not taken: use ECDSA with P-256 or P-384, or RSA with {_LEAST_RSA} bits")
    if any(name != uri for name in wanted):
        raise ValueError(f"the request asks for another identity than {uri or 'none'}")
    return key


def _uris(request: x509.CertificateSigningRequest) -> tuple[str, ...]:
    """All alternative names that are asked for."""
    try:
        found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in found)


def _asks_to_sign(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION), x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _begun(subject: x509.Name, issuer: x509.Name, key: PublicKey, term: Term) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=subject,
        issuer_name=issuer,
        public_key=key,
        serial_number=term.serial,
        not_valid_before=term.not_before,
        not_valid_after=term.not_after,
    )


def _for_signing(
    made: x509.CertificateBuilder, trust_domain: str, own: PublicKey, parent: PublicKey, *, length: int | None
) -> x509.CertificateBuilder:
    return (
        made.add_extension(x509.BasicConstraints(ca=True, path_length=length), critical=True)
        .add_extension(_usage(signing=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(parent), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]), critical=False)
    )


def _usage(*, signing: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signing,
        crl_sign=signing,
        encipher_only=False,
        decipher_only=False,
    )
