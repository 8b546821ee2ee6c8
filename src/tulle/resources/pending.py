"""What is valid in a document but not in force: the one table, and the warnings that come of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tulle.model.resource import Resource, Violation
from tulle.resources.consul.idle import IDLE as CONSUL_IDLE
from tulle.resources.core import CLUSTER_FIELDS
from tulle.resources.gatewayapi.idle import IDLE
from tulle.resources.idle import Pending, Test, has, idle_in, lacks, off, other_than, said, under
from tulle.resources.networking.idle_policies import POOL, policies
from tulle.resources.networking.proxy_config import may_be_set
from tulle.resources.networking.tls import CIPHER_SUITES, CURVES
from tulle.resources.paths import folded, locate
from tulle.resources.spec import Place


def _is_grpc_web(protocol: Any) -> bool:
    return isinstance(protocol, str) and protocol.upper() == "GRPC-WEB"


def _is_gateway(ref: Any) -> bool:
    return isinstance(ref, Mapping) and (ref.get("group"), ref.get("kind")) == ("gateway.networking.k8s.io", "Gateway")


def _counted_alone(field: str) -> Test:
    """The field is there, in a RateLimit that asks nobody."""
    there = has(field)
    return lambda spec: there(spec) and spec.get("scope", "local") in ("local", 0, None)


def _ends(tls: Any) -> bool:
    return isinstance(tls, Mapping) and tls.get("mode") in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", 1, 2, 5)


def _names_secrets(tls: Mapping[str, Any]) -> bool:
    return any(said(tls, name) for name in ("credentialName", "credentialNames"))


def _encrypted(server: Any) -> bool:
    port = server.get("port") if isinstance(server, Mapping) else None
    return (
        isinstance(port, Mapping) and str(port.get("protocol", "")).upper() in ("HTTPS", "TLS") and isinstance(server.get("tls"), Mapping)
    )


def _not_opened(item: Any) -> bool:
    if not isinstance(item, Mapping):
        return False
    written = {folded(key): value for key, value in item.items() if value is not None}
    return "port" in written and "bind" not in written and written.get("capturemode") not in ("NONE", 2)


def _classed_in_vain(patch: Any) -> bool:
    operation = said(patch, "operation") if isinstance(patch, Mapping) else None
    return operation not in (None, "ADD", 2) and said(patch, "filterClass") not in (None, "UNSPECIFIED", 0)


_OF_CALLERS = ("caCertificates", "caCrl", "caCertCredentialName", "subjectAltNames", "verifyCertificateSpki", "verifyCertificateHash")
_OF_SERVERS = (
    *("serverCertificate", "privateKey", "credentialName", "credentialNames", "tlsCertificates"),
    *("minProtocolVersion", "maxProtocolVersion", "cipherSuites", "ecdhCurves"),
)
_SERVED_TLS = (
    Pending(
        path="tls",
        message="passes TLS on with this mode: certificates, versions, cipher suites and curves have no effect",
        when=idle_in((None, "PASSTHROUGH", "AUTO_PASSTHROUGH", 0, 3), *_OF_SERVERS, *_OF_CALLERS),
    ),
    Pending(
        path="tls",
        message="mode SIMPLE asks callers for no certificate: what is said of theirs has no effect",
        when=idle_in(("SIMPLE", 1), *_OF_CALLERS, "insecureSkipVerify"),
    ),
    Pending(
        path="tls",
        message="takes its certificates from tlsCertificates: serverCertificate and privateKey have no effect",
        when=lambda tls: _ends(tls) and has("tlsCertificates")(tls) and has("serverCertificate", "privateKey")(tls),
    ),
    Pending(
        path="tls",
        message="begins with TLS 1.3, whose cipher suites are not chosen: cipherSuites has no effect",
        when=lambda tls: isinstance(tls, Mapping) and said(tls, "minProtocolVersion") in ("TLSV1_3", 4) and has("cipherSuites")(tls),
    ),
)
_GATEWAY_TLS = (
    Pending(
        path="tls",
        message="takes its certificates from Secrets: serverCertificate, privateKey and caCertificates have no effect",
        when=lambda tls: _ends(tls) and _names_secrets(tls) and has("serverCertificate", "privateKey", "caCertificates")(tls),
    ),
    Pending(
        path="tls",
        message="takes the authority for callers from a Secret: caCertificates has no effect",
        when=lambda tls: _ends(tls) and not _names_secrets(tls) and bool(said(tls, "caCertCredentialName")) and has("caCertificates")(tls),
    ),
    Pending(
        path="tls",
        message="mode ISTIO_MUTUAL trusts the mesh's authority: caCrl, verifyCertificateSpki, verifyCertificateHash and "
        "insecureSkipVerify have no effect",
        when=idle_in(("ISTIO_MUTUAL", 4), "caCrl", "verifyCertificateSpki", "verifyCertificateHash", "insecureSkipVerify"),
    ),
    Pending(
        path="",
        message="tls.httpsRedirect has no effect where the protocol is HTTPS or TLS: it is for a server of plain HTTP",
        when=lambda server: _encrypted(server) and bool(said(server["tls"], "httpsRedirect")),
    ),
)
_UNREACHED = "has no address: nobody can call it"
PENDING: Mapping[str, tuple[Pending, ...]] = {
    "VirtualService": (
        Pending(
            path="http[].fault.abort",
            message="sets no httpStatus and no grpcStatus: nothing is aborted",
            when=lacks("httpStatus", "grpcStatus", "http2Error"),
        ),
        Pending(path="http[].fault.delay", message="sets no fixedDelay: nothing is delayed", when=lacks("fixedDelay", "exponentialDelay")),
        Pending(path="http[].fault.abort", message="sets no percentage: nothing is aborted", when=lacks("percentage", "percent")),
        Pending(path="http[].fault.delay", message="sets no percentage: nothing is delayed", when=lacks("percentage", "percent")),
        Pending(
            path="http[]",
            message="answers by itself: timeout and retries have no effect",
            when=lambda rule: has("redirect", "directResponse")(rule) and has("timeout", "retries")(rule),
        ),
        Pending(
            path="http[]",
            message="answers by itself: nothing is mirrored",
            when=lambda rule: has("redirect", "directResponse")(rule) and has("mirror", "mirrors")(rule),
        ),
        Pending(
            path="http[]",
            message="has a percentage for a mirror and no mirror: nothing is mirrored by it",
            when=lambda rule: lacks("mirror")(rule) and has("mirrorPercentage", "mirrorPercent")(rule),
        ),
        Pending(
            path="http[].match[]",
            message="ignoreUriCase has no effect on a regex; begin it with (?i)",
            when=lambda match: bool(match.get("ignoreUriCase", match.get("ignore_uri_case"))) and has("regex")(match.get("uri")),
        ),
        off("http[].fault.abort.http2Error", "no request is aborted by it"),
        off("http[].fault.delay.exponentialDelay", "no request is delayed by it"),
        Pending(path="http[].websocketUpgrade", message="has no effect: WebSocket upgrades are always allowed"),
    ),
    "DestinationRule": (
        Pending(
            path="",
            message="workloadSelector chooses workloads of the document's own namespace: exportTo has no effect",
            when=lambda spec: has("workloadSelector")(spec) and bool(said(spec, "exportTo")),
        ),
        *policies("trafficPolicy"),
        *policies("subsets[].trafficPolicy"),
    ),
    "Gateway": (
        *under("servers[]", (*_SERVED_TLS, *_GATEWAY_TLS)),
        off("servers[].tls.cipherSuites[]", "the proxy knows no cipher suite of this name", other_than(*CIPHER_SUITES)),
        off("servers[].tls.ecdhCurves[]", "the proxy knows no curve of this name", other_than(*CURVES)),
        Pending(path="servers[].defaultEndpoint", message="has no effect"),
        Pending(path="servers[].port.targetPort", message="has no effect"),
    ),
    "ServiceEntry": (
        Pending(
            path="",
            message="looks up the name that is called, with DYNAMIC_DNS: endpoints and workloadSelector have no effect",
            when=lambda spec: spec.get("resolution") in ("DYNAMIC_DNS", 4) and has("endpoints", "workloadSelector")(spec),
        ),
        Pending(
            path="",
            message="goes to the very address that is called, with resolution NONE: workloadSelector has no effect",
            when=lambda spec: spec.get("resolution") in ("NONE", 0, None) and has("workloadSelector")(spec),
        ),
        off("addresses[]", "connections to addresses are not intercepted; call the hosts by name"),
        off("endpoints[].network", "all endpoints are dialled directly"),
        Pending(path="endpoints[]", message=_UNREACHED, when=lacks("address")),
        off("ports[].protocol", "it is passed on as it comes, not turned into gRPC", _is_grpc_web),
    ),
    "WorkloadEntry": (off("network", "the workload is dialled directly"), Pending(path="", message=_UNREACHED, when=lacks("address"))),
    "WorkloadGroup": (
        off("template.ports", "instances say which ports they have when they register"),
        off("template.network", "all instances are dialled directly"),
        Pending(path="metadata.annotations", message="has no effect"),
        off("probe", "nobody probes the group's instances"),
    ),
    "ProxyConfig": (
        off(
            "environmentVariables",
            "variables that make programs load other code (LD_..., GLIBC_TUNABLES) are left out",
            lambda value: isinstance(value, Mapping) and not all(may_be_set(str(name)) for name in value),
        ),
        Pending(path="image", message="has no effect outside Kubernetes: the proxy is the Envoy that is installed"),
    ),
    "Telemetry": (
        off("metrics", "proxies count what they always count"),
        off("tracing", "no traces are sent"),
        off("accessLogging", "no access log is written"),
    ),
    "RateLimit": (
        *(
            Pending(
                path="",
                message=f"{field} has no effect where the scope is local: nobody is asked",
                when=_counted_alone(field),
            )
            for field in ("failureMode", "timeout")
        ),
    ),
    "EnvoyFilter": (
        Pending(path="configPatches[].patch", message="says where to put the filter: filterClass has no effect", when=_classed_in_vain),
        off("targetRefs[]", "only a Gateway of the Gateway API in the same namespace can be named", lambda ref: not _is_gateway(ref)),
    ),
    "Sidecar": (
        Pending(
            path="ingress[].tls",
            message="has no effect with this mode: connections are passed on as they come",
            when=lambda tls: isinstance(tls, Mapping) and tls.get("mode", "PASSTHROUGH") in ("PASSTHROUGH", 0, None),
        ),
        *under("ingress[]", _SERVED_TLS[1:]),
        off("ingress[].captureMode", "nothing is intercepted", other_than("DEFAULT", "NONE", 0, 2)),
        Pending(path="ingress[].port.targetPort", message="has no effect: defaultEndpoint says where the workload listens"),
        Pending(path="egress[].port.targetPort", message="has no effect"),
        *(
            Pending(path=f"{pool}.http.useClientProtocol", message="has no effect: workloads are always spoken to as callers speak")
            for pool in ("ingress[].connectionPool", "inboundConnectionPool")
        ),
        *under("ingress[].connectionPool", POOL),
        *under("inboundConnectionPool", POOL),
        off("egress[]", "without bind or captureMode NONE no listener is made for its port", _not_opened),
        off("egress[].port.protocol", "no listener is made for datagrams, which upstreams carry", lambda word: str(word).upper() == "UDP"),
        off("egress[].captureMode", "nothing is intercepted", other_than("DEFAULT", "NONE", 0, 2)),
    ),
    "Service": (
        *(Pending(path=name, message="has no effect outside Kubernetes") for name in CLUSTER_FIELDS),
        Pending(path="ports[].nodePort", message="has no effect outside Kubernetes"),
        Pending(
            path="type",
            message="has no effect outside Kubernetes: a Gateway makes services reachable",
            when=lambda value: value in ("NodePort", "LoadBalancer"),
        ),
    ),
    **{
        kind: tuple(Pending(path=path, message=message, when=when) for path, message, when in idle)
        for kind, idle in {**IDLE, **CONSUL_IDLE}.items()
    },
}
"""Kind to what is not in force of it."""


@dataclass(slots=True)
class _Node:
    """The table as a tree, so that a document is walked once."""

    entries: list[Pending] = field(default_factory=list)
    below: dict[str, _Node] = field(default_factory=dict)


def _tree(entries: Iterable[Pending]) -> _Node:
    root = _Node()
    for entry in entries:
        node = root
        for part in re.findall(r"\[\]|[^.\[\]]+", entry.path):
            node = node.below.setdefault(folded(part), _Node())
        node.entries.append(entry)
    return root


_TREES = {kind: _tree(entries) for kind, entries in PENDING.items()}


def pending(kind: str, spec: Any) -> Iterator[tuple[Place, str]]:
    """The places in a valid `spec`, as written, that are not in force, and why."""
    tree = _TREES.get(kind)
    return _walk(tree, spec, ()) if tree else iter(())


def warnings(resource: Resource[Any]) -> tuple[Violation, ...]:
    """What a resource says that is not in force, each with its place."""
    document = json.loads(resource.document)
    found = []
    for place, message in pending(resource.key.kind, document.get("spec") or {}):
        source = resource.at(locate(document, ("spec", *place)))
        found.append(Violation(origin=source.origin, resource=f"{source.key.kind}/{source.key.name}", field=source.field, message=message))
    return tuple(found)


def _walk(node: _Node, value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    for entry in node.entries:
        if entry.when(value):
            yield place, entry.message
    if not node.below:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if child := node.below.get(folded(key)) or node.below.get("*"):
                yield from _walk(child, inner, (*place, key))
    elif isinstance(value, list) and (child := node.below.get("[]")):
        for index, inner in enumerate(value):
            yield from _walk(child, inner, (*place, index))
