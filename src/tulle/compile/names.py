"""Host names: short forms, wildcards and which of two is the more specific (BEHAVIOURS 5 and 6)."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

MESH = "mesh"
"""The gateway name that stands for all sidecars."""


def resolve(name: str, namespace: str, domain: str) -> str:
    """The full name of a host as written in a rule of `namespace`: only a name without a dot is short."""
    name = name.lower().rstrip(".")
    if not name or name.startswith("*") or "." in name or ":" in name:
        return name
    return f"{name}.{namespace}.svc.{domain}"


def home(host: str) -> str:
    """The namespace of which a service is by its very name, `shop` of `web.shop.svc...`; empty for other names."""
    namespace, dot, rest = host.partition(".")[2].partition(".")
    return namespace if dot and rest.startswith("svc.") else ""


def gateway_name(name: str, namespace: str) -> str:
    """`namespace/name` of a gateway as a VirtualService of `namespace` writes it; `mesh` stays."""
    if name == MESH or "/" in name:
        return name
    if ".svc." in name:
        short, owner = name.split(".", 2)[:2]
        return f"{owner}/{short}"
    return f"{namespace}/{name}"


def is_wildcard(host: str) -> bool:
    return host.startswith("*")


def covers(pattern: str, host: str) -> bool:
    """Whether every name that `host` stands for is also meant by `pattern`. Both may be wildcards."""
    if pattern.startswith("*"):
        return host.endswith(pattern[1:])
    return pattern == host


def overlap(one: str, other: str) -> str | None:
    """The more specific of two hosts where they mean common names, else None."""
    if covers(one, other):
        return other
    return one if covers(other, one) else None


def specificity(host: str) -> tuple[bool, int, str]:
    """Sorts exact names first, then wildcards from the longest to `*`."""
    return (is_wildcard(host), -len(host), host)


@lru_cache(maxsize=100_000)
def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def bracketed(address: str) -> str:
    """An address as URLs write it."""
    return f"[{address}]" if ":" in address else address


def aliases(host: str, client_namespace: str, domain: str) -> tuple[str, ...]:
    """The forms under which a client of a namespace may call `host`, the full one first."""
    suffix = f".svc.{domain}"
    name, _, namespace = host.removesuffix(suffix).partition(".")
    if not host.endswith(suffix) or not namespace or "." in namespace or is_wildcard(host):
        return (host,)
    forms = (host, f"{name}.{namespace}.svc", f"{name}.{namespace}")
    return (*forms, name) if namespace == client_namespace else forms


def domains(hosts: tuple[str, ...], port: int) -> tuple[str, ...]:
    """Each host with its port, and for port 80 without one too, since that is how clients write it. A lone `*` covers both."""
    found = []
    for host in hosts:
        if port == 80 or host == "*":
            found.append(host)
        if host != "*":
            found.append(f"{host}:{port}")
    return tuple(dict.fromkeys(found))


def cluster_name(host: str, port: int, subset: str = "", *, udp: bool = False) -> str:
    """Istio's name. It has none for UDP, where the number may be a TCP port's too."""
    return f"outbound|{port}{'/udp' if udp else ''}|{subset}|{host}"


def client_cluster(cluster: str, client: str) -> str:
    """The cluster of one client of a service, who shows a certificate of its own there. `client`: `namespace/name` of a Gateway."""
    kind, rest = cluster.split("|", 1)
    return f"{kind}~{client}|{rest}"


def is_outbound(cluster: str) -> bool:
    """Whether a cluster is that of a service, for everyone or for one client."""
    return cluster.startswith(("outbound|", "outbound~"))


def listener_name(address: str, port: int, *, udp: bool = False) -> str:
    return f"{address}_{port}{'_udp' if udp else ''}"


def quic_listener_name(address: str, port: int) -> str:
    return f"udp_{address}_{port}"


def parse_cluster_name(name: str) -> tuple[int, str, str]:
    """Port, subset and host of an outbound cluster."""
    _, port, subset, host = name.split("|", 3)
    return int(port.removesuffix("/udp")), subset, host


def sni_name(host: str, port: int, subset: str = "") -> str:
    """The name that sidecars ask for where a gateway passes them on (Istio's, BEHAVIOURS 3)."""
    return f"outbound_.{port}_.{subset}_.{host}"


def exported(export_to: tuple[str, ...], owner: str, client: str) -> bool:
    """Whether something of namespace `owner` may be seen from namespace `client` (exportTo; empty means everywhere)."""
    if not export_to or "*" in export_to:
        return True
    return client in export_to or ("." in export_to and client == owner)
