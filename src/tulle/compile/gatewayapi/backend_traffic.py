"""XBackendTrafficPolicy: how much of what goes to a service may be retries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tulle.compile.catalog import ServiceKey
from tulle.compile.gatewayapi.documents import Documents
from tulle.compile.gatewayapi.references import hosts_meant
from tulle.model.proxy import Cluster
from tulle.model.resource import Resource
from tulle.model.traffic import RetryBudget
from tulle.resources.gatewayapi import BackendTrafficPolicy
from tulle.resources.gatewayapi.policies import RetryRate

Budgets = Mapping[ServiceKey, Resource[BackendTrafficPolicy]]
"""By the service, the oldest policy for it. Policies speak for services of their own namespace."""


def services(policy: Resource[BackendTrafficPolicy], documents: Documents, domain: str) -> Iterator[tuple[str, str]]:
    """Full names of the services that a policy is for, each with its place in the document."""
    for index, target in enumerate(policy.spec.target_refs):
        for host in hosts_meant(target.group, target.kind, target.name, policy.key.namespace, documents, domain) or ():
            yield host, f"spec.targetRefs[{index}]"


def budgets(documents: Documents, domain: str) -> Budgets:
    found: dict[ServiceKey, Resource[BackendTrafficPolicy]] = {}
    for policy in documents.traffic_policies:
        for host, _ in services(policy, documents, domain):
            found.setdefault(ServiceKey(host, policy.key.namespace), policy)
    return found


def at_once(rate: RetryRate) -> int:
    """So many retries at one time are always allowed: those that the rate has in a second, and one at least."""
    return max(1, math.ceil(rate.count / rate.interval.total_seconds()))


def limited(cluster: Cluster, policy: Resource[BackendTrafficPolicy]) -> Cluster:
    """A cluster of the service, with the policy's budget."""
    constraint = policy.spec.retry_constraint
    if constraint is None:
        return cluster
    budget = RetryBudget(
        percent=float(constraint.budget.percent), interval=constraint.budget.interval, min_concurrency=at_once(constraint.min_retry_rate)
    )
    return replace(
        cluster, policy=replace(cluster.policy, retry_budget=budget), sources=(*cluster.sources, policy.at("spec.retryConstraint"))
    )
