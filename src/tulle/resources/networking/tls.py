"""TLS settings: of those who call (DestinationRule) and of those who are called (Gateway, Sidecar)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Annotated

from tulle.resources.names import ServerName
from tulle.resources.scalars import Flag, Text, choice, text_that
from tulle.resources.spec import Problem, Spec, shown


class ClientTlsMode(Enum):
    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


_CLIENT_FILES = ("client_certificate", "private_key", "ca_certificates", "credential_name")
_SERVER_FILES = ("server_certificate", "private_key", "ca_certificates", "credential_name", "credential_names", "tls_certificates")


class ClientTls(Spec):
    mode: Annotated[ClientTlsMode, choice(ClientTlsMode)] = ClientTlsMode.DISABLE
    client_certificate: Text | None = None
    private_key: Text | None = None
    ca_certificates: Text | None = None
    credential_name: Text | None = None
    subject_alt_names: tuple[Text, ...] = ()
    sni: ServerName | None = None
    insecure_skip_verify: Flag | None = None
    ca_crl: Text | None = None

    def check(self) -> Iterable[Problem]:
        if self.mode is ClientTlsMode.MUTUAL and not self.credential_name:
            for name in ("client_certificate", "private_key"):
                if not getattr(self, name):
                    yield (name,), "required where mode is MUTUAL and credentialName is not set"
        if self.mode is ClientTlsMode.ISTIO_MUTUAL:
            yield from _useless(self, _CLIENT_FILES, "must not be set where mode is ISTIO_MUTUAL: the mesh brings its own certificates")
        elif self.credential_name:
            yield from _useless(self, ("client_certificate", "private_key", "ca_certificates"), "must not stand beside credentialName")
        if self.insecure_skip_verify and self.ca_certificates:
            yield ("insecure_skip_verify",), "must not stand beside caCertificates"


def _useless(tls: Spec, names: Iterable[str], why: str) -> Iterator[Problem]:
    return (((name,), why) for name in names if getattr(tls, name))


class ServerTlsMode(Enum):
    PASSTHROUGH = "PASSTHROUGH"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"


CIPHER_SUITES = frozenset(
    {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-PSK-AES128-CBC-SHA",
        "ECDHE-PSK-AES256-CBC-SHA",
        "ECDHE-PSK-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
    }
)
"""What the proxy knows by these names of OpenSSL's, for TLS up to 1.2; the suites of TLS 1.3 are not chosen."""
CURVES = frozenset({"P-256", "P-384", "P-521", "X25519", "X25519MLKEM768"})


class TlsVersion(Enum):
    TLS_AUTO = "TLS_AUTO"
    TLSV1_0 = "TLSV1_0"
    TLSV1_1 = "TLSV1_1"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


_USUAL_MINIMUM = TlsVersion.TLSV1_2


class TlsCertificate(Spec):
    server_certificate: Text
    private_key: Text
    ca_certificates: Text | None = None


_KEY_DIGEST = re.compile(r"[A-Za-z0-9+/]{43}=")
_CERTIFICATE_DIGEST = re.compile(r"[0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31}")


def _key_digest(value: str) -> str | None:
    return None if _KEY_DIGEST.fullmatch(value) else f"must be a SHA-256 in base64 (44 characters), not {shown(value)}"


def _certificate_digest(value: str) -> str | None:
    return None if _CERTIFICATE_DIGEST.fullmatch(value) else f"must be a SHA-256 in 64 hexadecimal digits, not {shown(value)}"


class ServerTls(Spec):
    at_most_one_of = (("credential_name", "credential_names", "tls_certificates"),)

    https_redirect: Flag = False
    mode: Annotated[ServerTlsMode, choice(ServerTlsMode)] = ServerTlsMode.PASSTHROUGH
    server_certificate: Text | None = None
    private_key: Text | None = None
    ca_certificates: Text | None = None
    ca_crl: Text | None = None
    credential_name: Text | None = None
    credential_names: tuple[Text, ...] = ()
    ca_cert_credential_name: Text | None = None
    tls_certificates: tuple[TlsCertificate, ...] = ()
    subject_alt_names: tuple[Text, ...] = ()
    verify_certificate_spki: tuple[Annotated[str, text_that(_key_digest)], ...] = ()
    verify_certificate_hash: tuple[Annotated[str, text_that(_certificate_digest)], ...] = ()
    min_protocol_version: Annotated[TlsVersion, choice(TlsVersion)] = TlsVersion.TLS_AUTO
    max_protocol_version: Annotated[TlsVersion, choice(TlsVersion)] = TlsVersion.TLS_AUTO
    cipher_suites: tuple[Text, ...] = ()
    ecdh_curves: tuple[Text, ...] = ()
    insecure_skip_verify: Flag | None = None

    def check(self) -> Iterable[Problem]:
        if self.mode in _TERMINATING:
            yield from self._own_certificate()
        if self.mode in (ServerTlsMode.MUTUAL, ServerTlsMode.OPTIONAL_MUTUAL):
            yield from self._callers_authority()
        if self.mode is ServerTlsMode.ISTIO_MUTUAL:
            yield from _useless(self, _SERVER_FILES, "must not be set where mode is ISTIO_MUTUAL: the mesh brings its own certificates")
        if self._rank(self.min_protocol_version, _USUAL_MINIMUM) > self._rank(self.max_protocol_version, TlsVersion.TLSV1_3):
            said = self.min_protocol_version is not TlsVersion.TLS_AUTO
            yield (
                ("max_protocol_version",),
                f"must not be lower than minProtocolVersion{'' if said else ', which is TLSV1_2 if it is not set'}",
            )
        for name in ("credential_names", "tls_certificates"):
            if len(getattr(self, name)) > 2:
                yield (name,), "must have at most 2 items"

    @property
    def has_files(self) -> bool:
        return bool(self.server_certificate or self.private_key or self.ca_certificates)

    def _own_certificate(self) -> Iterator[Problem]:
        if self.credential_name or self.credential_names or self.tls_certificates:
            return
        if not self.server_certificate and not self.private_key:
            yield (), f"mode {self.mode.value} needs credentialName, or serverCertificate and privateKey"
        elif not self.server_certificate or not self.private_key:
            missing = "private_key" if self.server_certificate else "server_certificate"
            yield (missing,), f"required where mode is {self.mode.value} and credentialName is not set"

    def _callers_authority(self) -> Iterator[Problem]:
        inside = any(pair.ca_certificates for pair in self.tls_certificates)
        if not (self.credential_name or self.credential_names or self.ca_cert_credential_name or self.ca_certificates or inside):
            yield (), f"mode {self.mode.value} needs credentialName or caCertificates, to check the certificates of callers"

    @staticmethod
    def _rank(version: TlsVersion, automatic: TlsVersion) -> int:
        return list(TlsVersion).index(automatic if version is TlsVersion.TLS_AUTO else version)


_TERMINATING = (ServerTlsMode.SIMPLE, ServerTlsMode.MUTUAL, ServerTlsMode.OPTIONAL_MUTUAL)
