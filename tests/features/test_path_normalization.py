"""MeshConfig's pathNormalization: what a real Envoy makes of paths at each level, against explain, policies and Guards."""

from __future__ import annotations

import http.client
import random
from pathlib import Path

import pytest

from support.backend import backend
from support.carried import at, carried
from support.compiled import built, gateway, sidecar
from support.edge import edge, policy
from support.running import free_port
from tulle.compile import view
from tulle.compile.explain import Request, explain_view
from tulle.compile.explain.paths import canonical
from tulle.model.proxy import InboundPort, Node
from tulle.model.screen import PathLevel

pytestmark = pytest.mark.envoy

SEED, PATHS = 20261121, 300
PIECES = (
    "/",
    "//",
    "a",
    "b",
    "admin",
    ".",
    "..",
    "%2e",
    "%2E%2e",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    "%41",
    "%25",
    ";x",
    "%zz",
    "%",
    "+",
    "~",
    "|",
)
PLAIN = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: plain}\nspec: {mtls: {mode: DISABLE}}"
DENY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed, namespace: istio-system}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin, /admin/*]}}]}]}
"""


def mesh_config(level: str) -> str:
    return f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: "pathNormalization: {{normalization: {level}}}"}}
"""


def generated() -> list[str]:
    dice = random.Random(SEED)
    ends = ("", "", "/admin", "//admin", "/%2e/admin", "%2fadmin", "/../admin")
    every = [
        "/" + "".join(dice.choices(PIECES, k=dice.randint(1, 6))) + dice.choice(ends) + dice.choice(("", "", "?q=//a/../%2f"))
        for _ in range(PATHS)
    ]
    return list(dict.fromkeys(every))


def ask(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def explained(text: str, node: Node, port: int, far: int, path: str) -> int:
    seen = view(built(text, at("far", 80, far, id="far")).mesh, node)
    asked = Request(url=f"http://127.0.0.1:{port}{path}", connect_to=("127.0.0.1", port))
    answer = explain_view(seen, node, asked).direct_response
    return answer.status if answer else 200


@pytest.mark.parametrize("level", list(PathLevel))
def test_paths_as_explained(level: PathLevel, tmp_path: Path) -> None:
    """At a gateway: what arrives behind it, and what a policy refuses."""
    port = free_port()
    text = edge(port, mesh_config(level.value), DENY)
    told = {200: 0, 403: 0, 400: 0}
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        for path in generated():
            status, wanted = ask(port, path), canonical(path, level)
            assert status == explained(text, gateway(), port, far.port, path), f"{level.value}: {path}"
            told[status] += 1
            if status == 200:
                assert far.seen[-1]["path"] == wanted, f"{level.value}: {path}"
    assert told[200] > 100
    assert told[403] >= 3


@pytest.mark.parametrize(("level", "merged", "decoded"), [("DEFAULT", "/a//b", "/a%2Fb"), ("DECODE_AND_MERGE_SLASHES", "/a/b", "/a/b")])
def test_beside_a_workload_too(level: str, merged: str, decoded: str, tmp_path: Path) -> None:
    port = free_port()
    with backend("far") as far:
        node = sidecar(app="far", inbound=(InboundPort(service_port=80, listen=port, target=far.port),))
        with carried(f"{mesh_config(level)}\n---\n{PLAIN}", node, tmp_path):
            assert [ask(port, "/a//b"), ask(port, "/a%2Fb"), ask(port, "/x/../c")] == [200] * 3
            assert [one["path"] for one in far.seen] == [merged, decoded, "/c"]


@pytest.mark.parametrize(("of_mesh", "of_guard", "seen"), [("MERGE_SLASHES", "BASE", "/a//b"), ("BASE", "MERGE_SLASHES", "/a/b")])
def test_a_guard_has_the_last_word(of_mesh: str, of_guard: str, seen: str, tmp_path: Path) -> None:
    port = free_port()
    text = edge(port, mesh_config(of_mesh), policy("Guard", f"pathNormalization: {of_guard}"))
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        assert ask(port, "/a//b") == 200
        assert far.seen[-1]["path"] == seen
