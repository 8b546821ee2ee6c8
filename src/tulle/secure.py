"""TLS towards a control plane: contexts made of what lies in memory, and whether it is a control plane that answers."""

from __future__ import annotations

import os
import re
import ssl
from ipaddress import ip_address
from typing import Any

from tulle.model.identity import CONTROL_ACCOUNT, CONTROL_NAMESPACE
from tulle.model.tls import Hidden

_CONTROL = re.compile(rf"spiffe://[^/]+/ns/{CONTROL_NAMESPACE}/sa/{CONTROL_ACCOUNT}")


def context_of(roots: bytes | str, chain: bytes = b"", key: Hidden | None = None) -> ssl.SSLContext:
    """For a client that trusts these roots (PEM), and shows that certificate where there is one.

    Whose certificate it is that answers is for `check_peer`. Raises ValueError for what is no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    _trust(context, roots)
    if key:
        show(context, chain, key)
    return context


def _trust(context: ssl.SSLContext, roots: bytes | str) -> None:
    try:
        context.load_verify_locations(cadata=roots.decode("ascii") if isinstance(roots, bytes) else roots)
    except (ssl.SSLError, UnicodeDecodeError):
        raise ValueError("holds no certificate that can be read: it must be PEM") from None


def blind_context() -> ssl.SSLContext:
    """For a client that believes whoever answers: only to ask for what it can check by itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def show(context: ssl.SSLContext, chain: bytes, key: Hidden) -> None:
    """From now on this certificate is shown (PEM). Python takes files only: these are in memory, and nobody else sees them.

    Raises ValueError for a key that is not the certificate's, or that has a password.
    """
    files = [_in_memory(chain), _in_memory(key.reveal())]
    try:
        certificate, private = (f"/proc/self/fd/{file}" for file in files)
        context.load_cert_chain(certificate, private, password=_asked_for_password)
    except ssl.SSLError as error:
        raise ValueError(f"certificate and key do not belong together, or cannot be read: {error.reason}") from None
    finally:
        for file in files:
            os.close(file)


def _asked_for_password() -> str:
    """Or OpenSSL would ask at the terminal, where there may be nobody."""
    raise ValueError("the key has a password: write it without one, as in `openssl pkey -in KEY -out FILE`")


def _in_memory(content: bytes) -> int:
    file = os.memfd_create("pem", os.MFD_CLOEXEC)
    os.write(file, content)
    return file


def check_peer(peer: ssl.SSLObject | ssl.SSLSocket, host: str) -> None:
    """That a control plane answers, by its identity, or else the host that was called, by name or address.

    Only after the certificate was verified. Raises ssl.SSLCertVerificationError.
    """
    if peer.context.check_hostname or peer.context.verify_mode is not ssl.CERT_REQUIRED:
        return
    certificate: dict[str, Any] = dict(peer.getpeercert() or {})
    names: list[tuple[str, str]] = list(certificate.get("subjectAltName", ()))
    if not any(kind == "URI" and _CONTROL.fullmatch(name) for kind, name in names) and not any(_is(host, *name) for name in names):
        shown = ", ".join(name for _, name in names) or "nobody"
        raise ssl.SSLCertVerificationError(f"its certificate is for {shown}, neither for a control plane nor for {host}")


def _is(host: str, kind: str, name: str) -> bool:
    """RFC 6125: a `*` stands for one whole label, the first."""
    if kind == "IP Address":
        return _is_same_address(host, name)
    host, name = host.lower().rstrip("."), name.lower()
    return kind == "DNS" and (name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:]))


def _is_same_address(host: str, name: str) -> bool:
    try:
        return ip_address(host) == ip_address(name)
    except ValueError:
        return False


def explained(error: OSError, server: str) -> str:
    """What went wrong when a control plane was called, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message if hasattr(error, "verify_message") and error.verify_message else str(error)
        return (
            f"{server} is not trusted: {why}. Give the mesh's roots with --ca-file (TULLE_CA_FILE); "
            "where the control plane made them, they are in ca/current/root-cert.pem beside its database"
        )
    if isinstance(error, ssl.SSLError) and "WRONG_VERSION" in (error.reason or ""):
        return f"{server} speaks no TLS: write http:// for a control plane that was told --api-tls off"
    if isinstance(error, ssl.SSLError):
        return f"{server}: TLS failed: {error.reason or error}"
    if isinstance(error, ConnectionResetError | BrokenPipeError) or "closed connection without response" in str(error):
        hint = "" if server.startswith("https:") else "; beyond loopback a control plane speaks https://"
        return f"{server} closed the connection{hint}"
    if isinstance(error, TimeoutError):
        return f"{server} took too long to answer"
    return error.strerror or str(error) or type(error).__name__
