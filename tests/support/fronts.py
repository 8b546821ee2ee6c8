"""A gateway in front of one service."""

from __future__ import annotations


def front(port: int) -> str:
    """Documents that send all that comes to the gateway's port to the service `web`."""
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: ["*"]
  gateways: [front]
  http: [{{route: [{{destination: {{host: web, port: {{number: 80}}}}}}]}}]
"""
