"""`tulle explain` and `tulle translate` on files, as programs."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from support.lone_envoy import validate
from tulle.cli.main import main

RULES = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    directResponse: {status: 403}
  - route: [{destination: {host: web}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - route: [{destination: {host: web}}]
"""
MESH = """\
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {name: shop}
spec:
  config: [rules.yaml]
  workloads:
  - {service: web, version: v1, ports: [{number: 80}], command: serve}
  - {service: web, version: v2, ports: [{number: 80}], command: serve}
  - name: caller
    command: call
    upstreams: [{service: web, port: 80, bind: 18080}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "mesh.yaml").write_text(MESH)
    (tmp_path / "node.yaml").write_text("{type: sidecar, namespace: default, labels: {app: web}}")
    return tmp_path


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def tulle(folder: Path, *arguments: str) -> Done:
    """The program, in this process: starting it anew each time takes longer than what it does."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["tulle", *arguments]
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
            main()
    finally:
        sys.argv = before
    return Done(int(end.value.code or 0), out.getvalue(), err.getvalue())


def test_text_for_people(folder: Path) -> None:
    done = tulle(folder, "explain", "-f", "mesh.yaml", "--from", "caller", "GET", "http://web/", "-H", "x: y")
    assert done.returncode == 0, done.stderr
    assert (
        '  - VirtualService/web spec.http[0].match[0]  (rules.yaml:7)\n      header end-user is absent, exact "jason" wanted' in done.stdout
    )
    assert "  + VirtualService/web spec.http[1]  (rules.yaml:9)\n      it takes every request" in done.stdout
    assert "outbound|80||web.default.svc.cluster.local" in done.stdout
    assert "web-v1" in done.stdout
    assert "web-v2" in done.stdout
    assert "ports from 20000 on stand in" in done.stderr


def test_what_becomes_of_the_answers_of_one_of_several_destinations(folder: Path) -> None:
    ways = ", ".join(f"{{destination: {{host: web}}, weight: 1, headers: {{response: {{set: {{x-by: {by}}}}}}}}}" for by in ("a", "b"))
    (folder / "rules.yaml").write_text(RULES.replace("[{destination: {host: web}}]", f"[{ways}]", 1))
    done = tulle(folder, "explain", "-f", "mesh.yaml", "--from", "caller", "http://web/")
    assert [line for line in done.stdout.splitlines() if "x-by" in line] == [f"  response headers  set x-by {by}" for by in ("a", "b")]


def test_json_for_programs(folder: Path) -> None:
    done = tulle(folder, "explain", "-f", "mesh.yaml", "--from", "node.yaml", "-o", "json", "GET", "http://web/", "-H", "end-user: jason")
    trace = json.loads(done.stdout)
    assert trace["direct_response"] == {"status": 403, "body": ""}
    assert trace["steps"][-1]["source"] == "rules.yaml:7"


def test_by_way_of_gateways_and_upstreams(folder: Path) -> None:
    done = tulle(folder, "explain", "-f", "mesh.yaml", "GET", "http://localhost:8080/", "-o", "json")
    assert json.loads(done.stdout)["listener"] == "127.0.0.1_8080"
    more = ("--from", "caller", "--connect-to", "127.0.0.1:18080")
    done = tulle(folder, "explain", "-f", "mesh.yaml", *more, "GET", "http://x/", "-o", "json")
    assert json.loads(done.stdout)["listener"] == "127.0.0.1_18080"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("tcp://web:80",), 2, "the gateway has no listener for port 80"),
        (("GET", "tcp://web"), 2, "write tcp://host:port"),
        (("GET", "http://web/", "-H", "no colon"), 2, "is not a header"),
        (("GET", "http://web/", "--connect-to", "x"), 2, "is not an address"),
        (("GET", "http://web/", "--source", "x"), 2, "is not NAMESPACE/SERVICEACCOUNT"),
        (("GET", "http://web/", "--from", "nobody"), 2, "'nobody' is no proxy of these files (gateway, caller, web-v1, web-v2)"),
        (("GET", "http://web/", "--from", "bad-node.yaml"), 2, "type: must be sidecar or gateway"),
        (("GET", "http://web/", "-f", "nothing.yaml"), 2, "nothing.yaml: No such file"),
        (("GET", "http://web/", "-f", "bad.yaml"), 1, "bad.yaml:5: VirtualService/web: spec.host"),
    ],
)
def test_exit_codes(folder: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    (folder / "bad-node.yaml").write_text("{type: car, size: 3, labels: [a], ip: 1}")
    (folder / "bad.yaml").write_text(RULES.replace("hosts: [web]", "host: [web]"))
    done = tulle(folder, "explain", "-f", "mesh.yaml", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_all_that_is_wrong_with_a_node(folder: Path) -> None:
    (folder / "bad-node.yaml").write_text("{type: car, size: 3, labels: [a], ip: 1}")
    done = tulle(folder, "translate", "-f", "rules.yaml", "--node", "bad-node.yaml")
    for field in ("type", "size", "labels", "ip"):
        assert f"bad-node.yaml: {field}: " in done.stderr


@pytest.mark.envoy
@pytest.mark.parametrize("node", ["gateway", "node.yaml", "caller"])
def test_envoy_takes_the_static_configuration(folder: Path, node: str) -> None:
    done = tulle(folder, "translate", "-f", "mesh.yaml", "--node", node)
    assert done.returncode == 0, done.stderr
    assert validate(json.loads(done.stdout), folder) == ""


def test_the_resources_as_they_are_streamed(folder: Path) -> None:
    done = tulle(folder, "translate", "-f", "mesh.yaml", "--node", "caller", "--format", "xds")
    resources = list(yaml.safe_load_all(done.stdout))
    names = {(r["type"].rpartition(".")[2], r["name"]) for r in resources}
    assert ("RouteConfiguration", "http_proxy") in names
    assert ("ClusterLoadAssignment", "outbound|80||web.default.svc.cluster.local") in names
    assert all(set(r) == {"type", "name", "version", "resource"} for r in resources)


BEYOND = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: not-v2}
spec: {selector: {matchLabels: {version: v2}}, action: DENY, rules: [{to: [{operation: {paths: [/pay]}}]}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: slow}
spec:
  configPatches:
  - applyTo: HTTP_ROUTE
    match: {context: SIDECAR_INBOUND}
    patch: {operation: MERGE, value: {route: {timeout: 3s}}}
"""


def test_what_the_called_sidecars_say_and_what_is_not_counted(folder: Path) -> None:
    (folder / "beyond.yaml").write_text(BEYOND)
    asked = ("explain", "-f", "mesh.yaml", "-f", "beyond.yaml", "GET", "http://localhost:8080/pay")
    lines = [" ".join(line.split()) for line in tulle(folder, *asked).stdout.splitlines()]
    patched = "not counted EnvoyFilter/slow spec.configPatches[0] (beyond.yaml:11): it changes the route default"
    first, second = lines.index("arrives at sidecar~web-v1"), lines.index("arrives at sidecar~web-v2")
    assert lines[first + 1] == "let in: no policy speaks of it"
    assert lines[first + 2].startswith(patched)
    assert lines[second + 1] == "refused: AuthorizationPolicy/not-v2 spec.rules[0] (beyond.yaml:4)"
    assert not any(line.startswith("not counted") for line in lines[second:]), "it was refused before any route was tried"
    found = json.loads(tulle(folder, *asked, "-o", "json").stdout)["arrivals"]
    assert [(one["proxies"], one.get("allowed", {}).get("decision")) for one in found] == [
        (["sidecar~web-v1"], None),
        (["sidecar~web-v2"], "deny"),
    ]


MARKED = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: some}
spec: {selector: {matchLabels: {app: web}}, rules: [{to: [{operation: {paths: [/in]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: marks}
spec: {selector: {matchLabels: {app: web}}, action: AUDIT, rules: [{}]}
---
apiVersion: tulle.dev/v1
kind: RateLimit
metadata: {name: few}
spec: {selector: {matchLabels: {app: web}}, limits: [{requests: 1, per: second}]}
"""


def test_the_line_is_that_of_the_policy_that_decides(folder: Path) -> None:
    (folder / "marked.yaml").write_text(MARKED)
    said = tulle(folder, "can", "-f", "mesh.yaml", "-f", "marked.yaml", "http://web/in").stdout
    assert "  sidecar~web-v1: yes: AuthorizationPolicy/some spec.rules[0] (marked.yaml:4)\n" in said
