"""Keys that documents of the Gateway API lead to are seen nowhere but in the proxy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from textwrap import indent

import pytest

from support.certificates import Ca, Pair, pieces, secret, tls_secret
from support.compiled import built, gateway, instance
from support.running import Place, running
from tulle.compile import view
from tulle.translate import Translator
from tulle.translate.static import shown, static_config

CA, FRIENDS = Ca(), Ca("friends")
SHOP, OWN, NEXT = CA.issue("shop.example"), CA.issue("edge.example"), CA.issue("shop.example", days=-1)
API = "apiVersion: gateway.networking.k8s.io/v1"
HIDDEN = pieces(SHOP.key, OWN.key, NEXT.key)


def documents(port: int) -> str:
    """A certificate that is shown to callers, one that is shown to backends, and authorities of both."""
    roots = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: roots}}\ndata:\n  ca.crt: |\n{indent(CA.pem.decode(), '    ')}\n---\n"
    return f"""
{API}
kind: Gateway
metadata: {{name: edge}}
spec:
  gatewayClassName: tulle
  addresses: [{{value: 127.0.0.1}}]
  listeners:
  - {{name: web, port: {port}, protocol: HTTPS, hostname: shop.example, tls: {{certificateRefs: [{{name: shop}}]}}}}
  - {{name: bad, port: {port}, protocol: HTTPS, hostname: bad.example, tls: {{certificateRefs: [{{name: half}}]}}}}
  tls:
    backend: {{clientCertificateRef: {{name: own}}}}
    frontend:
      default:
        validation:
          caCertificateRefs: [{{group: "", kind: ConfigMap, name: roots}}, {{group: "", kind: Secret, name: friends}}]
---
{API}
kind: HTTPRoute
metadata: {{name: r}}
spec: {{parentRefs: [{{name: edge}}], rules: [{{backendRefs: [{{name: far, port: 80}}]}}]}}
---
{API}
kind: BackendTLSPolicy
metadata: {{name: p}}
spec:
  targetRefs: [{{group: "", kind: Service, name: far}}]
  validation:
    hostname: far.example
    caCertificateRefs: [{{group: "", kind: Secret, name: own}}, {{group: "", kind: Secret, name: friends}}]
---
apiVersion: v1
kind: Service
metadata: {{name: far}}
spec: {{selector: {{app: far}}, ports: [{{name: http, port: 80}}]}}
---
{tls_secret("shop", SHOP)}---
{tls_secret("own", OWN, CA)}---
{secret("half", other=SHOP.key)}---
{secret("friends", ca_crt=FRIENDS.pem)}---
{roots}"""


def test_neither_statuses_nor_views_nor_translations_show_them() -> None:
    made = built(documents(443), instance("far", number=80))
    seen = view(made.mesh, gateway(privileged=True))
    translated = Translator().snapshot(seen)
    assert {s.name for s in seen.secrets} > {"kubernetes-gateway://default/shop", "kubernetes-gateway://default/own"}, "they are in use"
    config = json.dumps(static_config(translated, gateway())) + json.dumps([shown(entry) for entry in translated])
    everything = "\n".join((repr(made.statuses), repr(made.mesh), repr(seen), repr(seen.secrets), repr(translated), config))
    assert [piece for piece in HIDDEN if piece in everything] == []


ASKED = (
    "resources", "resources/secrets", "resources/secrets/default/shop", "resources/gateways", "resources/configmaps",
    "resources/Gateway.gateway.networking.k8s.io/default/edge", "resources/backendtlspolicies/default/p", "resources/httproutes",
    "services", "endpoints", "proxies", "registrations", "checks", "version",
)  # fmt: skip


@pytest.mark.envoy
def test_neither_commands_nor_answers_nor_logs_show_them(tmp_path: Path) -> None:
    asyncio.run(_nowhere(Place(folder=tmp_path)))


async def _nowhere(place: Place) -> None:
    text = documents(place.gateway)
    path = str(place.write("all.yaml", text))
    later = str(place.write("later.yaml", tls_secret("shop", NEXT)))
    wrong = str(place.write("wrong.yaml", tls_secret("shop", Pair(SHOP.certificate, NEXT.key)) + "  tls.more: '%%'\n"))
    url = ("GET", f"https://shop.example:{place.gateway}/")
    commands = (
        ("validate", "-f", wrong), ("apply", "-f", path, "--wait"), ("diff", "-f", later), ("explain", "-f", path, *url),
        ("explain", "--from", "gateway", *url, "-o", "json"), ("translate", "-f", path, "--format", "xds"), ("apply", "-f", wrong),
        ("apply", "-f", later, "--wait"), ("get", "all", "-A", "-o", "yaml"), ("get", "gtw", "edge", "-o", "json"),
    )  # fmt: skip
    seen = []
    async with running(place, "control") as control, running(place, "gateway") as edge:
        await place.until("/api/v1/proxies", lambda found: found["proxies"])
        for command in commands:
            _, said = await place.tulle(*command)
            assert "Traceback" not in said, said
            seen.append(said)
        seen += [json.dumps(await place.get(f"/api/v1/{asked}")) for asked in ASKED]
        gate = await place.get("/api/v1/resources/Gateway.gateway.networking.k8s.io/default/edge")
        assert {c["type"] for c in gate["status"]["conditions"]} >= {"Accepted", "Programmed", "ResolvedRefs"}
        seen += [control.log.read_text(), edge.log.read_text()]
    everything = "\n".join(seen)
    assert "clientCertificateRef" in everything
    assert [piece for piece in HIDDEN if piece in everything] == []


def test_no_key_stands_in_the_expected_outputs() -> None:
    """Of all goldens: what they expect of a Secret is its name."""
    folder = Path(__file__).parents[1] / "golden"
    found = [path for path in folder.rglob("*.yaml") if path.name != "in.yaml" and "PRIVATE KEY" in path.read_text()]
    assert found == []
