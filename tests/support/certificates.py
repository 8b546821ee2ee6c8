"""Authorities and certificates of one test."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = timedelta(days=1)


def _pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _alternative(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes

    @property
    def parsed(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate)

    @property
    def serial(self) -> int:
        return self.parsed.serial_number

    def digest(self) -> str:
        """SHA-256 of the certificate, in hex."""
        return self.parsed.fingerprint(SHA256()).hex()

    def key_digest(self) -> str:
        """SHA-256 of the public key, in base64."""
        key = self.parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(hashlib.sha256(key).digest()).decode()

    def write(self, folder: Path, name: str) -> tuple[str, str]:
        """The paths of the certificate and of the key."""
        paths = folder / f"{name}.crt", folder / f"{name}.key"
        for path, text in zip(paths, (self.certificate, self.key), strict=True):
            path.write_bytes(text)
        return str(paths[0]), str(paths[1])


class Ca:
    """An authority."""

    def __init__(self, common: str = "an authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(_name(common), _name(common), self._key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - DAY).not_valid_after(now + 3650 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._certificate = builder.sign(self._key, SHA256())
        self.pem = self._certificate.public_bytes(Encoding.PEM)

    def issue(self, *names: str, days: int = 30, key: Key | None = None, revocation: str = "") -> Pair:
        """A certificate for names, the first also its subject; `days` may be negative. `revocation`: where a list of revoked ones is."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(self._certificate.subject, _name(names[0]), key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - 100 * DAY).not_valid_after(now + days * DAY)
        builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(n) for n in names]), critical=False)
        if revocation:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(revocation)], None, None, None)
            builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        return Pair(builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM), _pem(key))

    def revokes(self, *pairs: Pair) -> bytes:
        """A list of certificates that are trusted no more."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder(self._certificate.subject, now - DAY, now + DAY)
        for pair in pairs:
            revoked = x509.RevokedCertificateBuilder(pair.serial, now - DAY).build()
            builder = builder.add_revoked_certificate(revoked)
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def write(self, folder: Path, name: str = "ca") -> str:
        path = folder / f"{name}.pem"
        path.write_bytes(self.pem)
        return str(path)


def secret(name: str, *, namespace: str = "default", **entries: bytes) -> str:
    """A Secret. In the names of entries `_` stands for a dot: `tls_crt`."""
    data = "\n".join(f"  {key.replace('_', '.')}: {base64.b64encode(value).decode()}" for key, value in entries.items())
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata:\n{data}\n"


def tls_secret(name: str, pair: Pair, ca: Ca | None = None, *, namespace: str = "default") -> str:
    """A Secret with a certificate and its key, and with an authority where one is given."""
    more = {"ca_crt": ca.pem} if ca else {}
    return secret(name, namespace=namespace, tls_crt=pair.certificate, tls_key=pair.key, **more)


def pieces(*secrets: bytes) -> list[str]:
    """What must not be found: the lines of a key, and the same bytes in base64, wherever a cut is made."""
    found = []
    for value in secrets:
        lines = [line for line in value.decode().splitlines() if "-----" not in line]
        found += [line[:40] for line in lines]
        found += [base64.b64encode(value[shift:])[8:40].decode() for shift in range(3)]
        found.append(value.hex()[20:60])
    return found
