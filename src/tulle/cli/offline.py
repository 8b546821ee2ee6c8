"""A mesh compiled from files, with no control plane, and the proxy in it that a command asks about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tulle.cli.failure import Failure
from tulle.cli.files import read_files
from tulle.cli.output import err
from tulle.compile import Mesh, build
from tulle.model.frozen import FrozenMap
from tulle.model.mesh import Inputs
from tulle.model.proxy import Node, Role
from tulle.model.resource import Key, Resource, Violation
from tulle.resources.read import read

GATEWAY = Node(
    id="gateway~ingressgateway",
    role=Role.GATEWAY,
    namespace="istio-system",
    labels=FrozenMap({"istio": "ingressgateway"}),
    bind="127.0.0.1",
)
FORWARD_PROXY = ("127.0.0.1", 15001)
"""Where the forward proxy of a sidecar described in a file is taken to listen."""
NODE_FIELDS = ("type", "namespace", "labels", "ip", "serviceAccount", "service")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What the files hold."""

    mesh: Mesh
    warnings: tuple[Violation, ...]


def compiled(names: Iterable[str]) -> Files:
    """The mesh that the documents make. Violations are printed, one a line, and end the program (1)."""
    reads = [read(text, path) for path, text in read_files(names)]
    if violations := [violation for one in reads for violation in one.violations]:
        for violation in violations:
            err(str(violation))
        raise Failure(f"{len(violations)} violations: nothing was compiled", 1)
    resources = [resource for one in reads for resource in one.resources]
    built = build(Inputs(resources=_applied(resources)))
    return Files(mesh=built.mesh, warnings=tuple(warning for one in reads for warning in one.warnings))


def _applied(resources: Iterable[Resource[Any]]) -> Mapping[Key, Resource[Any]]:
    """As if applied in their order: the later document of one name stands, in the place of the first."""
    kept: dict[Key, Resource[Any]] = {}
    for number, resource in enumerate(resources, start=1):
        before = kept.get(resource.key)
        kept[resource.key] = replace(resource, created=before.created if before else number)
    return kept


def node(name: str, option: str) -> Node:
    """The proxy that `gateway`, or a file with a node, stands for. Ends the program (2) for anything else."""
    if name == "gateway":
        return GATEWAY
    path = Path(name)
    if not path.is_file():
        raise Failure(f"{option}: without a control plane write `gateway`, or a file with a node; {name!r} is neither", 2)
    return read_node(name, path.read_text(encoding="utf-8-sig"))


def read_node(path: str, text: str) -> Node:
    """A node as a file describes it. Ends the program (2) with what is wrong.

    `{type: sidecar | gateway, namespace: default, labels: {app: web}, ip: 127.0.0.1, serviceAccount: default, service: web}`
    """
    import yaml

    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Failure(f"{path}: is not YAML: {error}", 2) from None
    problems = list(_problems(said))
    if problems:
        raise Failure("\n".join(f"{path}: {problem}" for problem in problems), 2)
    return _node(Path(path).stem, said)


def _problems(said: object) -> Iterable[str]:
    if not isinstance(said, dict):
        yield "must hold a node, for example {type: sidecar, namespace: default}"
        return
    if said.get("type") not in ("sidecar", "gateway"):
        yield "type: must be sidecar or gateway"
    for name in said:
        if name not in NODE_FIELDS:
            yield f"{name}: unknown field; a node has {', '.join(NODE_FIELDS)}"
    labels = said.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(x, str) for pair in labels.items() for x in pair):
        yield "labels: must be names with texts as values"
    for name in ("namespace", "ip", "serviceAccount", "service"):
        if name in said and not isinstance(said[name], str):
            yield f"{name}: must be a text"


def _node(name: str, said: Mapping[str, Any]) -> Node:
    is_gateway = said["type"] == "gateway"
    default = GATEWAY if is_gateway else Node(id="", role=Role.SIDECAR, http_proxy=FORWARD_PROXY)
    return replace(
        default,
        id=f"{said['type']}~{name}",
        namespace=said.get("namespace", default.namespace),
        labels=FrozenMap(said.get("labels", default.labels)),
        ip=said.get("ip", default.ip),
        service=said.get("service", ""),
        service_account=said.get("serviceAccount", default.service_account),
    )
