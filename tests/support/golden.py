"""The golden chain: documents, registrations and nodes in; statuses and Envoy's resources out, each as readable YAML.

A case is a folder:

    in.yaml               documents as users write them
    registrations.yaml    a list of registrations: {id, service, namespace, address, version, labels, ports: {9080: 20001}}; with
                          `sidecar: true` one whose proxy takes the mesh's mutual TLS, as `serviceAccount`
    nodes.yaml            name: {type: sidecar | gateway, service, namespace, labels, http_proxy, inbound, upstreams, ...}
    settings.yaml         fields of MeshSettings, times in seconds
    status.yaml           violations, and what became of each document
    xds/NODE/*.yaml       listeners, routes, clusters, endpoints

What is empty has no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from tulle.compile import Built, build, view
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Locality
from tulle.model.mesh import Inputs, MeshSettings
from tulle.model.proxy import InboundPort, Node, Role, Upstream
from tulle.model.resource import Resource, Status, Violation
from tulle.model.service import Protocol, RegisteredPort, Registration
from tulle.resources.read import Read, read
from tulle.translate import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Snapshot, Translator
from tulle.translate.snapshot import SECRET
from tulle.translate.static import shown

_FILES = {"listeners": LISTENER, "routes": ROUTES, "clusters": CLUSTER, "endpoints": ENDPOINTS, "secrets": SECRET}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


def registration(id_: str, fields: Mapping[str, Any]) -> Registration:
    """`ports` maps what callers dial to where the instance listens; a value may be a mapping with more than `target`."""
    version = {"version": fields["version"]} if "version" in fields else {}
    ports = ((number, port if isinstance(port, dict) else {"target": port}) for number, port in fields.get("ports", {}).items())
    return Registration(
        id=id_,
        service=fields["service"],
        namespace=fields.get("namespace", "default"),
        address=fields.get("address", "127.0.0.1"),
        labels=FrozenMap({"app": fields["service"], **version, **fields.get("labels", {})}),
        locality=Locality.parse(fields.get("locality", "")),
        weight=fields.get("weight", 1),
        ports=tuple(
            RegisteredPort(number=number, target=port["target"], name=port.get("name", ""), protocol=Protocol(port.get("protocol", "HTTP")))
            for number, port in ports
        ),
        proxy=f"sidecar~{id_}" if fields.get("sidecar") else "",
        service_account=fields.get("serviceAccount", "default"),
    )


def node(name: str, fields: Mapping[str, Any]) -> Node:
    role = Role(fields["type"])
    gateway = role is Role.GATEWAY
    return Node(
        id=f"{role.value}~{name}",
        role=role,
        namespace=fields.get("namespace", "istio-system" if gateway else "default"),
        labels=FrozenMap(fields.get("labels", {"istio": "ingressgateway"} if gateway else {"app": fields.get("service", name)})),
        service=fields.get("service", ""),
        service_account=fields.get("serviceAccount", "default"),
        ip=fields.get("ip", "127.0.0.1"),
        inbound=tuple(inbound_port(port) for port in fields.get("inbound", ())),
        http_proxy=address(fields["http_proxy"]) if "http_proxy" in fields else None,
        upstreams=tuple(upstream(text) for text in fields.get("upstreams", ())),
        privileged_ports=fields.get("privileged_ports", False),
        transparent=fields.get("transparent", False),
        bind=fields.get("bind", "0.0.0.0"),
        locality=Locality.parse(fields.get("locality", "")),
    )


def inbound_port(fields: Mapping[str, Any]) -> InboundPort:
    return InboundPort(**{**fields, "protocol": Protocol(fields.get("protocol", "HTTP"))})


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def upstream(text: str) -> Upstream:
    """As on the command line: `redis:6379=127.0.0.1:16379`."""
    service, _, local = text.partition("=")
    service, _, transport = service.partition("/")
    (host, port), (bind, bind_port) = address(service), address(local)
    return Upstream(host=host, port=port, bind=bind, bind_port=bind_port, udp=transport == "udp")


def _settings(fields: dict[str, Any]) -> MeshSettings:
    life = fields.pop("connection_life", None)
    return MeshSettings(**fields, connection_life=None if life is None else timedelta(seconds=life))


class Case:
    """One folder, read and compiled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read: Read = read((folder / "in.yaml").read_text(), "in.yaml")
        self.nodes = {name: node(name, fields) for name, fields in load(folder / "nodes.yaml").items()}
        self.inputs = Inputs(
            resources={resource.key: resource for resource in _in_order(self.read.resources)},
            registrations={one["id"]: registration(one["id"], one) for one in load(folder / "registrations.yaml") or ()},
            settings=_settings(load(folder / "settings.yaml") or {}),
        )

    def build(self) -> Built:
        return build(self.inputs)

    def snapshots(self) -> dict[str, Snapshot]:
        built, translator = self.build(), Translator()
        return {name: translator.snapshot(view(built.mesh, one)) for name, one in self.nodes.items()}

    def expected(self) -> dict[str, str]:
        """All that the case puts out: path to text."""
        made = {"status.yaml": status_text(self.read, self.build())}
        for name, snapshot in self.snapshots().items():
            for file, type_url in _FILES.items():
                made[f"xds/{name}/{file}.yaml"] = text([shown(entry) for entry in sorted_entries(snapshot, type_url)])
        return {path: content for path, content in made.items() if content}


def _in_order(resources: Iterable[Resource[Any]]) -> list[Resource[Any]]:
    """As if they had been applied one after the other."""
    from dataclasses import replace

    return [replace(resource, created=number, revision=number) for number, resource in enumerate(resources, 1)]


def sorted_entries(snapshot: Snapshot, type_url: str) -> list[Any]:
    return sorted(snapshot.entries(type_url), key=lambda entry: entry.name)


def status_text(found: Read, built: Built) -> str:
    words: dict[str, Any] = {}
    if found.violations:
        words["violations"] = [str(one) for one in found.violations]
    if found.warnings:
        words["warnings"] = [str(one) for one in found.warnings]
    documents = {str(key): _status(status) for key, status in sorted(built.statuses.items())}
    return text(words | ({"documents": documents} if documents else {}))


def _status(status: Status) -> dict[str, Any]:
    words: dict[str, Any] = {}
    for condition in status.conditions:
        said = {True: "True", False: "False", None: "Unknown"}[condition.status] + f" {condition.reason}"
        words[condition.type] = f"{said}: {condition.message}" if condition.message else said
    warnings: tuple[Violation, ...] = status.warnings
    return words | dict(status.details) | ({"warnings": [str(one) for one in warnings]} if warnings else {})


def text(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120) if content else ""
