"""Whether somebody may call: asked of the proxy beside every instance of the service that a URL names, or of the gateways."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import SplitResult

from tulle.compile import Mesh, names
from tulle.compile.explain.entry import PORTS, UnusableRequestError, parse
from tulle.compile.explain.payload import read_payload
from tulle.compile.explain.request import Request
from tulle.compile.explain.trace import Step, Trace, plain
from tulle.compile.explain.views import explain
from tulle.model.proxy import Node, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one proxy says. `allowed` None: an authorisation service decides."""

    proxy: str
    allowed: bool | None
    by: str
    steps: tuple[Step, ...]


def can_request(mesh: Mesh, nodes: Iterable[Node], payload: Mapping[str, Any]) -> dict[str, Any]:
    """Answers a question whose body is as that of explain: `{"allowed": "yes" | "no" | "depends", "proxies": [...]}`.

    Raises UnusableRequestError where no proxy in the mesh stands before what the URL names.
    """
    verdicts = can(mesh, nodes, read_payload(payload, mesh.structure.settings.trust_domains[0]))
    return {"allowed": summary(verdicts), "proxies": [plain(verdict) for verdict in verdicts]}


def summary(verdicts: Iterable[Verdict]) -> str:
    """`depends` where instances differ, or a service decides."""
    said = {verdict.allowed for verdict in verdicts}
    return "yes" if said == {True} else "no" if said == {False} else "depends"


def can(mesh: Mesh, nodes: Iterable[Node], request: Request) -> tuple[Verdict, ...]:
    """What the proxies before a service say of a call. Raises UnusableRequestError where there are none."""
    url = parse(request)
    host = names.resolve(url.hostname or "", "default", mesh.structure.settings.domain)
    every = sorted(nodes, key=lambda node: node.id)
    found = tuple(v for node in every for v in _beside(mesh, node, request, url, host))
    found = found or tuple(v for node in every if node.role is Role.GATEWAY and (v := _at_edge(mesh, node, request)))
    if not found:
        raise UnusableRequestError(f"no proxy of the mesh stands before {url.hostname}:{_port(url)}")
    return found


def _port(url: SplitResult) -> int:
    return url.port or PORTS.get(url.scheme, 0)


def _beside(mesh: Mesh, node: Node, request: Request, url: SplitResult, host: str) -> Iterator[Verdict]:
    """The ports of a workload by which it answers for the service."""
    if node.role is not Role.SIDECAR or not node.service:
        return
    own = f"{node.service}.{node.namespace}.svc.{mesh.structure.settings.domain}"
    if own not in (host, f"{host}.svc.{mesh.structure.settings.domain}"):
        return
    for port in node.inbound:
        if port.service_port == _port(url):
            yield _verdict(node, request, explain(mesh, node, replace(request, connect_to=(port.listen_address, port.listen))))


def _at_edge(mesh: Mesh, node: Node, request: Request) -> Verdict | None:
    try:
        return _verdict(node, request, explain(mesh, node, request))
    except UnusableRequestError:
        return None


def _verdict(node: Node, request: Request, trace: Trace) -> Verdict:
    """Who is not let in on the way to the policies is not let in either: in plain text where TLS is wanted, with a bad token."""
    if trace.closed:
        unknown = "" if trace.allowed or request.principal else "; the caller shows no identity"
        return Verdict(proxy=node.id, allowed=False, by=trace.closed + unknown, steps=trace.steps)
    if trace.allowed:
        allowed = {"allow": True, "deny": False}.get(trace.allowed.decision)
        return Verdict(proxy=node.id, allowed=allowed, by=trace.allowed.by, steps=trace.steps)
    if trace.direct_response and trace.direct_response.status in (401, 403):
        return Verdict(proxy=node.id, allowed=False, by=trace.direct_response.body, steps=trace.steps)
    return Verdict(proxy=node.id, allowed=True, by="no policy is there", steps=trace.steps)
