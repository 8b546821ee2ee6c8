"""Services that documents name and none declares: offline, where only registrations would tell of them, they are taken to run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tulle.compile import names
from tulle.model.mesh import MeshSettings
from tulle.model.resource import Resource
from tulle.model.service import Protocol, RegisteredPort, Registration

Named = tuple[str, int]
"""The full name of a service, and a port of it; 0 where none is told."""
_BACKENDS = frozenset({"backendRef", "backendRefs"})
_TARGETS = frozenset({"parentRefs", "targetRef", "targetRefs"})
_DESTINATIONS = frozenset({"spec", "destination", "mirror", "egressProxy", "egress_proxy"})
"""What has a `host` that is a service: elsewhere it may be a label, a header, or whatever somebody keeps under that name."""
_FOREIGN = "EnvoyFilter"
"""A kind that speaks of other things in words of its own."""
_CONSUL = "consul.hashicorp.com/"
_PORT = 80
_ANY = "any"


def stand_ins(resources: Iterable[Resource[Any]], declared: Iterable[str], settings: MeshSettings) -> Mapping[str, Registration]:
    """A registration for each service that documents name, by its host, with all ports that they name; `declared` hosts need none.

    Only names of the mesh's own domain: what is outside is for a ServiceEntry to declare, which is a document itself.
    """
    found: dict[str, set[tuple[int, Protocol]]] = {}
    known = frozenset(declared)
    for resource in (one for one in resources if one.key.kind != _FOREIGN):
        protocol = Protocol.UDP if resource.key.kind == "UDPRoute" else Protocol.AUTO
        for host, port in _named(resource, settings.domain):
            if host not in known and _owner(host, settings.domain):
                found.setdefault(host, set()).update({(port, protocol)} if port else ())
    return {host: _stand_in(host, ports, settings.domain) for host, ports in sorted(found.items())}


def _stand_in(host: str, ports: set[tuple[int, Protocol]], domain: str) -> Registration:
    name, namespace = _owner(host, domain)
    wanted = sorted(ports, key=lambda port: (port[0], port[1].value)) or [(_PORT, Protocol.AUTO)]
    taken = tuple(RegisteredPort(number=n, target=n, name=f"{p.value.lower()}-{n}", protocol=p) for n, p in wanted)
    return Registration(id=host, service=name, namespace=namespace, ports=taken)


def _owner(host: str, domain: str) -> tuple[str, ...]:
    """Name and namespace of a service of the mesh; nothing for hosts outside."""
    inner = host.removesuffix(f".svc.{domain}")
    parts = tuple(inner.split("."))
    return parts if inner != host and len(parts) == 2 and all(parts) else ()


def _named(resource: Resource[Any], domain: str) -> Iterator[Named]:
    namespace = resource.key.namespace
    document = json.loads(resource.document or "{}")
    told = _in_consul_words(resource, document) if resource.api_version.startswith(_CONSUL) else _in(document, namespace)
    for name, home, port in told:
        host = names.resolve(name, home or namespace, domain)
        yield (_one_of(host, home or namespace, domain) if names.is_wildcard(host) else host), port


def _one_of(pattern: str, namespace: str, domain: str) -> str:
    """A service that a wildcard means."""
    near = f"{_ANY}.{namespace}.svc.{domain}"
    return near if names.covers(pattern, near) else _ANY + pattern.removeprefix("*")


def _in(value: Any, namespace: str, around: str = "") -> Iterator[tuple[str, str, int]]:
    """Name, namespace and port of all that refers to a service, in the words of Istio (`host`) and of the Gateway API (`...Refs`)."""
    if isinstance(value, list):
        for item in value:
            yield from _in(item, namespace, around)
    elif isinstance(value, dict):
        if around in _DESTINATIONS and isinstance(host := value.get("host"), str):
            ports = _port_numbers(value)
            yield from ((host, namespace, port) for port in ports or (0,))
        if around == "egress":
            yield from _opened(value, namespace)
        if around == "spec":
            yield from _matched(value, namespace)
        if _refers(value, around):
            yield str(value.get("name", "")), str(value.get("namespace") or namespace), _number(value.get("port"))
        for key, inner in value.items():
            yield from _in(inner, namespace, key)


def _opened(egress: Mapping[str, Any], namespace: str) -> Iterator[tuple[str, str, int]]:
    """Of a Sidecar's `egress` with a port of its own: `namespace/host`."""
    port = _number(egress.get("port"))
    for owner, _, host in (text.rpartition("/") for text in (egress.get("hosts") or () if port else ())):
        if owner != "~":
            yield host, namespace if owner in ("", ".", "*") else owner, port


def _matched(spec: Mapping[str, Any], namespace: str) -> Iterator[tuple[str, str, int]]:
    """The hosts of a VirtualService for workloads, on the ports that its rules are for."""
    rules = [rule for kind in ("http", "tcp", "tls") for rule in spec.get(kind) or ()]
    ports = {_number(match.get("port")) for rule in rules for match in rule.get("match") or ()} - {0}
    if "mesh" in (spec.get("gateways") or ("mesh",)):
        yield from ((host, namespace, port) for host in spec.get("hosts") or () for port in ports)


def _refers(value: Mapping[str, Any], around: str) -> bool:
    """Whether it is a reference to a Service: the kind that backends are of where they name none."""
    kind = value.get("kind", "Service" if around in _BACKENDS else "")
    return around in _BACKENDS | _TARGETS and kind == "Service"


def _port_numbers(value: Mapping[str, Any]) -> set[int]:
    """Of a destination, or of the settings for ports in a DestinationRule."""
    found = {_number(value.get("port"))}
    policies = [value.get("trafficPolicy"), *(subset.get("trafficPolicy") for subset in value.get("subsets") or ())]
    found |= {_number(own.get("port")) for policy in policies if policy for own in policy.get("portLevelSettings") or ()}
    return found - {0}


def _number(port: Any) -> int:
    said = port.get("number") if isinstance(port, dict) else port
    return said if isinstance(said, int) else 0


def _in_consul_words(resource: Resource[Any], document: Any) -> Iterator[tuple[str, str, int]]:
    """The services that an entry is for, sends to, or lets call."""
    if resource.key.kind != "ProxyDefaults":
        yield resource.key.name, "", 0
    for name in _values(document.get("spec"), "service"):
        yield name, "", 0
    for source in (document.get("spec") or {}).get("sources") or ():
        yield str(source.get("name", "")), "", 0


def _values(value: Any, name: str) -> Iterator[str]:
    """All texts under a key, at any depth."""
    if isinstance(value, list):
        for item in value:
            yield from _values(item, name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key == name and isinstance(inner, str):
                yield inner
            else:
                yield from _values(inner, name)
