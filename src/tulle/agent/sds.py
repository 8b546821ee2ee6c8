"""Files from which a proxy reads what it shows to its control plane, and whom it believes (secret discovery from the file system).

Pure. Each file holds one secret with all of its text, so that to rename a new one into its place changes certificate and key at once.
"""

from __future__ import annotations

import json
from typing import Any

CERTIFICATE, ROOTS = "tulle-member", "tulle-control-plane"
"""Names of the secrets."""
_KIND = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def certificate_file(chain: str, key: str) -> str:
    """Of PEM."""
    return _file({"name": CERTIFICATE, "tls_certificate": {"certificate_chain": _inline(chain), "private_key": _inline(key)}})


def roots_file(roots: str, uri: str) -> str:
    """For a server that these roots (PEM) vouch for, and that has the identity `uri`."""
    names = [{"san_type": "URI", "matcher": {"exact": uri}}]
    return _file({"name": ROOTS, "validation_context": {"trusted_ca": _inline(roots), "match_typed_subject_alt_names": names}})


def _inline(text: str) -> dict[str, str]:
    return {"inline_string": text}


def _file(secret: dict[str, Any]) -> str:
    return json.dumps({"resources": [{"@type": _KIND, **secret}]})
