"""A gateway in front of one service, as text: what most tests of policies at the edge begin with."""

from __future__ import annotations


def edge(port: int, *more: str, host: str = "*", name: str = "edge", to: str = "far.default.svc.cluster.local", rules: str = "") -> str:
    """A Gateway that listens on 127.0.0.1, a VirtualService of the same name, and more documents. `rules`: `http` of the VirtualService."""
    first = f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: istio-system}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["{host}"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: istio-system}}
spec: {{hosts: ["{host}"], gateways: [{name}], http: [{rules or f"{{route: [{{destination: {{host: {to}}}}}]}}"}]}}
---
"""
    return first + "".join(f"{document.strip()}\n---\n" for document in more)


def policy(kind: str, spec: str, name: str = "edge", target: str = "{kind: Gateway, group: networking.istio.io, name: edge}") -> str:
    """A policy of Tulle's for what `target` names. `spec`: its other fields, as they stand between braces."""
    return f"""
apiVersion: tulle.dev/v1
kind: {kind}
metadata: {{name: {name}, namespace: istio-system}}
spec: {{targetRefs: [{target}]{", " if spec else ""}{spec}}}
"""
