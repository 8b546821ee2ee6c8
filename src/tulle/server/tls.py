"""TLS at the control plane's own ports: what it shows, whom it asks for a certificate, and who has shown one.

Certificates and roots change while it runs. Connections that are there go on with those that they began with.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from tulle.logs import Log
from tulle.model.tls import Hidden
from tulle.secure import show
from tulle.server.access.caller import Peer
from tulle.settings import Settings

if TYPE_CHECKING:
    from tulle.ca.authority import Authority
    from tulle.ca.front import Front, Shown

_SIOCGIFADDR = 0x8915
_log = Log("http")
ALPN = ["http/1.1"]
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: those alone with forward secrecy and authenticated encryption (RFC 9325, 4.2). Those of TLS 1.3 are so all."""


class CertificateError(OSError):
    """The operator's certificate for the API cannot be used. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the ports show and ask for; nothing for those in plain text."""

    api: ssl.SSLContext | None
    proxies: Mapping[str, grpc.ServerCredentials]
    """By address."""


def opened(settings: Settings, authority: Authority) -> Ports:
    """As the settings say. Raises CertificateError."""
    if not (settings.api_is_tls or settings.xds_is_tls):
        return Ports(api=None, proxies={})
    from tulle.ca.front import Front  # noqa: PLC0415 - slow to load

    front = Front(authority, own_hosts(settings))
    return Ports(
        api=ApiContext.of(front, settings.api_cert, settings.api_key) if settings.api_is_tls else None,
        proxies={str(settings.xds): proxy_credentials(front)} if settings.xds_is_tls else {},
    )


def proxy_credentials(front: Front) -> grpc.ServerCredentials:
    """For the port of proxies: nobody gets in without a certificate that the mesh's authority has signed."""
    known = [front.shown()]

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Called at each handshake; None where nothing has changed."""
        shown = front.shown()
        if shown is known[0]:
            return None
        known[0] = shown
        return _configuration(shown)

    return grpc.dynamic_ssl_server_credentials(_configuration(known[0]), fetch, require_client_authentication=True)


def _configuration(shown: Shown) -> grpc.ServerCertificateConfiguration:
    key = shown.issued.key
    assert key  # noqa: S101 - made here
    return grpc.ssl_server_certificate_configuration([(key.reveal(), shown.issued.chain)], root_certificates=shown.roots)


class ApiContext(ssl.SSLContext):
    """For the port of the API: each connection gets what holds when it is made. Client certificates are taken, not asked for."""

    _front: Front
    _own: tuple[Path, Path] | None
    _now: tuple[tuple[object, ...], ssl.SSLContext]
    _told: tuple[object, ...]
    """Of what was told that it cannot be used."""

    @classmethod
    def of(cls, front: Front, certificate: str = "", key: str = "") -> ApiContext:
        """With the operator's own certificate and key, where there are files of such. Raises CertificateError."""
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._front = front
        context._own = (Path(certificate), Path(key)) if certificate else None
        context._told, context._now = (), (context._marks(), context._made())
        return context

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Python and uvloop call this at each connection."""
        return self._context().wrap_bio(*args, **options)

    def _context(self) -> ssl.SSLContext:
        marks = self._marks()
        if marks != self._now[0]:
            try:
                self._now = (marks, self._made())
            except CertificateError as error:  # what was there goes on until the files are whole again
                self._tell(marks, str(error))
        return self._now[1]

    def _tell(self, marks: tuple[object, ...], error: str) -> None:
        """Once for each change."""
        if marks != self._told:
            self._told = marks
            _log.warning("a new certificate cannot be shown; the API goes on with the one of before", error=error)

    def _marks(self) -> tuple[object, ...]:
        """Changes when something is to be read anew."""
        shown = self._front.shown()
        return (shown, *map(_changed, self._own or ()))

    def _made(self) -> ssl.SSLContext:
        shown = self._front.shown()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(ALPN)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=shown.roots.decode())
        pair = _read(*self._own) if self._own else (shown.issued.chain, shown.issued.key or Hidden(b""))
        try:
            show(context, *pair)
        except ValueError as error:
            raise CertificateError(f"--api-cert, --api-key: {error}") from None
        return context


def _changed(path: Path) -> int:
    """When a file was; 0 where it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _read(certificate: Path, key: Path) -> tuple[bytes, Hidden]:
    try:
        found, readable = (certificate.read_bytes(), Hidden(key.read_bytes())), key.stat().st_mode & 0o077
    except OSError as error:
        raise CertificateError(f"--api-cert, --api-key: {error.filename}: cannot be read: {error.strerror}") from None
    if readable:
        raise CertificateError(f"--api-key: {key}: can be read by others; chmod 600 it")
    return found


def peer_of(transport: Any) -> Peer | None:
    """Who has shown a certificate at the other end of a connection."""
    tls = transport.get_extra_info("ssl_object")
    shown: dict[str, Any] | None = tls.getpeercert() if tls else None
    if not shown:
        return None
    holder = next((value for part in shown.get("subject", ()) for name, value in part if name == "commonName"), "")
    return Peer(holder=holder, until=float(ssl.cert_time_to_seconds(shown["notAfter"])))


def own_hosts(settings: Settings) -> tuple[str, ...]:
    """Names and addresses by which other machines may reach the control plane, without asking anybody on the network."""
    name = socket.gethostname()
    listening = {address.host for address in (settings.api, settings.xds)}
    addresses = set(_addresses()) if any(map(_is_any, listening)) else {host for host in listening if not _is_any(host)}
    return tuple(sorted({"localhost", "127.0.0.1", "::1", *([name] if _is_name(name) else []), *addresses, *settings.api_names}))


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::")


def _is_name(text: str) -> bool:
    return all(part and part.isascii() and part.replace("-", "").isalnum() for part in text.split("."))


def _addresses() -> Iterator[str]:
    """Of this machine's interfaces, as far as the kernel tells."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(asking.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                yield socket.inet_ntoa(answer[20:24])
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            address = IPv6Address(int(line.split()[0], 16))
            if not address.is_link_local:
                yield str(ip_address(address))
