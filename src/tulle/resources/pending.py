"""What is valid in a document but not in force: the one table, and the warnings that come of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tulle.model.resource import Resource, Violation
from tulle.resources.consul.idle import IDLE as CONSUL_IDLE
from tulle.resources.core import CLUSTER_FIELDS
from tulle.resources.gatewayapi.idle import IDLE
from tulle.resources.networking.proxy_config import may_be_set
from tulle.resources.networking.tls import CIPHER_SUITES, CURVES
from tulle.resources.paths import folded, locate
from tulle.resources.spec import Place

Test = Callable[[Any], bool]


def _set(value: Any) -> bool:
    return value is not None and value is not False


def _always(_: Any) -> bool:
    return True


def _only(*values: Any) -> Test:
    return lambda value: value in values


def _is_grpc_web(protocol: Any) -> bool:
    return isinstance(protocol, str) and protocol.upper() == "GRPC-WEB"


def _is_gateway(ref: Any) -> bool:
    return isinstance(ref, Mapping) and (ref.get("group"), ref.get("kind")) == ("gateway.networking.k8s.io", "Gateway")


def _zoned(balancer: Any) -> bool:
    zones = balancer.get("zoneAwareLbSetting", balancer.get("zone_aware_lb_setting"))
    return isinstance(zones, Mapping) and zones.get("enabled") is not False


def _lacks(*names: str) -> Test:
    """The value has none of these fields."""
    wanted = {folded(name) for name in names}
    return lambda value: isinstance(value, Mapping) and not any(folded(key) in wanted for key, inner in value.items() if inner is not None)


def _has(*names: str) -> Test:
    """The value has one of these fields."""
    lacks = _lacks(*names)
    return lambda value: isinstance(value, Mapping) and not lacks(value)


def _counted_alone(field: str) -> Test:
    """The field is there, in a RateLimit that asks nobody."""
    there = _has(field)
    return lambda spec: there(spec) and spec.get("scope", "local") in ("local", 0, None)


def _by_turns(balancer: Any) -> bool:
    """Endpoints get their turn, so that a new one's can come more and more often."""
    return balancer.get("simple") not in ("RANDOM", "PASSTHROUGH", 2, 3) and _lacks("consistentHash")(balancer)


def _other_than(*harmless: Any) -> Test:
    return lambda value: value is not None and value not in harmless


def _idle_in(modes: Iterable[Any], *names: str) -> Test:
    """TLS settings in one of these modes (None: the default one; numbers stand for the words) say something by these fields."""
    wanted, idle = frozenset(modes), {folded(name) for name in names}

    def test(tls: Any) -> bool:
        return isinstance(tls, Mapping) and tls.get("mode") in wanted and any(folded(key) in idle and value for key, value in tls.items())

    return test


def _said(value: Mapping[str, Any], name: str) -> Any:
    wanted = folded(name)
    return next((inner for key, inner in value.items() if folded(key) == wanted), None)


def _ends(tls: Any) -> bool:
    return isinstance(tls, Mapping) and tls.get("mode") in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", 1, 2, 5)


def _names_secrets(tls: Mapping[str, Any]) -> bool:
    return any(_said(tls, name) for name in ("credentialName", "credentialNames", "caCertCredentialName"))


def _encrypted(server: Any) -> bool:
    port = server.get("port") if isinstance(server, Mapping) else None
    return (
        isinstance(port, Mapping) and str(port.get("protocol", "")).upper() in ("HTTPS", "TLS") and isinstance(server.get("tls"), Mapping)
    )


def _not_opened(item: Any) -> bool:
    if not isinstance(item, Mapping):
        return False
    said = {folded(key): value for key, value in item.items() if value is not None}
    return "port" in said and "bind" not in said and said.get("capturemode") not in ("NONE", 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A field of `spec` (`http[].fault.abort`; empty for all of it; `*` for any key), what to say after its path, and for which values."""

    path: str
    message: str
    when: Test = _set


def _off(path: str, instead: str, when: Test = _set) -> Pending:
    return Pending(path=path, message=f"not in force: {instead}", when=when)


_OF_CALLERS = ("caCertificates", "caCrl", "caCertCredentialName", "subjectAltNames", "verifyCertificateSpki", "verifyCertificateHash")
_OF_SERVERS = (
    *("serverCertificate", "privateKey", "credentialName", "credentialNames", "tlsCertificates"),
    *("minProtocolVersion", "maxProtocolVersion", "cipherSuites", "ecdhCurves"),
)
_SERVED_TLS = (
    Pending(
        path="tls",
        message="passes TLS on with this mode: certificates, versions, cipher suites and curves have no effect",
        when=_idle_in((None, "PASSTHROUGH", "AUTO_PASSTHROUGH", 0, 3), *_OF_SERVERS, *_OF_CALLERS),
    ),
    Pending(
        path="tls",
        message="mode SIMPLE asks callers for no certificate: what is said of theirs has no effect",
        when=_idle_in(("SIMPLE", 1), *_OF_CALLERS, "insecureSkipVerify"),
    ),
    Pending(
        path="tls",
        message="takes its certificates from tlsCertificates: serverCertificate and privateKey have no effect",
        when=lambda tls: _ends(tls) and _has("tlsCertificates")(tls) and _has("serverCertificate", "privateKey")(tls),
    ),
    Pending(
        path="tls",
        message="begins with TLS 1.3, whose cipher suites are not chosen: cipherSuites has no effect",
        when=lambda tls: isinstance(tls, Mapping) and _said(tls, "minProtocolVersion") in ("TLSV1_3", 4) and _has("cipherSuites")(tls),
    ),
)
_GATEWAY_TLS = (
    Pending(
        path="tls",
        message="takes its certificates from Secrets: serverCertificate, privateKey and caCertificates have no effect",
        when=lambda tls: _ends(tls) and _names_secrets(tls) and _has("serverCertificate", "privateKey", "caCertificates")(tls),
    ),
    Pending(
        path="tls",
        message="mode ISTIO_MUTUAL trusts the mesh's authority: caCrl, verifyCertificateSpki, verifyCertificateHash and "
        "insecureSkipVerify have no effect",
        when=_idle_in(("ISTIO_MUTUAL", 4), "caCrl", "verifyCertificateSpki", "verifyCertificateHash", "insecureSkipVerify"),
    ),
    Pending(
        path="",
        message="tls.httpsRedirect has no effect where the protocol is HTTPS or TLS: it is for a server of plain HTTP",
        when=lambda server: _encrypted(server) and bool(_said(server["tls"], "httpsRedirect")),
    ),
)
_CALLED_TLS = (
    Pending(
        path="tls",
        message="mode DISABLE speaks no TLS: the other settings have no effect",
        when=_idle_in(
            (None, "DISABLE", 0),
            *(
                "clientCertificate",
                "privateKey",
                "caCertificates",
                "credentialName",
                "subjectAltNames",
                "sni",
                "insecureSkipVerify",
                "caCrl",
            ),
        ),
    ),
    Pending(
        path="tls",
        message="mode SIMPLE shows no certificate: clientCertificate and privateKey have no effect; MUTUAL shows one",
        when=_idle_in(("SIMPLE", 1), "clientCertificate", "privateKey"),
    ),
)
_BLOCKS = (
    *_CALLED_TLS,
    Pending(
        path="loadBalancer",
        message="localityLbSetting is not in force beside zoneAwareLbSetting",
        when=lambda b: _has("zoneAwareLbSetting")(b) and _has("localityLbSetting")(b) and _zoned(b),
    ),
    Pending(
        path="loadBalancer",
        message="warms nothing up: only ROUND_ROBIN and LEAST_REQUEST do",
        when=lambda balancer: _has("warmup", "warmupDurationSecs")(balancer) and not _by_turns(balancer),
    ),
    Pending(
        path="loadBalancer.consistentHash",
        message="names nothing to hash: callers are told apart by their address",
        when=_lacks("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"),
    ),
    Pending(
        path="outlierDetection.consecutiveErrors",
        message="is an old spelling: it counts 5xx answers and failed connections in a row; write consecutive5xxErrors",
    ),
)


def _under(prefix: str, entries: Iterable[Pending]) -> tuple[Pending, ...]:
    return tuple(Pending(path=f"{prefix}.{entry.path}".rstrip("."), message=entry.message, when=entry.when) for entry in entries)


def _policies(prefix: str) -> tuple[Pending, ...]:
    return (*_under(prefix, _BLOCKS), *_under(f"{prefix}.portLevelSettings[]", _BLOCKS))


PENDING: Mapping[str, tuple[Pending, ...]] = {
    "VirtualService": (
        Pending(
            path="http[].fault.abort",
            message="sets no httpStatus and no grpcStatus: nothing is aborted",
            when=_lacks("httpStatus", "grpcStatus", "http2Error"),
        ),
        Pending(path="http[].fault.delay", message="sets no fixedDelay: nothing is delayed", when=_lacks("fixedDelay", "exponentialDelay")),
        Pending(path="http[].fault.abort", message="sets no percentage: nothing is aborted", when=_lacks("percentage", "percent")),
        Pending(path="http[].fault.delay", message="sets no percentage: nothing is delayed", when=_lacks("percentage", "percent")),
        Pending(
            path="http[]",
            message="answers by itself: timeout and retries have no effect",
            when=lambda rule: _has("redirect", "directResponse")(rule) and _has("timeout", "retries")(rule),
        ),
        Pending(
            path="http[]",
            message="answers by itself: nothing is mirrored",
            when=lambda rule: _has("redirect", "directResponse")(rule) and _has("mirror", "mirrors")(rule),
        ),
        Pending(
            path="http[]",
            message="has a percentage for a mirror and no mirror: nothing is mirrored by it",
            when=lambda rule: _lacks("mirror")(rule) and _has("mirrorPercentage", "mirrorPercent")(rule),
        ),
        Pending(
            path="http[].match[]",
            message="ignoreUriCase has no effect on a regex; begin it with (?i)",
            when=lambda match: bool(match.get("ignoreUriCase", match.get("ignore_uri_case"))) and _has("regex")(match.get("uri")),
        ),
        _off("http[].fault.abort.http2Error", "no request is aborted by it"),
        _off("http[].fault.delay.exponentialDelay", "no request is delayed by it"),
        Pending(path="http[].websocketUpgrade", message="has no effect: WebSocket upgrades are always allowed"),
    ),
    "DestinationRule": (
        *_policies("trafficPolicy"),
        *_policies("subsets[].trafficPolicy"),
    ),
    "Gateway": (
        *_under("servers[]", (*_SERVED_TLS, *_GATEWAY_TLS)),
        _off("servers[].tls.cipherSuites[]", "the proxy knows no cipher suite of this name", _other_than(*CIPHER_SUITES)),
        _off("servers[].tls.ecdhCurves[]", "the proxy knows no curve of this name", _other_than(*CURVES)),
        Pending(path="servers[].defaultEndpoint", message="has no effect"),
        Pending(path="servers[].port.targetPort", message="has no effect"),
    ),
    "ServiceEntry": (
        Pending(
            path="",
            message="looks up the name that is called, with DYNAMIC_DNS: endpoints and workloadSelector have no effect",
            when=lambda spec: spec.get("resolution") in ("DYNAMIC_DNS", 4) and _has("endpoints", "workloadSelector")(spec),
        ),
        _off("addresses[]", "connections to addresses are not intercepted; call the hosts by name"),
        _off("endpoints[].network", "all endpoints are dialled directly"),
        _off("ports[].protocol", "it is passed on as it comes, not turned into gRPC", _is_grpc_web),
    ),
    "WorkloadEntry": (_off("network", "the workload is dialled directly"),),
    "WorkloadGroup": (
        _off("template.ports", "instances say which ports they have when they register"),
        _off("template.network", "all instances are dialled directly"),
        Pending(path="metadata.annotations", message="has no effect"),
        _off("probe", "nobody probes the group's instances"),
    ),
    "ProxyConfig": (
        _off(
            "environmentVariables",
            "variables that make programs load other code (LD_..., GLIBC_TUNABLES) are left out",
            lambda value: isinstance(value, Mapping) and not all(may_be_set(str(name)) for name in value),
        ),
        Pending(path="image", message="has no effect outside Kubernetes: the proxy is the Envoy that is installed"),
    ),
    "Telemetry": (
        _off("metrics", "proxies count what they always count"),
        _off("tracing", "no traces are sent"),
        _off("accessLogging", "no access log is written"),
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
        _off("targetRefs[]", "only a Gateway of the Gateway API in the same namespace can be named", lambda ref: not _is_gateway(ref)),
    ),
    "Sidecar": (
        Pending(
            path="ingress[].tls",
            message="has no effect with this mode: connections are passed on as they come",
            when=lambda tls: isinstance(tls, Mapping) and tls.get("mode", "PASSTHROUGH") in ("PASSTHROUGH", 0, None),
        ),
        *_under("ingress[]", _SERVED_TLS[1:]),
        _off("ingress[].captureMode", "nothing is intercepted", _other_than("DEFAULT", "NONE", 0, 2)),
        Pending(path="ingress[].port.targetPort", message="has no effect: defaultEndpoint says where the workload listens"),
        Pending(path="egress[].port.targetPort", message="has no effect"),
        *(
            Pending(path=f"{pool}.http.useClientProtocol", message="has no effect: workloads are always spoken to as callers speak")
            for pool in ("ingress[].connectionPool", "inboundConnectionPool")
        ),
        _off("egress[]", "without bind or captureMode NONE no listener is made for its port", _not_opened),
        _off("egress[].captureMode", "nothing is intercepted", _other_than("DEFAULT", "NONE", 0, 2)),
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
