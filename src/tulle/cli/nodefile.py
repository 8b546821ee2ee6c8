"""A file that describes a proxy, for commands that work without a control plane."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tulle.agent.gateway import GatewaySpec, gateway_node
from tulle.cli.failure import Failure
from tulle.model.identity import Labels
from tulle.model.proxy import Node, Role

FORWARD_PROXY = ("127.0.0.1", 15001)
"""Where the forward proxy of a sidecar that does not run is taken to listen."""
FIELDS = ("type", "namespace", "labels", "ip", "serviceAccount", "service")


def read_node(path: str, text: str) -> Node:
    """A node as a file describes it. Ends the program (2) with all that is wrong.

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
        if name not in FIELDS:
            yield f"{name}: unknown field; a node has {', '.join(FIELDS)}"
    labels = said.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(x, str) for pair in labels.items() for x in pair):
        yield "labels: must be names with texts as values"
    for name in FIELDS:
        if name in said and name not in ("type", "labels") and not isinstance(said[name], str):
            yield f"{name}: must be a text"


def _node(name: str, said: Mapping[str, Any]) -> Node:
    gateway = gateway_node(GatewaySpec(), privileged_ports=False)
    default = gateway if said["type"] == "gateway" else Node(id="", role=Role.SIDECAR, http_proxy=FORWARD_PROXY)
    return replace(
        default,
        id=f"{said['type']}~{name}",
        namespace=said.get("namespace", default.namespace),
        labels=Labels(said.get("labels", default.labels)),
        ip=said.get("ip", default.ip),
        service=said.get("service", default.service),
        service_account=said.get("serviceAccount", default.service_account),
    )
