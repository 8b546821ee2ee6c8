"""A snapshot as one static Envoy configuration: what streams to a proxy, to be looked at or checked without one."""

from __future__ import annotations

from typing import Any

from tulle.model.firewall import CLUSTER as FIREWALL
from tulle.model.limits import FORMATTED_KEYS, MAX_REGEX_PROGRAM
from tulle.model.proxy import Node
from tulle.model.tls import SYSTEM_ROOTS
from tulle.protos import any_, pb, to_dict
from tulle.translate import rate_limits
from tulle.translate.clusters import HTTP_OPTIONS
from tulle.translate.listeners import HCM
from tulle.translate.redacted import redacted
from tulle.translate.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, Entry, Snapshot
from tulle.translate.values import CONTROL_PLANE

_MESSAGES = {SECRET: "Secret", CLUSTER: "Cluster", ENDPOINTS: "ClusterLoadAssignment", LISTENER: "Listener", ROUTES: "RouteConfiguration"}


RUNTIME = {"layers": [{"name": "tulle", "static_layer": {"re2.max_program_size.error_level": MAX_REGEX_PROGRAM, FORMATTED_KEYS: True}}]}
"""The limits without which Envoy refuses what it takes from a control plane."""


def decode(entry: Entry) -> Any:
    """The message of an entry."""
    return getattr(pb, _MESSAGES[entry.type_url]).FromString(entry.body)


def shown(entry: Entry) -> dict[str, Any]:
    """An entry in Envoy's JSON, for people: of a secret no more than its name."""
    return {"name": entry.name} if entry.type_url == SECRET else redacted(to_dict(decode(entry)))


def static_config(snapshot: Snapshot, node: Node, roots: str = "") -> dict[str, Any]:
    """One configuration in Envoy's JSON, with tables and endpoints in the places that name them. `envoy --mode validate` accepts it.

    What a snapshot names but does not hold is left out: see `Snapshot.problems`. Secrets stay out, too: they are only named, or
    something else stands in their place.
    `roots`: the PEM file of the authorities that the machine trusts; without it the configuration is good for nothing but validation.
    """
    trusted = {"trusted_ca": {"filename": roots}} if roots else {}
    bootstrap = pb.Bootstrap(
        node={"id": node.id, "cluster": node.service or node.role.value},
        bootstrap_extensions=[{"name": "envoy.bootstrap.internal_listener", "typed_config": any_(pb.InternalListener())}],
        static_resources={
            "listeners": [_with_routes(decode(entry), snapshot) for entry in snapshot.entries(LISTENER)],
            "clusters": [_with_endpoints(decode(entry), snapshot) for entry in snapshot.entries(CLUSTER)],
            "secrets": [{"name": SYSTEM_ROOTS, "validation_context": trusted}] if _asks_the_machine(snapshot) else [],
        },
    )
    return _asking_directly(
        {**redacted(to_dict(bootstrap)), "layered_runtime": RUNTIME}, counted=_counted(snapshot), walled=_walled(snapshot)
    )


def _asking_directly(config: dict[str, Any], *, counted: bool, walled: bool) -> dict[str, Any]:
    """Clusters that ask for secrets: of a static one Envoy does not bear that it asks over the stream that brings all else.

    `counted`: requests are, by the control plane. `walled`: they are looked at by a process beside it.
    """
    static = config["static_resources"]
    clusters = _readdressed(static.get("clusters", []))
    asked = counted or clusters != static.get("clusters", [])
    clusters[:0] = [*([_asked(CONTROL_PLANE)] if asked else []), *([_asked(FIREWALL)] if walled else [])]
    return {**config, "static_resources": {**static, **({"clusters": clusters} if clusters else {})}}


def _readdressed(value: Any) -> Any:
    if isinstance(value, list):
        return [_readdressed(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _DIRECTLY if key == "sds_config" and "ads" in inner else _readdressed(inner) for key, inner in value.items()}


_DIRECTLY = {
    "api_config_source": {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": CONTROL_PLANE}}],
    },
    "resource_api_version": "V3",
}
_HTTP2 = {"@type": f"type.googleapis.com/{HTTP_OPTIONS}", "explicit_http_config": {"http2_protocol_options": {}}}


def _asked(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name},
        "typed_extension_protocol_options": {HTTP_OPTIONS: _HTTP2},
    }


def _asks_the_machine(snapshot: Snapshot) -> bool:
    return any(SYSTEM_ROOTS.encode() in entry.body for entry in snapshot.entries(CLUSTER))


def _counted(snapshot: Snapshot) -> bool:
    return any(rate_limits.GLOBAL.encode() in entry.body for entry in snapshot.entries(LISTENER))


def _walled(snapshot: Snapshot) -> bool:
    return any(FIREWALL.encode() in entry.body for entry in snapshot.entries(LISTENER))


def _with_endpoints(cluster: Any, snapshot: Snapshot) -> Any:
    if cluster.HasField("eds_cluster_config"):
        cluster.ClearField("eds_cluster_config")
        cluster.type = pb.Cluster.STATIC
        there = snapshot.get(ENDPOINTS, cluster.name)
        cluster.load_assignment.CopyFrom(decode(there) if there else pb.ClusterLoadAssignment(cluster_name=cluster.name))
    return cluster


def _with_routes(listener: Any, snapshot: Snapshot) -> Any:
    for chain in listener.filter_chains:
        for kind in chain.filters:
            if kind.name == HCM:
                manager = pb.HttpConnectionManager.FromString(kind.typed_config.value)
                kind.typed_config.CopyFrom(any_(_inlined(manager, snapshot)))
    return listener


def _inlined(manager: Any, snapshot: Snapshot) -> Any:
    if manager.HasField("rds"):
        there = snapshot.get(ROUTES, manager.rds.route_config_name)
        table = decode(there) if there else pb.RouteConfiguration(name=manager.rds.route_config_name)
        manager.route_config.CopyFrom(table)
    return manager
