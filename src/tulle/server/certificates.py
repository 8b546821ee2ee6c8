"""What is told of the certificates in a Secret: never a key, nor anything else that is in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tulle.model.resource import Resource
from tulle.resources.certificates import About, about, parse
from tulle.resources.core_secret import Secret
from tulle.store.document import Document


def _secret(document: Document) -> Resource[Secret] | None:
    resource = document.resource
    return resource if resource is not None and isinstance(resource.spec, Secret) else None


def certificates_json(document: Document) -> list[dict[str, Any]]:
    """The first certificate of each part that has some; empty for other documents than Secrets."""
    resource = _secret(document)
    return [_json(part, found) for part, found in _parts(resource.spec)] if resource else []


def _parts(spec: Secret) -> Iterator[tuple[str, About]]:
    for part, held in (("server or client", spec.chain), ("authority", spec.roots)):
        try:
            yield from ((part, about(found)) for found in parse(held.reveal())[:1]) if held else ()
        except ValueError:
            continue


def _json(part: str, of: About) -> dict[str, Any]:
    return {
        "use": part,
        "subject": of.subject,
        "issuer": of.issuer,
        "names": list(of.names),
        "notBefore": f"{of.not_before:%Y-%m-%dT%H:%M:%SZ}",
        "notAfter": f"{of.not_after:%Y-%m-%dT%H:%M:%SZ}",
        "sha256": of.fingerprint,
    }
