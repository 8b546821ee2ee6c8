"""One document in a small mesh, and what becomes of it as its fields are taken away one by one."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from support.certificates import Ca, tls_secret
from tulle.compile import Built, build, view
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Locality
from tulle.model.mesh import Inputs
from tulle.model.proxy import InboundPort, Node, Role, Upstream
from tulle.model.service import RegisteredPort, Registration
from tulle.resources.kinds import kind_of
from tulle.resources.read import Read, read
from tulle.translate import Translator

Place = tuple[str | int, ...]
FOLDER = Path(__file__).parents[1] / "corpus" / "fields"

_LOCAL = "127.0.0.1"
FRONT = Node(
    id="sidecar~front",
    role=Role.SIDECAR,
    namespace="shop",
    labels=FrozenMap({"app": "front"}),
    service="front",
    locality=Locality.parse("north/a/1"),
    http_proxy=(_LOCAL, 15001),
    upstreams=tuple(
        Upstream(host=host, port=port, bind_port=20000 + port + offset)
        for host, offset in (("catalog", 0), ("tills", 1000))
        for port in (80, 99, 443)
    ),
    inbound=(InboundPort(service_port=80, listen=20080, target=8080), InboundPort(service_port=81, listen=20081, target=8081)),
)
NODES = (
    FRONT,
    Node(id="sidecar~other", role=Role.SIDECAR, namespace="other", http_proxy=(_LOCAL, 15001), locality=Locality.parse("south/a/1")),
    Node(id="sidecar~third", role=Role.SIDECAR, namespace="third", http_proxy=(_LOCAL, 15001)),
    Node(
        id="gateway~edge",
        role=Role.GATEWAY,
        namespace="istio-system",
        labels=FrozenMap({"istio": "ingressgateway"}),
        privileged_ports=True,
        locality=Locality.parse("west/a/1"),
    ),
)
"""Callers of the document's own namespace, of one that it is exported to, of one that it is not, and the edge."""
GROUPED = Registration(
    id="grouped-1",
    service="catalog",
    namespace="shop",
    ports=(RegisteredPort(number=80, target=18080),),
    labels=FrozenMap({"tulle.dev/workload-group": "grouped"}),
    proxy="sidecar~grouped",
)


@cache
def mesh() -> Inputs:
    """All but the document itself."""
    ca = Ca()
    secrets = [tls_secret(name, ca.issue(f"{name}.example"), ca, namespace="shop") for name in ("shop", "partner", "partners")]
    found = read("---\n".join([(FOLDER / "mesh.yaml").read_text(), *secrets]), "mesh.yaml")
    assert not found.violations, [str(v) for v in found.violations]
    resources = {r.key: replace(r, created=n) for n, r in enumerate(found.resources, 1000)}
    return Inputs(resources=resources, registrations={GROUPED.id: GROUPED})


@cache
def _without() -> Built:
    """The mesh as it is without the document."""
    return build(mesh())


@dataclass
class Trial:
    """A document and what comes of it. Variants are compiled from the mesh that it stands in."""

    document: dict[str, Any]
    translator: Translator = field(default_factory=Translator)

    def __post_init__(self) -> None:
        found = read(json.dumps(self.document), "document.yaml")
        assert not found.violations, [str(v) for v in found.violations]
        built = self._built(found)
        self.said = (*found.warnings, *built.statuses[found.resources[0].key].warnings)
        self.snapshots = {node.id: self.translator.snapshot(view(built.mesh, node)) for node in NODES}
        self.sent = {node: snapshot.versions() for node, snapshot in self.snapshots.items()}

    def _built(self, found: Read) -> Built:
        (resource,) = found.resources
        return build(replace(mesh(), resources={**mesh().resources, resource.key: replace(resource, created=1)}), _without())

    def _sent(self, built: Built, node: Node) -> Mapping[Any, str]:
        return self.translator.snapshot(view(built.mesh, node)).versions()

    def _differs(self, found: Read) -> bool:
        built = self._built(found)
        return any(self._sent(built, node) != self.sent[node.id] for node in NODES)

    def reported(self, place: Place) -> bool:
        """Whether something is said of the very field, or that what it stands in is not in force."""
        mine = shown(place)
        for one in self.said:
            if one.field == mine or (mine.startswith(one.field) and any(w in one.message for w in ("not in force", "no effect"))):
                return True
        return False

    def acts(self, place: Place, others: Iterable[Any]) -> bool:
        """Whether anything changes without the field, or with another value where it must be there.

        Where neither makes a valid document, what it stands in is taken away.
        """
        possible = False
        for variant in self._variants(place, others):
            found = read(json.dumps(variant), "document.yaml")
            if not found.violations and self._differs(found):
                return True
            possible = possible or not found.violations
        return not possible and len(place) > 2 and self.acts(place[:-1], ())

    def _variants(self, place: Place, others: Iterable[Any]) -> Iterator[dict[str, Any]]:
        yield changed(self.document, place, None)
        value = at(self.document, place)
        yield from (changed(self.document, place, other) for other in (*others, *_unlike(value)) if other != value)


def at(document: Any, place: Place) -> Any:
    for part in place:
        document = document[part]
    return document


def changed(document: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    """With another value; None takes the field away."""
    copied = copy.deepcopy(document)
    inside = at(copied, place[:-1])
    if value is None:
        del inside[place[-1]]
    else:
        inside[place[-1]] = value
    return copied


def _unlike(value: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value - 1)
    elif isinstance(value, str):
        yield from (value + "x", f"x{value}")


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    """The places of all that is written, down to texts and numbers. What is empty is a leaf."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*place, key))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from leaves(inner, (*place, number))
    else:
        yield place


def shown(place: Place) -> str:
    """As messages name it."""
    from tulle.resources.paths import item, member

    path = ""
    for part in place:
        path = item(path, part) if isinstance(part, int) else member(path, part)
    return path


def documents(kind: str) -> list[dict[str, Any]]:
    """Each a tree of its own: what stands in several places by an alias can be changed in one."""
    return [json.loads(json.dumps(document)) for document in yaml.safe_load_all((FOLDER / f"{kind}.yaml").read_text())]


def written(kind: str) -> dict[str, list[tuple[int, Place]]]:
    """By path of the schema, such as `http[].match[].uri.exact`, where it is used: number of the document, and place."""
    known = schema_fields(kind)
    found: dict[str, list[tuple[int, Place]]] = {}
    for number, document in enumerate(documents(kind)):
        for leaf in leaves(document["spec"]):
            found.setdefault(_generic(leaf, known), []).append((number, ("spec", *leaf)))
    return found


def _generic(place: Place, known: frozenset[str]) -> str:
    """A place as the schema has it: any key of a map is `*`."""
    path = ""
    for part in place:
        if isinstance(part, int):
            path += "[]"
            continue
        if path in known:
            return path
        named = f"{path}.{part}" if path else part
        path = named if any(k == named or k.startswith((f"{named}.", f"{named}[")) for k in known) else f"{path}.*"
    return path


@cache
def schema_fields(kind: str) -> frozenset[str]:
    """The paths of all leaves that documents of a kind may have."""
    found = kind_of(kind)
    assert found is not None
    with warnings.catch_warnings(action="ignore"):  # of defaults that JSON cannot say
        schema = found.spec.model_json_schema()
    return frozenset(_walk(schema, schema, ""))


def _walk(root: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[str]:
    schemas = [root["$defs"][s["$ref"].rpartition("/")[2]] if "$ref" in s else s for s in _choices(schema)]
    inner = False
    for one in schemas:
        for name, below in one.get("properties", {}).items():
            inner = True
            yield from _walk(root, below, f"{path}.{name}" if path else name)
        if "items" in one:
            inner = True
            yield from _walk(root, one["items"], f"{path}[]")
        if isinstance(one.get("additionalProperties"), dict):
            inner = True
            yield from _walk(root, one["additionalProperties"], f"{path}.*")
    if not inner:
        yield path


def _choices(schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "allOf" in schema:
        return list(schema["allOf"])
    return [c for c in schema.get("anyOf", [schema]) if c.get("type") != "null"]
