"""From plain text to mutual TLS alone: namespace by namespace, then the whole mesh, with callers that have no sidecar."""

from __future__ import annotations

import pytest

from support.scene import REFUSED
from support.town import Town

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("scenarios")]


def strict(namespace: str) -> str:
    return f"""apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: strict, namespace: {namespace}}}
spec: {{mtls: {{mode: STRICT}}}}
"""


def statuses(town: Town) -> dict[str, int]:
    """Of calls of everybody to everybody."""
    ways = {f"{caller} to {to}": (f"caller.{caller}", to) for caller in ("foo", "bar") for to in ("foo", "bar")}
    found = {way: town.scene.call(caller, f"http://echo.{to}:8000/").status for way, (caller, to) in ways.items()}
    return found | {f"legacy to {to}": town.scene.plain(f"echo.{to}", 8000).status for to in ("foo", "bar")}


def test_at_first_everybody_is_let_in_and_sidecars_speak_mutual_tls(town: Town) -> None:
    assert set(statuses(town).values()) == {200}
    seen = town.scene.call("caller.foo", "http://echo.bar:8000/headers").said["headers"]
    assert "URI=spiffe://cluster.local/ns/foo/sa/caller" in seen["x-forwarded-client-cert"]
    assert "x-forwarded-client-cert" not in town.scene.plain("echo.bar", 8000).said["headers"]


def test_a_namespace_that_is_strict_refuses_plain_text_and_others_do_not(town: Town) -> None:
    with town.scene.holding(strict("foo")):
        found = statuses(town)
        assert {way for way, status in found.items() if status == REFUSED} == {"legacy to foo"}
        assert found["legacy to bar"] == 200
    assert set(statuses(town).values()) == {200}


def test_a_mesh_that_is_strict_refuses_plain_text_everywhere(town: Town) -> None:
    with town.scene.holding(strict("istio-system")):
        assert {way for way, status in statuses(town).items() if status != 200} == {"legacy to foo", "legacy to bar"}
