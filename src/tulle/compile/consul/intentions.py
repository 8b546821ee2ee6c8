"""Intentions as AuthorizationPolicies, which sidecars enforce.

For a service, the intentions of an exact source go before those of `*`, and those for the service itself before those for `*`; the
first that speaks of a caller decides, and where none does, the default. A caller's identity is the service account of the source's name.

AuthorizationPolicies look at what denies first. So where a source's permissions allow some requests and deny, further down, some of
the very same, these are denied: that is safer than Consul, and told as a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tulle.model.frozen import FrozenMap
from tulle.model.resource import Resource
from tulle.resources.consul import ServiceIntentions
from tulle.resources.consul import intentions as spec
from tulle.resources.security import AuthorizationPolicy
from tulle.resources.security import authorization_policy as policy

ANY = "*"
Policy = Resource[AuthorizationPolicy]
Place = tuple[str, str]
"""A namespace, and a service or ANY."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is said of one source on its way to one destination."""

    source: spec.Source
    destination: str
    resource: Resource[ServiceIntentions]
    index: int
    """Its place among the sources of the entry."""

    @property
    def precedence(self) -> int:
        """As Consul tells it: 9 for two exact names, 8 and 6 where the source or the destination is ANY, 5 for both."""
        return precedence(self.source.name, self.destination)


def precedence(source: str, destination: str) -> int:
    if destination == ANY:
        return 5 if source == ANY else 6
    return 8 if source == ANY else 9


def destination_of(resource: Resource[ServiceIntentions]) -> str:
    return resource.spec.destination.name if resource.spec.destination else resource.key.name


def intents(entries: Iterable[Resource[ServiceIntentions]]) -> Iterator[Intent]:
    """All that entries say, one for each source."""
    for resource in entries:
        destination = destination_of(resource)
        for index, source in enumerate(resource.spec.sources):
            yield Intent(source=source, destination=destination, resource=resource, index=index)


def policies(entries: Sequence[Resource[ServiceIntentions]], trust_domain: str, *, allow: bool) -> Mapping[Place, tuple[Policy, ...]]:
    """What holds at each service that intentions are for, and at all others (ANY) where some are for all.

    `allow`: callers that no intention speaks of are let in.
    """
    found: dict[Place, tuple[Policy, ...]] = {}
    everything = tuple(intents(entries))
    for resource in entries:
        place = (resource.key.namespace, destination_of(resource))
        if place not in found:
            speaking = ranked(i for i in everything if i.resource.key.namespace == place[0] and i.destination in (place[1], ANY))
            found[place] = _Writer(resource, trust_domain, allow=allow).policies(speaking)
    return found


def ranked(found: Iterable[Intent]) -> tuple[Intent, ...]:
    """The first that speaks of each source, in their order of precedence; behind one for all, none is asked."""
    firsts: dict[str, Intent] = {}
    for intent in sorted(found, key=lambda i: -i.precedence):
        if ANY not in firsts:
            firsts.setdefault(intent.source.name, intent)
    return tuple(firsts.values())


class _Writer:
    """The policies of one service. `resource` is the entry that they are told to come from."""

    def __init__(self, resource: Resource[ServiceIntentions], trust_domain: str, *, allow: bool) -> None:
        self._resource = resource
        self._trust_domain = trust_domain
        self._allow = allow
        self._denials: list[policy.Rule] = []
        self._admissions: list[policy.Rule] = []

    def policies(self, speaking: tuple[Intent, ...]) -> tuple[Policy, ...]:
        exact = [intent for intent in speaking if intent.source.name != ANY]
        everybody = next((intent.source for intent in speaking if intent.source.name == ANY), None)
        for intent in exact:
            self._say(intent.source, _from(self._principal(intent.source.name, intent.resource.key.namespace)))
        others = _others([self._principal(i.source.name, i.resource.key.namespace) for i in exact])
        if everybody is not None:
            self._say(everybody, others)
        elif self._allow:
            self._admissions.append(_rule(others))
        return tuple(self._made())

    def _principal(self, name: str, namespace: str) -> str:
        return f"{self._trust_domain}/ns/{namespace}/sa/{name}"

    def _say(self, source: spec.Source, who: tuple[policy.From, ...]) -> None:
        if source.action is spec.Action.ALLOW:
            self._admissions.append(_rule(who))
        elif source.action is spec.Action.DENY:
            self._deny(who)
        else:
            self._permit(source.permissions, who)

    def _deny(self, who: tuple[policy.From, ...]) -> None:
        """All but those who are named are denied by being let in by no rule."""
        if who and who[0].source.principals:
            self._denials.append(_rule(who))

    def _permit(self, permissions: tuple[spec.Permission, ...], who: tuple[policy.From, ...]) -> None:
        """What denies all that is left says no more than that nothing else is let in."""
        last = permissions[-1]
        closed = last.action is spec.Action.DENY and last.http is None
        for permission in permissions[:-1] if closed else permissions:
            into = self._admissions if permission.action is spec.Action.ALLOW else self._denials
            into += (policy.Rule.model_construct(from_=who, to=to, when=when) for to, when in _requests(permission))
        if not closed and self._allow:
            self._admissions.append(_rule(who))

    def _made(self) -> Iterator[Policy]:
        """Without any admission nobody is let in."""
        if self._denials:
            yield self._policy(policy.Action.DENY, self._denials)
        yield self._policy(policy.Action.ALLOW, self._admissions)

    def _policy(self, action: policy.Action, rules: list[policy.Rule]) -> Policy:
        made = AuthorizationPolicy.model_construct(action=action, rules=tuple(rules))
        r = self._resource
        return Resource(key=r.key, api_version=r.api_version, spec=made, origin=r.origin, lines=FrozenMap(), created=r.created)


def _from(principal: str) -> tuple[policy.From, ...]:
    return (policy.From(source=policy.Origin(principals=(principal,))),)


def _others(principals: list[str]) -> tuple[policy.From, ...]:
    """Everybody but some."""
    return (policy.From(source=policy.Origin(not_principals=tuple(principals))),) if principals else ()


def _rule(who: tuple[policy.From, ...]) -> policy.Rule:
    return policy.Rule.model_construct(from_=who)


# === requests


def _requests(permission: spec.Permission) -> Iterator[tuple[tuple[policy.To, ...], tuple[policy.Condition, ...]]]:
    """What a permission asks of a request, as rules ask it. One that cannot be asked so lets nothing in, and keeps everything out."""
    http = permission.http or spec.HttpPermission()
    if untold(http):
        if permission.action is spec.Action.DENY:
            yield (), ()
        return
    paths = [http.path_exact] if http.path_exact else [http.path_prefix.rstrip("*") + "*"] if http.path_prefix else []
    operation = {"paths": tuple(paths), "methods": tuple(m.upper() for m in http.methods)}
    asked = {name: values for name, values in operation.items() if values}
    to = (policy.To(operation=policy.Operation(**asked)),) if asked else ()
    yield to, tuple(_condition(header) for header in http.header)


def untold(http: spec.HttpPermission) -> str:
    """Why a permission cannot be asked by an AuthorizationPolicy; empty where it can."""
    if http.path_regex:
        return "pathRegex"
    return next((f"header {h.name}" for h in http.header if h.contains is not None or h.regex is not None or h.ignore_case), "")


def _condition(header: spec.HeaderPermission) -> policy.Condition:
    value = ANY
    if header.exact is not None:
        value = header.exact
    elif header.prefix is not None:
        value = f"{header.prefix}*"
    elif header.suffix is not None:
        value = f"*{header.suffix}"
    key = f"request.headers[{header.name.lower()}]"
    return policy.Condition(key=key, not_values=(value,)) if header.invert else policy.Condition(key=key, values=(value,))


def problems(resource: Resource[ServiceIntentions]) -> Iterator[tuple[str, str]]:
    """What of an entry is not in force as it reads: field and reason."""
    for index, source in enumerate(resource.spec.sources):
        allowed = False
        for place, permission in enumerate(source.permissions):
            where = f"spec.sources[{index}].permissions[{place}]"
            deny = permission.action is spec.Action.DENY
            if permission.http and (what := untold(permission.http)):
                effect = "all requests of this source are denied" if deny else "it allows nothing"
                yield where, f"{what} cannot be told by a sidecar: {effect}"
            if deny and allowed and permission.http:
                yield where, "goes before the permissions above it that allow: what both are for is denied"
            allowed = allowed or not deny
