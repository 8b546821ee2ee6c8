"""PeerAuthentications: whether workloads take mutual TLS, plain text, or both (BEHAVIOURS 16 to 18)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from tulle.model.identity import Identity, selects
from tulle.model.mesh import MeshSettings
from tulle.model.resource import Resource, Source
from tulle.resources.security.peer_authentication import MtlsMode, PeerAuthentication

Policy = Resource[PeerAuthentication]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled:
    """What holds for a port of a workload, and who says so; nobody does where nothing is said."""

    mode: MtlsMode = MtlsMode.PERMISSIVE
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Posture:
    """The policies that speak for a workload: its own, its namespace's, the mesh's."""

    own: Policy | None = None
    namespace: Policy | None = None
    mesh: Policy | None = None
    trust_domains: tuple[str, ...] = ()
    """Of callers that are let in."""
    without: bool = False
    """The mesh has no identities: plain text is taken, where nobody asks for more."""
    connection_life: timedelta | None = None

    def port(self, number: int) -> Ruled:
        """What holds for a port. The first that says something does: for the port, the workload, the namespace, the mesh."""
        found = self._said(number)
        return replace(found, mode=MtlsMode.DISABLE) if self.without and found.mode is MtlsMode.PERMISSIVE else found

    def _said(self, number: int) -> Ruled:
        said = self.own.spec.ports.get(number, MtlsMode.UNSET) if self.own else MtlsMode.UNSET
        if self.own and said is not MtlsMode.UNSET:
            return Ruled(mode=said, source=self.own.at(f"spec.portLevelMtls.{number}"))
        for policy in (self.own, self.namespace, self.mesh):
            if policy and policy.spec.mtls.mode is not MtlsMode.UNSET:
                return Ruled(mode=policy.spec.mtls.mode, source=policy.at("spec.mtls.mode"))
        return Ruled()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Peers:
    """All PeerAuthentications, and whose identities the mesh believes. Equal by identity."""

    selective: Mapping[str, tuple[Policy, ...]] = field(default_factory=dict)
    """By namespace, those for chosen workloads, from the oldest."""
    whole: Mapping[str, Policy] = field(default_factory=dict)
    """By namespace, the oldest for all of it."""
    mesh: Policy | None = None
    trust_domains: tuple[str, ...] = ()
    """Of the mesh."""
    believed: tuple[str, ...] = ()
    """Of callers that are let in."""
    without: bool = False
    """The mesh has no identities."""
    connection_life: timedelta | None = None
    """See MeshSettings."""

    def posture(self, namespace: str, labels: Mapping[str, str]) -> Posture:
        own = next(
            (p for p in self.selective.get(namespace, ()) if p.spec.selector and selects(p.spec.selector.match_labels, labels)), None
        )
        return Posture(
            own=own,
            namespace=self.whole.get(namespace),
            mesh=self.mesh,
            trust_domains=self.believed,
            without=self.without,
            connection_life=self.connection_life,
        )

    def takes_mtls(self, namespace: str, labels: Mapping[str, str], port: int) -> bool:
        """Whether a workload's sidecar takes mutual TLS on a port."""
        if self.without:
            return False
        if not (self.mesh or self.selective or self.whole):
            return True
        return self.posture(namespace, labels).port(port).mode is not MtlsMode.DISABLE

    def uris(self, accounts: Iterable[tuple[str, str]]) -> tuple[str, ...]:
        """The identities of service accounts, given with their namespaces, in all trust domains that count as the mesh's."""
        return tuple(
            Identity(trust_domain=domain, namespace=namespace, service_account=account).uri()
            for namespace, account in sorted(set(accounts))
            for domain in self.trust_domains
        )

    def overruled(self, policy: Policy) -> Policy | None:
        """The older policy for the very same workloads; None where there is none."""
        namespace, selector = policy.key.namespace, _labels(policy)
        if not selector:
            first = self.mesh if self.mesh and self.mesh.key.namespace == namespace else self.whole.get(namespace)
        else:
            first = next((p for p in self.selective.get(namespace, ()) if _labels(p) == selector), None)
        return None if first is None or first.key == policy.key else first


def _labels(policy: Policy) -> Mapping[str, str]:
    return policy.spec.selector.match_labels if policy.spec.selector else {}


def arrange(policies: Iterable[Policy], settings: MeshSettings) -> Peers:
    """`policies` from the oldest. Those for chosen workloads in the root namespace are ignored, as in Istio."""
    selective: dict[str, list[Policy]] = {}
    whole: dict[str, Policy] = {}
    for policy in policies:
        namespace = policy.key.namespace
        if not _labels(policy):
            whole.setdefault(namespace, policy)
        elif namespace != settings.root_namespace:
            selective.setdefault(namespace, []).append(policy)
    mesh = whole.pop(settings.root_namespace, None)
    return Peers(
        selective={namespace: tuple(found) for namespace, found in selective.items()},
        whole=whole,
        mesh=mesh,
        trust_domains=settings.trust_domains,
        believed=settings.believed,
        without=not settings.mutual_tls,
        connection_life=settings.connection_life,
    )
