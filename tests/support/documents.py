"""Documents to apply."""

from __future__ import annotations


def virtual_service(name: str = "reviews", *, host: str = "reviews", weight: str = "", namespace: str = "", timeout: str = "5s") -> str:
    return f"""apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: {name}{
        f'''
  namespace: {namespace}'''
        if namespace
        else ""
    }
spec:
  hosts: [{host}]
  http:
  - timeout: {timeout}
    route:
    - destination: {{host: {host}, subset: v1}}{
        f'''
      weight: {weight}'''
        if weight
        else ""
    }
"""


def destination_rule(name: str = "reviews", *, host: str = "reviews") -> str:
    return f"""apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec:
  host: {host}
  subsets:
  - name: v1
    labels: {{version: v1}}
"""


def together(*documents: str) -> str:
    return "---\n".join(documents)


BAD = virtual_service(timeout="soon")
"""As `virtual_service()`, with a violation in line 8."""
