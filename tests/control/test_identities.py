"""What people are told of identities, and the rotation of the root, with everything as a user runs it."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from support.carried import ask
from support.eventually import eventually
from support.load import load
from support.running import Place, running

pytestmark = pytest.mark.envoy

MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: m}}
spec:
  workloads:
  - {{service: web, serviceAccount: web, ports: [{{number: 9080}}], command: [{python}, -m, tulle.demo.apps.echo]}}
  - {{service: client, serviceAccount: client, ports: [{{number: 9090}}], command: [{python}, -m, tulle.demo.apps.echo]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: legacy}}
spec: {{address: 127.0.0.7, labels: {{app: legacy}}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec: {{selector: {{istio: ingressgateway}}, servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"]}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec: {{hosts: ["*"], gateways: [edge], http: [{{route: [{{destination: {{host: web}}}}]}}]}}
"""
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {%s}}
"""
PLAIN, FEW_REQUESTS = RULE % "tls: {mode: DISABLE}", RULE % "connectionPool: {http: {maxRequestsPerConnection: 3}}"
"""The second makes for new connections all the time."""


def settled(answer: dict[str, Any]) -> bool:
    return len(answer["proxies"]) == 3 and all(proxy["current"] for proxy in answer["proxies"])


async def shown(place: Place, *command: str) -> Any:
    code, output = await place.tulle(*command, "-o", "json")
    assert code == 0, output
    return json.loads(output)


async def scenario(folder: Path) -> None:
    place = Place(folder=folder)
    mesh = place.write("mesh.yaml", MESH.format(python=sys.executable, port=place.gateway))
    with tempfile.TemporaryDirectory(prefix="tulle-") as runtime:
        await while_up(place, mesh, Path(runtime))


async def while_up(place: Place, mesh: Path, runtime: Path) -> None:
    async with running(place, "up", str(mesh), environment=place.environment | {"TULLE_RUN_DIR": str(runtime)}) as up:
        await place.until("/api/v1/proxies", settled)
        await place.until("/api/v1/mtls", lambda a: any(e["mutual"] for e in a["edges"]))
        await the_certificates(place, runtime)
        await the_edges(place)
        await the_revocation(place)
        await the_rotation(place)
        assert "PRIVATE" not in up.log.read_text()


async def the_certificates(place: Place, runtime: Path) -> None:
    await place.until("/api/v1/certificates", lambda a: all(one["shown"] for one in a["certificates"]))
    code, output = await place.tulle("certs")
    assert code == 0
    assert "warning" not in output
    lines = {line.split()[0]: line for line in output.splitlines()[1:]}
    assert "cluster.local/ns/default/sa/web" in lines["sidecar~web"]
    assert "cluster.local/ns/istio-system/sa/" in lines["gateway~ingressgateway"]
    # What the control plane believes is what Envoy says.
    told = {one["proxy"]: one["serial"] for one in await shown(place, "certs")}
    found = await asyncio.to_thread(envoys_serials, runtime)
    assert told["sidecar~web"] in found
    assert told["gateway~ingressgateway"] in found


def envoys_serials(runtime: Path) -> set[str]:
    """From the admin interfaces of all Envoys."""
    serials = set()
    for path in runtime.glob("p-*/admin.sock"):
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(path))
            admin.sendall(b"GET /certs HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
            answer = b""
            while data := admin.recv(65536):
                answer += data
        body = answer.partition(b"\r\n\r\n")[2].decode()
        body = body[body.index("{") : body.rindex("}") + 1]
        serials |= {part["serial_number"].lstrip("0") for one in json.loads(body)["certificates"] for part in one["cert_chain"]}
    return serials


async def the_edges(place: Place) -> None:
    edges = {(e["caller"], e["host"]): e for e in (await shown(place, "mtls", "status"))["edges"]}
    edge = edges["gateway~ingressgateway", "web.default.svc.cluster.local"]
    assert (edge["speaks"], edge["modes"], edge["mutual"], edge["fails"]) == ("mutual TLS", ["PERMISSIVE"], 1, False)
    assert "all that connected proxies say" in (await place.tulle("mtls", "status", "--plain"))[1]
    await place.until("/api/v1/mtls", lambda a: all(not c["plain"] for c in a["callers"]))
    direct = (await shown(place, "endpoints", "web"))[0]["port"]
    for source in ("127.0.0.7", "127.0.0.7", "127.0.0.8"):
        assert (await asyncio.to_thread(ask, direct, source=source))[0] == 200
    told = await place.until("/api/v1/mtls", lambda a: sum(c["calls"] for c in a["plain"]) == 3)
    (counted,) = [c for c in told["callers"] if c["plain"]]
    assert (counted["proxy"], counted["port"], counted["plain"]) == ("sidecar~web", 9080, 3)
    callers = {c["address"]: c for c in told["plain"]}
    assert {address: (c["workloads"], c["calls"], c["refused"]) for address, c in callers.items()} == {
        "127.0.0.7": (["default/legacy"], 2, 0),
        "127.0.0.8": ([], 1, 0),
    }
    machine = callers["127.0.0.8"]["caller"]
    assert machine == callers["127.0.0.8"]["machine"] != ""
    text = (await place.tulle("mtls", "status"))[1]
    assert "CALLED IN PLAIN TEXT" in text
    lines = [line.split()[:6] for line in text.partition("PLAIN TEXT FROM")[2].splitlines()]
    assert ["default/legacy", "127.0.0.7", "sidecar~web", "9080", "2", "0"] in lines
    assert [machine, "127.0.0.8", "sidecar~web", "9080", "1", "0"] in lines
    place.write("strict.yaml", STRICT)
    place.write("plain.yaml", PLAIN)
    place.write("few.yaml", FEW_REQUESTS)
    assert (await place.tulle("apply", "-f", "strict.yaml", "--wait"))[0] == 0
    assert (await place.tulle("apply", "-f", "plain.yaml", "--wait"))[0] == 0
    code, output = await place.tulle("mtls", "status", "--plain", "-o", "wide")
    assert code == 0
    assert "plain text" in output
    assert "DestinationRule/web" in output
    assert "of which some instances are STRICT" in output
    assert (await place.tulle("apply", "-f", "few.yaml", "--wait"))[0] == 0


async def the_revocation(place: Place) -> None:
    """Of the gateway, on connections that it has open: at once, and until it is let in again."""
    (own,) = [one for one in await shown(place, "certs") if one["proxy"] == "gateway~ingressgateway"]
    namespace, _, account = own["names"][0].partition("/ns/")[2].partition("/sa/")
    identity = f"{namespace}/{account}"
    assert (await place.tulle("revoke", account))[0] == 2
    for arguments, status, allowed in (((), 403, 1), (("--undo",), 200, 0)):
        code, output = await place.tulle("revoke", identity, *arguments)
        assert code == 0, output
        assert (await asyncio.to_thread(ask, place.gateway))[0] == status
        assert (await place.tulle("can", "--from", identity, "GET", "http://web:9080/"))[0] == allowed


async def the_rotation(place: Place) -> None:
    before = await shown(place, "ca", "status")
    assert (before["stage"], before["behind"], len(before["roots"])) == ("steady", [], 1)
    code, output = await place.tulle("ca", "rotate", "switch")
    assert (code, "there is no next root yet" in output) == (1, True)
    async with load(place.gateway, ("/",), connections=2) as pulling:
        for step, stage, roots in (("begin", "introduced", 2), ("switch", "switched", 2), ("finish", "steady", 1)):
            code, output = await place.tulle("ca", "rotate", step)
            assert code == 0, output
            state = await place.until("/api/v1/ca", lambda a: not a["behind"])
            assert (state["stage"], len(state["roots"])) == (stage, roots)
            done = pulling.requests
            await eventually(lambda: pulling.requests >= done + 100)  # noqa: B023 - it is waited for here
        assert "no rotation is under way" in (await place.tulle("ca", "status"))[1]
    assert not pulling.failures
    assert {root["sha256"] for root in state["roots"]}.isdisjoint(root["sha256"] for root in before["roots"])


def test_identities_as_people_see_them(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))
