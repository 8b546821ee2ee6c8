"""Questions by which a certificate authority finds out whether a host is ours (RFC 8555, section 8), with our answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tulle.model.resource import Source
from tulle.model.tls import Certificate, Hidden

ALPN = "acme-tls/1"
"""By which the authority says that it comes to ask (RFC 8737, section 4)."""
WELL_KNOWN = "/.well-known/acme-challenge/"


class ChallengeType(Enum):
    HTTP_01 = "HTTP-01"
    """A request in plain text on port 80 (RFC 8555, section 8.3)."""
    TLS_ALPN_01 = "TLS-ALPN-01"
    """A TLS handshake on port 443 (RFC 8737)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One question about one host, while it is open."""

    kind: ChallengeType
    host: str
    token: str = ""
    """Of HTTP-01: the end of the path that is asked for."""
    answer: str = ""
    """Of HTTP-01: what stands there."""
    chain: Hidden = Hidden(b"")
    """Of TLS-ALPN-01: the certificate that is shown, as PEM."""
    key: Hidden = Hidden(b"")
    source: Source | None = None

    @property
    def path(self) -> str:
        return WELL_KNOWN + self.token

    @property
    def certificate(self) -> Certificate:
        """Of TLS-ALPN-01, as proxies ask for it."""
        return Certificate(name=f"{ALPN}:{self.host}", chain=self.chain, key=self.key, sources=(self.source,) if self.source else ())
