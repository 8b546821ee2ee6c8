"""Resources to bytes and back, for the store and the wire."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tulle.model.resource import Origin, Resource
from tulle.resources.core_secret import Secret
from tulle.resources.kinds import kind_in
from tulle.resources.read import Metadata, build


def to_document(resource: Resource[Any]) -> dict[str, Any]:
    """What the user wrote: `apiVersion`, `kind`, `metadata` and `spec`; of a Secret without its values. A new value at each call."""
    document: dict[str, Any] = json.loads(resource.document)
    return document


def dump(resource: Resource[Any]) -> bytes:
    """JSON of the document and of where it was written, for the store: it holds what is hidden, too.

    The same resource always gives the same bytes.
    """
    place = {"path": resource.origin.path, "line": resource.origin.line, "lines": dict(resource.lines)}
    whole = to_document(resource) | (resource.spec.revealed() if isinstance(resource.spec, Secret) else {})
    return json.dumps({**whole, "origin": place}, separators=(",", ":")).encode()


def restore(data: bytes, *, created: int, revision: int) -> Resource[Any]:
    """The resource that `dump` wrote. Raises ValueError for a document that is not valid (any more)."""
    document = json.loads(data)
    origin = document.pop("origin")
    kind = kind_in(document["apiVersion"], document["kind"])
    if kind is None:
        raise ValueError(f"unknown kind {document['kind']} in {document['apiVersion']}")
    metadata = Metadata.model_validate(document["metadata"])
    spec = kind.spec.model_validate(document["spec"] if kind.body == ("spec",) else {k: document[k] for k in kind.body if k in document})
    place = Origin(path=origin["path"], line=origin["line"])
    return replace(build(kind, document, metadata, spec, origin=place, lines=origin["lines"]), created=created, revision=revision)
