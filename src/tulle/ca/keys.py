"""Private keys: ECDSA on P-256 where Tulle makes them; an operator's authority may bring RSA, too."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tulle.model.tls import Hidden

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def dump_key(key: PrivateKey) -> Hidden:
    """As PEM (PKCS #8)."""
    return Hidden(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def load_key(pem: bytes) -> PrivateKey:
    """Raises ValueError, without any of the text."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise ValueError("holds no private key that can be read: it must be PEM without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("holds a key of a kind that is not taken: use ECDSA or RSA")  # noqa: TRY004 - what a file holds is a value
    return key
