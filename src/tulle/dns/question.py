"""What a name asks for. Names come as their labels, without the root, in lower case.

[TAG.]NAME.service[.NS.ns][.DC | .DC.dc].consul        instances of a service
_NAME._TAG[.service][.DC].consul                       the same, as RFC 2782 writes it; the tag `tcp` stands for any
NAME.connect[.DC].consul                               what takes mutual TLS for a service
NAME.virtual[.DC].consul                               the service's own address
NAME.ingress[.DC].consul                               the gateways through which a service is reached
NAME.query[.DC].consul                                 a prepared query; or _NAME._tcp.query[.DC].consul
NODE.node[.DC | .DC.dc].consul                         a machine; its name may have dots
HEX.addr[.DC].consul                                   the address itself
consul, ns.consul                                      the domain
reviews.default.svc.cluster.local                      a service of the mesh
_http._tcp.reviews.default.svc.cluster.local           one port of it
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from tulle.dns.rules import Rules

DEFAULT_NAMESPACE = "default"
Labels = tuple[str, ...]
Place = tuple[str, str]
"""A namespace, and another datacenter than this; empty for this."""
IpAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class AskService:
    name: str
    tag: str = ""
    namespace: str = DEFAULT_NAMESPACE
    connect: bool = False
    """What takes mutual TLS for the service."""
    ingress: bool = False
    """The gateways through which it is reached."""
    datacenter: str = ""
    """Another one than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskVirtual:
    name: str
    namespace: str = DEFAULT_NAMESPACE


@dataclass(frozen=True, slots=True, kw_only=True)
class AskNode:
    name: str
    datacenter: str = ""
    """Another one than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskQuery:
    name: str
    datacenter: str = ""
    """Another one than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskAddress:
    address: IpAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class AskReverse:
    address: IpAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class AskApex:
    """The domain itself, or with `server` its name server."""

    server: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AskHost:
    """A name that may be one of the mesh's. `port` and `protocol` are those of an SRV name, without underscores."""

    host: str
    port: str = ""
    protocol: str = ""
    ours: bool = True
    """Within the mesh's domain: nobody else knows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A name of our domain in no form that there is."""


Asked = AskService | AskVirtual | AskNode | AskQuery | AskAddress | AskReverse | AskApex | AskHost | Unknown
_KINDS = ("service", "connect", "ingress", "virtual", "query", "node", "addr")


def parse(labels: Labels, rules: Rules) -> Asked:
    """Never fails: what cannot be understood is Unknown, what is not ours an AskHost."""
    for domain in (rules.domain, rules.alt_domain):
        relative = within(labels, domain) if domain else None
        if relative is not None:
            return _consul(relative, rules)
    address = reverse(labels)
    return AskReverse(address=address) if address else _host(labels, rules)


def within(labels: Labels, domain: str) -> Labels | None:
    """The labels before the domain; None for a name outside it."""
    suffix = tuple(domain.lower().split("."))
    return labels[: -len(suffix)] if labels[-len(suffix) :] == suffix else None


def _consul(labels: Labels, rules: Rules) -> Asked:
    if labels in ((), ("ns",)):
        return AskApex(server=bool(labels))
    at = next((i for i in range(len(labels) - 1, -1, -1) if labels[i] in _KINDS), None)
    if at is None:
        return _rfc2782(labels, rules)
    where = _place(labels[at + 1 :], rules)
    if where is None or at == 0:
        return Unknown()
    return _of_kind(labels[at], labels[:at], where)


def _rfc2782(labels: Labels, rules: Rules) -> Asked:
    """`_name._tag.consul`, without the word `service`."""
    where = _place(labels[2:], rules)
    if where is None or len(labels) < 2 or not all(part.startswith("_") for part in labels[:2]):
        return Unknown()
    return _service(labels[:2], where)


def _place(labels: Labels, rules: Rules) -> Place | None:
    """The namespace and the datacenter that stand behind the kind; None where there is nothing that can be understood."""
    namespace = DEFAULT_NAMESPACE
    if len(labels) >= 2 and labels[1] == "ns":
        namespace, labels = labels[0], labels[2:]
    if labels[1:] not in ((), ("dc",)):
        return None
    datacenter = labels[0] if labels else rules.datacenter
    if datacenter == rules.datacenter:
        return namespace, ""
    return (namespace, datacenter) if datacenter in rules.datacenters else None


def _of_kind(kind: str, before: Labels, place: Place) -> Asked:
    name, (namespace, datacenter) = ".".join(before), place
    match kind:
        case "service":
            return _service(before, place)
        case "connect" | "ingress":
            own = AskService(name=before[-1], namespace=namespace, datacenter=datacenter)
            return replace(own, connect=True) if kind == "connect" else replace(own, ingress=True)
        case "virtual":
            return Unknown() if datacenter else AskVirtual(name=name, namespace=namespace)
        case "query":
            srv = len(before) == 2 and before[0].startswith("_") and before[1] == "_tcp"
            return AskQuery(name=before[0][1:] if srv else name, datacenter=datacenter)
        case "node":
            return AskNode(name=name, datacenter=datacenter)
        case _:
            return _address(before)


def _service(before: Labels, place: Place) -> Asked:
    namespace, datacenter = place
    if len(before) == 2 and all(part.startswith("_") and len(part) > 1 for part in before):
        name, tag = (part[1:] for part in before)
        return AskService(name=name, tag="" if tag == "tcp" else tag, namespace=namespace, datacenter=datacenter)
    return AskService(name=before[-1], tag=".".join(before[:-1]), namespace=namespace, datacenter=datacenter)


def _address(before: Labels) -> Asked:
    """8 hexadecimal digits for IPv4, 32 for IPv6."""
    digits = before[0]
    if len(before) != 1 or len(digits) not in (8, 32) or not set(digits) <= set("0123456789abcdef"):
        return Unknown()
    number = int(digits, 16)
    return AskAddress(address=IPv4Address(number) if len(digits) == 8 else IPv6Address(number))


def reverse(labels: Labels) -> IpAddress | None:
    """The address that a name under in-addr.arpa or ip6.arpa means."""
    kind, parts = labels[-2:], labels[-3::-1]
    try:
        if kind == ("in-addr", "arpa"):
            return IPv4Address(".".join(parts))
        if kind == ("ip6", "arpa") and len(parts) == 32 and all(len(part) == 1 for part in parts):
            return IPv6Address(int("".join(parts), 16))
    except ValueError:
        pass
    return None


def _host(labels: Labels, rules: Rules) -> AskHost:
    ours = within(labels, rules.mesh_domain) is not None
    if len(labels) > 2 and labels[1] in ("_tcp", "_udp") and labels[0].startswith("_"):
        return AskHost(host=".".join(labels[2:]), port=labels[0][1:], protocol=labels[1][1:], ours=ours)
    return AskHost(host=".".join(labels), ours=ours)
