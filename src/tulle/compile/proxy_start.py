"""How a proxy is to be started, as ProxyConfig documents say: those for it alone win over its namespace's, and these over the mesh's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tulle.model.frozen import FrozenMap
from tulle.model.identity import Labels, selects
from tulle.model.resource import Key, Resource, Source
from tulle.resources.networking.proxy_config import ProxyConfig, may_be_set


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyStart:
    """What nobody says is left to whoever starts the proxy."""

    concurrency: int | None = None
    """Worker threads; 0 for one per core."""
    environment: FrozenMap[str, str] = FrozenMap()


def proxy_start(resources: Iterable[Resource[object]], root_namespace: str, namespace: str, labels: Labels) -> ProxyStart:
    """What holds for a proxy of a namespace with these labels. Of several documents that say the same thing of it, the oldest wins."""
    found = [(r, r.spec) for r in resources if isinstance(r.spec, ProxyConfig)]
    ranked = [(rank, r.created, r.key, spec) for r, spec in found if (rank := _rank(r.key, spec, root_namespace, namespace, labels))]
    concurrency, environment = None, dict[str, str]()
    for _, _, _, spec in sorted(ranked, key=lambda one: one[:3]):
        concurrency = spec.concurrency if concurrency is None else concurrency
        environment = {name: value for name, value in spec.environment_variables.items() if may_be_set(name)} | environment
    return ProxyStart(concurrency=concurrency, environment=FrozenMap(environment))


def is_meant(resource: Resource[ProxyConfig], root_namespace: str, namespace: str, labels: Labels) -> bool:
    """Whether a document is for a proxy of a namespace with these labels."""
    return _rank(resource.key, resource.spec, root_namespace, namespace, labels) > 0


def overruled(config: Resource[ProxyConfig], others: Iterable[Resource[ProxyConfig]]) -> Iterator[tuple[Source, str]]:
    """What an older document for the very same proxies says already."""
    spec = config.spec
    for other in others:
        older = (other.created, other.key) < (config.created, config.key)
        if not older or other.key.namespace != config.key.namespace or _selector(other.spec) != _selector(spec):
            continue
        why = f"not in force: ProxyConfig {other.key.name} ({other.origin}) is for the same proxies, and older"
        if None not in (spec.concurrency, other.spec.concurrency):
            yield config.at("spec.concurrency"), why
        for name in spec.environment_variables.keys() & other.spec.environment_variables.keys():
            yield config.at(f"spec.environmentVariables.{name}"), why


def _selector(spec: ProxyConfig) -> Labels:
    return Labels(spec.selector.match_labels if spec.selector else {})


def _rank(key: Key, spec: ProxyConfig, root_namespace: str, namespace: str, labels: Labels) -> int:
    """How near a document is to a proxy, from 1; 0 where it is not for it. With a selector it is for its own namespace alone."""
    if selector := _selector(spec):
        return int(key.namespace == namespace and selects(selector, labels))
    return 2 if key.namespace == namespace else 3 if key.namespace == root_namespace else 0
