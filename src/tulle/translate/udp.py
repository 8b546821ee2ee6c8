"""Listeners for datagrams. All that a caller sends from one port is a session, and goes to one endpoint."""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import Direction, Listener, TcpConnections
from tulle.protos import any_, pb
from tulle.translate.values import YES, Fields, duration

UDP_PROXY = "envoy.filters.udp_listener.udp_proxy"


def listener(of: Listener) -> Any:
    """The message for a listener. Without a cluster that takes them, datagrams are dropped."""
    direction = "INBOUND" if of.direction is Direction.INBOUND else "OUTBOUND"
    fields: Fields = {"name": of.name, "address": address(of), "enable_reuse_port": YES, "traffic_direction": direction}
    filters = [_proxy(chain.serve, of) for chain in of.chains if isinstance(chain.serve, TcpConnections)]
    return pb.Listener(**fields, udp_listener_config={}, listener_filters=filters)


def address(of: Listener) -> Fields:
    """Where datagrams arrive."""
    return {"socket_address": {"protocol": "UDP", "address": of.address, "port_value": of.port}}


def _proxy(serve: TcpConnections, within: Listener) -> Fields:
    fields: Fields = {"stat_prefix": serve.stat_prefix} | _destination(serve)
    if serve.idle_timeout is not None:
        fields["idle_timeout"] = duration(serve.idle_timeout)
    if within.original_source is not None:
        fields["use_original_src_ip"] = True
    if serve.hash_policy:
        fields["hash_policies"] = [{"source_ip": True}]
    return {"name": UDP_PROXY, "typed_config": any_(pb.UdpProxyConfig(**fields))}


def _destination(serve: TcpConnections) -> Fields:
    """Several clusters share callers by a hash of the caller's port: Envoy's UDP proxy has no weights of its own.

    Of the two ways to name a cluster, Envoy calls one deprecated and the other, which can tell callers apart, unfinished.
    """
    first, *others = [to for to in serve.clusters if to.weight or len(serve.clusters) == 1]
    total = first.weight + sum(to.weight for to in others)
    above, matchers = total, []
    for to in others:
        above -= to.weight
        matchers.append({"predicate": _at_least(above, total), "on_match": _to(to.cluster)})
    listed: Fields = {"matcher_list": {"matchers": matchers}} if matchers else {}
    return {"matcher": listed | {"on_no_match": _to(first.cluster)}}


def _to(cluster: str) -> Fields:
    return {"action": {"name": "route", "typed_config": any_(pb.UdpRoute(cluster=cluster))}}


def _at_least(threshold: int, total: int) -> Fields:
    source = {"name": "envoy.matching.inputs.source_port", "typed_config": any_(pb.SourcePortInput())}
    hashed = any_(pb.ConsistentHashing(threshold=threshold, modulo=total))
    return {
        "single_predicate": {
            "input": source,
            "custom_match": {"name": "envoy.matching.matchers.consistent_hashing", "typed_config": hashed},
        }
    }
