"""Documents that proxies are sent nothing of: what they are there for, in place of who has acknowledged them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from tulle.compile import patching, proxy_start
from tulle.model.proxy import Node
from tulle.model.resource import Condition, Resource
from tulle.resources.networking.envoy_filter import ApplyTo, EnvoyFilter
from tulle.resources.networking.proxy_config import ProxyConfig

_ROLES: Mapping[str, str] = {
    "WorkloadEntry": "no connected proxy calls a service that it answers for",
    "WorkloadGroup": "it is a template for instances that register: proxies are sent those, and nothing of the group",
    "Namespace": "it holds labels for others to ask for: proxies are sent nothing of it",
    "ReferenceGrant": "it allows others to name what they name: proxies are sent nothing of it",
    "GatewayClass": "it is there to be named by Gateways: proxies are sent nothing of it",
    "Secret": "no connected proxy serves or calls what needs it",
    "ConfigMap": "no connected proxy serves or calls what needs it",
}


def apart(found: Condition, resource: Resource[Any], nodes: Iterable[Node], root_namespace: str) -> Condition:
    """A better word than `found`, which says that no connected proxy has anything that came from the document."""
    if (meant := _at_start(resource, nodes, root_namespace)) is not None:
        who = f"{meant} connected {'proxy is' if meant == 1 else 'proxies are'} meant" if meant else "no connected proxy is meant"
        text = f"it is for the start of proxies: {who}, and what runs already takes it when it is started again"
        return replace(found, reason="AtStart", message=text)
    why = _ROLES.get(resource.key.kind)
    return replace(found, message=why) if why else found


def _at_start(resource: Resource[Any], nodes: Iterable[Node], root_namespace: str) -> int | None:
    """How many proxies it is for, where it is for their start alone."""
    spec = resource.spec
    if isinstance(spec, ProxyConfig):
        config = cast("Resource[ProxyConfig]", resource)
        return sum(proxy_start.is_meant(config, root_namespace, node.namespace, node.labels) for node in nodes)
    if isinstance(spec, EnvoyFilter) and all(patch.apply_to is ApplyTo.BOOTSTRAP for patch in spec.config_patches):
        return sum(bool(patching.bootstrap_patches([resource], root_namespace, node)) for node in nodes)
    return None
