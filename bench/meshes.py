"""Documents that several benchmarks apply."""

from __future__ import annotations

MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: bench}}
spec:
  workloads:
  - {workload}
---
"""
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
"""
TO_ONE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: edge, namespace: default}}
spec:
  hosts: ["*"]
  gateways: [edge]
  http: [{{route: [{{destination: {{host: {host}, port: {{number: {port}}}}}}}]}}]
---
"""


def mesh(workload: str, gateway: int, host: str, port: int) -> str:
    """A mesh file of one workload (a YAML flow mapping), and a gateway on port `gateway` that sends everything to one service."""
    return MESH.format(workload=workload) + EDGE.format(port=gateway) + TO_ONE.format(host=host, port=port)
