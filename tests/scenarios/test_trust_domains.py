"""A mesh moves to another trust domain: policies written for the old name hold for callers of the new one, and the other way round."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.backend import backend
from support.scene import REFUSED, Scene, place, scene
from support.words import peers, policy

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("scenarios")]
MESH = """apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: moved}}
spec:
  gateway: {{enabled: false}}
  workloads:
  - {{service: echo, namespace: foo, serviceAccount: echo, ports: [{{number: 8000, target: {echo}}}]}}
  - {{service: caller, namespace: foo, serviceAccount: caller, ports: [{{number: 8000, target: {caller}}}]}}
"""
MOVED = {"TULLE_TRUST_DOMAIN": "new-td", "TULLE_TRUST_DOMAIN_ALIASES": "old-td"}


@pytest.fixture(scope="module")
def moved() -> Iterator[Scene]:
    with place() as where, backend("echo") as echo, backend("caller") as caller:
        text = MESH.format(echo=echo.port, caller=caller.port)
        with scene(text, proxies=2, endpoints=2, place=where, environment=MOVED) as found:
            yield found


@pytest.mark.parametrize(
    ("action", "domain", "status"),
    [
        ("ALLOW", "old-td", 200),
        ("ALLOW", "new-td", 200),
        ("ALLOW", "cluster.local", 200),
        ("ALLOW", "other-td", 403),
        ("DENY", "old-td", 403),
        ("DENY", "other-td", 200),
    ],
)
def test_policies_of_every_name(moved: Scene, action: str, domain: str, status: int) -> None:
    rule = f"action: {action}, rules: [{{from: [{{source: {{principals: ['{domain}/ns/foo/sa/caller']}}}}]}}]"
    few = """apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: few, namespace: foo}
spec: {host: echo, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
"""
    with moved.holding(policy("who", f"selector: {{matchLabels: {{app: echo}}}}, {rule}"), peers("STRICT"), few):
        answer = moved.call("caller.foo", "http://echo.foo:8000/")
        assert answer.status == status
        if status == 200:
            assert "URI=spiffe://new-td/ns/foo/sa/caller" in answer.said["headers"]["x-forwarded-client-cert"]
        assert moved.can("http://echo.foo:8000/", source="foo/caller") == ("yes" if status == 200 else "no")
        assert moved.plain("echo.foo", 8000).status == REFUSED
