"""service-resolver: which instances of a service are meant, by subset, and who stands in for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, ClassVar

from tulle.model.frozen import FrozenMap
from tulle.resources import bexpr
from tulle.resources.consul.common import Entry, Free, Only, ServiceName
from tulle.resources.names import Label, dns_label
from tulle.resources.scalars import AnyDuration, Flag, Map, Text, UInt, choice
from tulle.resources.spec import Problem, Spec

INSTANCE: bexpr.Schema = {
    "Service": {"ID": "text", "Service": "text", "Tags": "list", "Meta": "map", "Address": "text", "Port": "number"},
}
"""What the filter of a subset can ask of an instance."""


class Subset(Spec):
    """Without a filter, all instances."""

    filter: Text = ""
    only_passing: Flag = False

    def check(self) -> Iterable[Problem]:
        try:
            if self.filter:
                bexpr.compiled(self.filter, INSTANCE)
        except bexpr.FilterError as error:
            yield ("filter",), f"{error}; a subset is chosen by Service.ID, Service, Tags, Meta, Address and Port"


class Redirect(Spec):
    """`service` alone, another subset, or both."""

    some_of = ("service", "service_subset", "datacenter", "peer", "sameness_group")

    service: ServiceName | None = None
    service_subset: Label | None = None
    namespace: Only | None = None
    partition: Only | None = None
    datacenter: Text | None = None
    peer: Text | None = None
    sameness_group: Text | None = None


class FailoverTarget(Spec):
    service: ServiceName | None = None
    service_subset: Label | None = None
    namespace: Only | None = None
    partition: Only | None = None
    datacenter: Text | None = None
    peer: Text | None = None


class Failover(Spec):
    some_of = ("service", "service_subset", "datacenters", "targets", "sameness_group", "policy")

    service: ServiceName | None = None
    service_subset: Label | None = None
    namespace: Only | None = None
    datacenters: tuple[Text, ...] = ()
    targets: tuple[FailoverTarget, ...] = ()
    policy: Free = None
    sameness_group: Text | None = None

    def legs(self) -> tuple[tuple[str | None, str | None], ...]:
        """Services and subsets of this datacenter that stand in, in their order."""
        if self.targets:
            return tuple((t.service, t.service_subset) for t in self.targets if not t.datacenter and not t.peer)
        return ((self.service, self.service_subset),) if self.service or self.service_subset else ()


class Policy(Enum):
    RANDOM = "random"
    ROUND_ROBIN = "round_robin"
    LEAST_REQUEST = "least_request"
    RING_HASH = "ring_hash"
    MAGLEV = "maglev"


class RingHashConfig(Spec):
    minimum_ring_size: UInt | None = None
    maximum_ring_size: UInt | None = None


class LeastRequestConfig(Spec):
    choice_count: UInt | None = None


class HashField(Enum):
    HEADER = "header"
    COOKIE = "cookie"
    QUERY_PARAMETER = "query_parameter"


class CookieConfig(Spec):
    session: Flag = False
    ttl: AnyDuration | None = None
    path: Text | None = None


class HashPolicy(Spec):
    one_of = (("field", "source_ip"),)

    synonyms: ClassVar[Mapping[str, str]] = {"sourceIP": "source_ip"}

    field: Annotated[HashField, choice(HashField)] | None = None
    field_value: Text | None = None
    cookie_config: CookieConfig | None = None
    source_ip: Flag | None = None
    terminal: Flag = False

    def check(self) -> Iterable[Problem]:
        if self.field and not self.field_value:
            yield ("field_value",), "required where field is given"
        if self.source_ip and self.field_value:
            yield ("field_value",), "must not stand beside sourceIP"
        if self.cookie_config and self.field is not HashField.COOKIE:
            yield ("cookie_config",), "needs the field cookie"


class LoadBalancer(Spec):
    policy: Annotated[Policy, choice(Policy)] | None = None
    ring_hash_config: RingHashConfig | None = None
    least_request_config: LeastRequestConfig | None = None
    hash_policies: tuple[HashPolicy, ...] = ()

    def check(self) -> Iterable[Problem]:
        if self.hash_policies and self.policy not in (Policy.RING_HASH, Policy.MAGLEV):
            yield ("hash_policies",), "needs the policy ring_hash or maglev"


_NO_SUBSETS: Mapping[str, Subset] = FrozenMap()
_NO_FAILOVER: Mapping[str, Failover] = FrozenMap()


class ServiceResolver(Entry):
    default_subset: Label | None = None
    subsets: Map[Subset] = _NO_SUBSETS
    redirect: Redirect | None = None
    failover: Map[Failover] = _NO_FAILOVER
    """By subset; `*` for all."""
    connect_timeout: AnyDuration | None = None
    request_timeout: AnyDuration | None = None
    load_balancer: LoadBalancer | None = None
    prioritize_by_locality: Free = None

    def check(self) -> Iterable[Problem]:
        for name in self.subsets:
            if complaint := dns_label(name):
                yield ("subsets", name), complaint
        if self.default_subset and self.default_subset not in self.subsets:
            yield ("default_subset",), f"subset {self.default_subset!r} is not among the subsets"
        for name, failover in self.failover.items():
            if name not in ("*", *self.subsets):
                yield ("failover", name), f"subset {name!r} is not among the subsets"
            yield from self._standing_in(name, failover)
        if self.redirect and (self.subsets or self.failover):
            yield ("redirect",), "must not stand beside subsets and failover"

    def _standing_in(self, name: str, failover: Failover) -> Iterable[Problem]:
        for service, subset in failover.legs():
            if not service and subset and subset not in self.subsets:
                yield ("failover", name), f"subset {subset!r} is not among the subsets"
