"""What the catalog holds: nodes, the services that run on them, and the checks of both. Values only; `tables` keeps them.

The words are Consul's. A node is a machine or something that stands for one. A service here is one instance: its `id` tells instances
on one node apart, its `name` is what callers ask for. A check without a service speaks for its whole node.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from tulle.model.frozen import FrozenMap
from tulle.model.service import Health

NodeName = str
ServiceKey = tuple[NodeName, str]
"""A node and the id of a service on it."""
CheckKey = tuple[NodeName, str]
"""A node and the id of a check on it."""
Json = str
"""A part of a document that is kept and shown as it was written, as compact JSON text; empty for none."""

SERF_HEALTH = "serfHealth"
"""The check by which a node is known to be there."""
AGENT_HEALTH = "_agent_health:"
"""Begins the id of the check on an instance whose agent is not heard of."""
NODE_MAINTENANCE = "_node_maintenance"
SERVICE_MAINTENANCE = "_service_maintenance:"
NO_WORDS: FrozenMap[str, str] = FrozenMap()

ValueT = TypeVar("ValueT", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept(Generic[ValueT]):
    """A value with the index at which it came to be and the one at which it last changed."""

    value: ValueT
    created: int
    modified: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    name: NodeName
    id: str = ""
    """A UUID, or empty."""
    address: str = ""
    """An IP address or a host name."""
    tagged_addresses: FrozenMap[str, str] = NO_WORDS
    meta: FrozenMap[str, str] = NO_WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedAddress:
    address: str
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An instance of a service, on a node."""

    node: NodeName
    id: str
    name: str
    tags: tuple[str, ...] = ()
    address: str = ""
    """Empty where the node's address is to be used."""
    port: int = 0
    meta: FrozenMap[str, str] = NO_WORDS
    tagged_addresses: FrozenMap[str, TaggedAddress] = FrozenMap()
    passing_weight: int = 1
    warning_weight: int = 1
    enable_tag_override: bool = False
    kind: str = ""
    """Empty for a plain service, else `connect-proxy` and the like."""
    socket_path: str = ""
    proxy: Json = ""
    connect: Json = ""
    locality: Json = ""
    of_run: bool = False
    """Registered by `tulle run`: it is kept elsewhere, for as long as it is renewed."""
    defined: bool = False
    """By a definition file of its node's agent, and there as long as that says so."""

    @property
    def key(self) -> ServiceKey:
        return (self.node, self.id)


class CheckKind(Enum):
    """How a check comes to its result."""

    NONE = ""
    """It is told from outside."""
    SCRIPT = "script"
    HTTP = "http"
    TCP = "tcp"
    UDP = "udp"
    TTL = "ttl"
    GRPC = "grpc"
    H2PING = "h2ping"
    ALIAS = "alias"
    OS_SERVICE = "os_service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How this agent is to run a check. All times are seconds, 0 where they were not given."""

    args: tuple[str, ...] = ()
    """A program and its arguments."""
    interval: float = 0.0
    timeout: float = 0.0
    ttl: float = 0.0
    http: str = ""
    method: str = ""
    header: FrozenMap[str, tuple[str, ...]] = FrozenMap()
    body: str = ""
    disable_redirects: bool = False
    tcp: str = ""
    tcp_use_tls: bool = False
    udp: str = ""
    grpc: str = ""
    """`host:port`, with `/service` where one is asked for."""
    grpc_use_tls: bool = False
    h2ping: str = ""
    h2ping_use_tls: bool = True
    tls_server_name: str = ""
    tls_skip_verify: bool = False
    alias_node: str = ""
    alias_service: str = ""
    os_service: str = ""
    output_max_size: int = 4096
    success_before_passing: int = 0
    failures_before_warning: int = 0
    failures_before_critical: int = 0
    deregister_after: float = 0.0
    """How long the check may be critical before its service is taken out; 0 for ever."""

    @property
    def kind(self) -> CheckKind:
        given = (
            (self.ttl, CheckKind.TTL),
            (self.args, CheckKind.SCRIPT),
            (self.http, CheckKind.HTTP),
            (self.tcp, CheckKind.TCP),
            (self.udp, CheckKind.UDP),
            (self.grpc, CheckKind.GRPC),
            (self.h2ping, CheckKind.H2PING),
            (self.alias_node or self.alias_service, CheckKind.ALIAS),
            (self.os_service, CheckKind.OS_SERVICE),
        )
        return next((kind for value, kind in given if value), CheckKind.NONE)


NO_PROBE = Probe()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A statement on the health of a service, or of a node, and how to come to it."""

    node: NodeName
    id: str
    name: str = ""
    status: Health = Health.CRITICAL
    notes: str = ""
    output: str = ""
    service_id: str = ""
    """Empty for a check of the node."""
    service_name: str = ""
    service_tags: tuple[str, ...] = ()
    type: str = ""
    """`http`, `ttl` and so on, as answers say it."""
    definition: Json = ""
    """As given to the catalog by those who run the check themselves."""
    probe: Probe = NO_PROBE
    """Set where the agent of this very node runs the check."""
    defined: bool = False
    """By a definition file of its node's agent."""

    of_run: bool = False
    """What a workload of `tulle run` says of itself, which is kept with the workload."""

    @property
    def key(self) -> CheckKey:
        return (self.node, self.id)


def worst(statuses: list[Health]) -> Health:
    """Of several checks; passing when there are none."""
    if Health.CRITICAL in statuses:
        return Health.CRITICAL
    return Health.WARNING if Health.WARNING in statuses else Health.PASSING
