"""Every field of the Gateway API's documents does something, or its document's status says that it does not.

For each field there are two documents that differ in it alone: what the proxies are told, or the statuses, must differ, too. All fields
that documents may have are looked at, and no others.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.certificates import Ca, secret, tls_secret
from support.compiled import built, gateway, instance, plain, sidecar
from support.gateway_api_fields import BASES, SILENT, changed_rule, fields
from support.reading import warned
from tulle.compile import view
from tulle.compile.gatewayapi.attach import GATEWAY
from tulle.model.proxy import Node, Upstream
from tulle.model.service import Protocol
from tulle.resources.kinds import kind_of

CA = Ca()
PAIR = CA.issue("a.example")
V1, EXPERIMENTAL = "gateway.networking.k8s.io/v1", "gateway.networking.x-k8s.io/v1alpha1"
PROTOCOLS = {"TLSRoute": "TLS", "TCPRoute": "TCP", "UDPRoute": "UDP"}


def _document(kind: str, spec: Any, *, name: str, namespace: str = "default", version: str = V1) -> str:
    """In one line, so that nothing else of a text moves."""
    made = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": copy.deepcopy(spec)}
    return yaml.safe_dump(made, default_flow_style=True, width=10**6).strip() + "\n---\n"


def _others(kind: str) -> dict[str, Any]:
    """The documents beside the one that is looked at."""
    protocol = PROTOCOLS.get(kind, "HTTP")
    tls = {"tls": {"mode": "Passthrough"}} if protocol == "TLS" else {}
    open_ = {"allowedListeners": {"namespaces": {"from": "Same"}}}
    listeners = [{"name": name, "port": port, "protocol": protocol, **tls} for name, port in (("web", 80), ("more", 81))]
    found: dict[str, Any] = {
        "GatewayClass": BASES["GatewayClass"],
        "Gateway": {"gatewayClassName": "mine", "listeners": listeners, **open_},
        "HTTPRoute": BASES["HTTPRoute"],
    }
    if kind == "ListenerSet":
        found["HTTPRoute"] = found["HTTPRoute"] | {"parentRefs": [{"name": "edge", "kind": "ListenerSet"}]}
    if kind == "Gateway":
        found["ListenerSet"] = {"parentRef": {"name": "edge", "namespace": "default"}, "listeners": BASES["ListenerSet"]["listeners"]}
        found["BackendTLSPolicy"] = BASES["BackendTLSPolicy"]
    if kind == "ReferenceGrant":
        found["HTTPRoute"] = changed_rule("HTTPRoute", backendRefs=[{"name": "a", "port": 80, "namespace": "team"}])
    return {name: spec for name, spec in found.items() if name != kind}


def _text(kind: str, spec: Any) -> str:
    version = EXPERIMENTAL if kind.startswith("X") else V1
    names = {"GatewayClass": "mine", "HTTPRoute": "r"}
    homes = {"ReferenceGrant": "team"} | ({"ListenerSet": "team"} if kind == "Gateway" else {})
    own = _document(kind, spec, name=names.get(kind, "edge"), namespace=homes.get(kind, "default"), version=version)
    rest = "".join(_document(k, s, name=names.get(k, "edge"), namespace=homes.get(k, "default")) for k, s in _others(kind).items())
    parent = {"name": "edge", "namespace": "default", "kind": "ListenerSet" if kind == "ListenerSet" else "Gateway"}
    away = _document("HTTPRoute", {"parentRefs": [parent]}, name="away", namespace="team")
    return own + rest + away + WORLD


WORLD = (
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {a: b}}\n---\n"
    + f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: roots}}\ndata: {{ca.crt: {CA.pem.decode()!r}}}\n---\n".replace("'", '"')
    + tls_secret("pair", PAIR)
    + "---\n"
    + secret("other", ca_crt=CA.pem)
)
NODES: tuple[Node, ...] = (
    gateway(privileged=True),
    sidecar("default", app="caller", upstreams=(Upstream(host="a", port=80, bind_port=9000),)),
)


def outcome(kind: str, spec: Any) -> Any:
    """All that proxies are told, and all that is said of the documents."""
    protocol = {"UDPRoute": Protocol.UDP, "TCPRoute": Protocol.TCP, "TLSRoute": Protocol.TLS}.get(kind, Protocol.HTTP)
    pairs = (("a", "default"), ("b", "default"), ("a", "team"))
    registered = [instance(name, number=80, namespace=home, protocol=protocol, name="http") for name, home in pairs]
    made = built(_text(kind, spec), *registered)
    return [*(plain(view(made.mesh, node)) for node in NODES), made.statuses, _said(kind, spec)]


def _said(kind: str, spec: Any) -> list[str]:
    """The warnings of the document itself."""
    version = EXPERIMENTAL if kind.startswith("X") else V1
    return warned(kind, yaml.safe_dump(spec), api_version=version)


CASES = list(fields())


@pytest.mark.parametrize(("kind", "field", "one", "two"), CASES, ids=[f"{n}-{kind}-{field}" for n, (kind, field, _, _) in enumerate(CASES)])
def test_each_field_does_something_or_is_reported(kind: str, field: str, one: Any, two: Any) -> None:
    assert one != two
    changed = outcome(kind, one) != outcome(kind, two)
    assert changed is ((kind, field) not in SILENT), SILENT.get((kind, field), "nothing came of it")


# That no field is forgotten


def declared(kind: str) -> set[str]:
    """The fields that documents of a kind may have."""
    known = kind_of(GATEWAY if kind == "Gateway" else kind)
    assert known
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schema = known.spec.model_json_schema()
    return set(_leaves(schema, schema, ""))


def _leaves(schema: Any, node: Any, path: str) -> Iterator[str]:
    if "anyOf" in node:
        node = next(one for one in node["anyOf"] if one.get("type") != "null")
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].split("/")[-1]]
    if "properties" in node:
        for name, inner in node["properties"].items():
            yield from _leaves(schema, inner, f"{path}.{name}" if path else name)
    elif node.get("type") == "array" and isinstance(node.get("items"), dict):
        yield from _leaves(schema, node["items"], f"{path}[]")
    else:
        yield path


REFUSED = {"ListenerSet": {"parentRef.sectionName", "parentRef.port"}}
"""Fields that are an error to set."""


@pytest.mark.parametrize("kind", BASES)
def test_the_tables_are_whole(kind: str) -> None:
    assert {field for own, field, _, _ in CASES if own == kind} == declared(kind) - REFUSED.get(kind, set())
