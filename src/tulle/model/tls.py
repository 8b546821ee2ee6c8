"""How connections are encrypted, and whom each side trusts. Certificates and keys stand apart: proxies ask for them by name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tulle.model.resource import Source


class Hidden:
    """Bytes that must not be seen: no text form, no JSON and no pickle of anything that holds them shows what they are."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """For the two that must have them: the proxy, and the store."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "(hidden)"

    def __reduce__(self) -> str:
        raise TypeError("hidden bytes are not written anywhere")


Material = Hidden | str
"""What is known here, or the path of a file on the proxy's own machine."""

SYSTEM_ROOTS = "file-root:system"
"""The authorities that the proxy's machine trusts. Each proxy has them from the start, under this name (Istio's)."""
MESH_CERTIFICATE, MESH_ROOTS = "default", "ROOTCA"
"""A proxy's own certificate in the mesh, and the mesh's roots: each proxy is given its own under these names (Istio's)."""
MESH_PROTOCOL = "istio"
"""What proxies of the mesh offer each other by ALPN."""
MESH_REQUESTS = ("istio-http/1.1", MESH_PROTOCOL)
"""The same where requests are carried. HTTP/2 of callers whose version is spoken on is meant, too: nobody goes by the number."""
BROUGHT = frozenset({SYSTEM_ROOTS, MESH_CERTIFICATE, MESH_ROOTS})
"""Names of secrets that no document brings: every proxy has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A chain of certificates with its private key, as PEM."""

    name: str
    """By which proxies ask for it; Istio's words: `kubernetes://NAME`, `file-cert:CERTIFICATE~KEY`."""
    chain: Material
    key: Material
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Whose certificates are trusted, as PEM."""

    name: str
    """As that of a Certificate: `kubernetes://NAME-cacert`, `file-root:PATH`."""
    roots: Material
    revoked: Material | None = None
    """A list of certificates that are trusted no more."""
    bundles: tuple[tuple[str, Hidden], ...] = ()
    """By SPIFFE trust domain, roots that vouch for that domain alone; where there are any, they stand in place of `roots`."""
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generic:
    """Bytes that a proxy must know, and that are neither a certificate nor an authority."""

    name: str
    value: Hidden
    sources: tuple[Source, ...] = ()


Secret = Certificate | Authority | Generic


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What the other side must show. All parts that are set must hold."""

    authority: str = ""
    """Name of an Authority; empty where only the hashes count."""
    names: tuple[str, ...] = ()
    """Of which its certificate must bear one: DNS names, URIs, addresses. Empty: any."""
    domains: tuple[str, ...] = ()
    """Trust domains, of one of which its SPIFFE identity must be, where no names are told."""
    revoked: str = ""
    """Path of a file on the proxy's machine, with certificates that are trusted no more."""
    keys: tuple[str, ...] = ()
    """Base64 of the SHA-256 of the public keys that are taken (SubjectPublicKeyInfo)."""
    certificates: tuple[str, ...] = ()
    """Hex of the SHA-256 of the certificates that are taken."""
    lenient: bool = False
    """A certificate that the authority did not sign is taken, too."""


class TlsVersion(Enum):
    V1_0 = "TLSv1_0"
    V1_1 = "TLSv1_1"
    V1_2 = "TLSv1_2"
    V1_3 = "TLSv1_3"


@dataclass(frozen=True, slots=True, kw_only=True)
class DownstreamTls:
    """TLS ended here, for those who call."""

    certificates: tuple[str, ...]
    """Names of Certificates; the one that suits the caller's abilities is shown."""
    trust: Trust | None = None
    """Of callers' certificates; None where none is asked for."""
    require_certificate: bool = False
    """Callers without a certificate are refused."""
    minimum: TlsVersion = TlsVersion.V1_2
    maximum: TlsVersion | None = None
    """None: the newest that the data plane knows."""
    cipher_suites: tuple[str, ...] = ()
    """For TLS 1.2 and older, from the most wanted; empty for the data plane's choice."""
    curves: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    """Offered by ALPN, from the most wanted."""

    def needs(self) -> tuple[str, ...]:
        """The names of all secrets that it cannot do without, but those that every proxy has."""
        authority = self.trust.authority if self.trust else ""
        return tuple(name for name in (*self.certificates, authority) if name and name not in BROUGHT)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTls:
    """TLS begun here, towards those who are called."""

    certificate: str = ""
    """Name of the Certificate that is shown; empty for none."""
    trust: Trust | None = None
    """None: whoever answers is believed. Without names or domains in it, the certificate must bear the name that it was asked for."""
    sni: str = ""
    """The name that is asked for; empty for the host of each request, where requests are HTTP."""
    protocols: tuple[str, ...] = ()

    def needs(self) -> tuple[str, ...]:
        """The names of all secrets that it cannot do without, but those that every proxy has."""
        authority = self.trust.authority if self.trust else ""
        return tuple(name for name in (self.certificate, authority) if name and name not in BROUGHT)
