"""Which AuthorizationPolicies hold where (BEHAVIOURS 19): those of the root namespace and those of a workload's own add up."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from tulle.compile.access import Door, access_policy, confined
from tulle.compile.attachment import by_namespace, is_for, takes, unused_targets
from tulle.compile.consul.intentions import ANY
from tulle.model.access import OPEN, Access, AccessPolicy, Authorizer, Effect
from tulle.model.identity import Labels
from tulle.model.resource import Key, Resource
from tulle.resources.security.authorization_policy import AuthorizationPolicy

Policy = Resource[AuthorizationPolicy]
_ORDER = {effect: n for n, effect in enumerate(Effect)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guards:
    """All policies of the mesh, by namespace, each list from the oldest."""

    root_namespace: str = ""
    trust_domains: tuple[str, ...] = ("cluster.local",)
    policies: Mapping[str, tuple[Policy, ...]] = field(default_factory=dict)
    authorizers: Mapping[str, Authorizer] = field(default_factory=dict)
    """Services that decide on calls, by the name under which policies know them."""
    intentions: Mapping[tuple[str, str], tuple[Policy, ...]] = field(default_factory=dict)
    """What Consul's intentions come to, by namespace and service."""

    def at(self, namespace: str, labels: Labels, service: str = "") -> tuple[Policy, ...]:
        """Those that hold at a workload of a service."""
        own = (p for p in self._in(self.root_namespace, namespace) if takes(p, namespace, labels, service))
        intended = self.intentions.get((namespace, service)) or self.intentions.get((namespace, ANY), ()) if service else ()
        return (*own, *intended)

    def at_edge(
        self, namespace: str, labels: Labels, served: Mapping[Key, frozenset[str]], ports: frozenset[int], *, requests: bool
    ) -> Access:
        """What holds at a proxy's port that serves the hosts of some Gateways. A policy that names Gateways says nothing of the others."""
        everywhere = self.access(self.at(namespace, labels), ports, requests=requests).policies
        made = list(everywhere)
        for policy in self._in(*(g.namespace for g in served)):
            named = [g for g in served if is_for(policy, g)]
            if named:
                meant = self.access((policy,), ports, requests=requests).policies[0]
                others = served.keys() - named
                made.append(confined(meant, {h for g in named for h in served[g]}, requests=requests) if others else meant)
        return _ordered(made)

    def _in(self, *namespaces: str) -> Iterator[Policy]:
        for namespace in dict.fromkeys(namespaces):
            yield from self.policies.get(namespace, ())

    def seen_from(self, hosts: Container[str]) -> Guards:
        """As proxies have it that know these hosts: a service that decides and is not among them cannot be asked."""
        known = {name: a for name, a in self.authorizers.items() if a.host in hosts}
        return self if len(known) == len(self.authorizers) else replace(self, authorizers=known)

    def access(self, policies: Iterable[Policy], ports: frozenset[int], *, requests: bool) -> Access:
        """What such policies say of calls that arrive at ports of these numbers."""
        door = Door(ports=ports, trust_domains=self.trust_domains, requests=requests)
        return _ordered(access_policy(p, door, self._authorizer(p)) for p in policies)

    def _authorizer(self, policy: Policy) -> Authorizer | None:
        return self.authorizers.get(policy.spec.provider.name) if policy.spec.provider else None


NO_GUARDS = Guards()


def guards(
    policies: Iterable[Policy],
    trust_domains: tuple[str, ...],
    root_namespace: str,
    authorizers: Mapping[str, Authorizer],
    intentions: Mapping[tuple[str, str], tuple[Policy, ...]],
) -> Guards:
    """The policies of a mesh, which come from the oldest."""
    return Guards(
        root_namespace=root_namespace,
        trust_domains=trust_domains,
        policies=by_namespace(policies),
        authorizers=authorizers,
        intentions=intentions,
    )


def _ordered(policies: Iterable[AccessPolicy]) -> Access:
    found = tuple(sorted(policies, key=lambda p: _ORDER[p.effect]))
    return Access(policies=found) if found else OPEN


def unused(guards: Guards, policy: Policy) -> Iterator[tuple[str, str]]:
    """What of a policy is not in force: field and reason."""
    yield from unused_targets(policy)
    spec = policy.spec
    if spec.provider and spec.provider.name not in guards.authorizers:
        known = ", ".join(sorted(guards.authorizers)) or "none"
        where = f"extensionProviders of the ConfigMap istio in {guards.root_namespace or 'the root namespace'}"
        yield "spec.provider.name", f'"{spec.provider.name}" is not among the {where} ({known}): what its rules take is refused'
