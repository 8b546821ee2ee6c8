"""TLS: envoy.extensions.transport_sockets.tls.v3. Certificates and keys are secrets that proxies ask for by name (SDS)."""

from __future__ import annotations

from ipaddress import ip_address
from posixpath import dirname
from typing import Any

from tulle.model.tls import (
    MESH_CERTIFICATE,
    SYSTEM_ROOTS,
    Authority,
    Certificate,
    DownstreamTls,
    Generic,
    Hidden,
    Material,
    Secret,
    TlsVersion,
    Trust,
    UpstreamTls,
)
from tulle.protos import any_, pb
from tulle.translate.snapshot import SECRET, Reference
from tulle.translate.values import ADS, Fields, number

SOCKET = "envoy.transport_sockets.tls"
QUIC_SOCKET = "envoy.transport_sockets.quic"


def secret(of: Secret) -> Any:
    """The message for a secret. Never to be shown."""
    if isinstance(of, Certificate):
        pair = {"certificate_chain": _source(of.chain), "private_key": _source(of.key)}
        return pb.Secret(name=of.name, tls_certificate=pair | _watched(of.chain))
    if isinstance(of, Generic):
        return pb.Secret(name=of.name, generic_secret={"secret": _source(of.value)})
    return pb.Secret(name=of.name, validation_context=_authority(of))


def _authority(of: Authority) -> Fields:
    if of.bundles:
        domains = [{"name": domain, "trust_bundle": _source(roots)} for domain, roots in of.bundles]
        config = any_(pb.SPIFFECertValidatorConfig(trust_domains=domains))
        return {"custom_validator_config": {"name": "envoy.tls.cert_validator.spiffe", "typed_config": config}}
    revoked: Fields = {"crl": _source(of.revoked)} if of.revoked else {}
    return {"trusted_ca": _source(of.roots)} | _watched(of.roots) | revoked


def _source(of: Material) -> Fields:
    return {"inline_bytes": of.reveal()} if isinstance(of, Hidden) else {"filename": of}


def _watched(of: Material) -> Fields:
    """Files are read again when something in their folder is moved, so that they can be replaced while they are in use."""
    return {} if isinstance(of, Hidden) else {"watched_directory": {"path": dirname(of) or "."}}


def references(of: DownstreamTls | UpstreamTls | None) -> tuple[Reference, ...]:
    """The secrets that it cannot do without."""
    return tuple((SECRET, name) for name in of.needs()) if of else ()


def downstream(of: DownstreamTls) -> Fields:
    """The transport socket of a filter chain."""
    return {"name": SOCKET, "typed_config": any_(_downstream_context(of))}


def quic(of: DownstreamTls) -> Fields:
    """The transport socket of a filter chain for QUIC.

    What callers send before the handshake ends could be sent again by others (RFC 8446, appendix E.5), so it is not taken.
    """
    config = pb.QuicDownstreamTransport(downstream_tls_context=_downstream_context(of), enable_early_data={"value": False})
    return {"name": QUIC_SOCKET, "typed_config": any_(config)}


def _downstream_context(of: DownstreamTls) -> Any:
    parameters: Fields = {"tls_minimum_protocol_version": of.minimum.value}
    if of.maximum or of.minimum is TlsVersion.V1_3:
        parameters["tls_maximum_protocol_version"] = (of.maximum or TlsVersion.V1_3).value
    if of.cipher_suites:
        parameters["cipher_suites"] = list(of.cipher_suites)
    if of.curves:
        parameters["ecdh_curves"] = list(of.curves)
    common: Fields = {"tls_certificate_sds_secret_configs": [_asked(name) for name in of.certificates], "tls_params": parameters}
    common |= _validation(of.trust) if of.trust else {}
    if of.protocols:
        common["alpn_protocols"] = list(of.protocols)
    fields: Fields = {"common_tls_context": common}
    if of.trust:
        # A session that is resumed shows no certificate: one that has ended since, or is trusted no more, would still get in.
        never = {"disable_stateless_session_resumption": True, "disable_stateful_session_resumption": True}
        fields |= {"require_client_certificate": {"value": of.require_certificate}, **never}
    return pb.DownstreamTlsContext(**fields)


def upstream(of: UpstreamTls) -> Fields:
    """The transport socket of a cluster."""
    # An own lower bound: Envoy's clients would still take TLS 1.2 only by default, and servers of 1.3 alone must be reached.
    common: Fields = {"tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}}
    if of.certificate:
        common["tls_certificate_sds_secret_configs"] = [_asked(of.certificate)]
    common |= _validation(of.trust) if of.trust else {}
    if of.protocols:
        common["alpn_protocols"] = list(of.protocols)
    fields: Fields = {"common_tls_context": common}
    if of.sni:
        fields["sni"] = of.sni
    if of.certificate == MESH_CERTIFICATE:
        # No sessions are kept, for the same reason as on the other side.
        fields["max_session_keys"] = number(0)
    if of.trust and not of.trust.names and not of.trust.domains:
        fields["auto_sni_san_validation"] = True
    return {"name": SOCKET, "typed_config": any_(pb.UpstreamTlsContext(**fields))}


def by_host(of: UpstreamTls) -> Fields:
    """Options of an HTTP cluster that asks for the host of each request."""
    return {"upstream_http_protocol_options": {"auto_sni": True}} if not of.sni else {}


def _asked(name: str) -> Fields:
    return {"name": name} if name == SYSTEM_ROOTS else {"name": name, "sds_config": ADS}


def _validation(of: Trust) -> Fields:
    own: Fields = {}
    if of.names:
        own["match_typed_subject_alt_names"] = [{"san_type": kind, "matcher": {"exact": n}} for n in of.names for kind in _kinds(n)]
    if of.domains and not of.names:
        own["match_typed_subject_alt_names"] = [{"san_type": "URI", "matcher": {"prefix": f"spiffe://{d}/"}} for d in of.domains]
    if of.keys:
        own["verify_certificate_spki"] = list(of.keys)
    if of.certificates:
        own["verify_certificate_hash"] = list(of.certificates)
    if of.revoked:
        own["crl"] = {"filename": of.revoked}
    if of.lenient:
        own["trust_chain_verification"] = "ACCEPT_UNTRUSTED"
    if not of.authority:
        return {"validation_context": own}
    combined = {"default_validation_context": own, "validation_context_sds_secret_config": _asked(of.authority)}
    return {"combined_validation_context": combined}


def _kinds(name: str) -> tuple[str, ...]:
    """What a name in a certificate may be: Istio does not say."""
    if "://" in name:
        return ("URI",)
    try:
        ip_address(name)
    except ValueError:
        return ("DNS", "EMAIL") if "@" in name else ("DNS",)
    return ("IP_ADDRESS",)
