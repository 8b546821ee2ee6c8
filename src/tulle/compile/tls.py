"""TLS settings of documents as proxies need them. What lacks a certificate is told, and never served or called in plain text instead."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from tulle.compile.credentials import Keyring, files, root_file
from tulle.model.proxy import FilterChain
from tulle.model.tls import MESH_CERTIFICATE, MESH_PROTOCOL, MESH_REQUESTS, MESH_ROOTS, DownstreamTls, TlsVersion, Trust, UpstreamTls
from tulle.resources.networking.tls import CIPHER_SUITES, CURVES, ClientTls, ClientTlsMode, ServerTls, ServerTlsMode
from tulle.resources.networking.tls import TlsVersion as Version

HTTP = ("h2", "http/1.1")
"""What is offered by ALPN where HTTP is spoken (BEHAVIOURS 16)."""
PASSING = frozenset({ServerTlsMode.PASSTHROUGH, ServerTlsMode.AUTO_PASSTHROUGH})
ENDING = frozenset({ServerTlsMode.SIMPLE, ServerTlsMode.MUTUAL, ServerTlsMode.OPTIONAL_MUTUAL})
MESH_TCP_PROTOCOLS = ("istio-peer-exchange", MESH_PROTOCOL)
MESH_HTTP_PROTOCOLS = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MESH_PROTOCOLS = (*MESH_TCP_PROTOCOLS, *MESH_HTTP_PROTOCOLS)
"""What sidecars offer by ALPN to each other, Tulle's as Istio's: so their TLS is told from that of workloads, and requests from bytes."""
_MESH_HTTP2 = ("istio-h2", MESH_PROTOCOL, "h2")
_MUTUAL = frozenset({ServerTlsMode.MUTUAL, ServerTlsMode.OPTIONAL_MUTUAL})
_VERSIONS = {
    Version.TLSV1_0: TlsVersion.V1_0,
    Version.TLSV1_1: TlsVersion.V1_1,
    Version.TLSV1_2: TlsVersion.V1_2,
    Version.TLSV1_3: TlsVersion.V1_3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Why there can be no TLS yet."""

    why: str


def not_in_force(spec: ServerTls | None) -> str:
    """Why a TLS server with these settings is not served at all; empty where it is."""
    if spec is None:
        return "it has no tls settings"
    return ""


def mesh_server(trust_domains: tuple[str, ...], *, http: bool) -> DownstreamTls:
    """The mesh's mutual TLS, for callers of one of these trust domains."""
    trust = Trust(authority=MESH_ROOTS, domains=trust_domains)
    return DownstreamTls(certificates=(MESH_CERTIFICATE,), trust=trust, require_certificate=True, protocols=HTTP if http else ())


def mesh_client(names: tuple[str, ...], trust_domains: tuple[str, ...], sni: str, *, http: bool, http2: bool) -> UpstreamTls:
    """The mesh's mutual TLS towards workloads with one of these identities; without any, of one of these trust domains.

    `http/1.1` is never offered: the caller's version may be spoken, and the server then tells it from the first bytes.
    """
    trust = Trust(authority=MESH_ROOTS, names=names, domains=() if names else trust_domains)
    protocols = _MESH_HTTP2 if http2 else MESH_REQUESTS if http else (MESH_PROTOCOL,)
    return UpstreamTls(certificate=MESH_CERTIFICATE, trust=trust, sni=sni, protocols=protocols)


def bounded(chain: FilterChain, life: timedelta | None) -> FilterChain:
    """What begins with the mesh's certificates does not go on for ever: nobody looks at them again (see `MeshSettings.connection_life`)."""
    if life is None or chain.tls is None or MESH_CERTIFICATE not in chain.tls.certificates:
        return chain
    own = chain.serve.life
    return replace(chain, serve=replace(chain.serve, life=life if own is None else min(life, own)))


def gateway_of_the_mesh(spec: ServerTls, trust_domains: tuple[str, ...], *, http: bool) -> DownstreamTls:
    """ISTIO_MUTUAL at a gateway."""
    made = _parameters(mesh_server(trust_domains, http=http), spec)
    wanted = spec.subject_alt_names
    return replace(made, trust=replace(made.trust, names=wanted, domains=())) if made.trust and wanted else made


def _parameters(made: DownstreamTls, spec: ServerTls) -> DownstreamTls:
    """With the versions, cipher suites and curves of the settings."""
    return replace(
        made,
        minimum=_VERSIONS.get(spec.min_protocol_version, TlsVersion.V1_2),
        maximum=_VERSIONS.get(spec.max_protocol_version),
        cipher_suites=tuple(dict.fromkeys(c for c in spec.cipher_suites if c in CIPHER_SUITES)),
        curves=tuple(dict.fromkeys(c for c in spec.ecdh_curves if c in CURVES)),
    )


def downstream(spec: ServerTls, keyring: Keyring, home: str, *, http: bool) -> DownstreamTls | Missing:
    """Settings that end TLS. `home`: the namespace of the document, where credentials are looked for after the proxy's own."""
    certificates = _certificates(spec, keyring, home)
    if isinstance(certificates, Missing):
        return certificates
    trust = _callers(spec, keyring, home) if spec.mode in _MUTUAL else None
    if isinstance(trust, Missing):
        return trust
    asked, offered = spec.mode is ServerTlsMode.MUTUAL, HTTP if http else ()
    return _parameters(DownstreamTls(certificates=certificates, trust=trust, require_certificate=asked, protocols=offered), spec)


def _certificates(spec: ServerTls, keyring: Keyring, home: str) -> tuple[str, ...] | Missing:
    wanted = spec.credential_names or ((spec.credential_name,) if spec.credential_name else ())
    if not wanted:
        pairs = [(c.server_certificate, c.private_key) for c in spec.tls_certificates]
        return tuple(files(*p) for p in pairs or [(spec.server_certificate or "", spec.private_key or "")])
    for name in wanted:
        if not keyring.certificate(name, home):
            return _missing("certificate and key", name, keyring, home)
    return tuple(keyring.certificate(name, home) for name in wanted)


def _callers(spec: ServerTls, keyring: Keyring, home: str) -> Trust | Missing:
    credential = spec.ca_cert_credential_name or spec.credential_name or next(iter(spec.credential_names), "")
    path = "" if credential else spec.ca_certificates or next((c.ca_certificates for c in spec.tls_certificates if c.ca_certificates), "")
    crl = spec.ca_crl or ""
    authority = root_file(path, crl) if path else keyring.authority(credential, home)
    if not authority:
        return _missing("authority (ca.crt) for the certificates of callers", credential, keyring, home)
    return Trust(
        authority=authority,
        names=spec.subject_alt_names,
        revoked="" if path else crl,
        keys=spec.verify_certificate_spki,
        certificates=spec.verify_certificate_hash,
        lenient=bool(spec.insecure_skip_verify),
    )


def _missing(what: str, name: str, keyring: Keyring, home: str) -> Missing:
    places = " or ".join(dict.fromkeys((keyring.namespace, home)))
    return Missing(why=f"there is no {what} in a Secret {name} in namespace {places}")


def upstream(
    spec: ClientTls, keyring: Keyring, names: tuple[str, ...], host: str, *, http: bool, http2: bool
) -> UpstreamTls | Missing | None:
    """Settings that begin TLS; None for plain text.

    `names`: what a ServiceEntry says that certificates bear. `host`: what is asked for where requests do not tell.
    """
    if spec.mode in (ClientTlsMode.DISABLE, ClientTlsMode.ISTIO_MUTUAL):
        return None
    certificate = _own(spec, keyring)
    trust = _servers(spec, keyring, names)
    for part in (certificate, trust):
        if isinstance(part, Missing):
            return part
    return UpstreamTls(
        certificate=certificate if isinstance(certificate, str) else "",
        trust=trust if isinstance(trust, Trust) else None,
        sni=spec.sni or ("" if http else host),
        protocols=("h2",) if http2 else (),
    )


def _own(spec: ClientTls, keyring: Keyring) -> str | Missing:
    if spec.mode is not ClientTlsMode.MUTUAL:
        return ""
    if not spec.credential_name:
        return files(spec.client_certificate or "", spec.private_key or "")
    found = keyring.certificate(spec.credential_name)
    return found or Missing(why=f"there is no certificate and key in a Secret {spec.credential_name} in namespace {keyring.namespace}")


def _servers(spec: ClientTls, keyring: Keyring, names: tuple[str, ...]) -> Trust | Missing | None:
    """Without an authority the proxy's machine is asked, as Istio does; a client certificate's Secret may bring its own."""
    if spec.insecure_skip_verify:
        return None
    path, crl = spec.ca_certificates or "system", spec.ca_crl or ""
    authority = root_file(path, crl)
    if spec.credential_name:
        authority = keyring.authority(spec.credential_name)
        if not authority:
            return Missing(why=f"there is no authority (ca.crt) in a Secret {spec.credential_name} in namespace {keyring.namespace}")
    own = authority.endswith(f"~{crl}")
    return Trust(authority=authority, names=spec.subject_alt_names or names, revoked="" if own else crl)
