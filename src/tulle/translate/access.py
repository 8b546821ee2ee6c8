"""Who is let in, as Envoy's access rules (envoy.config.rbac.v3) and the filters that hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

from tulle.model.access import (
    UNUSUAL,
    Access,
    AccessPolicy,
    AccessRule,
    AllOf,
    AnyOf,
    Attribute,
    Authorizer,
    Condition,
    Effect,
    Is,
    Not,
    Noted,
    Within,
)
from tulle.model.routing import StringMatch
from tulle.protos import any_, pb
from tulle.translate import authorizers, claims
from tulle.translate.values import Fields, cidr, regex, string_matcher

HTTP = "envoy.filters.http.rbac"
NETWORK = "envoy.filters.network.rbac"
CUSTOM = "istio-ext-authz"
"""Begins the names of the rules that an authorisation service is asked about (Istio's word)."""

DISGUISED = "disguised"
"""Names the rules for paths that are written unusually."""
_ACTIONS = {Effect.AUDIT: "LOG", Effect.DENY: "DENY", Effect.ALLOW: "ALLOW"}
_NETWORKS = {Attribute.SOURCE_IP: "direct_remote_ip", Attribute.REMOTE_IP: "remote_ip"}
_PSEUDO = {Attribute.METHOD: ":method", Attribute.HOST: ":authority"}
_SOMETHING: Fields = {"safe_regex": regex(".+")}


def asking(of: Access) -> list[Fields]:
    """Filters for what others decide. They come before tokens are looked at."""
    return list(_asked(of, HTTP, pb.RBAC, authorizers.of_requests))


def deciding(of: Access) -> list[Fields]:
    """Filters for what the proxy itself decides: what only logs, what denies, what allows."""
    return [_filter(HTTP, pb.RBAC(**fields)) for fields in _decided(of)]


def prepared() -> list[Fields]:
    """The same filters, switched off: `by_table` switches them on for a table of routes, and so for connections that are open already."""
    return [{"name": _name(effect), "typed_config": any_(pb.RBAC()), "disabled": True} for effect in _ACTIONS]


def by_table(of: Access) -> Fields:
    """What a table of routes says to them (`typed_per_filter_config`)."""
    return {_name(effect): any_(pb.RBACPerRoute(rbac=pb.RBAC(**fields))) for effect, fields in _by_effect(of)}


def standing(of: Access) -> list[Fields]:
    """The same filters, for requests that no route takes, or another one once they are known better: a gateway's.

    What is switched off for the first route that Envoy finds stays so. So these are always on, and say what holds; for requests that
    are routed the table says it once more (`by_edge_table`), and so to connections that are open already. Only what marks can wait.
    """
    found = dict(_by_effect(of))
    wanted = (effect for effect in _ACTIONS if effect in found or effect is not Effect.AUDIT)
    return [{"name": _name(effect), "typed_config": any_(pb.RBAC(**found.get(effect, {})))} for effect in wanted]


def by_edge_table(of: Access) -> Fields:
    """What a gateway's table of routes says to them: also where nothing is asked any longer."""
    return {_name(effect): any_(pb.RBACPerRoute()) for effect in _ACTIONS} | by_table(of)


def _name(effect: Effect) -> str:
    """Envoy goes by the type of the configuration; the names only have to differ."""
    return f"{HTTP}.{effect.value.lower()}"


NAMES = (HTTP, *map(_name, _ACTIONS))
"""Of all filters that decide on requests."""


def network_filters(of: Access) -> list[Fields]:
    """Both, for whole connections."""

    def rbac(**fields: Any) -> Any:
        return pb.NetworkRBAC(stat_prefix="tcp.", **fields)

    return [
        *_asked(of, NETWORK, rbac, authorizers.of_connections),
        *(_filter(NETWORK, rbac(**fields)) for fields in _decided(of)),
    ]


def clusters(of: Access) -> Iterator[str]:
    """Those of the services that decide."""
    return (p.authorizer.cluster for p in of.policies if p.authorizer)


def _filter(name: str, message: Any) -> Fields:
    return {"name": name, "typed_config": any_(message)}


def _decided(of: Access) -> Iterator[Fields]:
    return (fields for _, fields in _by_effect(of))


def _by_effect(of: Access) -> Iterator[tuple[Effect, Fields]]:
    """What the proxy itself decides: one set of rules for each effect, with what is only tried beside what holds."""
    for effect, action in _ACTIONS.items():
        holds, tried = of.of(effect), of.of(effect, dry_run=True)
        fields: Fields = {"rules": rules(action, holds)} if holds else {}
        if tried:
            prefix = f"istio_dry_run_{effect.value.lower()}_"
            fields |= {"shadow_rules": rules(action, tried), "shadow_rules_stat_prefix": prefix}
        if fields:
            yield effect, fields


def _asked(of: Access, name: str, rbac: Callable[..., Any], question: Callable[[Authorizer, Fields], Fields | None]) -> Iterator[Fields]:
    """For each service, a filter that finds out whether it is to be asked, and the one that asks. Who cannot be asked refuses."""
    speaking = (p for p in of.of(Effect.CUSTOM) if p.rules)
    by_service = groupby(sorted(speaking, key=_service), key=_service)
    for number_, (_, group) in enumerate(by_service):
        policies = tuple(group)
        prefix = f"istio_ext_authz_{number_ or ''}{'_' if number_ else ''}"
        found: Fields = {
            "filter": name,
            "path": [{"key": f"{prefix}shadow_effective_policy_id"}],
            "value": {"string_match": {"prefix": CUSTOM}},
        }
        authorizer = policies[0].authorizer
        asks = question(authorizer, found) if authorizer else None
        wanted = rules("DENY", policies, prefix=f"{CUSTOM}-")
        if asks is None:
            yield _filter(name, rbac(rules=wanted))
        else:
            yield from (_filter(name, rbac(shadow_rules=wanted, shadow_rules_stat_prefix=prefix)), asks)


def _service(policy: AccessPolicy) -> str:
    return policy.authorizer.name if policy.authorizer else ""


def rules(action: str, policies: Iterable[AccessPolicy], prefix: str = "") -> Fields:
    """An RBAC message. A policy without rules takes nothing."""
    some = tuple(policies)
    made = {prefix + rule.name: policy(rule) for p in some for rule in p.rules}
    disguised = [rule for p in some for rule in p.disguised]
    if together := [rule for rule in disguised if not _of_connection(rule.operations)]:
        # One policy for all, so that of an ordinary path no more is asked than whether it is one.
        every = [_principal(AllOf(parts=(rule.operations, rule.callers))) for rule in together]
        made[prefix + DISGUISED] = {"permissions": [_permission(UNUSUAL)], "principals": every}
    for rule in disguised:
        if _of_connection(rule.operations):
            made[f"{prefix}{rule.name}-{DISGUISED}"] = policy(replace(rule, operations=AllOf(parts=(UNUSUAL, rule.operations))))
    return {"action": action, "policies": made}


def _of_connection(of: Condition) -> bool:
    """Whether some of it can only be asked of operations."""
    if isinstance(of, AllOf | AnyOf):
        return any(map(_of_connection, of.parts))
    if isinstance(of, Not):
        return _of_connection(of.part)
    return not isinstance(of, Noted) and of.attribute in (Attribute.SNI, Attribute.DESTINATION_IP)


def policy(rule: AccessRule) -> Fields:
    """One of Envoy's policies: callers are principals, operations permissions."""
    return {"permissions": [_permission(rule.operations)], "principals": [_principal(rule.callers)]}


def _permission(of: Condition) -> Fields:
    if isinstance(of, AllOf):
        return {"and_rules": {"rules": [_permission(p) for p in of.parts]}} if of.parts else {"any": True}
    if isinstance(of, AnyOf):
        return {"or_rules": {"rules": [_permission(p) for p in of.parts]}} if of.parts else {"not_rule": {"any": True}}
    if isinstance(of, Not):
        return {"not_rule": _permission(of.part)}
    if isinstance(of, Is) and of.attribute is Attribute.SNI:
        return {"requested_server_name": _text(of.match)}
    if isinstance(of, Within) and of.attribute is Attribute.DESTINATION_IP:
        return {"destination_ip": cidr(of.network)}
    return _either(of)


def _principal(of: Condition) -> Fields:
    if isinstance(of, AllOf):
        return {"and_ids": {"ids": [_principal(p) for p in of.parts]}} if of.parts else {"any": True}
    if isinstance(of, AnyOf):
        return {"or_ids": {"ids": [_principal(p) for p in of.parts]}} if of.parts else {"not_id": {"any": True}}
    if isinstance(of, Not):
        return {"not_id": _principal(of.part)}
    if isinstance(of, Within):
        return {_NETWORKS[of.attribute]: cidr(of.network)}
    if isinstance(of, Is) and of.attribute is Attribute.PRINCIPAL:
        return {"authenticated": {"principal_name": _text(of.match)}}
    return _either(of)


def _either(of: Is | Within | Noted) -> Fields:
    """What callers and operations are told by in the same words."""
    if isinstance(of, Noted):
        return {"sourced_metadata": {"metadata_matcher": claims.noted(of.filter, of.path, of.match)}}
    if isinstance(of, Within):
        raise TypeError(f"a {of.attribute.value} does not stand here")
    if of.attribute is Attribute.CLAIM:
        return {"sourced_metadata": {"metadata_matcher": claims.matcher(of.name, of.match)}}
    if of.attribute is Attribute.PATH:
        return {"url_path": {"path": _text(of.match)}}
    name = _PSEUDO.get(of.attribute) or of.name[0]
    return {"header": {"name": name} | ({"string_match": string_matcher(of.match)} if of.match else {"present_match": True})}


def _text(match: StringMatch | None) -> Fields:
    return string_matcher(match) if match else _SOMETHING
