"""Which authorities this machine trusts, for proxies that call others over TLS."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where Debian, Red Hat, SUSE and others keep them, as one PEM file."""


def bundle(environment: Mapping[str, str]) -> str:
    """The file of SSL_CERT_FILE, as OpenSSL has it, else that of the machine; empty where there is none."""
    known = (environment.get("SSL_CERT_FILE", ""), *BUNDLES, ssl.get_default_verify_paths().openssl_cafile)
    return next((path for path in known if path and Path(path).is_file()), "")
