"""Machines that join with certificates of the operator's own authority: as a user runs them, until their membership is ended."""

from __future__ import annotations

import asyncio
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.eventually import eventually, soon
from support.guarded import Guarded, guarded
from support.running import TULLE, Place, free_port, running
from support.vouching import Outside, uri
from tulle.agent.voucher import VoucherError, read_voucher
from tulle.http_client import request

STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
ECHO = (sys.executable, "-m", "tulle.demo.apps.echo")


def machine(mesh: Guarded, folder: Path, outside: Outside, account: str, namespace: str = "default") -> tuple[Place, dict[str, str]]:
    """One with a certificate for this account, and what it is told."""
    folder.mkdir()
    pair = outside.pair(uri(f"{namespace}/{account}"))
    (folder / "cert.pem").write_text(pair.chain)
    (folder / "key.pem").touch(0o600)
    (folder / "key.pem").write_text(pair.key)
    place = Place(folder=folder, api=mesh.place.api, xds=mesh.place.xds)
    said = {"TULLE_API": mesh.api, "TULLE_XDS": mesh.xds, "TULLE_JOIN_CERT": "cert.pem", "TULLE_JOIN_KEY": "key.pem"}
    return place, place.environment | said | {"TULLE_JOIN_ROOT": mesh.authority().roots()[0].fingerprint}


async def members(mesh: Guarded) -> dict[str, dict[str, Any]]:
    """By workload."""
    tokens = (await mesh.ask("GET", "/api/v1/tokens"))[1]["tokens"]
    return {token["for"]: token for token in tokens if token["role"] == "workload"}


async def gone(mesh: Guarded, account: str) -> bool:
    found = (await mesh.ask("GET", "/api/v1/registrations"))[1]["registrations"]
    return not any(one["serviceAccount"] == account for one in found)


@pytest.mark.envoy
def test_machines_with_certificates_call_each_other(tmp_path: Path) -> None:
    outside = Outside()

    async def run(mesh: Guarded) -> None:
        upstream = free_port()
        far, far_said = machine(mesh, tmp_path / "far", outside, "web")
        near, near_said = machine(mesh, tmp_path / "near", outside, "client")
        applied = {"files": [{"path": "strict.yaml", "text": STRICT}]}
        assert (await mesh.ask("POST", "/api/v1/apply", applied))[0] == 200
        web = partial(
            running, far, "run", "--service", "web", "--service-account", "web", "--port", "80", "--", *ECHO, environment=far_said
        )
        called = ("--port", "81", "--upstream", f"web:80={upstream}", "--", *ECHO)
        async with running(near, "run", "--service", "client", "--service-account", "client", *called, environment=near_said) as client:
            await eventually(lambda: "is in the mesh" in client.log.read_text())
            async with web() as first:
                await eventually(lambda: "is in the mesh" in first.log.read_text())
                await soon(partial(answers, upstream))
                answer = await request(f"127.0.0.1:{upstream}", "GET", "/headers", timeout=60)
                assert re.findall(r"URI=([^\"\\;]+)", answer.text()) == ["spiffe://cluster.local/ns/default/sa/client"]
            before = await members(mesh)
            assert before.keys() == {"default/web", "default/client"}
            assert all(token["vouchedSerial"] for token in before.values())
            async with web() as again:
                await eventually(lambda: "is in the mesh" in again.log.read_text())
                assert (await members(mesh))["default/web"]["id"] == before["default/web"]["id"]
                await soon(partial(answers, upstream))
                await mesh.ask("DELETE", f"/api/v1/tokens/{before['default/web']['id']}")
                await soon(partial(gone, mesh, "web"))
        code, said = await ended(far, far_said)
        assert (code, "lets nobody join any more" in said) == (1, True), said

    with guarded(tmp_path, TULLE_JOIN_CA=outside.file(tmp_path / "machines.pem")) as mesh:
        asyncio.run(run(mesh))


EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: istio-system}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: edge, namespace: istio-system}}
spec: {{hosts: ["*"], gateways: [edge], http: [{{directResponse: {{status: 200}}}}]}}
"""
"""For a server on a port."""


@pytest.mark.envoy
def test_a_gateway_with_a_certificate(tmp_path: Path) -> None:
    """One whom the operator has named serves; another joins, and is told why it is given nothing."""
    outside, port = Outside(), free_port()

    async def run(mesh: Guarded) -> None:
        applied = {"files": [{"path": "edge.yaml", "text": EDGE.format(port=port)}]}
        assert (await mesh.ask("POST", "/api/v1/apply", applied))[0] == 200
        for account, named in (("edge", True), ("other", False)):
            there, said = machine(mesh, tmp_path / account, outside, account, "istio-system")
            async with running(there, "gateway", "--name", account, "--service-account", account, environment=said) as gateway:
                if named:
                    await eventually(lambda log=gateway.log: "gateway~edge is in the mesh" in log.read_text())
                    await soon(partial(answers, port))
                else:
                    log = tmp_path / "control.log"
                    await eventually(lambda log=log: "--join-gateway istio-system/other" in log.read_text())
        found = await members(mesh)
        assert {name: token["gateway"] for name, token in found.items()} == {"istio-system/edge": True, "istio-system/other": False}

    with guarded(tmp_path, TULLE_JOIN_CA=outside.file(tmp_path / "machines.pem"), TULLE_JOIN_GATEWAY="istio-system/edge") as mesh:
        asyncio.run(run(mesh))


async def answers(port: int) -> bool:
    """False while its proxy does not know of anybody there."""
    try:
        return (await request(f"127.0.0.1:{port}", "GET", "/")).status == 200
    except OSError:
        return False


async def ended(place: Place, environment: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        TULLE,
        *("run", "--service", "web", "--service-account", "web", "--port", "80", "--", "true"),
        env=environment,
        cwd=place.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@pytest.mark.parametrize(
    ("certificate", "key", "root", "why"),
    [
        ("cert.pem", "open.pem", "", "--join-key: .*can be read by others"),
        ("cert.pem", "none.pem", "", "--join-key: .*cannot be read"),
        ("cert.pem", "private-cert.pem", "", "--join-key: .*holds no private key"),
        ("none.pem", "key.pem", "", "--join-cert: .*cannot be read"),
        ("key.pem", "key.pem", "", "--join-cert: .*holds no certificate"),
        ("cert.pem", "key.pem", "abc", "--join-root: is no fingerprint"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, certificate: str, key: str, root: str, why: str) -> None:
    pair = Outside().pair()
    for name, text, mode in (
        ("cert.pem", pair.chain, 0o644),
        ("private-cert.pem", pair.chain, 0o600),
        ("key.pem", pair.key, 0o600),
        ("open.pem", pair.key, 0o644),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    with pytest.raises(VoucherError, match=why):
        read_voucher(str(tmp_path / certificate), str(tmp_path / key), root)
    good = read_voucher(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"), "AB:" * 31 + "AB")
    assert (good.workload, good.root) == ("shop/web", "ab" * 32)
    assert "PRIVATE" not in repr(good)


def test_a_certificate_for_another_than_what_runs(tmp_path: Path) -> None:
    place, said = machine(Guarded(place=Place(folder=tmp_path)), tmp_path / "far", Outside(), "cart")
    code, output = asyncio.run(ended(place, said))
    assert (code, "is for default/cart, not for default/web" in output) == (2, True), output
    code, output = asyncio.run(ended(place, said | {"TULLE_JOIN_KEY": ""}))
    assert (code, "one is of no use without the other" in output) == (2, True), output
