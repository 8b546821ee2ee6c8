"""An authority on disk, under the file names that Istio's users know:

root-cert.pem    whom everybody trusts; may hold several roots
ca-cert.pem      the certificate that signs workloads' certificates, with its key in ca-key.pem
cert-chain.pem   from ca-cert.pem up to, but without, the root
root-key.pem     only beside a root that Tulle made
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from tulle.ca.issue import Signer, pem
from tulle.ca.keys import PrivateKey, dump_key, load_key
from tulle.model.tls import Hidden

ROOT, ROOT_KEY, SIGNER, SIGNER_KEY, CHAIN = "root-cert.pem", "root-key.pem", "ca-cert.pem", "ca-key.pem", "cert-chain.pem"


class AuthorityError(OSError):
    """The authority's files cannot be used. The message says which, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A root and what it signs with."""

    roots: tuple[x509.Certificate, ...]
    signer: Signer


def read(directory: Path) -> Generation:
    """Raises AuthorityError for what is missing, broken, readable by others, or does not belong together."""
    roots = _certificates(directory / ROOT)
    signer = _certificates(directory / SIGNER)[0]
    key = _key(directory / SIGNER_KEY)
    chain = _certificates(directory / CHAIN) if (directory / CHAIN).exists() else (signer,)
    if key.public_key() != signer.public_key():
        raise AuthorityError(f"{directory / SIGNER_KEY}: is not the key of {SIGNER}")
    _check_signs(directory, signer)
    _check_chain(directory, chain if chain[0] == signer else (signer, *chain), roots)
    above = pem(c for c in ((signer, *chain) if chain[0] != signer else chain) if c not in roots)
    return Generation(roots=roots, signer=Signer(certificate=signer, key=key, chain=above))


def write(directory: Path, root: Signer, signer: Signer) -> None:
    """Puts a new authority there at once or not at all; keys are for this user only. Raises OSError."""
    made = directory.with_name(f".{directory.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o700, parents=True)
    _put(made / ROOT, pem([root.certificate]))
    _put(made / ROOT_KEY, dump_key(root.key))
    _put(made / SIGNER, pem([signer.certificate]))
    _put(made / SIGNER_KEY, dump_key(signer.key))
    _put(made / CHAIN, signer.chain)
    made.rename(directory)


def _put(path: Path, content: bytes | Hidden) -> None:
    target = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(target, "wb") as file:
        file.write(content.reveal() if isinstance(content, Hidden) else content)
        file.flush()
        os.fsync(file.fileno())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuthorityError(f"{path}: cannot be read: {error.strerror}") from None


def _certificates(path: Path) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(_content(path)))
    except (ValueError, x509.InvalidVersion):
        raise AuthorityError(f"{path}: holds no certificate that can be read: it must be PEM") from None


def _key(path: Path) -> PrivateKey:
    content = _content(path)
    if path.stat().st_mode & 0o077:
        raise AuthorityError(f"{path}: can be read by others; chmod 600 it")
    try:
        return load_key(content)
    except ValueError as error:
        raise AuthorityError(f"{path}: {error}") from None


def _check_signs(directory: Path, signer: x509.Certificate) -> None:
    try:
        signs = signer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        signs = False
    if not signs:
        raise AuthorityError(f"{directory / SIGNER}: may not sign other certificates (basic constraints without CA)")


def _check_chain(directory: Path, chain: tuple[x509.Certificate, ...], roots: tuple[x509.Certificate, ...]) -> None:
    """Each is signed by the next, and the last by a root, or is one."""
    if not any(is_signed(below, above) for below in chain for above in roots) and chain[-1] not in roots:
        raise AuthorityError(f"{directory / ROOT}: has not signed {SIGNER}, nor anything in {CHAIN}")


def is_signed(below: x509.Certificate, above: x509.Certificate) -> bool:
    """Whether `above` has signed `below`."""
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
