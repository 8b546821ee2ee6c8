"""A certificate of another authority that a machine joins the mesh with, and its key, which does not leave the machine."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from tulle import private_file
from tulle.ca.keys import PrivateKey, load_key
from tulle.ca.vouching import named_in, vouching

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class VoucherError(OSError):
    """The files cannot be used. The message says which, and why."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Voucher:
    chain: str
    """PEM."""
    key: PrivateKey
    workload: str
    """`NAMESPACE/SERVICE_ACCOUNT` that it is for."""
    root: str = ""
    """SHA-256 of the mesh's root, in hex, by which the control plane is known; empty where its roots are."""

    def body(self, request: bytes, roots: str) -> dict[str, str]:
        """What is sent to join the mesh of these roots with this request (CSR)."""
        signature = base64.b64encode(vouching(self.key, request, roots.encode())).decode()
        return {"certificate": self.chain, "csr": request.decode(), "signature": signature, "for": self.workload}


def read_voucher(certificate: str, key: str, root: str = "") -> Voucher:
    """From files. `root` may be written with colons. Raises VoucherError."""
    fingerprint = root.strip().replace(":", "").lower()
    if fingerprint and not _FINGERPRINT.fullmatch(fingerprint):
        raise VoucherError("--join-root: is no fingerprint: 64 hexadecimal digits, the sha256 in tulle ca status -o json")
    try:
        chain = Path(certificate).read_text(encoding="ascii")
        identity = named_in(x509.load_pem_x509_certificates(chain.encode())[0])
    except OSError as error:
        raise VoucherError(f"--join-cert: {certificate}: cannot be read: {error.strerror}") from None
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        raise VoucherError(
            f"--join-cert: {certificate}: holds no certificate (PEM) with the one URI spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT"
        ) from None
    return Voucher(chain=chain, key=_key(Path(key)), workload=f"{identity.namespace}/{identity.service_account}", root=fingerprint)


def _key(path: Path) -> PrivateKey:
    try:
        content, is_private = path.read_bytes(), private_file.is_private(path)
    except OSError as error:
        raise VoucherError(f"--join-key: {path}: cannot be read: {error.strerror}") from None
    if not is_private:
        raise VoucherError(f"--join-key: {path}: can be read by others; chmod 600 it")
    try:
        return load_key(content)
    except ValueError as error:
        raise VoucherError(f"--join-key: {path}: {error}") from None
