"""What the catalog holds, as the JSON that Consul's clients expect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tulle.registry import durations
from tulle.registry.catalog import Check, Kept, Node, Probe, Service, TaggedAddress
from tulle.registry.tables import Tables

Json = dict[str, Any]


def _indices(kept: Kept[object]) -> Json:
    return {"CreateIndex": kept.created, "ModifyIndex": kept.modified}


def node(kept: Kept[Node], datacenter: str) -> Json:
    n = kept.value
    return {
        "ID": n.id,
        "Node": n.name,
        "Address": n.address,
        "Datacenter": datacenter,
        "TaggedAddresses": dict(n.tagged_addresses),
        "Meta": dict(n.meta),
        **_indices(kept),
    }


def tagged(addresses: Mapping[str, TaggedAddress]) -> Json:
    return {name: {"Address": a.address, "Port": a.port} for name, a in sorted(addresses.items())}


def _weights(s: Service) -> Json:
    return {"Passing": s.passing_weight, "Warning": s.warning_weight}


def node_service(kept: Kept[Service]) -> Json:
    """An instance inside of an answer that tells its node too."""
    s = kept.value
    return {
        **({"Kind": s.kind} if s.kind else {}),
        "ID": s.id,
        "Service": s.name,
        "Tags": list(s.tags),
        "Address": s.address,
        **({"TaggedAddresses": tagged(s.tagged_addresses)} if s.tagged_addresses else {}),
        "Meta": dict(s.meta),
        "Port": s.port,
        **({"SocketPath": s.socket_path} if s.socket_path else {}),
        "Weights": _weights(s),
        "EnableTagOverride": s.enable_tag_override,
        "Proxy": _proxy(s),
        "Connect": _loaded(s.connect),
        **({"Locality": json.loads(s.locality)} if s.locality else {}),
        **_indices(kept),
    }


def service_node(kept: Kept[Service], on: Kept[Node] | None, datacenter: str) -> Json:
    """An instance and its node, flat."""
    s, n = kept.value, on.value if on else Node(name=kept.value.node)
    return {
        "ID": n.id,
        "Node": n.name,
        "Address": n.address,
        "Datacenter": datacenter,
        "TaggedAddresses": dict(n.tagged_addresses),
        "NodeMeta": dict(n.meta),
        "ServiceKind": s.kind,
        "ServiceID": s.id,
        "ServiceName": s.name,
        "ServiceTags": list(s.tags),
        "ServiceAddress": s.address,
        "ServiceTaggedAddresses": tagged(s.tagged_addresses),
        "ServiceWeights": _weights(s),
        "ServiceMeta": dict(s.meta),
        "ServicePort": s.port,
        "ServiceSocketPath": s.socket_path,
        "ServiceEnableTagOverride": s.enable_tag_override,
        "ServiceProxy": _proxy(s),
        "ServiceConnect": _loaded(s.connect),
        **_indices(kept),
    }


def agent_service(s: Service, datacenter: str) -> Json:
    """An instance as its own agent tells of it."""
    return {
        **({"Kind": s.kind} if s.kind else {}),
        "ID": s.id,
        "Service": s.name,
        "Tags": list(s.tags),
        "Meta": dict(s.meta),
        "Port": s.port,
        "Address": s.address,
        **({"TaggedAddresses": tagged(s.tagged_addresses)} if s.tagged_addresses else {}),
        **({"SocketPath": s.socket_path} if s.socket_path else {}),
        "Weights": _weights(s),
        "EnableTagOverride": s.enable_tag_override,
        **({"Proxy": json.loads(s.proxy)} if s.proxy else {}),
        **({"Connect": json.loads(s.connect)} if s.connect else {}),
        **({"Locality": json.loads(s.locality)} if s.locality else {}),
        "Datacenter": datacenter,
    }


def check(kept: Kept[Check], output: str | None = None) -> Json:
    c = kept.value
    return {
        "Node": c.node,
        "CheckID": c.id,
        "Name": c.name,
        "Status": c.status.value,
        "Notes": c.notes,
        "Output": c.output if output is None else output,
        "ServiceID": c.service_id,
        "ServiceName": c.service_name,
        "ServiceTags": list(c.service_tags),
        "Type": c.type,
        "Interval": durations.show(c.probe.interval) if c.probe.interval else "",
        "Timeout": durations.show(c.probe.timeout) if c.probe.timeout else "",
        "ExposedPort": 0,
        "Definition": json.loads(c.definition) if c.definition else _definition(c.probe),
        **_indices(kept),
    }


def entry(kept: Kept[Service], tables: Tables, datacenter: str) -> Json:
    """An instance with its node and all checks that decide on it."""
    on = tables.nodes.get(kept.value.node)
    checks = tables.health_checks(kept.value.key)
    return {
        "Node": node(on, datacenter) if on else None,
        "Service": node_service(kept),
        "Checks": [check(c) for c in checks],
    }


def _definition(probe: Probe) -> Json:
    """What is to be known of a check that this agent runs; nothing that may hold a secret, such as its headers."""
    given = {"HTTP": probe.http, "TCP": probe.tcp, "UDP": probe.udp, "GRPC": probe.grpc}
    return {name: value for name, value in given.items() if value}


def _proxy(s: Service) -> Json:
    return json.loads(s.proxy) if s.proxy else {"Mode": "", "MeshGateway": {}, "Expose": {}}


def _loaded(text: str) -> Json:
    return json.loads(text) if text else {}
