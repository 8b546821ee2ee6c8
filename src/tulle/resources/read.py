"""Reads documents: text in, resources and all that is wrong out."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import ValidationError

from tulle.model.frozen import FrozenMap
from tulle.model.resource import Origin, Resource, Violation
from tulle.resources import mesh_config
from tulle.resources.annotations import found_in
from tulle.resources.core_secret import Secret
from tulle.resources.foreign import judge
from tulle.resources.kinds import MESH_FILE, Kind, kind_in
from tulle.resources.meshfile import Mesh
from tulle.resources.names import Label, LabelMap, dns_name
from tulle.resources.paths import locate, nearest_line
from tulle.resources.pending import pending
from tulle.resources.scalars import NO_TEXTS, TextMap, text_that
from tulle.resources.spec import Spec, problems_of, shown
from tulle.resources.yaml import MAX_FAULTS, Document, load

M = TypeVar("M", bound=Spec)

_TOP = ("apiVersion", "kind", "metadata")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a file holds. Every violation is told at once; resources are those documents that have none."""

    resources: tuple[Resource[Any], ...] = ()
    meshes: tuple[Resource[Mesh], ...] = ()
    """Mesh files: checked like every other document, but started with `tulle up`, never applied."""
    violations: tuple[Violation, ...] = ()
    warnings: tuple[Violation, ...] = ()
    """What is valid but not in force, and documents that were skipped."""


class Metadata(Spec):
    """What Kubernetes itself writes into metadata is accepted and dropped."""

    tolerated = frozenset(
        {
            "creationTimestamp",
            "deletionGracePeriodSeconds",
            "deletionTimestamp",
            "finalizers",
            "generateName",
            "generation",
            "managedFields",
            "ownerReferences",
            "resourceVersion",
            "selfLink",
            "uid",
        }
    )

    name: Annotated[str, text_that(dns_name)]
    namespace: Label | None = None
    labels: LabelMap = NO_TEXTS
    annotations: TextMap = NO_TEXTS

    def document(self, namespace: str) -> dict[str, Any]:
        """As documents are kept; `namespace` is for one that names none, and empty for one that belongs to none."""
        kept: dict[str, Any] = {"name": self.name, **({"namespace": self.namespace or namespace} if namespace else {})}
        for key, texts in (("labels", self.labels), ("annotations", self.annotations)):
            if texts:
                kept[key] = dict(texts)
        return kept


@dataclass(slots=True)
class _Findings:
    resources: list[Resource[Any]] = field(default_factory=list)
    meshes: list[Resource[Any]] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    warnings: list[Violation] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """One document as it stands in a file."""

    value: Mapping[str, Any]
    lines: Mapping[str, int]
    origin: Origin

    def text(self, key: str) -> str:
        value = self.value.get(key)
        return value if isinstance(value, str) else ""

    def named(self, field: str) -> str:
        metadata = self.value.get("metadata")
        value = metadata.get(field) if isinstance(metadata, dict) else None
        return value if isinstance(value, str) else ""

    def title(self) -> str:
        kind = kind_in(self.text("apiVersion"), self.text("kind"))
        return "/".join(part for part in (kind.name if kind else self.text("kind"), self.named("name")) if part)

    def body(self, kind: Kind) -> dict[str, Any]:
        """What it says, apart from what it is called."""
        return {key: self.value[key] for key in kind.body if self.value.get(key) is not None}

    def says(self, path: str, message: str) -> Violation:
        origin = replace(self.origin, line=nearest_line(self.lines, path, self.origin.line))
        return Violation(origin=origin, resource=self.title(), namespace=self.named("namespace"), field=path, message=message)


def read(text: str | bytes, path: str, *, namespace: str = "default") -> Read:
    """Reads all documents of a file; `namespace` is for those that name none. Never raises, whatever the text."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    findings = _Findings()
    for document in load(text):
        _take(findings, document, path, namespace)
    ordered = sorted(findings.violations, key=lambda violation: violation.origin.line)
    return Read(
        resources=tuple(findings.resources),
        meshes=tuple(findings.meshes),
        violations=tuple(ordered),
        warnings=tuple(findings.warnings),
    )


def _take(findings: _Findings, document: Document, path: str, namespace: str) -> None:
    origin = Origin(path=path, line=document.line)
    if not isinstance(document.value, dict):
        faults = [Violation(origin=replace(origin, line=fault.line), message=fault.message) for fault in document.faults]
        nothing = Violation(origin=origin, message=f"a document must be a mapping with apiVersion and kind, not {shown(document.value)}")
        findings.violations.extend(faults or [nothing])
        return
    written = _Written(value=document.value, lines=document.lines, origin=origin)
    if document.faults:
        for fault in document.faults:
            findings.violations.append(replace(written.says(fault.field, fault.message), origin=replace(origin, line=fault.line)))
        return
    for single in _unrolled(written):
        _judge(findings, single, namespace)


def _unrolled(written: _Written) -> Iterator[_Written]:
    """The document itself, or the items of a `kind: List`."""
    items = written.value.get("items")
    if not written.text("kind").endswith("List") or not isinstance(items, list):
        yield written
        return
    lines: list[dict[str, int]] = [{} for _ in items]
    for path, line in written.lines.items():
        if path.startswith("items["):
            number, _, inner = path[len("items[") :].partition("]")
            lines[int(number)][inner.removeprefix(".")] = line
    for value, inner_lines in zip(items, lines, strict=True):
        origin = replace(written.origin, line=inner_lines.pop("", written.origin.line))
        if isinstance(value, dict):
            yield from _unrolled(_Written(value=value, lines=inner_lines, origin=origin))
        else:
            yield _Written(value={}, lines={}, origin=origin)


def _judge(findings: _Findings, written: _Written, namespace: str) -> None:
    missing = [written.says(key, "required, as text") for key in ("apiVersion", "kind") if not written.text(key)]
    if missing:
        findings.violations.extend(missing)
        return
    is_mesh = written.text("kind") == MESH_FILE.name and written.text("apiVersion") in MESH_FILE.api_versions
    kind = MESH_FILE if is_mesh else kind_in(written.text("apiVersion"), written.text("kind"))
    if kind is None:
        foreign = judge(written.text("apiVersion"), written.text("kind"))
        (findings.warnings if foreign.skip else findings.violations).append(written.says(foreign.field, foreign.message))
        return
    wrong = list(_top_level(written, kind))
    metadata = _validated(written, ("metadata",), Metadata, wrong)
    has_spec = kind.body == ("spec",) and (kind.required or "spec" in written.value)
    spec = _validated(written, ("spec",) if has_spec else (), kind.spec, wrong, written.body(kind))
    broken, idle = found_in(kind.name, metadata.annotations) if metadata else ((), ())
    mesh = mesh_config.found_in(kind.name, metadata.name, spec) if metadata else mesh_config.NOTHING
    wrong.extend(written.says(field, message) for field, message in (*broken, *mesh_config.placed(mesh.problems)))
    findings.violations.extend(_told(wrong))
    if not wrong and metadata is not None and spec is not None:
        found = findings.meshes if kind is MESH_FILE else findings.resources
        found.append(_resource(written, kind, metadata, spec, "" if kind.cluster else namespace))
        if kind.cluster and metadata.namespace:
            findings.warnings.append(written.says("metadata.namespace", f"has no effect: a {kind.kind} belongs to no namespace"))
        places = pending(kind.name, written.value.get("spec") or {})
        findings.warnings.extend(written.says(locate(written.value, ("spec", *place)), message) for place, message in places)
        findings.warnings.extend(written.says(field, message) for field, message in (*idle, *mesh_config.placed(mesh.idle)))


def _told(wrong: list[Violation]) -> list[Violation]:
    """Nobody reads thousands, but they would take long to tell."""
    if len(wrong) <= MAX_FAULTS:
        return wrong
    return [*wrong[:MAX_FAULTS], replace(wrong[MAX_FAULTS], field="", message="more is wrong in this document, which is not told")]


def _top_level(written: _Written, kind: Kind) -> Iterator[Violation]:
    known = (*_TOP, *kind.body)
    for key in written.value:
        if key not in (*known, "status"):
            near = difflib.get_close_matches(key, known, n=1)
            yield written.says(key, f'unknown field "{key}"' + (f'; did you mean "{near[0]}"?' if near else ""))


def _validated(
    written: _Written, at: tuple[str, ...], model: type[M], wrong: list[Violation], body: Mapping[str, Any] | None = None
) -> M | None:
    """The part of a document that stands under the key `at`; with an empty one, `body`."""
    if at and at[0] not in written.value:
        wrong.append(written.says(at[0], "required"))
        return None
    value = written.value[at[0]] if at else body
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as error:
        wrong.extend(
            written.says(locate(written.value, (*at, *place)), message) for place, message in islice(problems_of(error), MAX_FAULTS + 1)
        )
        return None


def _resource(written: _Written, kind: Kind, metadata: Metadata, spec: Spec, namespace: str) -> Resource[Any]:
    document = {
        "apiVersion": written.text("apiVersion"),
        "kind": kind.kind,
        "metadata": metadata.document(namespace),
        **({"spec": {}} if "spec" in kind.body else {}),
        **written.body(kind),
    }
    return build(kind, document, metadata, spec, origin=written.origin, lines=written.lines)


def _hidden(kind: Kind, document: Mapping[str, Any], metadata: Metadata, spec: Secret) -> tuple[dict[str, Any], Metadata]:
    """Without the values, and without the copy of the whole document that tools which apply documents leave in them."""
    annotations = FrozenMap({name: text for name, text in metadata.annotations.items() if name != _LAST_APPLIED})
    metadata = metadata.model_copy(update={"annotations": annotations})
    rest = {key: value for key, value in document.items() if key not in kind.body}
    return rest | {"metadata": metadata.document(document["metadata"].get("namespace", ""))} | spec.shown(), metadata


def build(
    kind: Kind, document: Mapping[str, Any], metadata: Metadata, spec: Spec, *, origin: Origin, lines: Mapping[str, int]
) -> Resource[Any]:
    """The resource of a document whose metadata and spec were found valid. Of a Secret it keeps nothing that could be shown but names."""
    if isinstance(spec, Secret):
        document, metadata = _hidden(kind, document, metadata, spec)
    return Resource(
        key=kind.key(document["metadata"].get("namespace", ""), metadata.name),
        api_version=document["apiVersion"],
        spec=spec,
        labels=FrozenMap(metadata.labels),
        annotations=FrozenMap(metadata.annotations),
        origin=origin,
        lines=FrozenMap(lines),
        document=json.dumps(document, separators=(",", ":"), ensure_ascii=False),
    )
