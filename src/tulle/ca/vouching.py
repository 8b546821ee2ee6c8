"""Certificates of another authority that let machines join: what they prove, and how their holder shows that the key is there.

They count here and nowhere else: no port trusts their authority, and no proxy does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from tulle.ca import names
from tulle.ca.authority import Authority
from tulle.ca.files import AuthorityError
from tulle.ca.joining import identity_in
from tulle.ca.keys import PrivateKey
from tulle.model.identity import CONTROL_NAMESPACE, Identity

_CONTEXT = b"tulle: join with this request the mesh of these roots\n"
"""So that a signature made for another purpose is none here."""
_LONGEST_CHAIN = 8
_PADDING = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """What a certificate proves of the machine that shows it."""

    identity: Identity
    key: str
    """SHA-256 of its public key, in hex. Unlike the certificate's own, nobody can change it and keep the signature."""
    serial: str
    """The certificate's, in hex."""


class JoinAuthority:
    """The roots in a file of the operator's, read anew each time."""

    def __init__(self, path: str, own: Callable[[], Authority]) -> None:
        """`own`: the mesh's authority, whose certificates let nobody join. Raises AuthorityError for a file that cannot be used."""
        self._path, self._own = Path(path), own
        self._anchors()

    def check(self, chain: bytes, request: bytes, signature: bytes, at: datetime) -> Vouched:
        """Whom the chain (PEM) vouches for at that time, where its key has signed the request. Raises ValueError, AuthorityError."""
        leaf, *between = _certificates(chain)
        own = self._own()
        identity = _verified(leaf, between, self._anchors(), at)
        if own.has_signed(leaf):
            raise ValueError("the certificate is the mesh's own, which lets nobody join")
        if identity.trust_domain != own.trust_domain:
            raise ValueError(f"the certificate is for the trust domain {identity.trust_domain!r}, and this is {own.trust_domain!r}")
        names.check(identity)
        if identity.namespace == CONTROL_NAMESPACE:
            raise ValueError(f"{CONTROL_NAMESPACE} is the control plane's own namespace: nobody joins there")
        _check_signature(leaf.public_key(), signature, _message(request, own.bundle()))
        return Vouched(identity=identity, key=key_of(leaf), serial=f"{leaf.serial_number:x}")

    def _anchors(self) -> list[x509.Certificate]:
        try:
            found = x509.load_pem_x509_certificates(self._path.read_bytes())
        except OSError as error:
            raise AuthorityError(f"--join-ca: {self._path}: cannot be read: {error.strerror}") from None
        except (ValueError, x509.InvalidVersion):
            raise AuthorityError(f"--join-ca: {self._path}: holds no certificate that can be read: it must be PEM") from None
        if any(map(self._own().stands_on, found)):
            raise AuthorityError(
                f"--join-ca: {self._path}: holds what stands behind every certificate of the mesh itself: "
                "name an authority, or an intermediate of yours, that signs for machines that are to join alone"
            )
        return found


def vouching(key: PrivateKey, request: bytes, roots: bytes) -> bytes:
    """The signature of a certificate's key under a request (CSR), for the mesh with these roots (PEM) alone."""
    message = _message(request, roots)
    return key.sign(message, ec.ECDSA(SHA256())) if isinstance(key, ec.EllipticCurvePrivateKey) else key.sign(message, _PADDING, SHA256())


def key_of(certificate: x509.Certificate) -> str:
    """SHA-256 of its public key, in hex."""
    return sha256(certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def named_in(certificate: x509.Certificate) -> Identity:
    """The workload in the one URI of a certificate, beside whatever hosts it is for. Raises ValueError."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError("the certificate bears no identity of a workload") from None
    return identity_in(tuple(found.get_values_for_type(x509.UniformResourceIdentifier)))


def _message(request: bytes, roots: bytes) -> bytes:
    """The roots are in it so that one mesh cannot pass on to another what it was sent."""
    return _CONTEXT + sha256(roots).hexdigest().encode() + b"\n" + request


def _certificates(chain: bytes) -> list[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(chain)
    except (ValueError, x509.InvalidVersion):
        raise ValueError("the certificate cannot be read: it must be PEM") from None
    if len(found) > _LONGEST_CHAIN:
        raise ValueError(f"the certificate has more than {_LONGEST_CHAIN - 1} others between it and its root")
    return found


def _verified(leaf: x509.Certificate, between: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], at: datetime) -> Identity:
    """Certificates that sign others, and those of servers alone, are none. Raises ValueError."""
    try:
        PolicyBuilder().store(Store(list(anchors))).time(at).build_client_verifier().verify(leaf, list(between))
        _check_use(leaf)
        return named_in(leaf)
    except VerificationError:
        raise ValueError(
            "the certificate is none of the authority that --join-ca names, it is not its time, or it is not for clients"
        ) from None
    except (x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise ValueError("the certificate has extensions that cannot be read") from None


def _check_use(leaf: x509.Certificate) -> None:
    basic, usage, extended = (_extension(leaf, kind) for kind in (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage))
    if (isinstance(basic, x509.BasicConstraints) and basic.ca) or (isinstance(usage, x509.KeyUsage) and usage.key_cert_sign):
        raise ValueError("the certificate signs others: a machine joins with one of its own")
    if isinstance(usage, x509.KeyUsage) and not usage.digital_signature:
        raise ValueError("the certificate is for no signatures (key usage digitalSignature)")
    if not isinstance(extended, x509.ExtendedKeyUsage) or ExtendedKeyUsageOID.CLIENT_AUTH not in extended:
        raise ValueError("the certificate is not for clients (extended key usage clientAuth)")


def _extension(leaf: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.ExtensionType | None:
    try:
        return leaf.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _check_signature(key: object, signature: bytes, message: bytes) -> None:
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise ValueError("the certificate is for a key of a kind that is not taken: use ECDSA or RSA")  # noqa: TRY004 - what was sent is a value
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(SHA256()))
        else:
            key.verify(signature, message, _PADDING, SHA256())
    except InvalidSignature:
        raise ValueError("the request is not signed with the key of the certificate, or the roots of the mesh have just changed") from None
