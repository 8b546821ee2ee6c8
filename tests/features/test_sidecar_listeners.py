"""What a Sidecar resource opens: for callers of the workload, and for the workload itself."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.backend import backend
from support.carried import ask, at, carried
from support.certificates import Ca
from support.compiled import built, sidecar, warnings
from support.led_mesh import led_mesh
from support.reading import warned
from support.running import free_port
from support.tls_client import asked, context, refused
from tulle.compile import view
from tulle.model.proxy import InboundPort
from tulle.model.service import Protocol

SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default}}
spec: {spec}
"""


CA = Ca()


def name(body: bytes) -> str:
    return str(json.loads(body)["name"])


PLAIN = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain, namespace: istio-system}
spec: {mtls: {mode: DISABLE}}
"""
"""For a proxy that nobody gives certificates to."""


@pytest.mark.envoy
def test_ingress_leads_to_the_endpoint_that_it_names(tmp_path: Path) -> None:
    registered, other = free_port(), free_port()
    with ExitStack() as stack:
        app, admin = stack.enter_context(backend("app")), stack.enter_context(backend("admin"))
        spec = f"""
  ingress:
  - {{port: {{number: 80, protocol: HTTP, name: http}}, defaultEndpoint: "127.0.0.1:{app.port}"}}
  - {{port: {{number: {other}, protocol: HTTP, name: admin}}, bind: 127.0.0.1, defaultEndpoint: "127.0.0.1:{admin.port}"}}"""
        node = sidecar(app="web", inbound=(InboundPort(service_port=80, listen=registered, target=1),))
        stack.enter_context(carried(SIDECAR.format(spec=spec) + PLAIN, node, tmp_path))
        assert [name(ask(p)[2]) for p in (registered, other)] == ["app", "admin"]


@pytest.mark.envoy
@pytest.mark.parametrize("limit", ["idleTimeout", "maxConnectionDuration"])
def test_connections_of_bytes_to_a_workload_end_in_time(tmp_path: Path, limit: str) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as server:
        of_workload = InboundPort(service_port=5432, listen=port, target=server.getsockname()[1], protocol=Protocol.TCP)
        spec = f"{{inboundConnectionPool: {{tcp: {{{limit}: 200ms}}}}}}"
        node = sidecar(app="web", inbound=(of_workload,))
        with (
            carried(SIDECAR.format(spec=spec) + PLAIN, node, tmp_path),
            socket.create_connection(("127.0.0.1", port), timeout=60) as caller,
        ):
            assert caller.recv(1) == b"", "the workload did not close it"


@pytest.mark.envoy
def test_egress_opens_a_port_for_services_and_sends_the_rest_to_a_proxy(tmp_path: Path) -> None:
    local, forward = free_port(), free_port()
    with ExitStack() as stack:
        shop, proxy = stack.enter_context(backend("shop")), stack.enter_context(backend("proxy"))
        spec = f"""
  egress:
  - {{port: {{number: {local}, protocol: HTTP, name: http}}, captureMode: NONE, hosts: ["*/*"]}}
  - {{hosts: ["*/*"]}}
  outboundTrafficPolicy: {{mode: ALLOW_ANY, egressProxy: {{host: proxy, port: {{number: 3128}}}}}}"""
        node = type(base := sidecar(app="client"))(id=base.id, role=base.role, labels=base.labels, http_proxy=("127.0.0.1", forward))
        instances = (at("shop", local, shop.port, id="shop"), at("proxy", 3128, proxy.port, id="proxy"))
        stack.enter_context(carried(SIDECAR.format(spec=spec), node, tmp_path, *instances))
        assert name(ask(local, headers={"host": f"shop:{local}"})[2]) == "shop"
        assert name(ask(local, headers={"host": "else.example.com"})[2]) == "proxy"
        connection = http.client.HTTPConnection("127.0.0.1", forward, timeout=60)
        connection.request("GET", "http://else.example.com/")
        assert name(connection.getresponse().read()) == "proxy"
        connection.close()


ON_EVERY_PORT = """
  egress:
  - {{port: {{number: {proxy}, protocol: HTTP_PROXY, name: proxy}}, bind: 127.0.0.1, hosts: ["./*"]}}
  - {{port: {{number: 0, protocol: HTTP, name: socket}}, bind: "unix://{socket}", hosts: ["*/*"]}}
  - {{port: {{number: {local}, protocol: HTTP, name: http}}, bind: 127.0.0.1, hosts: ["*/*"]}}
  - {{hosts: ["*/*"]}}
  outboundTrafficPolicy: {{mode: ALLOW_ANY}}"""


@pytest.mark.envoy
def test_a_forward_proxy_and_a_socket_are_for_all_ports_and_no_listener_dials_itself(tmp_path: Path) -> None:
    proxy, local = free_port(), free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        shop, admin = stack.enter_context(backend("shop")), stack.enter_context(backend("admin"))
        spec = ON_EVERY_PORT.format(proxy=proxy, socket=folder / "socket", local=local)
        services = (("shop", 80, shop), ("admin", 9090, admin), ("else", local, shop))
        instances = (at(service, port, behind.port, id=service) for service, port, behind in services)
        stack.enter_context(carried(SIDECAR.format(spec=spec), sidecar(app="client"), tmp_path, *instances))
        assert [name(curl("-x", f"127.0.0.1:{proxy}", f"http://{host}/")) for host in ("shop", "admin:9090")] == ["shop", "admin"]
        assert [name(curl("--unix-socket", str(folder / "socket"), f"http://{host}/")) for host in ("shop", "admin:9090")] == [
            "shop",
            "admin",
        ]
        assert name(curl("-p", "-x", f"127.0.0.1:{proxy}", "http://admin:9090/")) == "admin"
        refused = [ask(port, headers={"host": f"{host}:{port}"})[0] for port in (proxy, local) for host in ("127.0.0.1", "localhost")]
        assert refused == [403] * 4


def curl(*arguments: str) -> bytes:
    return subprocess.run(["curl", "-sS", "-m", "60", *arguments], capture_output=True, check=True).stdout


def test_a_place_that_the_node_itself_needs_is_not_opened_twice() -> None:
    text = SIDECAR.format(spec="{egress: [{port: {number: 15001, protocol: HTTP, name: a}, captureMode: NONE, hosts: ['*/*']}]}")
    listeners = [x.name for x in view(built(text).mesh, sidecar(app="a")).listeners]
    assert listeners.count("127.0.0.1_15001") == 1


def test_an_egress_proxy_that_is_not_there_is_told() -> None:
    text = SIDECAR.format(spec="{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: proxy, port: {number: 80}}}}")
    (warning,) = warnings(built(text), "Sidecar/default")
    assert "egressProxy: host proxy.default.svc.cluster.local is not known" in warning


@pytest.mark.parametrize(("number", "said"), [(80, []), (9080, ["no service of these hosts has port 9080 (their ports: 80)"])])
def test_a_port_that_no_service_has_is_told(number: int, said: list[str]) -> None:
    items = f"{{port: {{number: {number}, protocol: HTTP, name: a}}, bind: 127.0.0.1, hosts: ['./shop.default.svc.cluster.local']}}"
    text = SIDECAR.format(spec=f"{{egress: [{items}, {{hosts: ['*/*']}}]}}")
    result = built(text, at("shop", 80, 1, id="shop"), at("other", 9080, 2, id="other"))
    assert [found.partition(": spec.egress[0].port: ")[2] for found in warnings(result, "Sidecar/default")] == said


def test_a_port_without_an_address_needs_interception() -> None:
    spec = "{egress: [{port: {number: 80, protocol: HTTP, name: a}, hosts: ['*/*']}]}"
    assert warned("Sidecar", spec) == ["spec.egress[0]: not in force: without bind or captureMode NONE no listener is made for its port"]


@pytest.mark.parametrize(("tls", "alike"), [("", True), (", tls: {mode: SIMPLE, serverCertificate: /a, privateKey: /b}", False)])
def test_what_tls_that_ends_here_offers_does_not_tell_how_to_speak_to_the_workload(tls: str, alike: bool) -> None:
    ingress = f'{{port: {{number: 443, protocol: HTTP, name: a}}, bind: 127.0.0.1, defaultEndpoint: ":1"{tls}}}'
    seen = view(built(SIDECAR.format(spec=f"{{ingress: [{ingress}]}}")).mesh, sidecar(app="web"))
    own = next(cluster for cluster in seen.clusters if cluster.name == "inbound|443||")
    assert own.policy.connection_pool.use_client_protocol is alike


def test_a_port_for_datagrams_is_not_opened() -> None:
    spec = "{egress: [{port: {number: 53, protocol: UDP, name: a}, bind: 127.0.0.1, hosts: ['*/*']}]}"
    assert warned("Sidecar", spec) == [
        "spec.egress[0].port.protocol: not in force: no listener is made for datagrams, which upstreams carry"
    ]
    seen = view(built(SIDECAR.format(spec=spec), at("shop", 53, 1, id="shop")).mesh, sidecar(app="caller"))
    assert "127.0.0.1_53" not in {listener.name for listener in seen.listeners}


PEERS = """---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
"""


@pytest.mark.parametrize(
    ("peers", "who"),
    [
        (PEERS.format(name="all", namespace="istio-system", spec="{mtls: {mode: STRICT}}"), "PeerAuthentication/all spec.mtls.mode"),
        (
            PEERS.format(
                name="port", namespace="default", spec="{selector: {matchLabels: {app: web}}, portLevelMtls: {443: {mode: STRICT}}}"
            ),
            "PeerAuthentication/port spec.portLevelMtls.443",
        ),
        (PEERS.format(name="other", namespace="default", spec="{selector: {matchLabels: {app: db}}, mtls: {mode: STRICT}}"), ""),
        ("", ""),
    ],
)
def test_tls_of_ones_own_where_the_mesh_takes_its_own_alone(peers: str, who: str) -> None:
    ended = "tls: {mode: SIMPLE, serverCertificate: /a, privateKey: /b}"
    ingress = f'{{port: {{number: 443, protocol: HTTPS, name: a}}, defaultEndpoint: ":1", {ended}}}'
    spec = f"{{workloadSelector: {{labels: {{app: web}}}}, ingress: [{ingress}]}}"
    said = warnings(built(SIDECAR.format(spec=spec) + peers), "Sidecar/default")
    assert [f"spec.ingress[0].tls: not in force: {who} (" in one and "on port 443" in one for one in said] == ([True] if who else [])


@pytest.mark.envoy
def test_ingress_ends_tls_of_its_own(tmp_path: Path) -> None:
    """Where mutual TLS is not asked for: its callers show certificates of the authority that the document names."""
    port, pair, caller = free_port(), CA.issue("web.example"), CA.issue("caller.example")
    chain, key = pair.write(tmp_path, "web")
    files = f"serverCertificate: {chain}, privateKey: {key}, caCertificates: {CA.write(tmp_path)}"
    spec = f"""
  ingress:
  - {{port: {{number: 443, protocol: HTTPS, name: https}}, defaultEndpoint: "127.0.0.1:%s", tls: {{mode: MUTUAL, {files}}}}}"""
    node = sidecar(app="web", inbound=(InboundPort(service_port=443, listen=port, target=1, protocol=Protocol.HTTPS),))

    async def run(backend_port: int) -> None:
        async with led_mesh(node, SIDECAR.format(spec=spec % backend_port) + PLAIN) as mesh:
            answer = await asked(port, "web.example", context(CA, caller))
            assert (answer.status, answer.serial, answer.json["name"]) == (200, pair.serial, "app")
            assert await refused(port, "web.example", context(CA)), "without a certificate"
            with pytest.raises((http.client.HTTPException, OSError)):
                ask(port)
            assert mesh.rejections == []

    with backend("app") as app:
        asyncio.run(run(app.port))
