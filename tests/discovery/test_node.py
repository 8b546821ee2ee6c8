"""A proxy's description of itself survives the way through Envoy's metadata, and what is wrong in it is said in words."""

from __future__ import annotations

import string
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from tulle.discovery.node import KEY, from_envoy, to_metadata
from tulle.model.identity import Labels, Locality
from tulle.model.proxy import InboundPort, Node, Role, Upstream
from tulle.model.service import Protocol
from tulle.protos import message

names = st.text(string.ascii_letters + string.digits + "-~.", min_size=1, max_size=12)
ports = st.integers(0, 65535)
inbound = st.builds(
    InboundPort,
    service_port=ports,
    listen=ports,
    target=ports,
    protocol=st.sampled_from(Protocol),
    listen_address=names,
    target_address=names,
)
nodes = st.builds(
    Node,
    id=names,
    role=st.sampled_from(Role),
    namespace=names,
    labels=st.dictionaries(names, st.text(max_size=5)).map(Labels),
    service=st.just("") | names,
    service_account=names,
    ip=names,
    locality=st.builds(Locality, region=names, zone=names),
    inbound=st.lists(inbound, max_size=3).map(tuple),
    http_proxy=st.none() | st.tuples(names, ports),
    upstreams=st.lists(st.builds(Upstream, host=names, port=ports, bind=names, bind_port=ports), max_size=3).map(tuple),
    privileged_ports=st.booleans(),
    transparent=st.booleans(),
    bind=names,
)


def through_envoy(metadata: dict[str, Any]) -> dict[str, Any]:
    """As it comes back: numbers are floats."""
    node = message("envoy.config.core.v3.Node")()
    node.metadata.update(metadata)
    return MessageToDict(message("envoy.config.core.v3.Node").FromString(node.SerializeToString()).metadata)


@given(nodes)
def test_every_node_comes_back(node: Node) -> None:
    assert from_envoy(node.id, "somewhere.default", node.locality, through_envoy(to_metadata(node))) == node


def test_what_is_usual_is_not_said() -> None:
    assert to_metadata(Node(id="gateway~edge", role=Role.GATEWAY)) == {KEY: {"role": "gateway", "service": ""}}


BAD: tuple[tuple[object, str], ...] = (
    ({}, "node.metadata.tulle.role: is missing"),
    ("text", "node.metadata.tulle: must be an object, not 'text'"),
    ({"role": "router"}, "node.metadata.tulle.role: must be one of sidecar, gateway, not 'router'"),
    ({"role": "sidecar", "colour": "red"}, "node.metadata.tulle.colour: is not known here; run the same version of Tulle"),
    ({"role": "sidecar", "namespace": 3}, "node.metadata.tulle.namespace: must be a text, not 3"),
    ({"role": "sidecar", "labels": []}, "node.metadata.tulle.labels: must be an object"),
    ({"role": "sidecar", "labels": {"app": 1}}, "node.metadata.tulle.labels.app: must be a text"),
    ({"role": "sidecar", "inbound": {}}, "node.metadata.tulle.inbound: must be a list"),
    ({"role": "sidecar", "inbound": [{"service_port": 1, "listen": 2}]}, "node.metadata.tulle.inbound[0].target: is missing"),
    ({"role": "sidecar", "inbound": [{"service_port": 1.5, "listen": 2, "target": 3}]}, "inbound[0].service_port: must be a port number"),
    ({"role": "sidecar", "inbound": [{"service_port": 1, "listen": 99999, "target": 3}]}, "inbound[0].listen: must be a port number"),
    (
        {"role": "sidecar", "inbound": [{"service_port": 1, "listen": float("inf"), "target": 3}]},
        "inbound[0].listen: must be a port number",
    ),
    ({"role": "sidecar", "inbound": [{"service_port": True, "listen": 2, "target": 3}]}, "inbound[0].service_port: must be a port number"),
    ({"role": "sidecar", "upstreams": [{"host": "a", "port": 1, "bind_port": 2, "x": 1}]}, "upstreams[0].x: is not known here"),
    ({"role": "sidecar", "http_proxy": {"address": "127.0.0.1"}}, "http_proxy.port: is missing"),
    ({"role": "sidecar", "http_proxy": {"address": "127.0.0.1", "port": 1, "more": 1}}, "http_proxy.more: is not known here"),
    ({"role": "gateway", "privileged_ports": "yes"}, "privileged_ports: must be true or false, not 'yes'"),
)


@pytest.mark.parametrize(("said", "complaint"), BAD)
def test_what_is_wrong_is_said_with_its_place(said: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=r"node\.metadata\.tulle") as error:
        from_envoy("sidecar~x", "", Locality(), {KEY: said})
    assert complaint in str(error.value)


def test_a_node_needs_an_id_and_says_what_it_is() -> None:
    with pytest.raises(ValueError, match=r"node\.id: is empty"):
        from_envoy("", "", Locality(), {})
    with pytest.raises(ValueError, match=r"node\.metadata\.tulle: is missing; it says what node 'a' is"):
        from_envoy("a", "", Locality(), {})


def test_without_a_service_envoys_cluster_stands_in() -> None:
    assert from_envoy("a", "reviews", Locality(), {KEY: {"role": "sidecar", "http_proxy": None}}).service == "reviews"
