"""What passes between a workload that keeps its own key and the authority: requests, and the proof that a certificate is one's own.

Pure but for the keys. Keys are ECDSA, as those that agents make are.
"""

from __future__ import annotations

import re
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from tulle.model.identity import Identity

_CONTEXT = b"tulle: renew with this request\n"
"""So that a signature made for another purpose is none here."""
_URI = re.compile(r"spiffe://([^/]+)/ns/([^/]+)/sa/([^/]+)")


def requested(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A PEM request (CSR) for this key. Which identity it is for is decided by whoever signs."""
    return x509.CertificateSigningRequestBuilder(subject_name=x509.Name([])).sign(key, SHA256()).public_bytes(Encoding.PEM)


def vouched(key: ec.EllipticCurvePrivateKey, request: bytes) -> bytes:
    """The signature of the key of the present certificate under a request for the next."""
    return key.sign(_CONTEXT + request, ec.ECDSA(SHA256()))


def proven(chain: bytes, request: bytes, signature: bytes, bundle: bytes, at: datetime) -> tuple[Identity, str]:
    """The identity in a chain that the roots of `bundle` vouch for at that time, and whose key has signed the request; and its holder.

    Raises ValueError.
    """
    try:
        leaf, *between = x509.load_pem_x509_certificates(chain)
        verifier = PolicyBuilder().store(Store(x509.load_pem_x509_certificates(bundle))).time(at).build_client_verifier()
        names = verifier.verify(leaf, between).subjects or []
        key = leaf.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError("the certificate is not for an ECDSA key")  # noqa: TRY004 - what was sent is a value
        key.verify(signature, _CONTEXT + request, ec.ECDSA(SHA256()))
    except (VerificationError, x509.InvalidVersion, x509.DuplicateExtension):
        raise ValueError("the certificate is none of this mesh, or it has ended") from None
    except InvalidSignature:
        raise ValueError("the request is not signed with the key of the certificate") from None
    return identity_in(tuple(str(name.value) for name in names)), holder_of(leaf)


def holder_of(certificate: x509.Certificate) -> str:
    """By what the control plane knows who holds it; empty in certificates that are not for the control plane."""
    return next((str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)), "")


def bearer_of(certificate: bytes) -> tuple[Identity, str, float]:
    """The identity in a certificate (PEM) that was verified already, its holder, and when it ends, in seconds since 1970.

    Raises ValueError for one that bears no identity of a workload.
    """
    leaf = x509.load_pem_x509_certificate(certificate)
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        found = x509.SubjectAlternativeName([])
    return identity_in(tuple(str(name.value) for name in found)), holder_of(leaf), leaf.not_valid_after_utc.timestamp()


def identity_in(names: tuple[str, ...]) -> Identity:
    """The one identity that a certificate bears. Raises ValueError."""
    found = _URI.fullmatch(names[0]) if len(names) == 1 else None
    if not found:
        raise ValueError("the certificate bears no identity of a workload")
    return Identity(trust_domain=found[1], namespace=found[2], service_account=found[3])
