"""Who a workload is and where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tulle.model.frozen import FrozenMap

Labels = FrozenMap[str, str]
NO_LABELS: Labels = FrozenMap()


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether every label of `selector` stands in `labels` with the same value. An empty selector selects all."""
    return all(labels.get(key) == value for key, value in selector.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Locality:
    """Where an endpoint or a proxy runs, from the widest to the narrowest."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @classmethod
    def parse(cls, text: str) -> Locality:
        """Reads Istio's `region/zone/subzone`; the later parts may be absent."""
        region, zone, subzone = (*text.split("/", 2), "", "")[:3]
        return cls(region=region, zone=zone, subzone=subzone)

    def __str__(self) -> str:
        return "/".join(part for part in (self.region, self.zone, self.subzone) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A workload's name in the mesh, as SPIFFE writes it (SPIFFE-ID, section 2)."""

    trust_domain: str = "cluster.local"
    namespace: str = "default"
    service_account: str = "default"

    def uri(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


CONTROL_NAMESPACE = "tulle-system"
"""No workload may have an identity of this namespace."""
CONTROL_ACCOUNT = "control"


def control_plane(trust_domain: str) -> Identity:
    """Whom proxies, agents and people expect where they ask the control plane of a mesh."""
    return Identity(trust_domain=trust_domain, namespace=CONTROL_NAMESPACE, service_account=CONTROL_ACCOUNT)
