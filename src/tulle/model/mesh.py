"""What the mesh is compiled from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from tulle.model.challenges import Challenge
from tulle.model.logins import Provider
from tulle.model.resource import Key, Resource
from tulle.model.service import Registration


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """Names that hold for the whole mesh."""

    domain: str = "cluster.local"
    """Suffix of service names."""
    trust_domain: str = ""
    """Of the identities that the mesh's authority gives out; empty for `domain`."""
    trust_domain_aliases: tuple[str, ...] = ()
    """Names of the same trust domain from before, or from other meshes with the same root."""
    mutual_tls: bool = True
    """Whether proxies are given identities. Without, nobody speaks mutual TLS, and what asks for it in so many words is refused."""
    federated: tuple[str, ...] = ()
    """Other trust domains, with roots of their own, whose workloads may call."""
    jwt_issuer: str = ""
    """Who signs JSON Web Tokens for workloads; empty for `spiffe://` and the trust domain."""
    connection_life: timedelta | None = None
    """After so long at most a connection ends that began with the mesh's certificates; None: it may go on for ever."""
    root_namespace: str = "istio-system"
    allow_any: bool = True
    """Whether workloads may call hosts that the mesh does not know (Istio's outboundTrafficPolicy ALLOW_ANY)."""
    intended: bool = True
    """Whether a service that Consul's intentions are for lets callers in of whom none of them speaks."""

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """The trust domain, then its aliases."""
        return tuple(dict.fromkeys((self.trust_domain or self.domain, *self.trust_domain_aliases)))

    @property
    def token_issuer(self) -> str:
        return self.jwt_issuer or f"spiffe://{self.trust_domains[0]}"

    @property
    def believed(self) -> tuple[str, ...]:
        """The trust domains of callers that are let in."""
        return tuple(dict.fromkeys((*self.trust_domains, *self.federated)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """One consistent picture of all that users and workloads said. Never changed: a change is a new Inputs that shares the rest."""

    resources: Mapping[Key, Resource[object]] = field(default_factory=dict)
    registrations: Mapping[str, Registration] = field(default_factory=dict)
    settings: MeshSettings = MeshSettings()
    key_sets: Mapping[str, str] | None = None
    """Public keys of those who issue tokens, as JSON, by the URI that they were fetched from. None where nobody fetches any."""
    providers: Mapping[str, Provider] | None = None
    """What OpenID providers tell of themselves, likewise."""
    unfetched: Mapping[str, str] = field(default_factory=dict)
    """By the URI of such a thing, why the last try to fetch it failed."""
    own_keys: str | None = None
    """Public keys of the mesh's own authority for tokens, as JSON. None where there is none."""
    challenges: tuple[Challenge, ...] = ()
    """By which authorities ask at the moment whether hosts are ours."""
    broken_firewalls: Mapping[str, str] = field(default_factory=dict)
    """Why some Firewalls cannot be in force, by `namespace/name`."""
    no_firewall: str = ""
    """Why no web application firewall can be in force on the control plane's machine; empty where one can, or nobody looked."""
