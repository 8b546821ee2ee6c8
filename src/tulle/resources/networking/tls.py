"""TLS settings: of those who call (DestinationRule) and of those who are called (Gateway, Sidecar)."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from tulle.resources.scalars import Flag, Text, choice
from tulle.resources.spec import Spec


class ClientTlsMode(Enum):
    DISABLE = "DISABLE"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"


class ClientTls(Spec):
    mode: Annotated[ClientTlsMode, choice(ClientTlsMode)] = ClientTlsMode.DISABLE
    client_certificate: Text | None = None
    private_key: Text | None = None
    ca_certificates: Text | None = None
    credential_name: Text | None = None
    subject_alt_names: tuple[Text, ...] = ()
    sni: Text | None = None
    insecure_skip_verify: Flag | None = None
    ca_crl: Text | None = None


class ServerTlsMode(Enum):
    PASSTHROUGH = "PASSTHROUGH"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"


class TlsVersion(Enum):
    TLS_AUTO = "TLS_AUTO"
    TLSV1_0 = "TLSV1_0"
    TLSV1_1 = "TLSV1_1"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


class TlsCertificate(Spec):
    server_certificate: Text | None = None
    private_key: Text | None = None
    ca_certificates: Text | None = None


class ServerTls(Spec):
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
    verify_certificate_spki: tuple[Text, ...] = ()
    verify_certificate_hash: tuple[Text, ...] = ()
    min_protocol_version: Annotated[TlsVersion, choice(TlsVersion)] = TlsVersion.TLS_AUTO
    max_protocol_version: Annotated[TlsVersion, choice(TlsVersion)] = TlsVersion.TLS_AUTO
    cipher_suites: tuple[Text, ...] = ()
    ecdh_curves: tuple[Text, ...] = ()
    insecure_skip_verify: Flag | None = None
