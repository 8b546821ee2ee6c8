"""Documents that are not Tulle's: what is skipped because published samples contain it, and what to write instead of the rest."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from tulle.resources.kinds import KINDS, MESH_FILE, Kind, kinds_called

_CONTAINERS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Pod", "Job", "CronJob"})
_CORE = frozenset(
    {
        "ConfigMap",
        "Endpoints",
        "Event",
        "LimitRange",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "PodTemplate",
        "ResourceQuota",
        "ServiceAccount",
    }
)
_KUBERNETES_GROUPS = frozenset({"apps", "autoscaling", "batch", "extensions", "policy"})
_RUN = "is skipped: Tulle runs no containers: start it with `tulle run` or a mesh file"

_REMOVED = {
    "authentication.istio.io": "was removed in Istio 1.6: PeerAuthentication and RequestAuthentication (security.istio.io/v1) replace it",
    "rbac.istio.io": "was removed in Istio 1.6: AuthorizationPolicy (security.istio.io/v1) replaces it",
    "config.istio.io": "was removed with Mixer in Istio 1.8: Telemetry, AuthorizationPolicy and EnvoyFilter replace its kinds",
}
_ROUTE_RULE = "was removed before Istio 1.0: VirtualService and DestinationRule (networking.istio.io/v1) replace it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """What to say of a document of someone else's. `skip`: it does no harm to leave it out."""

    message: str
    skip: bool = False
    field: str = "kind"


def judge(api_version: str, kind: str) -> Foreign:
    """What to say of a document whose API version and kind are not in the table of kinds."""
    group = api_version.rpartition("/")[0]
    if _is_kubernetes(group, kind):
        return Foreign(skip=True, message=_RUN if kind in _CONTAINERS else "is skipped: Tulle has no use for it")
    if kind in ("RouteRule", "DestinationPolicy") and group == "config.istio.io":
        return Foreign(message=_ROUTE_RULE)
    if group in _REMOVED:
        return Foreign(field="apiVersion", message=f"{group} {_REMOVED[group]}")
    known = (MESH_FILE,) if kind == MESH_FILE.name else kinds_called(kind)
    if known:
        return Foreign(field="apiVersion", message=_wrong_version(api_version, known))
    return Foreign(message=_unknown(kind))


def _is_kubernetes(group: str, kind: str) -> bool:
    in_group = group in _KUBERNETES_GROUPS or (group.endswith(".k8s.io") and not group.startswith("gateway."))
    return in_group or (not group and (kind in _CORE or kind in _CONTAINERS))


def _wrong_version(api_version: str, kinds: tuple[Kind, ...]) -> str:
    versions = ", ".join(version for kind in kinds for version in kind.api_versions)
    return f'{kinds[0].kind} has no API version "{api_version}"; it has {versions}'


def _unknown(kind: str) -> str:
    names = list(dict.fromkeys(known.kind for known in KINDS))
    near = difflib.get_close_matches(kind, names, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"the kinds are {', '.join(names)}"
    return f'unknown kind "{kind}"; {hint}'
