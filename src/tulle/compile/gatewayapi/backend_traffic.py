"""XBackendTrafficPolicy: how much of what goes to a service may be retries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tulle.compile import names
from tulle.compile.gatewayapi.documents import Documents
from tulle.model.proxy import Cluster
from tulle.model.resource import Resource
from tulle.model.traffic import RetryBudget
from tulle.resources.gatewayapi import BackendTrafficPolicy

Budgets = Mapping[str, Resource[BackendTrafficPolicy]]
"""By the full name of the service, the oldest policy that limits its retries."""


def budgets(documents: Documents, domain: str) -> Budgets:
    found: dict[str, Resource[BackendTrafficPolicy]] = {}
    for policy in documents.traffic_policies:
        for target in policy.spec.target_refs:
            if policy.spec.retry_constraint and (target.group, target.kind) in (("", "Service"), ("core", "Service")):
                found.setdefault(names.resolve(target.name, policy.key.namespace, domain), policy)
    return found


def limited(cluster: Cluster, policy: Resource[BackendTrafficPolicy]) -> Cluster:
    """A cluster of the service, with the policy's budget."""
    constraint = policy.spec.retry_constraint
    if constraint is None:
        return cluster
    budget = RetryBudget(percent=float(constraint.budget.percent), interval=constraint.budget.interval)
    return replace(
        cluster, policy=replace(cluster.policy, retry_budget=budget), sources=(*cluster.sources, policy.at("spec.retryConstraint"))
    )
