"""The Secret that a Certificate is put into."""

from __future__ import annotations

import base64
import json

from tulle.model.resource import Key
from tulle.model.tls import Hidden
from tulle.resources.core_secret import CHAIN, KEY, TLS_TYPE, Secret
from tulle.server.acme import material
from tulle.server.acme.material import UnfitError
from tulle.store.document import File
from tulle.store.documents import Documents

MADE_FOR = "tulle.dev/certificate"
"""The annotation of a Secret that names the Certificate whose it is."""


async def secret_at(documents: Documents, key: Key) -> Secret | None:
    """As it was applied last, whatever the proxies say of it."""
    document = await documents.get(key)
    spec = document.resource.spec if document and document.resource else None
    return spec if isinstance(spec, Secret) else None


def fingerprint(of: Secret | None) -> str:
    """Of its certificate; empty where it has none, or no key with it."""
    try:
        return material.about(of.chain.reveal()).fingerprint if of and of.chain and of.key else ""
    except ValueError:
        return ""


async def put(documents: Documents, key: Key, certificate: str, chain: bytes, private: Hidden) -> None:
    """Puts chain and key there, for the Certificate of a name; what else stands there stays.

    Raises StoreError, and UnfitError for what a Secret cannot hold.
    """
    entries = {**_others(await secret_at(documents, key)), CHAIN[0]: chain, KEY[0]: private.reveal()}
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": key.name, "namespace": key.namespace, "annotations": {MADE_FOR: certificate}},
        "type": TLS_TYPE,
        "data": {name: base64.b64encode(value).decode() for name, value in entries.items()},
    }
    report = await documents.apply([File(path=f"certificate/{certificate}", text=json.dumps(document))])
    if report.violations:
        raise UnfitError(f"the Secret {key.name} cannot be written: {report.violations[0].message}")


def _others(there: Secret | None) -> dict[str, bytes]:
    """An authority for the certificates of callers, say."""
    own = {*CHAIN, *KEY}
    return {name: value.reveal() for name, value in there.entries.items() if name not in own} if there else {}
