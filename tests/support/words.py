"""Documents of the security API, in one line each."""

from __future__ import annotations

from support.tokens import Issuer


def policy(name: str, spec: str, namespace: str = "foo", *, dry_run: bool = False) -> str:
    """An AuthorizationPolicy; `spec` in YAML's flow style, without its braces."""
    annotations = ', annotations: {istio.io/dry-run: "true"}' if dry_run else ""
    return f"""apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: {namespace}{annotations}}}
spec: {{{spec}}}
"""


def peers(mode: str, namespace: str = "foo", app: str = "", more: str = "") -> str:
    """A PeerAuthentication for a namespace, or for one workload in it."""
    selector = f"selector: {{matchLabels: {{app: {app}}}}}, " if app else ""
    return f"""apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {app or "all"}, namespace: {namespace}}}
spec: {{{selector}mtls: {{mode: {mode}}}{more}}}
"""


def tokens(issuer: Issuer, *, app: str = "echo", namespace: str = "foo", keys: str = "", more: str = "") -> str:
    """A RequestAuthentication. `keys`: where they are to be fetched; else they stand in the document."""
    where = f"jwksUri: '{keys}'" if keys else f"jwks: '{issuer.key_set}'"
    selected = "istio: ingressgateway" if namespace == "istio-system" else f"app: {app}"
    return f"""apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: {namespace}}}
spec: {{selector: {{matchLabels: {{{selected}}}}}, jwtRules: [{{issuer: '{issuer.name}', {where}{more}}}]}}
"""


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
