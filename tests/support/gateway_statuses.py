"""Gateways, routes and what becomes of them, for tests of the statuses of the Gateway API's documents."""

from __future__ import annotations

from typing import Any

from support.compiled import built, instance

API = "apiVersion: gateway.networking.k8s.io/v1"
FINE = "True Accepted"
HTTPS = "{name: w, port: 443, protocol: HTTPS, tls: {certificateRefs: [%s]}}"
ONE = "[{name: w, port: 80, protocol: HTTP}]"
GRANT = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: g, namespace: other}}
spec: {{from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {namespace}}}], to: [{{group: "", kind: Service{name}}}]}}
---
"""


def gateway(listeners: str, more: str = "", *, name: str = "edge", namespace: str = "default", of: str = "tulle") -> str:
    head = f"{API}\nkind: Gateway\nmetadata: {{name: {name}, namespace: {namespace}}}"
    return f"{head}\nspec:\n  gatewayClassName: {of}\n  listeners: {listeners}\n  {more}\n---\n"


def route(parents: str, more: str = "", *, kind: str = "HTTPRoute", name: str = "r", namespace: str = "default") -> str:
    backends = "rules: [{backendRefs: [{name: a, port: 80}]}]"
    head = f"{API}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}"
    return f"{head}\nspec:\n  parentRefs: {parents}\n  {more}\n  {'' if 'rules:' in more else backends}\n---\n"


def condition(found: list[dict[str, Any]], kind: str) -> str:
    """Status and reason."""
    return next((f"{c['status']} {c['reason']}" for c in found if c["type"] == kind), "absent")


def parents(text: str, name: str = "r") -> list[tuple[str, str]]:
    """Of each parent of a route, what became of `Accepted` and `ResolvedRefs`."""
    statuses = built(text, instance("a", number=80)).statuses
    status = next(s for key, s in statuses.items() if key.name == name and key.kind.endswith("Route"))
    found: Any = status.details["parents"]
    return [(condition(p["conditions"], "Accepted"), condition(p["conditions"], "ResolvedRefs")) for p in found]


def listeners(text: str, name: str = "edge") -> dict[str, dict[str, Any]]:
    status = next(s for key, s in built(text).statuses.items() if key.name == name and key.kind.startswith(("Gateway.", "ListenerSet")))
    found: Any = status.details["listeners"]
    return {one["name"]: one for one in found}


def top(text: str, name: str) -> str:
    status = next(s for key, s in built(text).statuses.items() if key.name == name)
    found = status.condition("Accepted")
    assert found
    return f"{found.status} {found.reason}"


def of(text: str, name: str, *kinds: str) -> dict[str, str]:
    """The conditions of a document itself."""
    statuses = built(text, instance("a", number=80)).statuses
    status = next(s for key, s in statuses.items() if key.name == name and (not kinds or key.kind.startswith(kinds)))
    return {c.type: f"{'Unknown' if c.status is None else c.status} {c.reason}" for c in status.conditions}


def allowing(namespaces: str) -> str:
    return gateway(f"[{{name: web, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {{{namespaces}}}}}}}]")


def listener_set(more: str = "", *, name: str = "more", namespace: str = "team", parent: str = "{name: edge, namespace: default}") -> str:
    head = f"{API}\nkind: ListenerSet\nmetadata: {{name: {name}, namespace: {namespace}}}"
    return (
        f"{head}\nspec:\n  parentRef: {parent}\n  listeners: [{{name: own, port: 80, protocol: HTTP, hostname: {more or 'a.test'}}}]\n---\n"
    )


def a_class(controller: str, more: str = "") -> str:
    return f"{API}\nkind: GatewayClass\nmetadata: {{name: mine}}\nspec: {{controllerName: {controller}{more}}}\n---\n"


PLAIN = gateway("[{name: web, port: 80, protocol: HTTP}, {name: more, port: 81, protocol: HTTP, hostname: '*.example'}]")
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {access: yes-please}}\n---\n"
SELECTED = "from: Selector, selector: {matchExpressions: [{key: access, operator: In, values: [yes-please]}]}"
OPEN = gateway("[{name: web, port: 80, protocol: HTTP, hostname: w.test}]", "allowedListeners: {namespaces: {from: All}}")
