"""Intentions as AuthorizationPolicies, which sidecars enforce.

For a service, the intentions of an exact source go before those of `*`, and those for the service itself before those for `*`; the
first that speaks of a caller decides, and where none does, the default. A caller's identity is the service account of the source's name.

AuthorizationPolicies look at what denies first. So where a source's permissions deny some requests below others that they allow, the
policy denies only those which are not allowed above.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from math import prod

from tulle.model.resource import Resource, Source
from tulle.resources.consul import ServiceIntentions
from tulle.resources.consul import intentions as spec
from tulle.resources.consul.common import HeaderMatch, HttpParts
from tulle.resources.security import AuthorizationPolicy
from tulle.resources.security import authorization_policy as policy

ANY = "*"
_MOST = 64
"""Rules that one permission may come to."""
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

    @property
    def is_of_here(self) -> bool:
        """Or it speaks of callers of the same name elsewhere, of whom there are none."""
        return not (self.source.peer or self.source.sameness_group)


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
    everything = tuple(intent for intent in intents(entries) if intent.is_of_here)
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
        self._place = resource.at("spec")
        self._denials: list[tuple[policy.Rule, Source]] = []
        self._admissions: list[tuple[policy.Rule, Source]] = []

    def policies(self, speaking: tuple[Intent, ...]) -> tuple[Policy, ...]:
        exact = [intent for intent in speaking if intent.source.name != ANY]
        everybody = next((intent for intent in speaking if intent.source.name == ANY), None)
        for intent in exact:
            self._say(intent, _from(self._principal(intent)))
        others = _others([self._principal(intent) for intent in exact])
        if everybody is not None:
            self._say(everybody, others)
        elif self._allow:
            self._admissions.append((_rule(others), self._resource.at("spec")))
        return tuple(self._made())

    def _principal(self, intent: Intent) -> str:
        return f"{self._trust_domain}/ns/{intent.resource.key.namespace}/sa/{intent.source.name}"

    def _say(self, intent: Intent, who: tuple[policy.From, ...]) -> None:
        source, self._place = intent.source, intent.resource.at(f"spec.sources[{intent.index}]")
        if source.action is spec.Action.ALLOW:
            self._admissions.append((_rule(who), self._place))
        elif source.action is spec.Action.DENY:
            self._deny(who)
        else:
            self._permit(source.permissions, who)

    def _deny(self, who: tuple[policy.From, ...]) -> None:
        """All but those who are named are denied by being let in by no rule."""
        if who and who[0].source.principals:
            self._denials.append((_rule(who), self._place))

    def _permit(self, permissions: tuple[spec.Permission, ...], who: tuple[policy.From, ...]) -> None:
        """The first that fits decides: so what denies leaves out what is allowed above it."""
        above: list[spec.Permission] = []
        for permission in permissions:
            if permission.action is spec.Action.ALLOW:
                self._admissions += ((_asking(who, case), self._place) for case in _cases(permission))
                above.append(permission)
            else:
                self._denials += ((_asking(who, case), self._place) for case in _apart(permission, above))
        if self._allow:
            self._admissions.append((_rule(who), self._place))

    def _made(self) -> Iterator[Policy]:
        """Without any admission nobody is let in."""
        if self._denials:
            yield self._policy(policy.Action.DENY, self._denials)
        yield self._policy(policy.Action.ALLOW, self._admissions)

    def _policy(self, action: policy.Action, rules: list[tuple[policy.Rule, Source]]) -> Policy:
        made = AuthorizationPolicy.model_construct(action=action, rules=tuple(rule for rule, _ in rules))
        r = self._resource
        places = tuple(place for _, place in rules)
        return _Written(key=r.key, api_version=r.api_version, spec=made, origin=r.origin, created=r.created, places=places)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written(Resource[AuthorizationPolicy]):
    """A policy that nobody wrote: its rules are told by the places of the intentions that they come from."""

    places: tuple[Source, ...] = ()

    def at(self, field: str) -> Source:
        number = field.removeprefix("spec.rules[").partition("]")[0]
        return self.places[int(number)] if number.isdecimal() else Resource.at(self, field)


def _from(principal: str) -> tuple[policy.From, ...]:
    return (policy.From(source=policy.Origin(principals=(principal,))),)


def _others(principals: list[str]) -> tuple[policy.From, ...]:
    """Everybody but some."""
    return (policy.From(source=policy.Origin(not_principals=tuple(principals))),) if principals else ()


def _rule(who: tuple[policy.From, ...]) -> policy.Rule:
    return policy.Rule.model_construct(from_=who)


# === requests


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What must hold of a request, all of it."""

    paths: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    when: tuple[policy.Condition, ...] = ()

    def also(self, other: _Case) -> _Case:
        """`other` only says what must not be."""
        return replace(
            self, not_paths=self.not_paths + other.not_paths, not_methods=self.not_methods + other.not_methods, when=self.when + other.when
        )

    def operation(self) -> tuple[policy.To, ...]:
        asked = {name: values for name in ("paths", "methods", "not_paths", "not_methods") if (values := getattr(self, name))}
        return (policy.To(operation=policy.Operation(**asked)),) if asked else ()


def _asking(who: tuple[policy.From, ...], case: _Case) -> policy.Rule:
    return policy.Rule.model_construct(from_=who, to=case.operation(), when=case.when)


def _cases(permission: spec.Permission) -> tuple[_Case, ...]:
    """What a permission asks of a request. One that a sidecar cannot ask lets nothing in, and keeps everything out."""
    http = permission.http or HttpParts()
    if untold(http):
        return (_Case(),) if permission.action is spec.Action.DENY else ()
    paths = (http.path_exact,) if http.path_exact else (http.path_prefix.rstrip("*") + "*",) if http.path_prefix else ()
    return (_Case(paths=paths, methods=tuple(m.upper() for m in http.methods), when=tuple(map(_condition, http.header))),)


def _apart(permission: spec.Permission, above: list[spec.Permission]) -> Iterator[_Case]:
    """What a permission denies that none of those above it allows; all of it, where that would take too many rules."""
    (own,) = _cases(permission)
    others = [_not(case) for allowed in above for case in _cases(allowed)]
    if _too_many(others):
        yield own
        return
    for choice in product(*others):
        yield reduce(_Case.also, choice, own)


def _not(case: _Case) -> list[_Case]:
    """Each way in which a request can be another one."""
    found = [_Case(not_paths=case.paths)] if case.paths else []
    found += [_Case(not_methods=case.methods)] if case.methods else []
    return found + [_Case(when=(_opposite(condition),)) for condition in case.when]


def _opposite(condition: policy.Condition) -> policy.Condition:
    return policy.Condition(key=condition.key, values=condition.not_values, not_values=condition.values)


def _too_many(others: list[list[_Case]]) -> bool:
    return prod(len(ways) for ways in others) > _MOST


def untold(http: HttpParts) -> str:
    """Why a permission cannot be asked by an AuthorizationPolicy; empty where it can."""
    if http.path_regex:
        return "pathRegex"
    if _has_signs(http.path_exact) or _has_signs((http.path_prefix or "").rstrip(ANY)):
        return "a path with *, { or }"
    return next((f"header {header.name}" for header in http.header if _is_untold(header)), "")


def _has_signs(text: str | None) -> bool:
    """Whether a policy would take some of a text for signs that stand for others."""
    return bool({*"*{}"} & {*(text or "")})


def _is_untold(header: HeaderMatch) -> bool:
    plain = (header.exact, header.prefix, header.suffix)
    return header.contains is not None or header.regex is not None or header.ignore_case or any(ANY in text for text in plain if text)


def _condition(header: HeaderMatch) -> policy.Condition:
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
        above: list[list[_Case]] = []
        for place, permission in enumerate(source.permissions):
            where = f"spec.sources[{index}].permissions[{place}]"
            deny = permission.action is spec.Action.DENY
            if permission.http and (what := untold(permission.http)):
                effect = "all requests of this source are denied" if deny else "it allows nothing"
                yield where, f"{what} cannot be told by a sidecar: {effect}"
            if deny and _too_many(above):
                yield where, "stands below too many that allow: what it is for is denied, whatever they say"
            above += [] if deny else [_not(case) for case in _cases(permission)]
