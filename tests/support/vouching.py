"""An authority beside the mesh, whose certificates let machines join, or would have to be refused."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support.guarded import Pair
from tulle.ca.issue import Signer, Term, root
from tulle.ca.keys import PrivateKey, dump_key, new_key

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
DAY = timedelta(days=1)


def uri(workload: str = "shop/web", trust_domain: str = "cluster.local") -> x509.UniformResourceIdentifier:
    namespace, _, account = workload.partition("/")
    return x509.UniformResourceIdentifier(f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}")


def _own() -> Signer:
    now = datetime.now(UTC)
    return root(new_key(), "machines.example", Term(not_before=now - DAY, not_after=now + 30 * DAY, serial=x509.random_serial_number()))


@dataclass(kw_only=True)
class Outside:
    signer: Signer = field(default_factory=_own)

    @property
    def roots(self) -> str:
        return self.signer.certificate.public_bytes(Encoding.PEM).decode()

    def file(self, path: Path) -> str:
        path.write_text(self.roots)
        return str(path)

    def pair(
        self,
        *uris: x509.GeneralName,
        signs: bool = False,
        use: x509.ObjectIdentifier | None = CLIENT,
        begins: timedelta = -DAY,
        ends: timedelta = DAY,
        common: str = "",
        key: PrivateKey | None = None,
    ) -> Pair:
        key, now = key or new_key(), datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common or "machine")]))
            .issuer_name(self.signer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=signs, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(uris or [uri()]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.signer.key.public_key()), critical=False)
        )
        if use:
            made = made.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        chain = made.sign(self.signer.key, SHA256()).public_bytes(Encoding.PEM).decode()
        return Pair(chain=chain, key=dump_key(key).reveal().decode())

    def rsa(self) -> Pair:
        return self.pair(key=rsa.generate_private_key(public_exponent=65537, key_size=2048))


def malleated(chain: str) -> str:
    """The same certificate with the other of the two signatures that ECDSA has for it (r, and the order of the curve without s)."""
    found = x509.load_pem_x509_certificate(chain.encode())
    r, s = decode_dss_signature(found.signature)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    signature = b"\0" + encode_dss_signature(r, order - s)
    inner = found.tbs_certificate_bytes + _ECDSA_SHA256 + _der(3, signature)
    return ssl.DER_cert_to_PEM_cert(_der(0x30, inner))


_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    long = b"" if size < 128 else b"\x81" if size < 256 else b"\x82"
    return bytes([tag]) + long + size.to_bytes(2 if size > 255 else 1, "big") + content
