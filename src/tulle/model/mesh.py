"""What the mesh is compiled from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tulle.model.resource import Key, Resource
from tulle.model.service import Registration


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshSettings:
    """Names that hold for the whole mesh."""

    domain: str = "cluster.local"
    """Suffix of service names, and the trust domain."""
    root_namespace: str = "istio-system"
    allow_any: bool = True
    """Whether workloads may call hosts that the mesh does not know (Istio's outboundTrafficPolicy ALLOW_ANY)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """One consistent picture of all that users and workloads said. Never changed: a change is a new Inputs that shares the rest."""

    resources: Mapping[Key, Resource[object]] = field(default_factory=dict)
    registrations: Mapping[str, Registration] = field(default_factory=dict)
    settings: MeshSettings = MeshSettings()
