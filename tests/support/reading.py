"""Documents read for tests about reading."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from tulle.model.resource import Resource
from tulle.resources.read import read

VERSION = "networking.istio.io/v1"


def document(kind: str, spec: str, *, api_version: str = VERSION, name: str = "a") -> str:
    """A document whose spec stands from line 5 on."""
    body = "\n".join(f"  {line}" for line in dedent(spec).strip("\n").split("\n"))
    return f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{body}\n"


def wrong(kind: str, spec: str, **more: str) -> list[str]:
    """All violations of a document, with the line but without the file and the resource, which are the same for all."""
    found = read(document(kind, spec, **more), "f.yaml")
    prefix = f"{kind}/{more.get('name', 'a')}: "
    return [str(v).removeprefix("f.yaml:").replace(prefix, "", 1) for v in found.violations]


def warned(kind: str, spec: str, **more: str) -> list[str]:
    """All warnings of a document that must be valid."""
    found = read(document(kind, spec, **more), "f.yaml")
    assert not found.violations, [str(v) for v in found.violations]
    return [f"{v.field}: {v.message}" for v in found.warnings]


def cases(text: str) -> list[Any]:
    """Parameters out of a text: specs and, after a line `=>`, what is said of them; lines `====` between the cases."""
    pairs = (case.strip("\n").partition("\n=>\n") for case in text.split("\n====\n"))
    return [pytest.param(spec, said.split("\n"), id=said.split("\n")[0]) for spec, _, said in pairs]


def good(text: str) -> Resource[Any]:
    """The only resource of a text without violations."""
    found = read(text, "f.yaml")
    assert not found.violations, [str(v) for v in found.violations]
    (resource,) = found.resources
    return resource


def spec_of(kind: str, spec: str, **more: str) -> Any:
    return good(document(kind, spec, **more)).spec
