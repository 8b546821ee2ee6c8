"""What an operator can choose about answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tulle.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Times are seconds. The names and defaults are those of Consul's `dns_config`."""

    domain: str = "consul"
    alt_domain: str = ""
    """A second name for the same domain."""
    datacenter: str = "dc1"
    datacenters: tuple[str, ...] = ()
    """The others, which answer for themselves."""
    mesh_domain: str = "cluster.local"
    node_ttl: int = 0
    service_ttl: Mapping[str, int] = field(default_factory=dict)
    """By service name; a name that ends with `*` stands for all that begin so, the longest speaks."""
    mesh_ttl: int = 5
    """Of the mesh's own names, as cluster DNS has it."""
    soa_min_ttl: int = 0
    """How long others may remember that a name does not exist."""
    only_passing: bool = False
    """Leave out instances with a warning too."""
    udp_answer_limit: int = 3
    """Answers to a query over UDP without EDNS."""
    a_record_limit: int = 0
    """Addresses in any answer; 0 for all."""
    enable_truncate: bool = False
    """Whether a client is told (TC) that there is more, and so asks again over TCP."""
    node_meta_txt: bool = True
    """Whether what is known of a node goes along as TXT records."""
    recursion: bool = False
    """Whether there are resolvers to ask about other names."""

    def ttl(self, service: str) -> int:
        exact = self.service_ttl.get(service)
        if exact is not None:
            return exact
        prefixes = (p for p in self.service_ttl if p.endswith("*") and service.startswith(p[:-1]))
        best = max(prefixes, key=len, default=None)
        return self.service_ttl[best] if best is not None else 0


def rules_of(settings: Settings) -> Rules:
    return Rules(
        domain=settings.dns_domain,
        alt_domain=settings.dns_alt_domain,
        datacenter=settings.datacenter,
        datacenters=tuple(name for name, _ in settings.join_wan),
        mesh_domain=settings.domain,
        node_ttl=settings.dns_node_ttl,
        service_ttl=dict(settings.dns_service_ttl),
        soa_min_ttl=settings.dns_soa_min_ttl,
        node_meta_txt=settings.dns_node_meta_txt,
        only_passing=settings.dns_only_passing,
        udp_answer_limit=settings.dns_udp_answer_limit,
        a_record_limit=settings.dns_a_record_limit,
        enable_truncate=settings.dns_truncate,
        recursion=bool(settings.dns_recursors),
    )
