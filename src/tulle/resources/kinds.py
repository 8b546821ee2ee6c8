"""The one table of the kinds of documents."""

from __future__ import annotations

from dataclasses import dataclass

from tulle.resources.core import KubernetesService
from tulle.resources.meshfile import KIND, Mesh
from tulle.resources.networking import DestinationRule, Gateway, ServiceEntry, Sidecar, VirtualService, WorkloadEntry
from tulle.resources.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of document that users write."""

    name: str
    plural: str
    short: tuple[str, ...] = ()
    group: str = ""
    """Empty for Kubernetes' core."""
    versions: tuple[str, ...]
    """All versions have the same schema; the first is today's."""
    spec: type[Spec]

    @property
    def api_versions(self) -> tuple[str, ...]:
        return tuple(f"{self.group}/{version}" if self.group else version for version in self.versions)

    def names(self) -> tuple[str, ...]:
        """All that a user may call the kind, in lower case."""
        return (self.name.lower(), self.plural, *self.short)


_ISTIO = "networking.istio.io"
_VERSIONS = ("v1", "v1beta1", "v1alpha3")

KINDS = (
    Kind(name="VirtualService", plural="virtualservices", short=("vs",), group=_ISTIO, versions=_VERSIONS, spec=VirtualService),
    Kind(name="DestinationRule", plural="destinationrules", short=("dr",), group=_ISTIO, versions=_VERSIONS, spec=DestinationRule),
    Kind(name="Gateway", plural="gateways", short=("gw",), group=_ISTIO, versions=_VERSIONS, spec=Gateway),
    Kind(name="ServiceEntry", plural="serviceentries", short=("se",), group=_ISTIO, versions=_VERSIONS, spec=ServiceEntry),
    Kind(name="WorkloadEntry", plural="workloadentries", short=("we",), group=_ISTIO, versions=_VERSIONS, spec=WorkloadEntry),
    Kind(name="Sidecar", plural="sidecars", group=_ISTIO, versions=_VERSIONS, spec=Sidecar),
    Kind(name="Service", plural="services", short=("svc",), versions=("v1",), spec=KubernetesService),
)
"""What may be applied."""

MESH_FILE = Kind(name=KIND, plural="meshes", group="tulle.dev", versions=("v1",), spec=Mesh)
"""What `tulle up` starts; it is not applied."""

_BY_KIND = {kind.name: kind for kind in KINDS}
_BY_NAME = {name: kind for kind in KINDS for name in kind.names()}


def kind_of(name: str) -> Kind | None:
    """The kind with exactly this name, as in a document."""
    return _BY_KIND.get(name)


def find_kind(word: str) -> Kind | None:
    """The kind that a user means by `vs`, `virtualservices`, `VirtualService` or `virtualservices.networking.istio.io`."""
    name, _, group = word.lower().partition(".")
    kind = _BY_NAME.get(name)
    return kind if kind and group in ("", kind.group) else None
