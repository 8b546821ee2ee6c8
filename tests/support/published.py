"""Documents as they are published, each file a namespace of its own, in which the services that they speak of exist."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tulle.compile import Built, build, view
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Locality
from tulle.model.mesh import Inputs
from tulle.model.proxy import InboundPort, Node, Role, Upstream
from tulle.resources.read import Read, read
from tulle.translate import Translator
from tulle.translate.static import static_config

FOLDER = Path(__file__).parents[1] / "corpus" / "published"
_FIRST_PORT = 20000
_INTERNAL = "connect_http"


@dataclass(frozen=True)
class Published:
    """One file, read and compiled together with the world."""

    name: str
    found: Read
    built: Built

    @classmethod
    @cache
    def of(cls, name: str) -> Published:
        world = read((FOLDER / "world.yaml").read_text(), "world.yaml", namespace=name)
        assert not world.violations
        found = read((FOLDER / f"{name}.yaml").read_text(), f"{name}.yaml", namespace=name)
        resources = (replace(r, created=n) for n, r in enumerate((*world.resources, *found.resources), 1))
        return cls(name, found, build(Inputs(resources={r.key: r for r in resources})))

    def said(self) -> str:
        """All that is said of the documents: what is wrong, what is not in force, and what does not fit together."""
        statuses = [self.built.statuses[r.key] for r in self.found.resources]
        lines = [f"error: {one}" for one in self.found.violations]
        lines += [f"warning: {one}" for one in self.found.warnings]
        lines += [f"status: {one}" for status in statuses for one in status.warnings]
        return "".join(f"{line}\n" for line in lines)

    def configs(self, roots: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """A static configuration for each proxy that has something to do."""
        translator = Translator()
        for node in _nodes(self.name):
            snapshot = translator.snapshot(view(self.built.mesh, node))
            assert snapshot.problems() == (), (self.name, node.id)
            config = static_config(snapshot, node, roots)
            if config.get("static_resources", {}).get("listeners"):
                yield f"{self.name}/{node.id}", config


def _nodes(namespace: str) -> Iterator[Node]:
    def sidecar(app: str, *upstreams: Upstream) -> Node:
        return Node(
            id=f"sidecar~{app}",
            role=Role.SIDECAR,
            namespace=namespace,
            labels=FrozenMap({"app": app}),
            service=app,
            locality=Locality.parse("mars/north/a"),
            http_proxy=("127.0.0.1", 15001),
            inbound=(InboundPort(service_port=9080, listen=15080, target=8080),),
            upstreams=upstreams,
        )

    yield sidecar("caller", *(Upstream(host="parrot", port=port, bind_port=port) for port in (9000, 9001)))
    yield sidecar("stars")
    for name in ("ingressgateway", "egressgateway", "eastwestgateway"):
        yield Node(
            id=f"gateway~{name}", role=Role.GATEWAY, namespace="istio-system", labels=FrozenMap({"istio": name}), privileged_ports=True
        )


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "world")


def together(configs: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Configurations joined into as few as possible, each with the names of those in it: one start of Envoy looks at many.

    Listeners get ports and names of their own. Clusters of one name must be the same.
    """
    waiting = [(name, _told_apart(config, number)) for number, (name, config) in enumerate(configs)]
    while waiting:
        name, whole = waiting.pop(0)
        inside, clusters = [name], _by_name(whole)
        rest = []
        for other, config in waiting:
            theirs = _by_name(config)
            if any(clusters.get(key, cluster) != cluster for key, cluster in theirs.items()):
                rest.append((other, config))
                continue
            clusters |= theirs
            whole["static_resources"]["listeners"] += config["static_resources"]["listeners"]
            whole["static_resources"]["secrets"] = _secrets(whole) or _secrets(config)
            inside.append(other)
        whole["static_resources"]["clusters"] = list(clusters.values())
        yield inside, whole
        waiting = rest


def _secrets(config: dict[str, Any]) -> list[dict[str, Any]]:
    return list(config["static_resources"].get("secrets", []))


def _by_name(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {cluster["name"]: cluster for cluster in config["static_resources"].get("clusters", [])}


def _told_apart(config: dict[str, Any], number: int) -> dict[str, Any]:
    config = json.loads(json.dumps(config).replace(f'"{_INTERNAL}"', f'"{_INTERNAL}_{number}"'))
    for place, listener in enumerate(config["static_resources"]["listeners"]):
        address = listener.get("address", {}).get("socket_address")
        if address:
            listener["name"] = f"{listener['name']}_{number}"
            address["port_value"] = _FIRST_PORT + number * 100 + place
    return config
